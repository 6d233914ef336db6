//! Reads checked settings from layered values.

use std::path::PathBuf;

use ipnet::IpNet;
use tollgate_core::secret::Secret;
use tollgate_core::setting::{duration, number};

use super::listeners::{address, listener};
use super::{
    CertificateFiles, ClientCertificates, ConfigurationSource, CoreDumps, Database, Layers, LineDestination, LogFormat,
    Problem, Proxy, RequestedCertificates, Settings, UpstreamVerification, WhenDegraded,
};
use crate::proxy::{BufferBytes, Limits, Product, UpstreamSettings};
use crate::proxy_protocol::Version;
use crate::upstream::announcement::Announcements;
use crate::upstream::named_services::NamedServices;
use crate::upstream::version::OfferedHttp2;

impl Settings {
    /// Checks the layered values; reports all problems at once.
    pub fn from_layers(mut layers: Layers) -> Result<Self, Vec<Problem>> {
        let settings = Self::read(&mut layers);
        if let Some(settings) = &settings {
            super::listeners::check(&mut layers, settings);
        }
        match settings {
            Some(settings) if layers.problems.is_empty() => Ok(settings),
            _ => Err(layers.problems),
        }
    }

    fn read(layers: &mut Layers) -> Option<Self> {
        // Every value is read before the first missing one ends the reading, so that all problems are reported.
        let data_directory = layers.read("data_directory", path);
        let proxy = read_proxy(layers);
        let certificate = read_certificate(layers);
        let client_certificates = read_client_certificates(layers);
        let tls = super::tls::read(layers);
        let admin = super::admin::read(layers);
        let status_listen = layers.read("status.listen", address);
        let configuration = read_configuration(layers);
        let database = read_database(layers, data_directory.as_ref(), configuration.as_ref());
        let outage_ready = layers.read("outage.ready", |text| match text {
            "true" => Ok(WhenDegraded::Ready),
            "false" => Ok(WhenDegraded::NotReady),
            _ => Err("expected true or false".to_owned()),
        });
        let limits = read_limits(layers);
        let header_value_bytes = layers.read("limits.header_value_bytes", |text| bounded(text, 64, 65_536));
        let trusted_ips = layers.read("trusted_ips", networks);
        let dns = read_dns(layers);
        let outbound_allowed = layers.read("outbound.allowed_addresses", networks);
        let access_log = layers.read("access_log", |text| Ok(lines(text)));
        let access_log_fields = layers.read("access_log_fields", str::parse);
        let audit_log = layers.read("audit_log", |text| Ok(lines(text)));
        let tracing = super::tracing::read(layers);
        let core_dumps = layers.read("core_dumps", |text| match text {
            "true" => Ok(CoreDumps::Permitted),
            "false" => Ok(CoreDumps::Prevented),
            _ => Err("expected true or false".to_owned()),
        });
        let log_level = layers.read("log.level", |text| {
            text.parse().map_err(|_| "expected error, warn, info, debug or trace".to_owned())
        });
        let log_format = layers.read("log.format", log_format);
        let plugins = layers.read_plugins();
        Some(Self {
            data_directory: data_directory?,
            proxy: proxy?,
            certificate: certificate?,
            client_certificates: client_certificates?,
            tls: tls?,
            admin: admin?,
            status_listen: status_listen?,
            configuration: configuration?,
            database: database?,
            when_degraded: outage_ready?,
            limits: limits?,
            header_value_bytes: header_value_bytes?,
            trusted_ips: trusted_ips?,
            dns: dns?,
            outbound_allowed: outbound_allowed?,
            access_log: access_log?,
            access_log_fields: access_log_fields?,
            audit_log: audit_log?,
            tracing: tracing?,
            core_dumps: core_dumps?,
            log_level: log_level?,
            log_format: log_format?,
            plugins: plugins?,
        })
    }
}

fn read_proxy(layers: &mut Layers) -> Option<Proxy> {
    let http_listen = layers.read("proxy.http_listen", listener);
    let https_listen = layers.read("proxy.https_listen", listener);
    let announcements = read_announcements(layers);
    let product = layers.read("proxy.identify_as", |text| match text {
        "tollgate" => Ok(Product::Tollgate),
        "kong" => Ok(Product::Kong),
        _ => Err("expected tollgate or kong".to_owned()),
    });
    let threads = layers.read("proxy.threads", number);
    let keepalive_timeout = layers.read("proxy.keepalive_timeout", duration);
    let head_timeout = layers.read("proxy.head_timeout", duration);
    let read_timeout = layers.read("proxy.read_timeout", duration);
    let write_timeout = layers.read("proxy.write_timeout", duration);
    let drain_timeout = layers.read("proxy.drain_timeout", duration);
    let upgrade_drain_timeout = layers.read("proxy.upgrade_drain_timeout", duration);
    let upstream_verification = layers.read("proxy.upstream_tls_verify", |text| match text {
        "true" => Ok(UpstreamVerification::Verify),
        "false" => Ok(UpstreamVerification::Skip),
        _ => Err("expected true or false".to_owned()),
    });
    let lenient_path_services = layers.read("proxy.lenient_path_services", services);
    let upstream = read_upstream(layers);
    let allowed_upstreams = layers.read("proxy.allowed_upstream_addresses", networks);
    let threads = match threads? {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        some => usize::try_from(some).ok()?,
    };
    Some(Proxy {
        http_listen: http_listen?,
        https_listen: https_listen?,
        product: product?,
        threads,
        keepalive_timeout: keepalive_timeout?,
        head_timeout: head_timeout?,
        read_timeout: read_timeout?,
        write_timeout: write_timeout?,
        drain_timeout: drain_timeout?,
        upgrade_drain_timeout: upgrade_drain_timeout?,
        upstream_verification: upstream_verification?,
        lenient_path_services: lenient_path_services?,
        upstream: upstream?,
        announcements: announcements?,
        allowed_upstreams: allowed_upstreams?,
    })
}

fn read_dns(layers: &mut Layers) -> Option<tollgate_dns::Settings> {
    let nameservers = layers.read("dns.nameservers", listed::<tollgate_dns::Nameserver>);
    let order = layers.read("dns.order", |text| match listed::<tollgate_dns::RecordKind>(text)? {
        none if none.is_empty() => Err("expected at least one of SRV, A, AAAA".to_owned()),
        some => Ok(some),
    });
    let stale_for = layers.read("dns.stale_for", duration);
    Some(tollgate_dns::Settings { nameservers: nameservers?, order: order?, stale_for: stale_for? })
}

/// The elements of a list.
fn listed<T: std::str::FromStr<Err = String>>(text: &str) -> Result<Vec<T>, String> {
    words(text).map(str::parse).collect()
}

fn read_announcements(layers: &mut Layers) -> Option<Announcements> {
    let version = layers.read("proxy.upstream_proxy_protocol", |text| match text {
        "off" | "false" => Ok(None),
        "v1" => Ok(Some(Version::V1)),
        "v2" => Ok(Some(Version::V2)),
        _ => Err("expected off, v1 or v2".to_owned()),
    });
    let services = layers.read("proxy.upstream_proxy_protocol_services", services);
    Some(Announcements { version: version?, services: services? })
}

fn read_upstream(layers: &mut Layers) -> Option<UpstreamSettings> {
    let keepalive_timeout = layers.read("proxy.upstream_keepalive_timeout", duration);
    let keepalive_pool_size = layers.read("proxy.upstream_keepalive_pool_size", |text| match number(text)? {
        connections @ 0..=65_536 => usize::try_from(connections).map_err(|error| error.to_string()),
        _ => Err("expected a number from 0 to 65536".to_owned()),
    });
    let keepalive_requests = layers.read("proxy.upstream_keepalive_requests", |text| match number(text)? {
        0 => Err("expected a number of at least 1".to_owned()),
        requests => u32::try_from(requests).map_err(|_| format!("expected at most {}", u32::MAX)),
    });
    let http2 = layers.read("proxy.upstream_http2", |text| match text {
        "true" => Ok(OfferedHttp2::Used),
        "false" => Ok(OfferedHttp2::Declined),
        _ => Err("expected true or false".to_owned()),
    });
    Some(UpstreamSettings {
        keepalive_timeout: keepalive_timeout?,
        keepalive_pool_size: keepalive_pool_size?,
        keepalive_requests: keepalive_requests?,
        http2: http2?,
    })
}

fn read_limits(layers: &mut Layers) -> Option<Limits> {
    let count = |text: &str| bounded(text, 0, 10_000_000);
    let count_u32 = |text: &str| bounded(text, 0, 10_000_000).map(saturated);
    let connections = layers.read("limits.connections", count);
    let connections_per_address = layers.read("limits.connections_per_address", count);
    let operator_connections = layers.read("limits.operator_connections", count);
    let operator_connections_per_address = layers.read("limits.operator_connections_per_address", count);
    let tls_handshake_timeout = layers.read("limits.tls_handshake_timeout", duration);
    let target_bytes = layers.read("limits.target_bytes", |text| bounded(text, 256, 65_536));
    let head_bytes = layers.read("limits.head_bytes", |text| bounded(text, 1024, 524_288));
    // Pingora's parser has room for 256.
    let header_count = layers.read("limits.header_count", |text| bounded(text, 16, 256));
    let body_min_rate = layers.read("limits.body_min_rate", count_u32);
    let body_grace = layers.read("limits.body_grace", duration);
    let http2_streams = layers.read("limits.http2_streams", |text| bounded(text, 1, 10_000).map(saturated));
    let request_buffer_bytes = layers.read("limits.request_buffer_bytes", |text| bounded(text, 0, 16 * 1024 * 1024));
    let response_buffer_bytes = layers.read("limits.response_buffer_bytes", |text| bounded(text, 0, 16 * 1024 * 1024));
    let http2_excess_frames = layers.read("limits.http2_excess_frames", count_u32);
    Some(Limits {
        connections: connections?,
        connections_per_address: connections_per_address?,
        operator_connections: operator_connections?,
        operator_connections_per_address: operator_connections_per_address?,
        tls_handshake_timeout: tls_handshake_timeout?,
        target_bytes: target_bytes?,
        head_bytes: head_bytes?,
        header_count: header_count?,
        body_min_rate: body_min_rate?,
        body_grace: body_grace?,
        http2_streams: http2_streams?,
        http2_excess_frames: http2_excess_frames?,
        buffer_bytes: BufferBytes { request: request_buffer_bytes?, response: response_buffer_bytes? },
    })
}

fn saturated(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn read_certificate(layers: &mut Layers) -> Option<Option<CertificateFiles>> {
    let certificate = layers.read("tls.certificate", |text| Ok(optional_path(text)))?;
    let passphrase_setting = "tls.key_passphrase_file";
    let passphrase = layers.read(passphrase_setting, |text| Ok(optional_path(text)))?;
    layers.read("tls.key", |text| match (certificate, optional_path(text)) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(CertificateFiles { certificate, key, passphrase, passphrase_setting }))
        }
        _ => Err("tls.certificate and tls.key must be set together".to_owned()),
    })
}

fn read_client_certificates(layers: &mut Layers) -> Option<ClientCertificates> {
    let requested = layers.read("tls.client_certificates", |text| match text {
        "off" => Ok(RequestedCertificates::Off),
        "optional" => Ok(RequestedCertificates::Optional),
        "required" => Ok(RequestedCertificates::Required),
        _ => Err("expected off, optional or required".to_owned()),
    });
    let authorities = layers.read("tls.client_ca", |text| match optional_path(text) {
        Some(_) if requested == Some(RequestedCertificates::Off) => {
            Err("is used only with tls.client_certificates: set that to optional or required".to_owned())
        }
        path => Ok(path),
    });
    Some(ClientCertificates { requested: requested?, authorities: authorities? })
}

fn read_configuration(layers: &mut Layers) -> Option<ConfigurationSource> {
    let is_watched = layers.read("declarative_config_watch", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    });
    let is_off = layers.read("database.mode", |text| match text {
        "on" | "true" => Ok(false),
        "off" | "false" => Ok(true),
        _ => Err("expected on or off".to_owned()),
    });
    let path = layers.read("declarative_config", |text| match optional_path(text) {
        Some(_) if is_off == Some(false) => {
            Err("is used only where database.mode is off: set that, or import the file with `tollgate config import`"
                .to_owned())
        }
        path => Ok(path),
    });
    let (path, is_watched) = (path?, is_watched?);
    Some(if is_off? { ConfigurationSource::File { path, is_watched } } else { ConfigurationSource::Database })
}

fn read_database(
    layers: &mut Layers,
    data_directory: Option<&PathBuf>,
    configuration: Option<&ConfigurationSource>,
) -> Option<Database> {
    // A file's configuration does not replace the one in an embedded database of before.
    let embedded = match configuration {
        Some(ConfigurationSource::File { .. }) => "declarative.db",
        _ => "tollgate.db",
    };
    let url = layers.read("database.url", |text| {
        let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        match (text, data_directory) {
            ("", Some(directory)) => Ok(format!("sqlite:{}", directory.join(embedded).display())),
            (text, _) if known => Ok(text.to_owned()),
            // The value may contain a password: it is not repeated.
            _ => Err("expected sqlite:PATH or postgres://user:password@host:port/database".to_owned()),
        }
    });
    let replicas = layers.read("database.replicas", urls);
    let max_connections = layers.read("database.max_connections", |text| match number(text)? {
        connections @ 1..=1000 => usize::try_from(connections).map_err(|error| error.to_string()),
        _ => Err("expected a number from 1 to 1000".to_owned()),
    });
    let acquire_timeout = layers.read("database.acquire_timeout", duration);
    let statement_timeout = layers.read("database.statement_timeout", duration);
    let startup_wait = layers.read("database.startup_wait", |text| match text {
        "off" | "false" => Ok(None),
        _ => duration(text).map(Some),
    });
    Some(Database {
        url: Secret::new(url?),
        replicas: replicas?,
        max_connections: max_connections?,
        acquire_timeout: acquire_timeout?,
        statement_timeout: statement_timeout?,
        startup_wait: startup_wait?,
    })
}

/// A number within these limits.
pub(super) fn bounded(text: &str, low: usize, high: usize) -> Result<usize, String> {
    let number = usize::try_from(number(text)?).ok().filter(|number| (low..=high).contains(number));
    number.ok_or_else(|| format!("expected a number from {low} to {high}"))
}

fn path(text: &str) -> Result<PathBuf, String> {
    optional_path(text).ok_or_else(|| "expected a path".to_owned())
}

pub(super) fn optional_path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// A comma also separates the hosts within a URL.
fn urls(text: &str) -> Result<Vec<Secret>, String> {
    let mut urls: Vec<String> = Vec::new();
    for part in words(text) {
        match urls.last_mut() {
            _ if part.starts_with("postgres://") || part.starts_with("postgresql://") => urls.push(part.to_owned()),
            Some(last) => *last = format!("{last},{part}"),
            // The value may contain a password: it is not repeated.
            None => return Err("expected URLs such as postgres://user:password@host:port/database".to_owned()),
        }
    }
    Ok(urls.into_iter().map(Secret::new).collect())
}

fn services(text: &str) -> Result<NamedServices, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    Ok(NamedServices::new(entries.map(str::to_owned)))
}

fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    words(text).map(network).collect()
}

/// The entries of a list.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn network(entry: &str) -> Result<IpNet, String> {
    let single = entry.parse::<std::net::IpAddr>().map(IpNet::from);
    single
        .or_else(|_| entry.parse())
        .map_err(|_| format!("{entry:?} is neither an IP address nor a CIDR block such as 10.0.0.0/8"))
}

fn lines(text: &str) -> LineDestination {
    match text {
        "off" | "false" | "" => LineDestination::Off,
        "-" => LineDestination::StandardOutput,
        file => LineDestination::File(PathBuf::from(file)),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err("expected human or json".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_ips_are_addresses_or_networks() {
        assert_eq!(networks("10.0.0.0/8, 127.0.0.1").map(|list| list.len()), Ok(2));
        assert_eq!(networks(""), Ok(Vec::new()));
        assert!(networks("10.0.0.0/33").is_err());
    }
}
