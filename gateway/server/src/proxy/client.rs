//! The client of a connection.

use std::net::IpAddr;

use pingora_proxy::Session;
use tollgate_core::host::Host;

use super::trusted_peer::{self, Peer, TrustedIps};
use crate::scheme::Scheme;

/// The server name of a client's TLS handshake. The listener's certificate callback returns one
/// (in an `Arc`) from `handshake_complete_callback`, and routing by SNI reads it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName(pub Host<'static>);

/// The connection a request came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The TCP peer.
    pub(crate) peer: IpAddr,
    /// The client behind the peer, and whether the peer is trusted.
    pub(crate) client: trusted_peer::Client,
    /// Whether it is TLS.
    pub(crate) scheme: Scheme,
    /// The port that accepted it.
    pub(crate) port: u16,
}

impl Origin {
    /// Reads the connection and, from a trusted peer, `X-Real-IP`. `None`: not a TCP connection,
    /// or already closed.
    pub(crate) fn of(session: &Session, trusted: &TrustedIps) -> Option<Self> {
        let peer = session.client_addr()?.as_inet()?.ip();
        let port = session.server_addr()?.as_inet()?.port();
        let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let client = trusted_peer::client(peer, &session.req_header().headers, trusted);
        Some(Self { peer, client, scheme: if tls { Scheme::Https } else { Scheme::Http }, port })
    }

    /// Whether the peer is trusted.
    pub(crate) fn is_trusted(&self) -> bool {
        self.client.peer == Peer::Trusted
    }
}

/// The server name that the client requested.
pub(crate) fn server_name(session: &Session) -> Option<Host<'static>> {
    let tls = session.digest()?.ssl_digest.as_ref()?;
    tls.extension.get::<ServerName>().map(|name| name.0.clone())
}
