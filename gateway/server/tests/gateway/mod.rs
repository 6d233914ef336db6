//! A gateway in a thread, misbehaving upstreams, and a raw client.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use http::{HeaderMap, Method, Uri};
use openssl::ssl::{SslAcceptor, SslMethod};
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tollgate::chain::{Chain, ChainEntry, Plugins};
use tollgate::descriptors::Descriptors;
use tollgate::plugin_choice::Rank;
use tollgate::proxy::{
    self, ConnectionLimits, IdentityHeaders, Lifecycle, Listeners, Live, OpenConnections, Product, Settings,
    TrustedIps, UpstreamSettings,
};
use tollgate::snapshot::{RouteEntry, RouteFields, Snapshot};
use tollgate::telemetry::access_log::{AccessLog, Fields, LineFormat};
use tollgate::telemetry::metrics::Metrics;
use tollgate::telemetry::route_metrics::Labels;
use tollgate::upstream::addresses::{Addresses, Network};
use tollgate::upstream::announcement::Announcements;
use tollgate::upstream::named_services::NamedServices;
use tollgate::upstream::service::{ServiceEntry, ServiceSpec, Verification};
use tollgate::upstream::uses::Uses;
use tollgate_core::plugin::{Access, Handler, Verdict};
use tollgate_core::reply::Reply;
use tollgate_core::request::Request;
use tollgate_router::RouteSpec;
use uuid::Uuid;

mod plugin_chain;

const PATIENCE: Duration = Duration::from_secs(20);

struct Guard<F>(F);

impl<F: Fn(&mut Request<'_>) -> Verdict + Send + Sync + 'static> Handler for Guard<F> {
    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        Access::Ready(Ok((self.0)(request)))
    }
}

/// A plugin made of a function.
pub(crate) fn guard(decide: impl Fn(&mut Request<'_>) -> Verdict + Send + Sync + 'static) -> Arc<dyn Handler> {
    Arc::new(Guard(decide))
}

/// A plugin that always replies.
pub(crate) fn replying(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Arc<dyn Handler> {
    guard(move |_| Verdict::Reply(reply()))
}

/// A route with one path; an empty path is for OPTIONS on the server itself.
pub(crate) struct Route {
    path: String,
    service: Option<ServiceSpec>,
    chain: Chain,
}

impl Route {
    /// Proxies to `host:port` over plain HTTP.
    pub(crate) fn to(path: &str, address: &str) -> Self {
        let (host, port) = address.rsplit_once(':').unwrap();
        let service = serde_json::from_value(json!({
            "id": Uuid::new_v4(), "name": "api", "protocol": "http", "host": host, "port": port.parse::<u16>().unwrap(),
            "path": null, "retries": 0, "connect_timeout": 5000, "write_timeout": 5000, "read_timeout": 10_000,
            "tls_verify": null, "tags": null,
        }));
        Self { path: path.to_owned(), service: Some(service.unwrap()), chain: Chain::Ready(Plugins::default()) }
    }

    /// Without a service.
    pub(crate) fn without_service(path: &str) -> Self {
        Self { path: path.to_owned(), service: None, chain: Chain::Ready(Plugins::default()) }
    }

    /// With one plugin.
    pub(crate) fn plugin(self, handler: Arc<dyn Handler>) -> Self {
        let entry = ChainEntry::new("test", 0, Rank::Global, handler);
        Self { chain: Chain::Ready(Plugins::new([entry], None)), ..self }
    }

    /// With several plugins, and with consumer-scoped instances.
    pub(crate) fn plugins(self, plugins: Plugins) -> Self {
        Self { chain: Chain::Ready(plugins), ..self }
    }

    /// With a plugin that could not be compiled.
    pub(crate) fn uncompilable(self) -> Self {
        Self { chain: Chain::Uncompilable("plugin_uncompilable"), ..self }
    }

    /// With another service.
    pub(crate) fn edit(mut self, change: impl FnOnce(&mut ServiceSpec)) -> Self {
        change(self.service.as_mut().unwrap());
        self
    }

    fn compile(self, metrics: &Metrics) -> (RouteSpec, Arc<RouteEntry>) {
        let id = Uuid::new_v4();
        let spec = match self.path.as_str() {
            "" => RouteSpec { id, methods: vec!["OPTIONS".to_owned()], ..RouteSpec::default() },
            path => RouteSpec { id, paths: vec![path.to_owned()], ..RouteSpec::default() },
        };
        let fields: RouteFields = serde_json::from_value(json!({
            "id": id, "name": null, "protocols": ["http", "https"], "https_redirect_status_code": 426,
            "strip_path": true, "preserve_host": false, "created_at": 1,
        }))
        .unwrap();
        let service = self.service.map(|spec| {
            let addresses = Addresses::new(&spec.host, spec.port, &network());
            Arc::new(ServiceEntry::new(&spec, Verification::On, addresses).unwrap())
        });
        let labels = Labels { service: "api".to_owned(), route: self.path };
        (spec, Arc::new(RouteEntry::new(&fields, service, self.chain, metrics.route(labels))))
    }
}

fn network() -> Network {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    let settings = tollgate_dns::Settings::default();
    let resolver = tollgate_dns::Resolver::new(RUNTIME.handle().clone(), &settings).unwrap();
    Network { destinations: Arc::default(), resolver }
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// With short timeouts.
pub(crate) fn settings() -> Settings {
    Settings {
        product: Product::Tollgate,
        identity_headers: IdentityHeaders::default(),
        keepalive_timeout: Duration::from_secs(5),
        head_timeout: Duration::from_secs(2),
        upstream: UpstreamSettings::default(),
        announcements: Announcements::default(),
        live: live(NamedServices::default()),
        connections: Arc::new(OpenConnections::new(ConnectionLimits::new(0, 8192, TrustedIps::default()))),
    }
}

/// The same; bodies are passed on as they arrive.
pub(crate) fn streaming() -> Settings {
    let settings = settings();
    let mut live = Live::clone(&settings.live.load());
    live.limits.buffer_bytes.request = 0;
    settings.live.store(Arc::new(live));
    settings
}

/// The settings that may change; these services get paths which climb for other readers.
pub(crate) fn live(lenient_path_services: NamedServices) -> Arc<ArcSwap<Live>> {
    let live = Live {
        lenient_path_services,
        read_timeout: Duration::from_secs(2),
        write_timeout: Duration::from_secs(5),
        ..Live::default()
    };
    Arc::new(ArcSwap::from_pointee(live))
}

/// A running gateway; its thread ends with the process.
pub(crate) struct Gateway {
    address: SocketAddr,
    registry: Registry,
    sink: Sink,
    access_log: AccessLog,
    upstream_host: String,
}

impl Gateway {
    /// Starts one with these routes and waits until it accepts connections.
    pub(crate) fn start(routes: Vec<Route>) -> Self {
        Self::start_with(settings(), routes)
    }

    /// The same, with other settings.
    pub(crate) fn start_with(settings: Settings, routes: Vec<Route>) -> Self {
        let registry = Registry::new();
        let metrics = Arc::new(Metrics::register(&registry, "node", "3.10.0").unwrap());
        let first = routes.iter().find_map(|route| route.service.as_ref());
        let upstream_host = first.map(|service| format!("{}:{}", service.host, service.port)).unwrap_or_default();
        let snapshot = Snapshot::compile(routes.into_iter().map(|route| route.compile(&metrics))).unwrap();
        let sink = Sink::default();
        let dropped = metrics.access_log_dropped();
        let (destination, fields) = (Box::new(sink.clone()), Fields::default());
        let access_log = AccessLog::to_writer(destination, LineFormat::Json, fields, dropped).unwrap();
        let address = free_address();
        let gateway = proxy::Gateway {
            settings,
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            metrics,
            access_log: access_log.clone(),
            upstream_uses: Uses::new(UpstreamSettings::default().keepalive_requests),
            descriptors: Arc::new(Descriptors::new(1 << 20, &registry).unwrap()),
            tracer: None,
        };
        std::thread::spawn(move || serve(gateway, address));
        wait_for(address);
        Self { address, registry, sink, access_log, upstream_host }
    }

    /// The first service's `Host`.
    pub(crate) fn upstream_host(&self) -> String {
        self.upstream_host.clone()
    }

    /// Sends raw bytes and reads until the connection is closed.
    pub(crate) fn send(&self, request: &str) -> String {
        let mut stream = connect(self.address);
        // A response may arrive, and the connection be closed, before everything is written.
        let _ = stream.write_all(request.as_bytes());
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response);
        String::from_utf8_lossy(&response).into_owned()
    }

    /// Sends each part and reads until its mark has arrived, on one connection.
    pub(crate) fn converse(&self, parts: &[(&str, &str)]) -> String {
        let mut stream = connect(self.address);
        let mut all = String::new();
        for (part, mark) in parts {
            stream.write_all(part.as_bytes()).unwrap();
            let from = all.len();
            while !all[from..].contains(mark) {
                let mut buffer = [0; 4096];
                let length = stream.read(&mut buffer).unwrap_or_else(|error| panic!("{error} after {all}"));
                assert!(length > 0, "closed after {all}");
                all.push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        }
        all
    }

    /// A new client.
    pub(crate) fn client(&self) -> Client {
        Client { stream: connect(self.address), read: Vec::new() }
    }

    /// The access log, once it has this number of lines.
    pub(crate) fn log_lines(&self, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.log();
            if text.lines().count() >= count || Instant::now() > deadline {
                return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            }
            std::thread::yield_now();
        }
    }

    /// The access log so far.
    pub(crate) fn log(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.access_log.flush(PATIENCE);
            let text = String::from_utf8(self.sink.0.lock().unwrap().clone()).unwrap();
            // A line is written after the response, so the client may be faster.
            if !text.is_empty() || Instant::now() > deadline {
                return text;
            }
            std::thread::yield_now();
        }
    }

    /// The metrics, once they contain a line.
    pub(crate) fn metrics_with(&self, line: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
            if text.contains(line) {
                return text;
            }
            assert!(Instant::now() < deadline, "{line} is missing in {text}");
            std::thread::yield_now();
        }
    }
}

/// A connection on which requests are written and responses read one by one.
pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The next complete response; `None` if the connection ends instead.
    pub(crate) fn response(&mut self) -> Option<String> {
        loop {
            if let Some(length) = whole_response(&self.read) {
                let rest = self.read.split_off(length);
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).ok();
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(length) if length > 0 => self.read.extend_from_slice(&buffer[..length]),
                Ok(_) => {
                    assert!(self.read.is_empty(), "{}", String::from_utf8_lossy(&self.read));
                    return None;
                }
                Err(error) => panic!("{error} after {}", String::from_utf8_lossy(&self.read)),
            }
        }
    }

    /// The next response if it arrives within the client's patience.
    pub(crate) fn response_by_now(&mut self) -> Option<String> {
        let mut buffer = [0; 4096];
        if let Ok(length) = self.stream.read(&mut buffer) {
            self.read.extend_from_slice(&buffer[..length]);
            return self.response();
        }
        None
    }

    /// How long it waits for bytes.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).unwrap();
    }

    /// Everything up to the end of the connection.
    pub(crate) fn rest(&mut self, rest: &mut String) {
        let _ = self.stream.read_to_end(&mut self.read);
        rest.push_str(&String::from_utf8_lossy(&self.read));
    }

    /// Closes its side of the connection.
    pub(crate) fn leave(&mut self, sides: Shutdown) {
        self.stream.shutdown(sides).unwrap();
    }

    /// Whether the connection is closed and nothing more was received.
    pub(crate) fn is_over(&mut self) -> bool {
        self.response().is_none()
    }
}

/// The length of the response at the beginning, if it is complete.
fn whole_response(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = if status_of(head) < 200 {
        0
    } else if header_of(&text, "transfer-encoding").is_some() {
        body.find("0\r\n\r\n")? + 5
    } else {
        header_of(&text, "content-length")?.parse().ok()?
    };
    (body.len() >= length).then_some(head.len() + 4 + length)
}

/// Passes each request's head to the test, with the connection to respond on.
pub(crate) fn held() -> (String, mpsc::Receiver<(String, TcpStream)>) {
    let (sender, receiver) = mpsc::channel();
    let address = serve_each(move |mut stream| {
        let head = String::from_utf8(read_head(&mut stream)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = sender.send((head, stream));
    });
    (address, receiver)
}

fn serve(gateway: proxy::Gateway, address: SocketAddr) {
    let mut conf = ServerConf::default();
    proxy::prepare(&mut conf, &UpstreamSettings::default());
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let listeners = Listeners { http: Some(address.into()), https: None };
    let lifecycle = Lifecycle::default();
    server.add_service(proxy::service(&server.configuration, gateway, listeners, lifecycle, || {}));
    server.run_forever();
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn wait_for(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on {address}");
        std::thread::yield_now();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Echoes requests as JSON; stalls on `/sleep`.
pub(crate) fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, axum::Router::new().fallback(echo)).await.unwrap();
        });
    });
    address
}

async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    if uri.path().ends_with("/sleep") {
        std::future::pending::<()>().await;
    }
    let headers: serde_json::Map<String, Value> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    let text = String::from_utf8_lossy(&body);
    let received = json!({
        "method": method.as_str(), "target": uri.to_string(), "headers": headers, "body_length": body.len(),
        "body": text.chars().take(100).collect::<String>(),
    });
    axum::response::Response::new(received.to_string().into())
}

/// An address without a listener.
pub(crate) fn refused() -> String {
    free_address().to_string()
}

/// Sends the same response on every connection, once a request's head has arrived.
pub(crate) fn saying(response: &'static str) -> String {
    serve_each(move |mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(response.as_bytes());
    })
}

/// Responds with the raw head of the request.
pub(crate) fn mirror() -> String {
    serve_each(|mut stream| {
        let head = read_head(&mut stream);
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", head.len());
        let _ = stream.write_all(&head);
    })
}

/// Reads a request and closes the connection; counts connections.
pub(crate) fn breaking() -> (String, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let address = serve_each(move |mut stream| {
        counter.fetch_add(1, Ordering::SeqCst);
        read_head(&mut stream);
    });
    (address, connections)
}

/// Responds with an ambiguous response; counts connections.
pub(crate) fn unreadable() -> (String, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let address = serve_each(move |mut stream| {
        counter.fetch_add(1, Ordering::SeqCst);
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 29\r\n\r\nabc");
    });
    (address, connections)
}

/// HTTPS with a certificate nobody has signed, for `localhost` and `127.0.0.1`.
pub(crate) fn https_upstream() -> String {
    let (certificate, key) = self_signed();
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls()).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    acceptor.set_private_key(&key).unwrap();
    let acceptor = acceptor.build();
    serve_each(move |stream| {
        let Ok(mut stream) = acceptor.accept(stream) else { return };
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    })
}

fn self_signed() -> (openssl::x509::X509, openssl::pkey::PKey<openssl::pkey::Private>) {
    use openssl::{asn1::Asn1Time, bn::BigNum, ec, hash::MessageDigest, nid::Nid, pkey::PKey, x509};
    let group = ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut name = x509::X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "localhost").unwrap();
    let name = name.build();
    let mut certificate = x509::X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_serial_number(&BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap()).unwrap();
    certificate.set_subject_name(&name).unwrap();
    certificate.set_issuer_name(&name).unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    let names = x509::extension::SubjectAlternativeName::new()
        .dns("localhost")
        .ip("127.0.0.1")
        .build(&certificate.x509v3_context(None, None))
        .unwrap();
    certificate.append_extension(names).unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    (certificate.build(), key)
}

fn serve_each(serve: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(&serve));
    address
}

fn read_head(stream: &mut impl Read) -> Vec<u8> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|length| length == 1) {
        head.push(byte[0]);
    }
    head
}

/// The status of a response.
pub(crate) fn status_of(response: &str) -> u16 {
    let status = response.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status in {response:?}"))
}

/// A header of a response.
pub(crate) fn header_of<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = response.split_once("\r\n\r\n")?;
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

/// The body of a response, without chunk sizes.
pub(crate) fn body_of(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}
