//! What clients may cost: slow ones, many at once, floods, and those who guess. docs/operating.md lists the limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_tests::http2::{Connection, Frame, Frames, H2, kind, soon, tls};
use tollgate_tests::recorder::{Received, ScriptedResponse, When};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Findings, Gateway, Recorder, Reply, Store, Upstream};

/// RFC 9113 §7
const ENHANCE_YOUR_CALM: u32 = 11;

/// Much shorter than the defaults, which are longer than a test waits.
const SHORT: &[(&str, &str)] = &[
    ("TOLLGATE_PROXY_HEAD_TIMEOUT", "2s"),
    ("TOLLGATE_PROXY_WRITE_TIMEOUT", "1s"),
    // Longer than the deadline of a head: an unfinished one is not an idle connection.
    ("TOLLGATE_PROXY_KEEPALIVE_TIMEOUT", "4s"),
    ("TOLLGATE_LIMITS_TLS_HANDSHAKE_TIMEOUT", "2s"),
    ("TOLLGATE_LIMITS_BODY_GRACE", "1s"),
];

const fn frame(kind: u8, stream: u32, payload: Vec<u8>) -> Frame {
    Frame { kind, flags: 0, stream, payload }
}

fn request(stream: u32, method: &str, path: &str, end: bool) -> Frame {
    let fields = [(":method", method), (":scheme", "https"), (":authority", "a.test"), (":path", path)];
    Frame::headers(stream, &fields, end)
}

async fn limit(gateway: &Gateway, limit: &str) -> f64 {
    gateway.metric("tollgate_limit_reached_total", &[&format!("limit=\"{limit}\"")]).await
}

/// Sends the beginning at once and the rest byte by byte, without end; the first line of what comes back before the
/// connection is closed.
async fn drip(mut stream: impl AsyncRead + AsyncWrite + Unpin, begin: &[u8], byte: &[u8]) -> String {
    let talk = async {
        let _ = stream.write_all(begin).await;
        let mut received = Vec::new();
        loop {
            tokio::select! {
                read = stream.read_buf(&mut received) => if !matches!(read, Ok(1..)) { break },
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    // Closed for writing, it may still be read.
                    let _ = stream.write_all(byte).await;
                }
            }
        }
        String::from_utf8_lossy(&received).lines().next().unwrap_or_default().to_owned()
    };
    soon(talk).await
}

/// The same, on a connection that begins then: others that begin with it do not delay it.
async fn drip_plain(address: SocketAddr, begin: &[u8], byte: &[u8]) -> String {
    drip(tcp(address).await, begin, byte).await
}

async fn drip_tls(address: SocketAddr, protocols: &[u8], begin: &[u8], byte: &[u8]) -> String {
    drip(tls(address, protocols).await, begin, byte).await
}

async fn tcp(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a listening gateway")
}

/// The error code with which a connection is closed on which these frames were sent.
async fn closed_after(address: SocketAddr, frames: &[Frame]) -> Option<u32> {
    let mut connection = Frames::open(address).await;
    connection.flood(frames).await;
    connection.until_closed().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_its_time_is_cut_off_in_every_phase() {
    let gateway = Gateway::on(Store::Sqlite, SHORT).await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "open", &upstream).await;
    let (http, https) = (gateway.http, gateway.https);
    let head = b"GET /open HTTP/1.1\r\nHost: a.test\r\nX: ";
    let again = [b"GET /open HTTP/1.1\r\nHost: a.test\r\n\r\n".as_slice(), head].concat();
    let sized = b"POST /open HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n";
    let chunked = b"POST /open HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let timeout = "HTTP/1.1 408 Request Timeout";
    let heads = async { tokio::join!(drip_plain(http, head, b"a"), drip_tls(https, b"", head, b"a")) };
    let bodies = async {
        tokio::join!(
            drip_plain(http, sized, b"a"),
            drip_tls(https, b"", sized, b"a"),
            drip_plain(http, chunked, b"1\r\na\r\n"),
        )
    };
    let silent = async {
        tokio::join!(
            drip_plain(http, b"", b""),
            // A TLS handshake that does not begin, one that does not end, and HTTP/2 without its preface.
            drip_plain(https, b"", b""),
            drip_plain(https, b"\x16\x03\x01\x02\x00\x01", b""),
            drip_tls(https, H2, b"", b""),
        )
    };
    // A header block that does not end, alone and beside a stream that waits for its window.
    let mut unfinished = request(3, "GET", "/open", true);
    unfinished.flags = 1;
    let blocks = async {
        let no_window = frame(kind::SETTINGS, 0, vec![0, 4, 0, 0, 0, 0]);
        let waiting = [no_window, request(1, "GET", "/open", true), unfinished.clone()];
        tokio::join!(closed_after(https, &waiting), closed_after(https, std::slice::from_ref(&unfinished)))
    };
    let second = drip_plain(http, &again, b"a");
    let ((plain, secure), bodies, silent, blocks, second, slow) =
        tokio::join!(heads, bodies, silent, blocks, second, slow_http2_body(&gateway));
    assert_eq!([plain.as_str(), &secure], [timeout; 2]);
    assert_eq!(second, "HTTP/1.1 200 OK", "only the second head is late");
    assert_eq!([bodies.0.as_str(), &bodies.1, &bodies.2], [timeout; 3]);
    assert_eq!(slow, 408);
    assert_eq!([silent.0.as_str(), &silent.1, &silent.2], [""; 3]);
    assert_eq!(blocks, (Some(ENHANCE_YOUR_CALM), Some(ENHANCE_YOUR_CALM)));
    let expected = [
        ("body_rate", 4.0),
        ("tls_handshake", 2.0),
        ("http2_preface", 1.0),
        ("http2_head", 2.0),
        ("client_timeout", 3.0),
    ];
    for (name, count) in expected {
        assert_eq!(limit(&gateway, name).await, count, "{name}");
    }
}

/// The status of an upload over HTTP/2 of a byte now and then.
async fn slow_http2_body(gateway: &Gateway) -> u16 {
    let client = Connection::open(gateway.https).await;
    let request = http::Request::builder().method(Method::POST).uri(gateway.url("/open")).body(()).unwrap();
    let (response, mut body) = client.begin(request, false).await;
    let mut response = std::pin::pin!(response);
    let status = async {
        loop {
            tokio::select! {
                response = &mut response => return response.expect("a response").status().as_u16(),
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    let _ = body.send_data("a".into(), false);
                }
            }
        }
    };
    soon(status).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_at_its_pace_and_an_upstream_that_is_slow_to_take_it_are_left_alone() {
    let gateway = Gateway::on(Store::Sqlite, SHORT).await;
    let upstream = Recorder::start(When::Complete, |request: &Received| ScriptedResponse::ok(&request.body)).await;
    gateway.create("/services", json!({"name": "open", "url": upstream.url()})).await;
    gateway.create("/services/open/routes", json!({"paths": ["/open"]})).await;
    let mut stream = tcp(gateway.http).await;
    let head = "POST /open HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 4000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // 128 bytes per second are enough; this is twice as fast, and takes longer than the grace.
    for _ in 0..20 {
        stream.write_all(&[b'a'; 200]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut response = String::new();
    soon(stream.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with(&"a".repeat(4000)), "{response}");
    assert_eq!(limit(&gateway, "body_rate").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_the_same_limits_over_both_versions() {
    let settings = [
        ("TOLLGATE_LIMITS_HEADER_COUNT", "20"),
        ("TOLLGATE_LIMITS_HEAD_BYTES", "4000"),
        ("TOLLGATE_LIMITS_TARGET_BYTES", "1000"),
    ];
    let gateway = Gateway::on(Store::Sqlite, &settings).await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "open", &upstream).await;
    let mut findings = Findings::new();
    let many = |count| (0..count).map(|nth| (format!("x-{nth}"), "1".to_owned())).collect::<Vec<_>>();
    let long = |length| vec![("x".to_owned(), "a".repeat(length))];
    for (name, path, fields, expected) in [
        ("few", 10, many(15), 200),
        ("many", 10, many(21), 431),
        ("many more", 10, many(250), 431),
        ("long enough", 10, long(3000), 200),
        ("long", 10, long(4000), 431),
        ("longer", 10, long(60_000), 431),
        ("a target", 900, vec![], 200),
        ("a long target", 1001, vec![], 414),
    ] {
        for url in [gateway.url("/open"), gateway.plain_url("/open")] {
            let mut request = gateway.client.get(format!("{url}/{}", "a".repeat(path)));
            for (name, value) in &fields {
                request = request.header(name, value);
            }
            let response = request.send().await.expect("a response");
            let row = format!("{name} over {:?}", response.version());
            let reply = Reply::read(response).await;
            findings.compare(&row, &expected, &reply.status);
            let message = match expected {
                431 => "Request header or cookie too large",
                414 => "URI too long",
                _ => "",
            };
            let found = reply.body.contains(message);
            findings.check(&row, if found { Ok(()) } else { Err(reply.body) });
        }
    }
    assert_eq!(limit(&gateway, "header_count").await, 4.0);
    assert_eq!(limit(&gateway, "head").await, 4.0);
    assert_eq!(limit(&gateway, "target").await, 2.0);
}

/// Floods of frames, each by its name.
fn floods() -> Vec<(&'static str, Vec<Frame>)> {
    let many = |frame: Frame, count| std::iter::repeat_n(frame, count);
    let upload = || std::iter::once(request(1, "POST", "/open", false));
    let mut unfinished = request(1, "GET", "/open", true);
    unfinished.flags = 1;
    let resets = (0..1500_u32).flat_map(|nth| {
        [request(2 * nth + 1, "GET", "/open", true), frame(kind::RST_STREAM, 2 * nth + 1, vec![0, 0, 0, 8])]
    });
    // A field of 4000 bytes in the table of the compression, and requests that refer to it 15,000 times.
    let mut big = request(1, "GET", "/open", true);
    big.payload.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    big.payload.extend([b'v'; 4000]);
    let bombs = (1..100_u32).map(|nth| {
        let mut bomb = request(2 * nth + 1, "GET", "/open", true);
        bomb.payload.extend([0xbe; 15_000]);
        bomb
    });
    vec![
        ("pings", many(frame(kind::PING, 0, vec![0; 8]), 3000).collect()),
        ("settings", many(frame(kind::SETTINGS, 0, vec![]), 3000).collect()),
        ("priorities", many(frame(kind::PRIORITY, 1, vec![0, 0, 0, 0, 16]), 3000).collect()),
        ("window updates", many(frame(kind::WINDOW_UPDATE, 0, vec![0, 0, 0, 1]), 3000).collect()),
        ("unknown frames", many(frame(99, 0, vec![]), 3000).collect()),
        ("resets", resets.collect()),
        (
            "continuations",
            std::iter::once(unfinished).chain(many(frame(kind::CONTINUATION, 1, vec![]), 3000)).collect(),
        ),
        ("empty data", upload().chain(many(frame(kind::DATA, 1, vec![]), 300)).collect()),
        ("small data", upload().chain(many(frame(kind::DATA, 1, vec![0]), 60_000)).collect()),
        ("compression bombs", std::iter::once(big).chain(bombs).collect()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_end_their_connection_and_disturb_no_other() {
    let gateway = Arc::new(Gateway::on_sqlite().await);
    let upstream = Upstream::of_heads().await;
    Api::open(&gateway, "open", &upstream).await;
    let over = Arc::new(AtomicBool::new(false));
    let good = tokio::spawn({
        let (gateway, over) = (Arc::clone(&gateway), Arc::clone(&over));
        async move {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                gateway.send(gateway.request(Method::GET, "/open/good")).await.expect(200);
                slowest = slowest.max(began.elapsed());
                count += 1;
            }
            (count, slowest)
        }
    });
    let mut findings = Findings::new();
    for (name, frames) in floods() {
        let mut attacker = Frames::open(gateway.https).await;
        attacker.flood(&frames).await;
        findings.compare(name, &Some(ENHANCE_YOUR_CALM), &attacker.until_closed().await);
    }
    over.store(true, Ordering::Relaxed);
    let (count, slowest) = good.await.unwrap();
    assert!(count > 0 && slowest < Duration::from_secs(5), "{count} requests, the slowest took {slowest:?}");
    assert_eq!(limit(&gateway, "http2_frames").await, 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_http2_client_is_not_taken_for_a_flood() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_LIMITS_HTTP2_EXCESS_FRAMES", "20")]).await;
    let upstream = Upstream::of_heads().await;
    Api::open(&gateway, "open", &upstream).await;
    let mut client = Frames::open(gateway.https).await;
    for nth in 0..300_u32 {
        let stream = 2 * nth + 1;
        client.send(&request(stream, "GET", "/open", true)).await;
        client.send(&frame(kind::PRIORITY, stream, vec![0, 0, 0, 0, 16])).await;
        client.send(&frame(kind::WINDOW_UPDATE, 0, vec![0, 0, 1, 0])).await;
        client.send(&frame(kind::PING, 0, vec![0; 8])).await;
        let response = client.until_end(stream).await;
        assert_eq!(response.first().map(|frame| frame.kind), Some(kind::HEADERS), "{nth}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_never_opens_ends_its_streams() {
    let gateway = Gateway::on(Store::Sqlite, SHORT).await;
    let upstream = Recorder::start(When::Complete, |_: &Received| ScriptedResponse::ok(&"x".repeat(5_000_000))).await;
    gateway.create("/services", json!({"name": "big", "url": upstream.url()})).await;
    gateway.create("/services/big/routes", json!({"paths": ["/open"]})).await;
    let mut client = Frames::open(gateway.https).await;
    client.send(&frame(kind::SETTINGS, 0, vec![0, 4, 0, 0, 0, 0])).await;
    for stream in [1, 3, 5, 7] {
        client.send(&request(stream, "GET", "/open", true)).await;
    }
    let mut reset = Vec::new();
    while reset.len() < 4 {
        let frame = client.next().await.expect("an open connection");
        assert_ne!((frame.kind, frame.payload.is_empty()), (kind::DATA, false), "there is no window");
        reset.extend((frame.kind == kind::RST_STREAM).then_some(frame.stream));
    }
    reset.sort_unstable();
    assert_eq!(reset, [1, 3, 5, 7]);
    assert_eq!(limit(&gateway, "write_timeout").await, 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_a_number_of_connections_and_the_operator_others() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_LIMITS_CONNECTIONS_PER_ADDRESS", "3")]).await;
    let closed = async |address: SocketAddr| {
        let mut stream = tcp(address).await;
        let ended = tokio::time::timeout(Duration::from_millis(500), stream.read_u8()).await;
        (stream, ended.is_ok())
    };
    let mut held = Vec::new();
    // Also those whose handshake is yet to be done.
    for address in [gateway.http, gateway.https, gateway.https] {
        let (stream, is_closed) = closed(address).await;
        assert!(!is_closed, "{} connections", held.len());
        held.push(stream);
    }
    for address in [gateway.http, gateway.https] {
        assert!(closed(address).await.1, "one too many");
    }
    assert_eq!(limit(&gateway, "connections_per_address").await, 2.0);
    gateway.admin_get("/").await.expect(200);
    held.pop();
    soon(async { while closed(gateway.http).await.1 {} }).await;
}

/// Posts to the token endpoint for a client behind a trusted proxy.
async fn token_from(gateway: &Gateway, address: &str, form: &[(&str, &str)]) -> Reply {
    let request = gateway.request(Method::POST, "/api/oauth2/token").header("x-real-ip", address);
    gateway.send(request.form(form)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guessed_secret_is_429_for_its_address_and_client_and_for_nobody_else() {
    let settings = [
        ("TOLLGATE_TRUSTED_IPS", "127.0.0.1"),
        ("TOLLGATE_LIMITS_FAILURES_PER_CLIENT_AND_ADDRESS", "5"),
        ("TOLLGATE_LIMITS_FAILURE_WINDOW", "10s"),
    ];
    let gateway = Gateway::on(Store::Sqlite, &settings).await;
    let upstream = Upstream::start().await;
    Api::protected(&gateway, "api", &upstream, json!({})).await;
    let (kate, jane) = (
        Application::register(&gateway, "kate", json!({})).await,
        Application::register(&gateway, "jane", json!({"hash_secret": true, "client_secret": "jane's own"})).await,
    );
    for (client, right) in [(&kate, kate.secret()), (&jane, "jane's own")] {
        let form = |secret| {
            [
                ("grant_type", "client_credentials"),
                ("client_id", client.id()),
                ("client_secret", secret),
                ("state", "s"),
            ]
        };
        for _ in 0..5 {
            token_from(&gateway, "192.0.2.1", &form("wrong")).await.expect(400);
        }
        let reply = token_from(&gateway, "192.0.2.1", &form(right)).await.expect(429);
        let text = "Too many attempts to authenticate have failed; try again later";
        let body = json!({"error": "temporarily_unavailable", "error_description": text, "state": "s"});
        assert_eq!(reply.json(), body);
        assert_eq!(reply.header("cache-control").as_deref(), Some("no-store"));
        let wait: u64 = reply.header("retry-after").expect("Retry-After").parse().unwrap();
        assert!((1..=2).contains(&wait), "{wait}");
        token_from(&gateway, "192.0.2.2", &form(right)).await.expect(200);
        soon(async {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            token_from(&gateway, "192.0.2.1", &form(right)).await.expect(200);
        })
        .await;
    }
    let limited = gateway.metric("tollgate_token_requests_limited_total", &["by=\"client_and_address\""]).await;
    assert_eq!(limited, 2.0);
}

fn schema_violation(field: &str) -> Value {
    let fault = "must not be longer than 4096 bytes";
    json!({
        "code": 2, "name": "schema violation", "fields": {field: fault},
        "message": format!("schema violation ({field}: {fault})"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_is_made_of_a_value_that_is_too_long() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let kate = Application::register(&gateway, "kate", json!({})).await;
    let password = |userid: &str| {
        let form = [
            ("grant_type", "password"),
            ("client_id", kate.id()),
            ("client_secret", kate.secret()),
            ("provision_key", api.provision_key()),
        ];
        let mut form: Vec<(String, String)> = form.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        form.push(("authenticated_userid".to_owned(), userid.to_owned()));
        form
    };
    let post = async |form: &[(String, String)]| {
        gateway.send(gateway.request(Method::POST, "/api/oauth2/token").form(form)).await
    };
    for length in [4097, 900_000] {
        let reply = post(&password(&"u".repeat(length))).await.expect(400);
        assert_eq!(reply.json()["error"], "invalid_authenticated_userid", "{length}");
    }
    let longest = "u".repeat(4096);
    let reply = post(&password(&longest)).await.expect(200).json();
    let seen = api.get(&gateway, reply["access_token"].as_str().unwrap()).await.expect(200).json();
    assert_eq!(seen["headers"]["x-authenticated-userid"], json!([longest]));
    let long = "n".repeat(4097);
    for field in ["username", "custom_id"] {
        let reply = gateway.admin(Method::POST, "/consumers", json!({field: long})).await.expect(400);
        assert_eq!(reply.json(), schema_violation(field));
    }
    let credential = json!({"name": "a", "client_id": long});
    let reply = gateway.admin(Method::POST, "/consumers/kate/oauth2", credential).await.expect(400);
    assert_eq!(reply.json(), schema_violation("client_id"));
    for field in ["authenticated_userid", "scope"] {
        let token = json!({"credential": {"id": kate.credential["id"]}, "expires_in": 0, field: long});
        let reply = gateway.admin(Method::POST, "/oauth2_tokens", token).await.expect(400);
        assert_eq!(reply.json(), schema_violation(field));
    }
    assert!(limit(&gateway, "header_value").await >= 7.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_id_stored_too_long_cannot_be_sent_and_its_token_is_503() {
    let gateway = Gateway::on_postgres().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let name = "kate".repeat(50);
    let kate = Application::register(&gateway, &name, json!({})).await;
    let issue = async |userid: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", kate.id()),
            ("client_secret", kate.secret()),
            ("provision_key", api.provision_key()),
            ("authenticated_userid", userid),
        ];
        let issued = api.token(&gateway, &form).await.expect(200).json();
        issued["access_token"].as_str().unwrap().to_owned()
    };
    let (long, short) = (issue(&"u".repeat(200)).await, issue("u").await);
    let strict = gateway.another_node_with(&[("TOLLGATE_LIMITS_HEADER_VALUE_BYTES", "100")]).await;
    api.get(&gateway, &long).await.expect(200);
    let reply = api.get(&strict, &long).await.expect(503);
    assert!(reply.header("retry-after").is_some());
    let seen = api.get(&strict, &short).await.expect(200).json();
    assert_eq!(
        (&seen["headers"]["x-consumer-username"], &seen["headers"]["x-authenticated-userid"]),
        (&Value::Null, &json!(["u"]))
    );
    assert!(strict.output().contains("consumer's name is too long to be sent upstream"));
}
