//! Servers on free ports, for tests, which define what happens on each connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslAcceptorBuilder, SslMethod, SslVerifyMode, select_next_proto};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_openssl::SslStream;

/// Signs certificates.
pub(crate) struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = key();
        let mut builder = certificate("Test authority", &key);
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// A certificate and its key for a client, both PEM.
    pub(crate) fn client(&self) -> (Vec<u8>, Vec<u8>) {
        let key = key();
        let mut builder = certificate("Test client", &key);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        (builder.build().to_pem().unwrap(), key.private_key_to_pem_pkcs8().unwrap())
    }

    /// An acceptor for a server with these names (or addresses); `protocols` as in ALPN.
    pub(crate) fn acceptor(&self, names: &[&str], protocols: &'static [u8]) -> SslAcceptor {
        self.acceptor_builder(names, protocols).build()
    }

    /// The same, for clients with a certificate of this authority.
    pub(crate) fn acceptor_of_clients(&self, names: &[&str], protocols: &'static [u8]) -> SslAcceptor {
        let mut acceptor = self.acceptor_builder(names, protocols);
        acceptor.cert_store_mut().add_cert(self.certificate.clone()).unwrap();
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        acceptor.build()
    }

    /// The same as [`Authority::acceptor`], before it is built.
    pub(crate) fn acceptor_builder(&self, names: &[&str], protocols: &'static [u8]) -> SslAcceptorBuilder {
        let key = key();
        let mut builder = certificate("Test server", &key);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        let mut alternatives = SubjectAlternativeName::new();
        for name in names {
            match name.parse::<std::net::IpAddr>() {
                Ok(_) => alternatives.ip(name),
                Err(_) => alternatives.dns(name),
            };
        }
        let alternatives = alternatives.build(&builder.x509v3_context(Some(&self.certificate), None)).unwrap();
        builder.append_extension(alternatives).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate(&builder.build()).unwrap();
        acceptor.set_private_key(&key).unwrap();
        acceptor
            .set_alpn_select_callback(move |_, offered| select_next_proto(protocols, offered).ok_or(AlpnError::NOACK));
        acceptor
    }
}

fn key() -> PKey<Private> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap()
}

fn certificate(name: &str, key: &PKey<Private>) -> X509Builder {
    let mut names = X509NameBuilder::new().unwrap();
    names.append_entry_by_text("CN", name).unwrap();
    let names = names.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(128, MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&names).unwrap();
    builder.set_issuer_name(&names).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder
}

/// A connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// A server that stops when this value is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Calls the handler for each connection, with the number of earlier ones.
    pub(crate) async fn start<F>(
        tls: Option<SslAcceptor>,
        handler: impl Fn(usize, Box<dyn Stream>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&accepted);
        let handler = Arc::new(handler);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let nth = counted.fetch_add(1, Ordering::SeqCst);
                let (handler, tls) = (Arc::clone(&handler), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return handler(nth, Box::new(stream)).await };
                    let mut stream = SslStream::new(Ssl::new(tls.context()).unwrap(), stream).unwrap();
                    // A client that rejects the certificate ends the handshake.
                    if std::pin::Pin::new(&mut stream).accept().await.is_ok() {
                        handler(nth, Box::new(stream)).await;
                    }
                });
            }
        });
        Self { address, accepted, task }
    }

    /// Speaks HTTP/2 over TLS; `respond` creates each response.
    pub(crate) async fn http2<F>(
        tls: SslAcceptor,
        respond: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        Self::http2_with(tls, None, respond).await
    }

    /// The same, with this many concurrent calls per connection.
    pub(crate) async fn http2_with<F>(
        tls: SslAcceptor,
        calls: Option<u32>,
        respond: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        Self::start(Some(tls), move |_, stream| {
            let respond = respond.clone();
            async move {
                let service = hyper::service::service_fn(move |request| {
                    let response = respond(request);
                    async move { Ok::<_, std::convert::Infallible>(response.await) }
                });
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                if calls.is_some() {
                    builder.max_concurrent_streams(calls);
                }
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            }
        })
        .await
    }

    /// How many connections it has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://127.0.0.1:{}{path}", self.address.port())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a request with its body; `None` if the connection has ended.
pub(crate) async fn read_request(stream: &mut dyn Stream) -> Option<String> {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") {
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        text.push(char::from(byte[0]));
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    text.push_str(&String::from_utf8(body).unwrap());
    Some(text)
}
