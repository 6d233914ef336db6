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
struct TlsParameters {
    mode: Option<String>,
    root_certificate: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// The connection parameters.
#[derive(Clone)]
pub(crate) struct Connector {
    pooled: Config,
    feed: Config,
    unlimited: Config,
    tls: MakeTlsConnector,
}

impl Connector {
    /// Parses the URL of the options.
    pub(crate) fn parse(options: &Options) -> Result<Self, UrlError> {
        let (url, parameters) = split_tls_parameters(&options.url);
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
        pooled.options(limits(unlimited.get_options(), options.statement_timeout));
        let mut feed = pooled.clone();
        feed.options(format!("{} {PLANNED_EACH_TIME}", pooled.get_options().unwrap_or_default()));
        Ok(Self { pooled, feed, unlimited, tls: parameters.connector(verification).map_err(UrlError::Tls)? })
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

/// The server-side limits, after the options in the URL. The lock timeout is shorter than the statement
/// timeout, so that the error distinguishes them.
fn limits(given: Option<&str>, statement_timeout: Duration) -> String {
    let statement = statement_timeout.as_millis().max(2);
    let lock = statement * 4 / 5;
    let idle = statement * 2;
    format!(
        "{} -c statement_timeout={statement} -c lock_timeout={lock} -c idle_in_transaction_session_timeout={idle}",
        given.unwrap_or_default()
    )
}

fn split_tls_parameters(url: &str) -> (String, TlsParameters) {
    let mut parameters = TlsParameters::default();
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
            _ => rest.push(pair),
        }
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    (url, parameters)
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
        split_tls_parameters(url).1.requirement()
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
        let (url, parameters) = split_tls_parameters("postgres://h/d?sslrootcert=%2Fa%20b&user=u&sslmode=verify-full");
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
