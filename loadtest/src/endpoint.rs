//! A target address: resolved once, so that name resolution is not measured, and with the TLS settings that
//! its connections share.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;
use url::Url;

use crate::failure::Failure;

/// The HTTP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1, one request at a time on a connection.
    #[default]
    Http1,
    /// HTTP/2; without TLS, with prior knowledge.
    Http2,
}

/// Which certificates are trusted.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Those of the system's authorities.
    #[default]
    System,
    /// Those of the authorities in a PEM file.
    File(PathBuf),
    /// Any.
    Anybody,
}

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It is not a valid address.
    #[error("{given}: {reason}; write it as http://HOST:PORT or https://HOST:PORT")]
    Invalid {
        /// The given address.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The host cannot be resolved.
    #[error("cannot resolve {host}: {reason}; check the name, or use the IP address")]
    Unknown {
        /// The host name.
        host: String,
        /// The resolver's error.
        reason: String,
    },
    /// The CA file cannot be read.
    #[error("cannot read the authorities in {path}: {source}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        source: openssl::error::ErrorStack,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] openssl::error::ErrorStack),
}

/// Where requests go.
#[derive(Clone)]
pub struct Endpoint {
    address: SocketAddr,
    host: String,
    /// Host and port, as in the `Host` header.
    pub authority: String,
    /// The HTTP version.
    pub protocol: Protocol,
    tls: Option<SslConnector>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// A connection of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Endpoint {
    /// Resolves `http://host:port` or `https://host:port`.
    pub fn new(given: &str, protocol: Protocol, trust: &Trust) -> Result<Self, EndpointError> {
        let invalid = |reason: &str| EndpointError::Invalid { given: given.to_owned(), reason: reason.to_owned() };
        let url = Url::parse(given).map_err(|error| invalid(&error.to_string()))?;
        let tls = match url.scheme() {
            "http" => None,
            "https" => Some(connector(protocol, trust)?),
            _ => return Err(invalid("the scheme is neither http nor https")),
        };
        let host = url.host_str().ok_or_else(|| invalid("the host is missing"))?;
        let port = url.port_or_known_default().ok_or_else(|| invalid("the port is missing"))?;
        let name = host.trim_matches(['[', ']']);
        let unknown = |reason: String| EndpointError::Unknown { host: host.to_owned(), reason };
        let mut addresses = (name, port).to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
        let address = addresses.next().ok_or_else(|| unknown("the resolver returned no address".to_owned()))?;
        Ok(Self { address, host: name.to_owned(), authority: format!("{host}:{port}"), protocol, tls })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Opens a connection, with TLS for https.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(connector) = &self.tls else { return Ok(Box::new(stream)) };
        let session = connector.configure().and_then(|settings| settings.into_ssl(&self.host));
        let mut secured = SslStream::new(session.map_err(|_| Failure::Tls)?, stream).map_err(|_| Failure::Tls)?;
        Pin::new(&mut secured).connect().await.map_err(|_| Failure::Tls)?;
        Ok(Box::new(secured))
    }
}

fn connector(protocol: Protocol, trust: &Trust) -> Result<SslConnector, EndpointError> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    match trust {
        Trust::System => {}
        Trust::File(path) => load(&mut builder, path)?,
        Trust::Anybody => builder.set_verify(SslVerifyMode::NONE),
    }
    builder.set_alpn_protos(match protocol {
        Protocol::Http1 => b"\x08http/1.1",
        Protocol::Http2 => b"\x02h2",
    })?;
    Ok(builder.build())
}

fn load(builder: &mut openssl::ssl::SslConnectorBuilder, path: &Path) -> Result<(), EndpointError> {
    builder.set_ca_file(path).map_err(|source| EndpointError::Authorities { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_for_invalid_addresses_say_why() {
        let told = |given: &str| Endpoint::new(given, Protocol::Http1, &Trust::System).unwrap_err().to_string();
        assert!(told("localhost:80").contains("neither http nor https"), "{}", told("localhost:80"));
        assert!(told("http://").contains("http://HOST:PORT"), "{}", told("http://"));
        assert!(told("http://nowhere.invalid").contains("cannot resolve nowhere.invalid"));
    }
}
