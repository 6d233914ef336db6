//! The other end of a connection to the Admin API.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;

/// How a connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// Not at all.
    Plain,
    /// TLS, without a client certificate.
    Tls,
    /// TLS, with a client certificate of this subject, which an authority of `admin.tls.client_ca` has signed.
    TlsWithCertificate(String),
}

/// Who is connected. A listener reports it with each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// How the connection is protected.
    pub transport: Transport,
}

impl Peer {
    /// Its address, in one form for IPv4.
    pub(crate) fn ip(&self) -> IpAddr {
        self.address.ip().to_canonical()
    }

    /// The peer of a request's connection; `None` if the server did not attach it.
    pub(crate) fn of(extensions: &http::Extensions) -> Option<&Self> {
        extensions.get::<ConnectInfo<Self>>().map(|ConnectInfo(peer)| peer)
    }
}
