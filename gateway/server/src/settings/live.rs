//! The settings that take effect when they are read again (SIGHUP, `tollgate reload`). All others need a restart.

/// Their paths, in the order of the shipped file.
pub const LIVE: &[&str] = &[
    "proxy.read_timeout",
    "proxy.write_timeout",
    "proxy.drain_timeout",
    "proxy.upgrade_drain_timeout",
    "proxy.lenient_path_services",
    "outage.ready",
    "limits.connections",
    "limits.connections_per_address",
    "limits.operator_connections",
    "limits.operator_connections_per_address",
    "limits.tls_handshake_timeout",
    "limits.body_min_rate",
    "limits.body_grace",
    "limits.request_buffer_bytes",
    "limits.response_buffer_bytes",
    "trusted_ips",
    "access_log_fields",
    "log.level",
    "outage.serve_cached_for",
];

/// Whether a setting takes effect when it is read again.
pub fn is_live(path: &str) -> bool {
    LIVE.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::super::SETTINGS;
    use super::*;

    #[test]
    fn each_is_a_setting_and_the_operators_guide_names_it() {
        let listed: Vec<_> = SETTINGS.iter().map(|setting| setting.path).filter(|path| is_live(path)).collect();
        assert_eq!(listed, LIVE);
        let guide = include_str!("../../../../docs/operating.md");
        let (_, section) = guide.split_once("\n## Reload").expect("a section");
        let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
        for path in LIVE {
            assert!(section.contains(&format!("`{path}`")), "docs/operating.md, Reload, does not name {path}");
        }
    }
}
