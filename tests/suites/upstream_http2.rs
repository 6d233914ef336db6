//! HTTP/2 towards upstreams: when it is used, and that no request or response changes by it (docs/compatibility/http.md).

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslMethod, select_next_proto};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_openssl::SslStream;
use tollgate_tests::http2::{self, soon};
use tollgate_tests::tls::Identity;
use tollgate_tests::{Findings, Gateway, Store, raw};

/// A request as the upstream gets it: the version, the line, its headers, its body.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    version: &'static str,
    line: String,
    headers: Vec<String>,
    body: String,
}

/// What it does with the request with this number, which has the [`Cut`] of its upstream among its extensions.
type Act = fn(usize, &Request<h2::RecvStream>, &mut SendResponse<Bytes>) -> Then;

/// Whether it reads the body of the request.
#[derive(PartialEq)]
enum Then {
    Read,
    Leave,
}

/// Tells an upstream to cut a response short.
type Cut = Arc<Notify>;

/// A TLS upstream that offers some protocols.
struct Upstream {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    connections: Arc<AtomicUsize>,
    /// How many requests of HTTP/2 have begun.
    begun: Arc<AtomicUsize>,
    cut: Cut,
}

const BOTH: &[u8] = b"\x02h2\x08http/1.1";
const ONLY_1: &[u8] = b"\x08http/1.1";

impl Upstream {
    async fn start(offer: &'static [u8], act: Act) -> Self {
        let identity = Identity::issue(&[("CN", "localhost")], None);
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = identity.save(folder.path());
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate_chain_file(certificate).unwrap();
        acceptor.set_private_key_file(key, openssl::ssl::SslFiletype::PEM).unwrap();
        acceptor.set_alpn_select_callback(move |_, client| select_next_proto(offer, client).ok_or(AlpnError::NOACK));
        let acceptor = acceptor.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            got: Arc::default(),
            connections: Arc::default(),
            begun: Arc::default(),
            cut: Arc::default(),
        };
        let (got, connections) = (Arc::clone(&upstream.got), Arc::clone(&upstream.connections));
        let (begun, cut) = (Arc::clone(&upstream.begun), Arc::clone(&upstream.cut));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let mut stream = SslStream::new(Ssl::new(acceptor.context()).unwrap(), socket).unwrap();
                let (got, begun, cut) = (Arc::clone(&got), Arc::clone(&begun), Arc::clone(&cut));
                tokio::spawn(async move {
                    Pin::new(&mut stream).accept().await.unwrap();
                    if stream.ssl().selected_alpn_protocol() == Some(b"h2") {
                        serve_2(stream, got, &begun, &cut, act).await;
                    } else {
                        serve_1(stream, got).await;
                    }
                });
            }
        });
        upstream
    }

    /// The requests so far.
    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// The last of so many requests, once it has arrived as a whole: the response may be earlier.
    async fn last_of(&self, count: usize) -> Got {
        let arrived = async {
            while self.got().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon(arrived).await;
        self.got().pop().unwrap()
    }
}

async fn serve_2(stream: SslStream<TcpStream>, got: Arc<Mutex<Vec<Got>>>, begun: &AtomicUsize, cut: &Cut, act: Act) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((mut request, mut respond))) = connection.accept().await {
        let got = Arc::clone(&got);
        request.extensions_mut().insert(Arc::clone(cut));
        let number = begun.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let then = act(number, &request, &mut respond);
            let (head, mut body) = request.into_parts();
            let lines = head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            let line = format!("{} {}", head.method, head.uri);
            let headers = lines.collect();
            let mut text = String::new();
            if then == Then::Leave {
                got.lock().unwrap().push(Got { version: "2", line, headers, body: text });
                return;
            }
            let mut whole = true;
            while let Some(piece) = body.data().await {
                let Ok(piece) = piece else {
                    whole = false;
                    break;
                };
                let _ = body.flow_control().release_capacity(piece.len());
                text.push_str(&String::from_utf8_lossy(&piece));
            }
            let text = if whole { text } else { format!("{text} (cut short)") };
            got.lock().unwrap().push(Got { version: "2", line, headers, body: text });
        });
    }
}

async fn serve_1(mut stream: SslStream<TcpStream>, got: Arc<Mutex<Vec<Got>>>) {
    let mut received = Vec::new();
    while stream.read_buf(&mut received).await.is_ok_and(|length| length > 0) {
        if received.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&received).into_owned();
            let line = head.lines().next().unwrap_or_default().to_owned();
            got.lock().unwrap().push(Got { version: "1.1", line, headers: Vec::new(), body: String::new() });
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none").await.unwrap();
            received.clear();
        }
    }
}

/// Responds with `ok`.
fn ok(_: usize, _: &Request<h2::RecvStream>, respond: &mut SendResponse<Bytes>) -> Then {
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data(Bytes::from_static(b"ok"), true).unwrap();
    Then::Read
}

async fn gateway(upstream: &Upstream, http2: &str) -> Gateway {
    let settings = [("TOLLGATE_PROXY_UPSTREAM_HTTP2", http2), ("TOLLGATE_PROXY_UPSTREAM_TLS_VERIFY", "false")];
    let gateway = Gateway::on(Store::Sqlite, &settings).await;
    let service = json!({"name": "api", "url": format!("https://{}", upstream.address), "retries": 1});
    gateway.create("/services", service).await;
    let route = json!({"paths": ["/api"], "strip_path": false, "request_buffering": false});
    gateway.create("/services/api/routes", route).await;
    gateway.create("/services/api/routes", json!({"hosts": ["server.test"]})).await;
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_used_where_setting_and_upstream_offer_it() {
    for (http2, offer, expected) in [("false", BOTH, "1.1"), ("true", BOTH, "2"), ("true", ONLY_1, "1.1")] {
        let upstream = Upstream::start(offer, ok).await;
        let gateway = gateway(&upstream, http2).await;
        for _ in 0..2 {
            assert_eq!(raw::get(&gateway.http.to_string(), "/api/x", &[]).await.status, 200);
        }
        upstream.last_of(2).await;
        let versions: Vec<_> = upstream.got().iter().map(|got| got.version).collect();
        assert_eq!(versions, [expected, expected], "upstream_http2 {http2}");
        assert_eq!(upstream.connections.load(Ordering::SeqCst), 1, "the connection is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_http1_becomes_one_of_http2() {
    let upstream = Upstream::start(BOTH, ok).await;
    let gateway = gateway(&upstream, "true").await;
    let authority = gateway.http.to_string();
    let head = "Host: a.test\r\nX-Kept: yes\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers, gzip\r\n\
                Proxy-Connection: close\r\nUpgrade: websocket\r\nConnection: close, X-Private\r\n";
    let rows = [
        (format!("GET /api/a?b=c HTTP/1.1\r\n{head}\r\n"), "GET https://UPSTREAM/api/a?b=c", "", None),
        (
            format!("POST /api/a HTTP/1.1\r\n{head}Content-Length: 004\r\n\r\nbody"),
            "POST https://UPSTREAM/api/a",
            "body",
            Some("4"),
        ),
        (
            format!(
                "POST /api/a HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nbo\r\n2\r\ndy\r\n0\r\nX-T: 1\r\n\r\n"
            ),
            "POST https://UPSTREAM/api/a",
            "body",
            None,
        ),
        (format!("HEAD /api/a HTTP/1.1\r\n{head}\r\n"), "HEAD https://UPSTREAM/api/a", "", None),
        (format!("GET http://a.test/api/a HTTP/1.1\r\n{head}\r\n"), "GET https://UPSTREAM/api/a", "", None),
    ];
    let mut findings = Findings::default();
    let count = rows.len();
    for (number, (request, line, body, length)) in (1..).zip(rows) {
        let said = raw::bytes(&authority, request.as_bytes()).await;
        findings.compare(&request, &"HTTP/1.1 200 OK", &said.lines().next().unwrap_or_default());
        let got = upstream.last_of(number).await;
        findings.compare(&request, &line.replace("UPSTREAM", &upstream.address.to_string()), &got.line);
        findings.compare(&request, &body, &got.body.as_str());
        let of =
            |name: &str| got.headers.iter().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
        findings.compare(&request, &length.map(str::to_owned), &of("content-length"));
        let kept = ["x-kept", "te", "x-forwarded-for", "via"].map(|name| of(name).unwrap_or_default());
        findings.compare(&request, &["yes", "trailers", "127.0.0.1", "1.1 tollgate"].map(str::to_owned), &kept);
        for name in
            ["host", "connection", "keep-alive", "proxy-connection", "upgrade", "transfer-encoding", "x-private"]
        {
            findings.compare(&format!("{name} of {request}"), &None, &of(name));
        }
    }
    drop(findings);
    let options = "OPTIONS * HTTP/1.1\r\nHost: server.test\r\nConnection: close\r\n\r\n";
    let said = raw::bytes(&authority, options.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    // The library has no way to relay 100, so the gateway asks for the body.
    let waits = "POST /api/a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let mut client = TcpStream::connect(gateway.http).await.unwrap();
    client.write_all(waits.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains("\r\n\r\n") {
        assert_ne!(soon(client.read_buf(&mut received)).await.unwrap(), 0);
    }
    assert!(received.starts_with(b"HTTP/1.1 100 Continue\r\n\r\n"), "{}", String::from_utf8_lossy(&received));
    client.write_all(b"body").await.unwrap();
    soon(client.read_to_end(&mut received)).await.unwrap();
    let got = upstream.last_of(count + 2).await;
    assert_eq!((got.body.as_str(), got.headers.iter().any(|line| line.starts_with("expect"))), ("body", false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_as_it_says_ends_at_the_upstream_too() {
    let upstream = Upstream::start(BOTH, |_, _, _| Then::Read).await;
    let gateway = gateway(&upstream, "true").await;
    let authority = gateway.http.to_string();
    // Over HTTP/1.1: less than its length, and a chunk that is none.
    for rest in ["Content-Length: 9\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\nx\r\n"] {
        let mut client = TcpStream::connect(gateway.http).await.unwrap();
        client.write_all(format!("POST /api/a HTTP/1.1\r\nHost: a.test\r\n{rest}").as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let _ = soon(client.read_to_end(&mut Vec::new())).await;
    }
    // Over HTTP/2: less than its length, and a reset.
    let connection = http2::Connection::open(gateway.https).await;
    let request =
        Request::post(format!("https://{}/api/a", gateway.https)).header("content-length", "9").body(()).unwrap();
    let (_, mut body) = connection.begin(request.clone(), false).await;
    body.send_data(Bytes::from_static(b"body"), true).unwrap();
    let (_, mut body) = connection.begin(request, false).await;
    body.send_data(Bytes::from_static(b"body"), false).unwrap();
    body.send_reset(h2::Reason::CANCEL);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let got = upstream.got();
        assert!(got.iter().all(|got| got.body.ends_with("(cut short)")), "{got:?}");
        // A faulty chunk that arrives with the head is refused before the upstream is asked.
        if got.len() >= 3 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{got:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let _ = authority;
}

/// Responds by the target's last letter.
fn by_name(_: usize, request: &Request<h2::RecvStream>, respond: &mut SendResponse<Bytes>) -> Then {
    let head = |status: u16| Response::builder().status(status);
    match request.uri().path().trim_start_matches("/api/") {
        "length" => {
            let mut body =
                respond.send_response(head(200).header("content-length", "4").body(()).unwrap(), false).unwrap();
            body.send_data("bo".into(), false).unwrap();
            body.send_data("dy".into(), true).unwrap();
        }
        "trailers" => {
            let mut body = respond.send_response(head(200).body(()).unwrap(), false).unwrap();
            body.send_data("body".into(), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "1".parse().unwrap());
            trailers.insert("content-length", "9".parse().unwrap());
            body.send_trailers(trailers).unwrap();
        }
        "empty" => drop(respond.send_response(head(204).body(()).unwrap(), true)),
        "head" => drop(respond.send_response(head(200).header("content-length", "9").body(()).unwrap(), true)),
        "short" => {
            let mut body =
                respond.send_response(head(200).header("content-length", "9").body(()).unwrap(), false).unwrap();
            body.send_data("body".into(), true).unwrap();
        }
        "cut" => {
            let mut body = respond.send_response(head(200).body(()).unwrap(), false).unwrap();
            body.send_data("body".into(), false).unwrap();
            let cut = Arc::clone(request.extensions().get::<Cut>().unwrap());
            tokio::spawn(async move {
                // Not before it has arrived, which a reset would prevent.
                cut.notified().await;
                body.send_reset(h2::Reason::INTERNAL_ERROR);
            });
        }
        "early" => {
            let mut body = respond.send_response(head(413).body(()).unwrap(), false).unwrap();
            body.send_data("no".into(), true).unwrap();
            // What is left of the request is reset without an error (RFC 9113 §8.1).
            return Then::Leave;
        }
        _ => drop(respond.send_response(head(200).body(()).unwrap(), true)),
    }
    Then::Read
}

/// What is said to a request whose response is cut short once so much of it has arrived.
async fn cut_after(upstream: &Upstream, gateway: &Gateway, request: &str, arrived: &str) -> String {
    let mut client = TcpStream::connect(gateway.http).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).ends_with(arrived) {
        assert_ne!(soon(client.read_buf(&mut received)).await.unwrap(), 0, "{}", String::from_utf8_lossy(&received));
    }
    upstream.cut.notify_one();
    // A reset counts as the end.
    let _ = soon(client.read_to_end(&mut received)).await;
    String::from_utf8_lossy(&received).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_of_http2_becomes_one_of_http1() {
    let upstream = Upstream::start(BOTH, by_name).await;
    let gateway = gateway(&upstream, "true").await;
    let authority = gateway.http.to_string();
    let mut findings = Findings::default();
    let rows = [
        ("GET", "length", "TE: trailers\r\n", "content-length: 4", "body"),
        ("GET", "trailers", "TE: trailers\r\n", "transfer-encoding: chunked", "4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n"),
        ("GET", "trailers", "", "transfer-encoding: chunked", "4\r\nbody\r\n0\r\n\r\n"),
        ("GET", "empty", "", "", ""),
        ("HEAD", "head", "", "content-length: 9", ""),
        // Cut short, not ended: there is no last chunk.
        ("GET", "cut", "", "transfer-encoding: chunked", "4\r\nbody\r\n"),
    ];
    for (method, name, header, framing, expected) in rows {
        let request = format!("{method} /api/{name} HTTP/1.1\r\nHost: a.test\r\n{header}Connection: close\r\n\r\n");
        let said = if name == "cut" {
            cut_after(&upstream, &gateway, &request, expected).await
        } else {
            raw::bytes(&authority, request.as_bytes()).await
        };
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
        let head = head.to_ascii_lowercase();
        let framed: Vec<_> = head
            .lines()
            .filter(|line| line.starts_with("content-length") || line.starts_with("transfer-encoding"))
            .collect();
        findings.compare(name, &framing, &framed.join("\n").as_str());
        findings.compare(name, &expected, &body);
        findings.compare(name, &true, &head.contains("via: 2 tollgate"));
    }
    drop(findings);
    // Less than its length.
    let short = raw::bytes(&authority, b"GET /api/short HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
    let (head, body) = short.split_once("\r\n\r\n").unwrap();
    assert!(head.to_ascii_lowercase().contains("content-length: 9") && body.len() < 9, "{short}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_of_http2_stays_one_of_http2() {
    let upstream = Upstream::start(BOTH, by_name).await;
    let gateway = gateway(&upstream, "true").await;
    let connection = http2::Connection::open(gateway.https).await;
    let mut findings = Findings::default();
    let ask = async |name: &str| {
        let request = Request::get(format!("https://{}/api/{name}", gateway.https)).body(()).unwrap();
        connection.send(request, &[], None).await.map(|(head, body, trailers)| {
            let sum = trailers.and_then(|trailers| Some(trailers.get("x-sum")?.to_str().unwrap().to_owned()));
            (head.status.as_u16(), body, sum)
        })
    };
    for (name, expected) in [
        ("length", (200, "body".to_owned(), None)),
        ("trailers", (200, "body".to_owned(), Some("1".to_owned()))),
        ("empty", (204, String::new(), None)),
        ("nothing", (200, String::new(), None)),
    ] {
        findings.compare(name, &expected, &ask(name).await.unwrap());
    }
    findings.compare("short", &true, &ask("short").await.is_err());
    drop(findings);
    let request = Request::get(format!("https://{}/api/cut", gateway.https)).body(()).unwrap();
    let (response, _) = connection.begin(request, true).await;
    let mut response = soon(response).await.unwrap();
    assert_eq!(soon(response.body_mut().data()).await.unwrap().unwrap(), "body");
    upstream.cut.notify_one();
    assert!(soon(response.body_mut().data()).await.is_some_and(|more| more.is_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_before_the_end_of_its_request_is_the_response() {
    let upstream = Upstream::start(BOTH, by_name).await;
    let gateway = gateway(&upstream, "true").await;
    let connection = http2::Connection::open(gateway.https).await;
    for _ in 0..20 {
        let request = Request::post(format!("https://{}/api/early", gateway.https)).body(()).unwrap();
        let (response, mut body) = connection.begin(request, false).await;
        body.send_data(Bytes::from_static(b"the first of many"), false).unwrap();
        let mut response = soon(response).await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(soon(response.body_mut().data()).await.unwrap().unwrap(), "no");
        // The upstream wants no more of it, and neither does the gateway.
        assert!(soon(response.body_mut().data()).await.is_none_or(|last| last.is_ok_and(|last| last.is_empty())));
    }
}

/// Refuses the first stream, and responds to others.
fn refuse_first(number: usize, request: &Request<h2::RecvStream>, respond: &mut SendResponse<Bytes>) -> Then {
    if number == 0 {
        respond.send_reset(h2::Reason::REFUSED_STREAM);
        return Then::Leave;
    }
    ok(number, request, respond)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_has_not_acted_on_is_repeated_whatever_its_method() {
    let upstream = Upstream::start(BOTH, refuse_first).await;
    let gateway = gateway(&upstream, "true").await;
    let post = "POST /api/a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody";
    let reply = raw::exchange(&gateway.http.to_string(), post.as_bytes()).await.unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    upstream.last_of(2).await;
    let mut bodies: Vec<_> = upstream.got().into_iter().map(|got| got.body).collect();
    // The refused one may be noted later.
    bodies.sort();
    assert_eq!(bodies, ["", "body"]);
    // Anything else may have been acted on.
    let upstream = Upstream::start(BOTH, |_, _, respond| {
        respond.send_reset(h2::Reason::INTERNAL_ERROR);
        Then::Leave
    })
    .await;
    let gateway = self::gateway(&upstream, "true").await;
    let reply = raw::exchange(&gateway.http.to_string(), post.as_bytes()).await.unwrap();
    assert_eq!((reply.status, upstream.begun.load(Ordering::SeqCst)), (502, 1));
}
