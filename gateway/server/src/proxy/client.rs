//! The client of a connection.

use std::net::IpAddr;

use pingora_core::protocols::Digest;
use pingora_proxy::Session;
use tollgate_core::host::Host;
use tollgate_core::request::ClientCertificate;

use super::trusted_peer::{self, Peer, TrustedIps};
use crate::scheme::Scheme;

/// What a client's TLS handshake said. The listener's certificate callback returns one (in an `Arc`) from
/// `handshake_complete_callback`; routing by SNI and plugins read it there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsClient {
    /// The server name that it requested.
    pub server_name: Option<Host<'static>>,
    /// Its certificate.
    pub certificate: Option<ClientCertificate>,
}

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
    tls_client(session.digest()?)?.server_name.clone()
}

/// The certificate that the client presented.
pub(crate) fn certificate(connection: &Digest) -> Option<&ClientCertificate> {
    tls_client(connection)?.certificate.as_ref()
}

fn tls_client(connection: &Digest) -> Option<&TlsClient> {
    connection.ssl_digest.as_ref()?.extension.get::<TlsClient>()
}
