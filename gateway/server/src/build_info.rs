//! Build information: what this binary was built from.

use std::fmt;

/// The versions of the gateway and of its Pingora.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// The gateway's version.
    pub version: &'static str,
    /// Pingora's version.
    pub pingora: Pingora,
}

/// A version of Pingora, as published or patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pingora {
    /// The published version.
    pub version: &'static str,
    /// The patches, if any.
    pub series: Option<Series>,
}

/// The patches of `gateway/pingora`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Their number.
    pub patches: &'static str,
    /// The beginning of their digest.
    pub digest: &'static str,
}

/// The information of this binary.
pub const THIS: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    pingora: Pingora {
        version: env!("PINGORA_VERSION"),
        series: match (option_env!("PINGORA_PATCHES"), option_env!("PINGORA_SERIES")) {
            (Some(patches), Some(digest)) => Some(Series { patches, digest }),
            _ => None,
        },
    },
};

/// `0.1.0 (Pingora 0.9.1 as published)`
impl fmt::Display for BuildInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (Pingora {})", self.version, self.pingora)
    }
}

/// `0.9.1 as published`, or `0.9.1 with 14 patches, series 0123456789ab`
impl fmt::Display for Pingora {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.series {
            None => write!(formatter, "{} as published", self.version),
            Some(Series { patches, digest }) => {
                write!(formatter, "{} with {patches} patches, series {digest}", self.version)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_says_which_pingora_it_is() {
        let with = |series| BuildInfo { version: "1.2.3", pingora: Pingora { version: "0.9.1", series } }.to_string();
        assert_eq!(with(None), "1.2.3 (Pingora 0.9.1 as published)");
        let series = Series { patches: "14", digest: "0123456789ab" };
        assert_eq!(with(Some(series)), "1.2.3 (Pingora 0.9.1 with 14 patches, series 0123456789ab)");
    }

    #[test]
    fn this_binary_knows_its_pingora() {
        assert!(THIS.pingora.version.starts_with(|first: char| first.is_ascii_digit()), "{THIS}");
        assert_eq!(THIS.pingora.series.is_some(), cfg!(pingora_patched), "{THIS}");
    }
}
