//! A listener with or without TLS, which tells each connection's [`Peer`].
//!
//! Handshakes run beside each other, within a time limit: a client that does not finish its handshake delays no other.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use openssl::ssl::{Ssl, SslAcceptor};
use openssl::x509::{X509NameRef, X509Ref};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_openssl::SslStream;

use crate::peer::{Peer, Transport};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How many handshakes may be under way; further connections wait in the system's queue.
const HANDSHAKES: usize = 256;

/// The most characters of a certificate's subject that are kept.
const SUBJECT: usize = 256;

/// A connection, with or without TLS.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

type Accepted = (Box<dyn Connection>, Peer);

/// The listener.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<SslAcceptor>,
    handshakes: JoinSet<Option<Accepted>>,
}

impl Listener {
    /// Serves a bound address; with TLS if there is an acceptor.
    pub fn new(tcp: TcpListener, tls: Option<SslAcceptor>) -> Self {
        Self { tcp, tls, handshakes: JoinSet::new() }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Box<dyn Connection>;
    type Addr = Peer;

    async fn accept(&mut self) -> Accepted {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(accepted)) = done {
                        return accepted;
                    }
                }
                (stream, address) = axum::serve::Listener::accept(&mut self.tcp), if self.handshakes.len() < HANDSHAKES => {
                    match &self.tls {
                        None => return (Box::new(stream), Peer { address, transport: Transport::Plain }),
                        Some(acceptor) => drop(self.handshakes.spawn(shake_hands(acceptor.clone(), stream, address))),
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { address: self.tcp.local_addr()?, transport: Transport::Plain })
    }
}

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// `None`: the handshake failed, which is the client's affair.
async fn shake_hands(acceptor: SslAcceptor, stream: TcpStream, address: std::net::SocketAddr) -> Option<Accepted> {
    let mut stream = SslStream::new(Ssl::new(acceptor.context()).ok()?, stream).ok()?;
    match tokio::time::timeout(HANDSHAKE, Pin::new(&mut stream).accept()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(client = %address, %error, "TLS handshake failed at admin.listen");
            return None;
        }
        Err(_) => return None,
    }
    // Without `admin.tls.client_ca` no certificate is requested, so one that is here was verified.
    let transport = match stream.ssl().peer_certificate() {
        Some(certificate) => Transport::TlsWithCertificate(subject(&certificate)),
        None => Transport::Tls,
    };
    Some((Box::new(stream), Peer { address, transport }))
}

/// The subject as `CN=ops,O=Example`.
fn subject(certificate: &X509Ref) -> String {
    parts(certificate.subject_name()).chars().take(SUBJECT).collect()
}

fn parts(name: &X509NameRef) -> String {
    let parts = name.entries().map(|entry| {
        let value = entry.data().to_string().unwrap_or_default();
        format!("{}={value}", entry.object().nid().short_name().unwrap_or("?"))
    });
    parts.collect::<Vec<_>>().join(",")
}
