//! Connects to PostgreSQL: the URL, TLS and the server-side limits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use percent_encoding::percent_decode_str;
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};
use tollgate_core::error::StoreError;

use super::hosts::{ConnectError, Connected, Hosts, Role};
use super::primary::Primary;
use crate::options::Options;
use crate::postgres::sessions::{Sessions, has_statement_timeout};

/// The URL does not specify a database.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// The scheme is neither of the two.
    #[error("the database URL must start with postgres:// or sqlite:")]
    Scheme,
    /// `sslmode` is unknown.
    #[error("the database URL's sslmode must be disable, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// `target_session_attrs` asks for something else than the primary.
    #[error("the database URL's target_session_attrs must be read-write, primary or any: a node needs the primary")]
    TargetSession,
    /// The driver rejects it. The driver's message does not repeat the password.
    #[error("invalid database URL")]
    Postgres(#[source] tokio_postgres::Error),
    /// `pooler` is unknown.
    #[error("the database URL's pooler must be none or transaction; leave it out to have it detected")]
    Pooler,
    /// A certificate or key file is missing or not PEM.
    #[error("cannot load the certificate files in the database URL")]
    Tls(#[source] openssl::error::ErrorStack),
    /// Called outside a Tokio runtime.
    #[error("the store must be opened inside a Tokio runtime")]
    NoRuntime,
}

/// The levels of verification that libpq's `sslmode` selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verification {
    Nothing,
    Chain,
    ChainAndName,
}

/// The URL parameters that the driver does not support, or not as this needs them.
#[derive(Debug, Default, PartialEq, Eq)]
struct OwnParameters {
    target_session: Option<String>,
    pooler: Option<String>,
    tls: TlsParameters,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct TlsParameters {
    mode: Option<String>,
    root_certificate: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// The servers of a database, and the parameters with which they are connected to.
#[derive(Clone)]
pub(crate) struct Connector {
    pooled: Hosts,
    feed: Hosts,
    unlimited: Hosts,
    primary: Arc<Primary>,
    /// `None`: not known yet.
    sessions: Option<Sessions>,
    statement_timeout: Duration,
}

impl Connector {
    /// Parses the URL of the options.
    pub(crate) fn parse(options: &Options) -> Result<Self, UrlError> {
        Self::of_url(&options.url, None, options)
    }

    /// Parses the URL of a replica.
    pub(crate) fn parse_replica(url: &str, options: &Options) -> Result<Self, UrlError> {
        Self::of_url(url, Some(Role::Any), options)
    }

    fn of_url(url: &str, role: Option<Role>, options: &Options) -> Result<Self, UrlError> {
        let (url, parameters) = split_own_parameters(url);
        let mut unlimited: Config = url.parse().map_err(UrlError::Postgres)?;
        let (mode, verification) = parameters.tls.requirement()?;
        unlimited.ssl_mode(mode);
        if unlimited.get_application_name().is_none() {
            unlimited.application_name("tollgate");
        }
        if unlimited.get_connect_timeout().is_none() {
            unlimited.connect_timeout(options.acquire_timeout);
        }
        // Detects a vanished server within seconds instead of hours.
        unlimited.keepalives_idle(Duration::from_secs(5)).keepalives_interval(Duration::from_secs(1));
        unlimited.keepalives_retries(3).tcp_user_timeout(options.statement_timeout * 2);
        let role = role.map_or_else(|| parameters.role(&unlimited), Ok)?;
        let sessions = parameters.sessions()?;
        let tls = parameters.tls.connector(verification).map_err(UrlError::Tls)?;
        let statement_timeout = options.statement_timeout;
        let unlimited = Hosts::new(&unlimited, tls, role, statement_timeout * 2);
        let limits = limits(statement_timeout).map(|(name, limit)| format!("-c {name}={limit}"));
        let feed = unlimited.with_options(&limits.join(" "));
        let (pooled, feed) = (feed.within(options.acquire_timeout), feed.with_options(PLANNED_EACH_TIME));
        let primary = Arc::new(Primary::new(role));
        let connector = Self { pooled, feed, unlimited, primary, sessions, statement_timeout };
        Ok(if sessions == Some(Sessions::Shared) { connector.in_shared_sessions() } else { connector })
    }

    /// With sessions as the URL says, or else as a connection shows.
    pub(crate) async fn with_sessions(mut self) -> Result<Self, StoreError> {
        if self.sessions.is_none() {
            self = match Sessions::detect(&self.feed).await? {
                Sessions::Own => Self { sessions: Some(Sessions::Own), ..self },
                Sessions::Shared => self.in_shared_sessions(),
            };
        }
        if self.sessions() == Sessions::Shared {
            tracing::info!("a connection pooler shares the database's sessions: using no prepared statements");
            let client = self.connect().await.map_err(|error| StoreError::Unavailable(Box::new(error)))?;
            if !has_statement_timeout(&client).await? {
                tracing::warn!(
                    "the database does not end statements that run too long: a pooler cannot pass on \
                     database.statement_timeout; set it for the role: ALTER ROLE … SET statement_timeout"
                );
            }
        }
        Ok(self)
    }

    /// A pooler refuses parameters that would apply to a session, or ignores them.
    fn in_shared_sessions(self) -> Self {
        let (pooled, feed) = (self.pooled.like(&self.unlimited), self.feed.like(&self.unlimited));
        Self { pooled, feed, sessions: Some(Sessions::Shared), ..self }
    }

    /// Who uses the sessions of the connections.
    pub(crate) fn sessions(&self) -> Sessions {
        self.sessions.unwrap_or(Sessions::Own)
    }

    /// The limits on a transaction in a shared session, in the form of a statement.
    pub(crate) fn transaction_limits(&self) -> String {
        let limits = limits(self.statement_timeout).map(|(name, limit)| format!("SET LOCAL {name} = {limit}"));
        limits.join("; ")
    }

    /// Which server is the primary.
    pub(crate) fn primary(&self) -> &Primary {
        &self.primary
    }

    /// A connection for statements of requests, to the server that the change feed reads: the server cancels
    /// those that run too long.
    pub(crate) async fn connect_pooled(&self) -> Result<Connected, ConnectError> {
        // Boxed, as every request that reaches the store contains it.
        self.pooled.connect(|server| self.primary.admit(server)).boxed().await
    }

    /// A connection for the change feed, which decides what the primary is.
    pub(crate) async fn connect_feed(&self) -> Result<Connected, ConnectError> {
        self.feed.connect(|server| self.primary.admit_for_feed(server)).await
    }

    /// A connection outside the pool and without a statement timeout, for migrations.
    pub(crate) async fn connect(&self) -> Result<Client, ConnectError> {
        Ok(Self::driven(self.unlimited.connect(|_| Ok(())).await?))
    }

    /// A connection outside the pool, otherwise like those of the pool, to a primary that the feed may not have
    /// found yet.
    pub(crate) async fn connect_as_pooled(&self) -> Result<Client, ConnectError> {
        Ok(Self::driven(self.pooled.connect(|server| self.primary.admit_for_feed(server)).boxed().await?))
    }

    fn driven(Connected { client, connection }: Connected) -> Client {
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection outside the pool failed");
            }
        });
        client
    }
}

/// A cached plan, made while the table was small, would still be used when it has grown.
const PLANNED_EACH_TIME: &str = "-c plan_cache_mode=force_custom_plan";

/// The server-side limits, in milliseconds. The lock timeout is shorter than the statement timeout, so that
/// the error distinguishes them.
fn limits(statement_timeout: Duration) -> [(&'static str, u128); 3] {
    let statement = statement_timeout.as_millis().max(2);
    [
        ("statement_timeout", statement),
        ("lock_timeout", statement * 4 / 5),
        ("idle_in_transaction_session_timeout", statement * 2),
    ]
}

fn split_own_parameters(url: &str) -> (String, OwnParameters) {
    let mut parameters = OwnParameters::default();
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), parameters) };
    let mut rest = Vec::new();
    for pair in query.split('&') {
        let (name, raw) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(raw).decode_utf8_lossy().into_owned();
        match name {
            "sslmode" => parameters.tls.mode = Some(value),
            "sslrootcert" => parameters.tls.root_certificate = Some(value.into()),
            "sslcert" => parameters.tls.certificate = Some(value.into()),
            "sslkey" => parameters.tls.key = Some(value.into()),
            "pooler" => parameters.pooler = Some(value),
            "target_session_attrs" => parameters.target_session = Some(value),
            _ => rest.push(pair),
        }
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    (url, parameters)
}

impl OwnParameters {
    /// Of several hosts only the primary is of use, whether the URL says so or not.
    fn role(&self, config: &Config) -> Result<Role, UrlError> {
        let several = config.get_hosts().len().max(config.get_hostaddrs().len()) > 1;
        match self.target_session.as_deref() {
            Some("read-write" | "primary") => Ok(Role::Primary),
            None | Some("any") => Ok(if several { Role::Primary } else { Role::Any }),
            Some(_) => Err(UrlError::TargetSession),
        }
    }

    fn sessions(&self) -> Result<Option<Sessions>, UrlError> {
        match self.pooler.as_deref() {
            None => Ok(None),
            Some("none") => Ok(Some(Sessions::Own)),
            Some("transaction") => Ok(Some(Sessions::Shared)),
            Some(_) => Err(UrlError::Pooler),
        }
    }
}

impl TlsParameters {
    /// As in libpq: `require` with a root certificate verifies the chain.
    fn requirement(&self) -> Result<(SslMode, Verification), UrlError> {
        Ok(match self.mode.as_deref() {
            Some("disable") => (SslMode::Disable, Verification::Nothing),
            None | Some("prefer" | "allow") => (SslMode::Prefer, Verification::Nothing),
            Some("require") if self.root_certificate.is_some() => (SslMode::Require, Verification::Chain),
            Some("require") => (SslMode::Require, Verification::Nothing),
            Some("verify-ca") => (SslMode::Require, Verification::Chain),
            Some("verify-full") => (SslMode::Require, Verification::ChainAndName),
            Some(_) => return Err(UrlError::SslMode),
        })
    }

    fn connector(&self, verification: Verification) -> Result<MakeTlsConnector, openssl::error::ErrorStack> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        if let Some(file) = &self.root_certificate {
            // Only this root, as in libpq; the default store contains the system's.
            builder.set_cert_store(X509StoreBuilder::new()?.build());
            builder.set_ca_file(file)?;
        }
        if let Some(file) = &self.certificate {
            builder.set_certificate_chain_file(file)?;
        }
        if let Some(file) = &self.key {
            builder.set_private_key_file(file, SslFiletype::PEM)?;
        }
        if verification == Verification::Nothing {
            builder.set_verify(SslVerifyMode::NONE);
        }
        let mut connector = MakeTlsConnector::new(builder.build());
        connector.set_callback(move |configuration, _| {
            configuration.set_verify_hostname(verification == Verification::ChainAndName);
            Ok(())
        });
        Ok(connector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(url: &str) -> Result<(SslMode, Verification), UrlError> {
        split_own_parameters(url).1.tls.requirement()
    }

    #[test]
    fn the_ssl_mode_decides_what_is_verified() {
        let cases = [
            ("postgres://h/d", SslMode::Prefer, Verification::Nothing),
            ("postgres://h/d?sslmode=disable", SslMode::Disable, Verification::Nothing),
            ("postgres://h/d?sslmode=require", SslMode::Require, Verification::Nothing),
            ("postgres://h/d?sslmode=require&sslrootcert=/ca.pem", SslMode::Require, Verification::Chain),
            ("postgres://h/d?sslmode=verify-ca", SslMode::Require, Verification::Chain),
            ("postgres://h/d?sslmode=verify-full", SslMode::Require, Verification::ChainAndName),
        ];
        for (url, mode, verification) in cases {
            assert_eq!(requirement(url).unwrap(), (mode, verification), "{url}");
        }
        assert!(matches!(requirement("postgres://h/d?sslmode=verify"), Err(UrlError::SslMode)));
    }

    #[test]
    fn unknown_parameters_are_not_passed_to_the_driver() {
        let (url, parameters) = split_own_parameters("postgres://h/d?sslrootcert=%2Fa%20b&user=u&sslmode=verify-full");
        assert_eq!(url, "postgres://h/d?user=u");
        assert_eq!(parameters.tls.root_certificate, Some(PathBuf::from("/a b")));
        assert_eq!(parameters.tls.mode.as_deref(), Some("verify-full"));
    }

    #[test]
    fn a_unix_socket_is_a_host() {
        let connector = Connector::parse(&Options::new("postgres:///d?host=/run/postgresql&user=u")).unwrap();
        assert_eq!(connector.pooled.shown().collect::<Vec<_>>(), ["/run/postgresql/d as u"]);
    }

    #[test]
    fn several_hosts_are_several_servers_of_which_one_must_be_the_primary() {
        let of = |url: &str| Connector::parse(&Options::new(url));
        let several = of("postgres://u:p@one:1,two,[::1]:3/d?hostaddr=10.0.0.1,10.0.0.2,10.0.0.3").unwrap();
        assert_eq!(several.pooled.shown().collect::<Vec<_>>(), ["one:1/d as u", "two:5432/d as u", "::1:3/d as u"]);
        let role = |url: &str| of(url).map(|connector| connector.pooled.role());
        assert_eq!(role("postgres://h/d").unwrap(), Role::Any);
        assert_eq!(role("postgres://h,i/d").unwrap(), Role::Primary);
        assert_eq!(role("postgres://h/d?target_session_attrs=read-write").unwrap(), Role::Primary);
        assert_eq!(role("postgres://h/d?target_session_attrs=primary&user=u").unwrap(), Role::Primary);
        for other in ["read-only", "standby", "prefer-standby", ""] {
            let refused = role(&format!("postgres://h,i/d?target_session_attrs={other}"));
            assert!(matches!(refused, Err(UrlError::TargetSession)), "{other}");
        }
    }

    #[test]
    fn a_pooler_that_shares_sessions_gets_no_settings_of_sessions() {
        let of = |query: &str| Connector::parse(&Options::new(format!("postgres://h,i/d?options=-cx%3D1{query}")));
        fn settings(connector: &Connector) -> [Vec<&str>; 2] {
            [&connector.pooled, &connector.feed].map(Hosts::options)
        }
        let own = of("&pooler=none").unwrap();
        let [pooled, feed] = settings(&own);
        let limits = "-c statement_timeout=5000 -c lock_timeout=4000 -c idle_in_transaction_session_timeout=10000";
        assert_eq!(pooled, vec![format!("-cx=1 {limits}"); 2]);
        assert_eq!(feed, vec![format!("-cx=1 {limits} {PLANNED_EACH_TIME}"); 2]);
        let shared = of("&pooler=transaction&target_session_attrs=primary").unwrap();
        assert_eq!(settings(&shared), [["-cx=1", "-cx=1"]; 2]);
        assert_eq!([own.sessions(), shared.sessions()], [Sessions::Own, Sessions::Shared]);
        assert_eq!(shared.pooled.role(), Role::Primary);
        assert!(matches!(of("&pooler=session"), Err(UrlError::Pooler)));
    }

    #[test]
    fn a_missing_root_certificate_is_an_error() {
        let options = Options::new("postgres://h/d?sslmode=verify-full&sslrootcert=/does/not/exist.pem");
        assert!(matches!(Connector::parse(&options), Err(UrlError::Tls(_))));
    }
}
