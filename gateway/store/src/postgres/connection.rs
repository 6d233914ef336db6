//! Connects to PostgreSQL: the URL, TLS and the server-side limits.

use std::path::PathBuf;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use percent_encoding::percent_decode_str;
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};

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

/// The URL parameters that the driver does not support.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parameters {
    mode: Option<String>,
    root_certificate: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    pooler: Option<String>,
}

/// The connection parameters.
#[derive(Clone)]
pub(crate) struct Connector {
    pooled: Config,
    feed: Config,
    unlimited: Config,
    tls: MakeTlsConnector,
    /// `None`: not known yet.
    sessions: Option<Sessions>,
    statement_timeout: Duration,
}

impl Connector {
    /// Parses the URL of the options.
    pub(crate) fn parse(options: &Options) -> Result<Self, UrlError> {
        let (url, parameters) = split_parameters(&options.url);
        let mut unlimited: Config = url.parse().map_err(UrlError::Postgres)?;
        let (mode, verification) = parameters.requirement()?;
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
        let mut pooled = unlimited.clone();
        let limits = limits(options.statement_timeout).map(|(name, limit)| format!("-c {name}={limit}"));
        pooled.options(format!("{} {}", unlimited.get_options().unwrap_or_default(), limits.join(" ")));
        let mut feed = pooled.clone();
        feed.options(format!("{} {PLANNED_EACH_TIME}", pooled.get_options().unwrap_or_default()));
        let (sessions, tls) = (parameters.sessions()?, parameters.connector(verification).map_err(UrlError::Tls)?);
        let statement_timeout = options.statement_timeout;
        Ok(Self { pooled, feed, unlimited, tls, sessions, statement_timeout })
    }

    /// With sessions as the URL says, or else as a connection shows.
    pub(crate) async fn with_sessions(mut self) -> Result<Self, tokio_postgres::Error> {
        let sessions = match self.sessions {
            Some(known) => known,
            None => Sessions::detect(&self.pooled, self.tls()).await?,
        };
        self.sessions = Some(sessions);
        if sessions == Sessions::Shared {
            // A pooler refuses parameters that would apply to a session, or ignores them.
            (self.pooled, self.feed) = (self.unlimited.clone(), self.unlimited.clone());
            let bounded = has_statement_timeout(&self.connect().await?).await?;
            tracing::info!("a connection pooler shares the database's sessions: using no prepared statements");
            if !bounded {
                tracing::warn!(
                    "the database does not end statements that run too long: a pooler cannot pass on \
                     database.statement_timeout; set it for the role: ALTER ROLE … SET statement_timeout"
                );
            }
        }
        Ok(self)
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

    /// For statements of requests: the server cancels those that run too long.
    pub(crate) fn pooled(&self) -> &Config {
        &self.pooled
    }

    /// For the change feed.
    pub(crate) fn feed(&self) -> &Config {
        &self.feed
    }

    pub(crate) fn tls(&self) -> MakeTlsConnector {
        self.tls.clone()
    }

    /// A connection outside the pool and without a statement timeout, for migrations.
    pub(crate) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        self.connect_with(&self.unlimited).await
    }

    /// A connection outside the pool, otherwise like those of the pool.
    pub(crate) async fn connect_as_pooled(&self) -> Result<Client, tokio_postgres::Error> {
        self.connect_with(&self.pooled).await
    }

    async fn connect_with(&self, config: &Config) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = config.connect(self.tls()).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection outside the pool failed");
            }
        });
        Ok(client)
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

fn split_parameters(url: &str) -> (String, Parameters) {
    let mut parameters = Parameters::default();
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), parameters) };
    let mut rest = Vec::new();
    for pair in query.split('&') {
        let (name, raw) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(raw).decode_utf8_lossy().into_owned();
        match name {
            "sslmode" => parameters.mode = Some(value),
            "sslrootcert" => parameters.root_certificate = Some(value.into()),
            "sslcert" => parameters.certificate = Some(value.into()),
            "sslkey" => parameters.key = Some(value.into()),
            "pooler" => parameters.pooler = Some(value),
            _ => rest.push(pair),
        }
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    (url, parameters)
}

impl Parameters {
    fn sessions(&self) -> Result<Option<Sessions>, UrlError> {
        match self.pooler.as_deref() {
            None => Ok(None),
            Some("none") => Ok(Some(Sessions::Own)),
            Some("transaction") => Ok(Some(Sessions::Shared)),
            Some(_) => Err(UrlError::Pooler),
        }
    }

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
        split_parameters(url).1.requirement()
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
        let (url, parameters) = split_parameters("postgres://h/d?sslrootcert=%2Fa%20b&user=u&sslmode=verify-full");
        assert_eq!(url, "postgres://h/d?user=u");
        assert_eq!(parameters.root_certificate, Some(PathBuf::from("/a b")));
        assert_eq!(parameters.mode.as_deref(), Some("verify-full"));
    }

    #[test]
    fn a_unix_socket_is_a_host() {
        let connector = Connector::parse(&Options::new("postgres:///d?host=/run/postgresql&user=u")).unwrap();
        let hosts = connector.pooled().get_hosts();
        assert_eq!(hosts, [tokio_postgres::config::Host::Unix("/run/postgresql".into())]);
    }

    #[test]
    fn a_missing_root_certificate_is_an_error() {
        let options = Options::new("postgres://h/d?sslmode=verify-full&sslrootcert=/does/not/exist.pem");
        assert!(matches!(Connector::parse(&options), Err(UrlError::Tls(_))));
    }
}
