//! A listener with or without TLS for the operator's HTTP: the Admin API, health probes and metrics.
//!
//! Nobody but the operator should reach it, but whoever does must not be able to exhaust it: connections are counted
//! before their handshake, and each step of one (handshake, head, reading the response) has a time limit. Handshakes
//! run beside each other. It speaks HTTP/1.1 only.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{ConnectInfo, Extension};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use openssl::ssl::{Ssl, SslAcceptor};
use openssl::x509::{X509NameRef, X509Ref};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_openssl::SslStream;

use crate::peer::{Peer, Transport};
use crate::write_timeout::WriteTimeout;

/// The most characters of a certificate's subject that are kept.
const SUBJECT: usize = 256;

/// What hyper needs at least.
const LEAST_BUFFER: usize = 8192;

/// What a connection may cost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Time for a whole request head, from when the previous request ended: also for idle connections.
    pub head_timeout: Duration,
    /// How long a client may pause while reading its response.
    pub write_timeout: Duration,
    /// Bytes of a request head.
    pub head_bytes: usize,
    /// Fields of a request head.
    pub header_count: usize,
}

/// A bound that a connection reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The handshake took too long.
    Handshake,
    /// No complete head came in time.
    HeadTimeout,
    /// The head was too long, or had too many fields.
    HeadSize,
    /// The response was not read.
    Write,
}

/// Who counts connections, and the bounds that they reach.
pub trait Admission: Send + Sync {
    /// Counts a connection until the result is dropped; `None`: there are too many, and it is closed.
    fn admit(&self, client: IpAddr) -> Option<Box<dyn Send>>;

    /// A connection was ended by a bound.
    fn reached(&self, bound: Bound);
}

/// Whether a listener accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// Not yet.
    Waiting,
    /// It does.
    Accepting,
    /// Not any more: it is closed, and its connections after the requests that are under way.
    Stopped,
}

/// What accepts TLS connections; replaced when its files change.
pub type Acceptor = Arc<ArcSwap<SslAcceptor>>;

/// The listener.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Acceptor>,
    bounds: Arc<ArcSwap<Bounds>>,
    admission: Arc<dyn Admission>,
}

impl Listener {
    /// Serves a bound address; with TLS if there is an acceptor. The bounds are those of when a connection begins.
    pub fn new(
        tcp: TcpListener,
        tls: Option<Acceptor>,
        bounds: Arc<ArcSwap<Bounds>>,
        admission: Arc<dyn Admission>,
    ) -> Self {
        Self { tcp, tls, bounds, admission }
    }

    /// Serves connections until it is stopped. Handlers find the [`Peer`] of theirs as `ConnectInfo`.
    pub async fn serve(mut self, router: Router, mut course: watch::Receiver<Course>) {
        if course.wait_for(|course| *course != Course::Waiting).await.is_err() {
            return;
        }
        loop {
            let accepted = tokio::select! {
                // Waits a moment if the process has no file descriptors left.
                accepted = axum::serve::Listener::accept(&mut self.tcp) => accepted,
                () = stopped(&mut course) => return,
            };
            let (stream, address) = accepted;
            let Some(place) = self.admission.admit(address.ip()) else { continue };
            let connection = Connection {
                address,
                tls: self.tls.clone(),
                bounds: **self.bounds.load(),
                admission: Arc::clone(&self.admission),
                router: router.clone(),
                course: course.clone(),
            };
            tokio::spawn(async move {
                connection.run(stream).await;
                drop(place);
            });
        }
    }
}

/// A connection before its handshake.
struct Connection {
    address: SocketAddr,
    tls: Option<Acceptor>,
    bounds: Bounds,
    admission: Arc<dyn Admission>,
    router: Router,
    course: watch::Receiver<Course>,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let Some(acceptor) = self.tls.clone() else { return self.serve(stream, Transport::Plain).await };
        let shaken =
            tokio::time::timeout(self.bounds.handshake_timeout, shake_hands(&acceptor.load_full(), stream)).await;
        match shaken {
            Ok(Ok((stream, transport))) => self.serve(stream, transport).await,
            // The client's affair.
            Ok(Err(error)) => {
                tracing::debug!(client = %self.address, %error, "TLS handshake failed at admin.listen");
            }
            Err(_) => self.admission.reached(Bound::Handshake),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, transport: Transport) {
        let Self { address, bounds, admission, router, mut course, .. } = self;
        let router = router.layer(Extension(ConnectInfo(Peer { address, transport })));
        let stream = WriteTimeout::new(stream, bounds.write_timeout);
        let unanswered = stream.unanswered();
        let stream = TokioIo::new(stream);
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(bounds.head_timeout);
        server.max_header_size(bounds.head_bytes).max_headers(bounds.header_count);
        server.max_buf_size(bounds.head_bytes.max(LEAST_BUFFER));
        let mut connection = pin!(server.serve_connection(stream, TowerToHyperService::new(router)));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = stopped(&mut course) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served
            && let Some(bound) = bound_of(&error)
            // The end of an idle connection is no limit that anybody reached.
            && (bound != Bound::HeadTimeout || unanswered.load(Relaxed))
        {
            admission.reached(bound);
        }
    }
}

async fn stopped(course: &mut watch::Receiver<Course>) {
    if course.wait_for(|course| *course == Course::Stopped).await.is_err() {
        // Nobody is left who could stop it.
        std::future::pending().await
    }
}

fn bound_of(error: &hyper::Error) -> Option<Bound> {
    if error.is_timeout() {
        Some(Bound::HeadTimeout)
    } else if error.is_parse_too_large() {
        Some(Bound::HeadSize)
    } else {
        let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut).then_some(Bound::Write)
    }
}

async fn shake_hands(
    acceptor: &SslAcceptor,
    stream: TcpStream,
) -> Result<(SslStream<TcpStream>, Transport), openssl::ssl::Error> {
    let mut stream = SslStream::new(Ssl::new(acceptor.context())?, stream)?;
    Pin::new(&mut stream).accept().await?;
    // Without `admin.tls.client_ca` no certificate is requested, so one that is here was verified.
    let transport = match stream.ssl().peer_certificate() {
        Some(certificate) => Transport::TlsWithCertificate(subject(&certificate)),
        None => Transport::Tls,
    };
    Ok((stream, transport))
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
