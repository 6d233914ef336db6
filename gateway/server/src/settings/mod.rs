//! The node's settings (the configuration of routes and plugins is in the Admin API).
//!
//! Flag over environment over file over default. Unknown names are errors, and all problems are
//! reported at once, those in the file with line and column. [`Settings`] are checked: all defaults
//! are filled in.

mod admin;
mod layers;
mod listeners;
pub mod listing;
mod live;
mod position;
mod read;
mod setting;
mod tls;
mod tracing;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tollgate_core::secret::Secret;
use tollgate_core::setting::SettingValues;

use crate::proxy::{Limits, Listener, Product, UpstreamSettings};
use crate::telemetry::access_log::Fields;
use crate::upstream::announcement::Announcements;
use crate::upstream::named_services::NamedServices;

pub use self::tracing::Tracing;
pub use admin::{Admin, AdminAuth, AdminTls};
pub use layers::{Layers, Problem, Source, read_layers};
pub use live::{LIVE, is_live};
pub use setting::SETTINGS;
pub use tls::TlsPolicy;

/// The destination of the access log or the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineDestination {
    /// None.
    Off,
    /// Standard output.
    StandardOutput,
    /// A file, appended to.
    File(PathBuf),
}

impl std::fmt::Display for LineDestination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::StandardOutput => f.write_str("standard output"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Whether the system may write the process's memory to a file when it crashes, and debuggers may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoreDumps {
    /// It may not.
    Prevented,
    /// It may, as the system is configured.
    Permitted,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text.
    Human,
    /// One JSON object per line.
    Json,
}

/// Whether HTTPS upstreams are verified if their service does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamVerification {
    /// Certificate and name are checked.
    Verify,
    /// Anything is accepted.
    Skip,
}

/// Whether a node is ready while its database is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenDegraded {
    /// It is: it serves what it has cached.
    Ready,
    /// It is not.
    NotReady,
}

/// A certificate given by the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The PEM file of the chain, leaf first.
    pub certificate: PathBuf,
    /// The PEM file of the key.
    pub key: PathBuf,
    /// The file with the passphrase of an encrypted key.
    pub passphrase: Option<PathBuf>,
    /// The setting that names this file.
    pub passphrase_setting: &'static str,
}

impl CertificateFiles {
    /// All of them.
    pub fn paths(&self) -> Vec<PathBuf> {
        [Some(&self.certificate), Some(&self.key), self.passphrase.as_ref()].into_iter().flatten().cloned().collect()
    }
}

/// The settings of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The plain HTTP listener.
    pub http_listen: Option<Listener>,
    /// The TLS listener.
    pub https_listen: Option<Listener>,
    /// Its name in `Server` and `Via`.
    pub product: Product,
    /// Worker threads, at least one.
    pub threads: usize,
    /// Timeout of idle client connections.
    pub keepalive_timeout: Duration,
    /// Timeout for the whole head of an HTTP/1.1 request.
    pub head_timeout: Duration,
    /// Timeout between two reads from a client.
    pub read_timeout: Duration,
    /// Timeout between two writes to a client.
    pub write_timeout: Duration,
    /// Timeout for requests in progress after SIGTERM.
    pub drain_timeout: Duration,
    /// Timeout for connections in a process whose listeners another has taken over.
    pub upgrade_drain_timeout: Duration,
    /// Whether upstreams are verified if their service does not say.
    pub upstream_verification: UpstreamVerification,
    /// Services that get paths which climb for other readers.
    pub lenient_path_services: NamedServices,
    /// Connections to upstreams.
    pub upstream: UpstreamSettings,
    /// The upstreams that are told whose requests their connections carry.
    pub announcements: Announcements,
    /// Networks to which requests are proxied in any case.
    pub allowed_upstreams: Vec<IpNet>,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigurationSource {
    /// From the database, which the Admin API changes.
    Database,
    /// From a file.
    File {
        /// The file; `None`: from calls of the Admin API that replace it as a whole.
        path: Option<PathBuf>,
        /// Whether it is read again when it has changed.
        is_watched: bool,
    },
}

/// The settings of the store.
#[derive(Clone, PartialEq, Eq)]
pub struct Database {
    /// `sqlite:PATH` or `postgres://…`; contains the password.
    pub url: Secret,
    /// `postgres://…` of streaming replicas that look-ups may read; contain passwords.
    pub replicas: Vec<Secret>,
    /// The maximum number of connections of this process.
    pub max_connections: usize,
    /// Timeout for getting a connection.
    pub acquire_timeout: Duration,
    /// Timeout of a statement.
    pub statement_timeout: Duration,
    /// For how long a database that cannot be reached is tried again at start.
    pub startup_wait: Option<Duration>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

impl Database {
    /// Whether it is the embedded store.
    pub fn is_embedded(&self) -> bool {
        self.url.expose().starts_with("sqlite:")
    }
}

/// Whether TLS clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedCertificates {
    /// They are not.
    Off,
    /// They may present one.
    Optional,
    /// They must present one.
    Required,
}

/// The certificates of TLS clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Whether they are asked for.
    pub requested: RequestedCertificates,
    /// The PEM file of the authorities that vouch for them.
    pub authorities: Option<PathBuf>,
}

/// All settings, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The directory of the gateway's own files.
    pub data_directory: PathBuf,
    /// The data plane.
    pub proxy: Proxy,
    /// The operator's certificate; `None`: a self-signed one.
    pub certificate: Option<CertificateFiles>,
    /// The certificates of clients.
    pub client_certificates: ClientCertificates,
    /// Versions, ciphers, protocols and session tickets of TLS.
    pub tls: TlsPolicy,
    /// The Admin API.
    pub admin: Admin,
    /// The status listener: liveness, readiness, metrics.
    pub status_listen: SocketAddr,
    /// Where the configuration comes from.
    pub configuration: ConfigurationSource,
    /// The store.
    pub database: Database,
    /// Readiness while the store is away.
    pub when_degraded: WhenDegraded,
    /// What clients may cost.
    pub limits: Limits,
    /// The most bytes that are sent upstream in one identity header.
    pub header_value_bytes: usize,
    /// Trusted proxies in front.
    pub trusted_ips: Vec<IpNet>,
    /// How names are resolved.
    pub dns: tollgate_dns::Settings,
    /// Networks that outbound calls reach in any case.
    pub outbound_allowed: Vec<IpNet>,
    /// The access log.
    pub access_log: LineDestination,
    /// What its lines have.
    pub access_log_fields: Fields,
    /// The audit log.
    pub audit_log: LineDestination,
    /// Traces; `None`: they are off.
    pub tracing: Option<Tracing>,
    /// Whether memory may be dumped.
    pub core_dumps: CoreDumps,
    /// The minimum severity that is logged.
    pub log_level: ::tracing::Level,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The settings of plugins, which read them.
    pub plugins: SettingValues,
}

impl Settings {
    /// The addresses on which this gateway listens.
    pub fn listeners(&self) -> impl Iterator<Item = SocketAddr> {
        let proxy = [self.proxy.http_listen, self.proxy.https_listen];
        proxy.into_iter().flatten().map(|listener| listener.address).chain([self.admin.listen, self.status_listen])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::version::OfferedHttp2;

    fn settings(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Settings, Vec<String>> {
        let mut layers = Layers::defaults();
        layers.file("test.yaml", file);
        layers.environment(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        layers.flags(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
        Settings::from_layers(layers).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_shipped_file_names_every_setting_with_its_default() {
        let shipped = include_str!("../../../../conf/tollgate.yaml");
        let mut layers = Layers::defaults();
        layers.file("conf/tollgate.yaml", shipped);
        assert_eq!(layers.problems, []);
        for setting in SETTINGS.iter() {
            assert!(layers.is_given(setting.path), "{} is missing", setting.path);
            let text = layers.read(setting.path, |text| Ok(text.to_owned()));
            assert_eq!(text.as_deref(), Some(setting.default), "{}", setting.path);
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
        let file = "admin:\n  listen: 127.0.0.1:1\n";
        let environment = [("TOLLGATE_ADMIN_LISTEN", "127.0.0.1:2")];
        let listen = |result: Result<Settings, Vec<String>>| result.map(|settings| settings.admin.listen.port());
        assert_eq!(listen(settings("", &[], &[])), Ok(8001));
        assert_eq!(listen(settings(file, &[], &[])), Ok(1));
        assert_eq!(listen(settings(file, &environment, &[])), Ok(2));
        assert_eq!(listen(settings(file, &environment, &["admin.listen=127.0.0.1:3"])), Ok(3));
    }

    #[test]
    fn all_problems_are_reported_with_line_and_column() {
        let file =
            "proxy:\n  http_listen: nowhere\n  keepalive: 5s\nlisten: x\ndatabase:\n  url: mysql://root:secret@x\n";
        let problems = settings(file, &[("TOLLGATE_TYPO", "1")], &["log.level=loud"]).expect_err("problems");
        assert_eq!(
            problems,
            [
                "test.yaml:3:3: proxy.keepalive: unknown setting; `tollgate settings` lists all",
                "test.yaml:4:1: listen: unknown setting; did you mean admin.listen?",
                "environment TOLLGATE_TYPO: unknown setting; `tollgate settings` lists all",
                "test.yaml:2:3: proxy.http_listen: expected address:port, such as 127.0.0.1:8001 or [::1]:8001",
                "test.yaml:6:3: database.url: expected sqlite:PATH or postgres://user:password@host:port/database",
                "--set: log.level: expected error, warn, info, debug or trace",
            ]
        );
    }

    #[test]
    fn keys_and_values_of_the_wrong_kind_are_named() {
        let rows = [
            ("1: x\n", "test.yaml: keys must be strings"),
            ("- x\n", "test.yaml: expected a mapping of settings, such as `proxy:`"),
            ("proxy: 1\n", "test.yaml:1:1: proxy: expected a mapping of settings"),
            ("access_log: {}\n", "test.yaml:1:1: access_log: expected a value or a list of values"),
            ("proxy:\n  identify_as: nginx\n", "test.yaml:2:3: proxy.identify_as: expected tollgate or kong"),
        ];
        for (file, expected) in rows {
            assert_eq!(settings(file, &[], &[]), Err(vec![expected.to_owned()]), "{file}");
        }
    }

    #[test]
    fn upstream_connections_are_kept_as_the_settings_say() {
        let upstream = |flags: &[&str]| settings("", &[], flags).map(|settings| settings.proxy.upstream);
        assert_eq!(upstream(&[]), Ok(UpstreamSettings::default()));
        let flags = [
            "proxy.upstream_keepalive_timeout=500ms",
            "proxy.upstream_keepalive_pool_size=0",
            "proxy.upstream_keepalive_requests=1",
            "proxy.upstream_http2=true",
        ];
        let expected = UpstreamSettings {
            keepalive_timeout: Duration::from_millis(500),
            keepalive_pool_size: 0,
            keepalive_requests: 1,
            http2: OfferedHttp2::Used,
        };
        assert_eq!(upstream(&flags), Ok(expected));
        assert_eq!(
            upstream(&["proxy.upstream_keepalive_pool_size=65537", "proxy.upstream_keepalive_requests=0"]),
            Err(vec![
                "--set: proxy.upstream_keepalive_pool_size: expected a number from 0 to 65536".to_owned(),
                "--set: proxy.upstream_keepalive_requests: expected a number of at least 1".to_owned(),
            ])
        );
    }

    #[test]
    fn limits_are_read_and_their_defaults_are_those_of_the_proxy() {
        let limits = |flags: &[&str]| settings("", &[], flags).map(|settings| settings.limits);
        assert_eq!(limits(&[]), Ok(Limits::default()));
        let given = limits(&["limits.connections=7", "limits.body_min_rate=0", "limits.http2_streams=3"]);
        let expected = Limits { connections: 7, body_min_rate: 0, http2_streams: 3, ..Limits::default() };
        assert_eq!(given, Ok(expected));
        let problems = limits(&["limits.header_count=257", "limits.failure_window=1ms", "limits.header_value_bytes=1"]);
        let expected = [
            "--set: limits.header_count: expected a number from 16 to 256",
            "--set: limits.header_value_bytes: expected a number from 64 to 65536",
            "--set: limits.failure_window: expected at least 1s",
        ];
        assert_eq!(problems, Err(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn the_embedded_database_lives_in_the_data_directory() {
        let url = settings("data_directory: /var/lib/tollgate\n", &[], &[])
            .map(|settings| settings.database.url.expose().to_owned());
        assert_eq!(url, Ok("sqlite:/var/lib/tollgate/tollgate.db".to_owned()));
    }

    #[test]
    fn a_configuration_comes_from_the_database_or_from_a_file() {
        let source = |file: &str, environment: &[(&str, &str)], flags: &[&str]| {
            settings(file, environment, flags).map(|settings| settings.configuration)
        };
        assert_eq!(source("", &[], &[]), Ok(ConfigurationSource::Database));
        let of = |path: Option<&str>, is_watched| {
            Ok(ConfigurationSource::File { path: path.map(PathBuf::from), is_watched })
        };
        let file = "database: off\ndeclarative_config: a.yml\n";
        assert_eq!(source(file, &[], &[]), of(Some("a.yml"), true));
        assert_eq!(source("database: false\n", &[], &[]), of(None, true));
        assert_eq!(source("database:\n  mode: off\n  url: 'sqlite:x'\n", &[], &[]), of(None, true));
        assert_eq!(source("", &[("TOLLGATE_DATABASE", "off")], &[]), of(None, true));
        assert_eq!(source("", &[], &["database=off", "declarative_config_watch=false"]), of(None, false));
        let url = settings("database: off\n", &[], &[]).map(|settings| settings.database.url.expose().to_owned());
        assert_eq!(url, Ok("sqlite:data/declarative.db".to_owned()));
        let told = "test.yaml:1:1: declarative_config: is used only where database.mode is off: set that, or import the \
                    file with `tollgate config import`";
        assert_eq!(source("declarative_config: a.yml\n", &[], &[]), Err(vec![told.to_owned()]));
        let told = "test.yaml:1:1: database.mode: expected on or off";
        assert_eq!(source("database: postgres\n", &[], &[]), Err(vec![told.to_owned()]));
    }

    #[test]
    fn the_database_url_is_not_shown() {
        let settings = settings("", &[], &["database.url=postgres://u:hunter2@h/d"]).expect("valid");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn every_listener_is_known_to_outbound_calls() {
        let listeners = |flags: &[&str]| {
            settings("", &[], flags).map(|all| all.listeners().map(|address| address.to_string()).collect::<Vec<_>>())
        };
        let all = ["0.0.0.0:8000", "0.0.0.0:8443", "127.0.0.1:8001", "127.0.0.1:8007"].map(str::to_owned).to_vec();
        assert_eq!(listeners(&[]), Ok(all));
        let without_tls = ["0.0.0.0:8000", "127.0.0.1:8001", "[::1]:9"].map(str::to_owned).to_vec();
        assert_eq!(listeners(&["proxy.https_listen=off", "status.listen=[::1]:9"]), Ok(without_tls));
    }

    #[test]
    fn outbound_exceptions_are_addresses_or_networks() {
        let allowed = |file: &str| settings(file, &[], &[]).map(|all| all.outbound_allowed);
        assert_eq!(allowed(""), Ok(Vec::new()));
        let networks = ["127.0.0.1/32", "fe80::/10"].map(|text| text.parse().expect("a network")).to_vec();
        assert_eq!(allowed("outbound:\n  allowed_addresses: [127.0.0.1, 'fe80::/10']\n"), Ok(networks));
        let told = "test.yaml:2:3: outbound.allowed_addresses: \"localhost\" is neither an IP address nor a CIDR block \
                    such as 10.0.0.0/8";
        assert_eq!(allowed("outbound:\n  allowed_addresses: [localhost]\n"), Err(vec![told.to_owned()]));
    }
}
