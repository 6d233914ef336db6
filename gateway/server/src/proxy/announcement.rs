//! The PROXY header towards upstreams (`proxy.upstream_proxy_protocol`): whose request a connection carries.
//!
//! The header is of the connection, so a connection is used for requests of one client connection only.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, OrErr as _, Result};
use pingora_proxy::Session;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::client::Origin;
use super::named_services::NamedServices;
use crate::proxy_protocol::{self, Version};
use crate::upstream::service::ServiceEntry;

/// Which upstreams are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announcements {
    /// How; `None`: none is.
    pub version: Option<Version>,
    /// These services; all if it is empty.
    pub services: NamedServices,
}

impl Announcements {
    /// Makes connections to this peer begin with a header, if the service is to be told.
    pub(super) fn apply(&self, peer: &mut HttpPeer, service: &ServiceEntry, origin: Option<Origin>, session: &Session) {
        let Some(version) = self.version.filter(|_| self.services.is_empty() || self.services.contain(service)) else {
            return;
        };
        let client = session.client_addr().and_then(|address| address.as_inet());
        let accepted = session.server_addr().and_then(|address| address.as_inet());
        let (Some(origin), Some(client), Some(accepted)) = (origin, client, accepted) else { return };
        // Behind a trusted proxy, the port is that of the proxy's connection.
        let port = if origin.client.address == origin.peer.to_canonical() { client.port() } else { 0 };
        let source = SocketAddr::new(origin.client.address, port);
        let mut hasher = DefaultHasher::new();
        (peer.group_key, client, source, accepted, version == Version::V1).hash(&mut hasher);
        peer.group_key = hasher.finish();
        let header = proxy_protocol::write(version, source, *accepted);
        peer.options.custom_l4 = Some(Arc::new(Announced { header, timeout: peer.options.connection_timeout }));
    }
}

/// Connects and writes a header.
#[derive(Debug)]
struct Announced {
    header: Vec<u8>,
    timeout: Option<Duration>,
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
