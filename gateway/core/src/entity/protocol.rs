//! The protocols that services, routes and plugins name.

use crate::schema::Field;

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// gRPC over plaintext HTTP/2.
    Grpc,
    /// gRPC over TLS.
    Grpcs,
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// A byte stream.
    Tcp,
    /// A byte stream over TLS that ends here.
    Tls,
    /// A TLS stream that is passed on as it is.
    TlsPassthrough,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// All, in the order of their names.
    pub const ALL: [Self; 8] =
        [Self::Grpc, Self::Grpcs, Self::Http, Self::Https, Self::Tcp, Self::Tls, Self::TlsPassthrough, Self::Udp];

    /// Its name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::TlsPassthrough => "tls_passthrough",
            Self::Udp => "udp",
        }
    }

    /// The protocol of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == name)
    }
}

/// A field that names a protocol.
pub(super) fn field(name: &'static str) -> Field {
    Field::string(name).one_of(&Protocol::ALL.map(Protocol::as_str))
}
