//! The PROXY header towards upstreams (`proxy.upstream_proxy_protocol`): which upstreams get one, and connections that
//! begin with one.

use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::{Error, ErrorType, OrErr as _, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use uuid::Uuid;

use super::named_services::NamedServices;
use crate::proxy_protocol::Version;

/// Which upstreams get one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announcements {
    /// Its version; `None`: none gets one.
    pub version: Option<Version>,
    /// These services; all if it is empty.
    pub services: NamedServices,
}

impl Announcements {
    /// The version that the upstream of the service with this id and label gets; `None`: it gets none.
    pub fn version_for(&self, id: Uuid, label: &str) -> Option<Version> {
        self.version.filter(|_| self.services.is_empty() || self.services.contain(id, label))
    }
}

/// Connects and writes a header.
#[derive(Debug)]
pub struct Announced {
    /// The header.
    pub header: Vec<u8>,
    /// How long both may take.
    pub timeout: Option<Duration>,
}

#[async_trait]
impl Connect for Announced {
    async fn connect(&self, address: &PeerAddress) -> Result<Stream> {
        let Some(address) = address.as_inet() else {
            return Error::e_explain(ErrorType::InternalError, "PROXY header for a peer without an address");
        };
        let connecting = async {
            let mut stream = TcpStream::connect(address).await.map_err(|error| {
                let kind = match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                    std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
                        ErrorType::ConnectNoRoute
                    }
                    _ => ErrorType::ConnectError,
                };
                Error::because(kind, "while connecting", error)
            })?;
            stream.write_all(&self.header).await.or_err(ErrorType::ConnectError, "while writing the PROXY header")?;
            Ok(Stream::from(stream))
        };
        match self.timeout {
            None => connecting.await,
            Some(timeout) => match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected,
                Err(_) => Error::e_explain(ErrorType::ConnectTimedout, "while connecting"),
            },
        }
    }
}
