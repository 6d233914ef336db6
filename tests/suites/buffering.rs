//! `request_buffering` and `response_buffering` of routes, and events, which no buffer holds back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tollgate_tests::http2::{self, soon};
use tollgate_tests::recorder::{ScriptedResponse, When};
use tollgate_tests::{Gateway, Recorder, Store};

const PATIENCE: Duration = Duration::from_secs(20);

/// A service, and a route `/api` with these fields.
async fn route(gateway: &Gateway, url: &str, fields: Value) {
    gateway.create("/services", json!({"name": "api", "url": url, "retries": 0})).await;
    let mut route = json!({"name": "api", "paths": ["/api"]});
    route.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    gateway.create("/services/api/routes", route).await;
}

/// Waits until the recorder has this in its first connection.
async fn until_received(recorder: &Recorder, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !recorder.bytes().first().is_some_and(|bytes| bytes.contains(text)) {
        assert!(Instant::now() < deadline, "{text:?} does not arrive: {:?}", recorder.bytes());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether an upstream hears of a request before its body is complete.
async fn hears_at_once(
    fields: Value,
    settings: &[(&str, &str)],
    head: &str,
    first: &str,
    rest: &str,
    limit: Duration,
) -> bool {
    let gateway = Gateway::on(Store::Sqlite, settings).await;
    let recorder = Recorder::start(When::Complete, |_| ScriptedResponse::ok("done")).await;
    route(&gateway, &recorder.url(), fields).await;
    let mut client = TcpStream::connect(gateway.http).await.unwrap();
    let head = format!("POST /api HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{head}\r\n\r\n");
    client.write_all(format!("{head}{first}").as_bytes()).await.unwrap();
    let waited = Instant::now();
    while recorder.bytes().is_empty() && waited.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let at_once = !recorder.bytes().is_empty();
    if at_once {
        until_received(&recorder, first.trim_start_matches("3\r\n").trim_end()).await;
    }
    client.write_all(rest.as_bytes()).await.unwrap();
    let mut response = String::new();
    soon(client.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 ") && response.ends_with("done"), "{response}");
    assert_eq!(recorder.requests().len(), 1);
    at_once
}

/// A name, fields of the route, settings, the framing of the body, its two parts, and whether the first is passed on at once.
type Row<'r> = (&'r str, &'r Value, &'r [(&'r str, &'r str)], &'r str, &'r str, &'r str, bool);

#[tokio::test(flavor = "multi_thread")]
async fn a_buffered_request_reaches_the_upstream_once_it_is_complete() {
    let (length, chunked) = ("Content-Length: 6", "Transfer-Encoding: chunked");
    let waits = "Content-Length: 6\r\nExpect: 100-continue";
    let small: &[(&str, &str)] = &[("TOLLGATE_LIMITS_REQUEST_BUFFER_BYTES", "5")];
    let tiny: &[(&str, &str)] = &[("TOLLGATE_LIMITS_REQUEST_BUFFER_BYTES", "3")];
    let (on, off) = (json!({}), json!({"request_buffering": false}));
    let rows: [Row<'_>; 8] = [
        ("by default", &on, &[], length, "abc", "def", false),
        ("chunked", &on, &[], chunked, "3\r\nabc\r\n", "3\r\ndef\r\n0\r\n\r\n", false),
        ("off", &off, &[], length, "abc", "def", true),
        ("off, chunked", &off, &[], chunked, "3\r\nabc\r\n", "3\r\ndef\r\n0\r\n\r\n", true),
        ("longer than the limit", &on, small, length, "abc", "def", true),
        ("longer than the limit, chunked", &on, tiny, chunked, "3\r\nabc\r\n", "3\r\ndef\r\n0\r\n\r\n", true),
        ("as long as the limit", &on, &[("TOLLGATE_LIMITS_REQUEST_BUFFER_BYTES", "6")], length, "abc", "def", false),
        // The upstream is to say whether it wants the body.
        ("awaited", &on, &[], waits, "abc", "def", true),
    ];
    for (name, fields, settings, head, first, rest, expected) in rows {
        // That it does not: as long as a request takes otherwise, several times over.
        let limit = if expected { PATIENCE } else { Duration::from_millis(400) };
        assert_eq!(hears_at_once(fields.clone(), settings, head, first, rest, limit).await, expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffered_body_arrives_whole_over_http2_and_one_that_ends_early_does_not_arrive() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_LIMITS_REQUEST_BUFFER_BYTES", "1000000")]).await;
    let recorder = Recorder::start(When::Complete, |_| ScriptedResponse::ok("done")).await;
    route(&gateway, &recorder.url(), json!({})).await;
    let connection = http2::Connection::open(gateway.https).await;
    let piece = "x".repeat(50_000);
    let request = || Request::post(format!("https://{}/api", gateway.https)).body(()).unwrap();
    let (head, body, _) = connection.send(request(), &[piece.as_str(); 6], None).await.unwrap();
    assert_eq!((head.status.as_u16(), body.as_str()), (200, "done"));
    assert_eq!(recorder.requests()[0].body.len(), 300_000);
    let (response, mut body) = connection.begin(request(), false).await;
    body.send_data(Bytes::from_static(b"never complete"), false).unwrap();
    body.send_reset(h2::Reason::CANCEL);
    assert!(soon(response).await.is_err());
    let mut client = TcpStream::connect(gateway.http).await.unwrap();
    client.write_all(b"POST /api HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nshort").await.unwrap();
    drop(client);
    let deadline = Instant::now() + PATIENCE;
    while gateway.output().matches("client_gone").count() < 2 {
        assert!(Instant::now() < deadline, "{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(recorder.bytes().len(), 1, "{:?}", recorder.bytes());
}

/// Reads a request with its body: what closes a connection with bytes that it has not read resets it.
async fn read_request(connection: &mut TcpStream) {
    let mut received = Vec::new();
    while !is_whole(&String::from_utf8_lossy(&received).to_ascii_lowercase()) {
        if !connection.read_buf(&mut received).await.is_ok_and(|length| length > 0) {
            return;
        }
    }
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let of = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match (of("content-length:"), of("transfer-encoding:")) {
        (Some(length), _) => body.len() >= length.parse().unwrap(),
        (None, Some(_)) => body.ends_with("0\r\n\r\n"),
        (None, None) => true,
    }
}

/// More than all buffers of a connection, less than what is read ahead.
const LARGE: usize = 14 << 20;

/// An upstream that sends a large response to each request, and tells when the system has taken it all.
async fn large() -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, (tell, told)) = (listener.local_addr().unwrap(), mpsc::channel(4));
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                read_request(&mut connection).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
                connection.write_all(head.as_bytes()).await.unwrap();
                if connection.write_all(&vec![b'x'; LARGE]).await.is_ok() {
                    tell.send(()).await.unwrap();
                }
                let _ = connection.read(&mut [0]).await;
            });
        }
    });
    (address, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffered_response_is_read_from_the_upstream_although_the_client_does_not_take_it() {
    for method in ["GET", "POST"] {
        for (buffered, expected) in [(true, true), (false, false)] {
            let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_LIMITS_RESPONSE_BUFFER_BYTES", "16777216")]).await;
            let (address, mut sent) = large().await;
            route(&gateway, &format!("http://{address}"), json!({"response_buffering": buffered})).await;
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(8192).unwrap();
            let mut client = soon(socket.connect(gateway.http)).await.unwrap();
            let length = if method == "POST" { "Content-Length: 1\r\n\r\nx" } else { "\r\n" };
            let request = format!("{method} /api HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{length}");
            client.write_all(request.as_bytes()).await.unwrap();
            let limit = if expected { PATIENCE } else { Duration::from_secs(1) };
            let taken = tokio::time::timeout(limit, sent.recv()).await.is_ok();
            assert_eq!(taken, expected, "{method}, response_buffering {buffered}");
            let mut response = Vec::new();
            soon(client.read_to_end(&mut response)).await.unwrap();
            let body = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
            assert_eq!(response.len() - body, LARGE, "{method}, response_buffering {buffered}");
        }
    }
}

/// An upstream whose response is events, each sent when the test says so.
async fn events() -> (SocketAddr, mpsc::Sender<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, (send, mut sent)) = (listener.local_addr().unwrap(), mpsc::channel::<&'static str>(4));
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            read_request(&mut connection).await;
            // It serves one request on a connection, and says so: a POST is not repeated on another one.
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            connection.write_all(head.as_bytes()).await.unwrap();
            while let Some(event) = sent.recv().await {
                let chunk =
                    if event.is_empty() { "0\r\n\r\n".to_owned() } else { format!("{:x}\r\n{event}\r\n", event.len()) };
                connection.write_all(chunk.as_bytes()).await.unwrap();
                if event.is_empty() {
                    break;
                }
            }
        }
    });
    (address, send)
}

/// Plugins that deal with bodies, of requests or of responses of their own.
const PLUGINS: [(&str, &str); 5] = [
    ("request-size-limiting", r#"{"allowed_payload_size": 1}"#),
    ("request-termination", r#"{"trigger": "x-never"}"#),
    ("correlation-id", r#"{"echo_downstream": true}"#),
    ("cors", "{}"),
    ("rate-limiting", r#"{"minute": 1000, "policy": "local"}"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_while_the_stream_goes_on() {
    for fields in [json!({}), json!({"response_buffering": false, "request_buffering": false})] {
        let gateway = Gateway::on(Store::Sqlite, &[]).await;
        let (address, events) = events().await;
        route(&gateway, &format!("http://{address}"), fields.clone()).await;
        for (name, config) in PLUGINS {
            let config: Value = serde_json::from_str(config).unwrap();
            gateway.create("/services/api/plugins", json!({"name": name, "config": config})).await;
        }
        // Over HTTP/1.1.
        let mut client = TcpStream::connect(gateway.http).await.unwrap();
        client.write_all(b"GET /api HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut received = Vec::new();
        for event in ["data: one\n\n", "data: two\n\n"] {
            events.send(event).await.unwrap();
            while !String::from_utf8_lossy(&received).contains(event) {
                assert_ne!(soon(client.read_buf(&mut received)).await.unwrap(), 0, "{fields}: {event:?}");
            }
        }
        events.send("").await.unwrap();
        soon(client.read_to_end(&mut received)).await.unwrap();
        // Over HTTP/2, also for a request with a body.
        let connection = http2::Connection::open(gateway.https).await;
        for method in ["GET", "POST"] {
            let uri = format!("https://{}/api", gateway.https);
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            let (response, mut body) = connection.begin(request, method == "GET").await;
            if method == "POST" {
                body.send_data(Bytes::from_static(b"{}"), true).unwrap();
            }
            let mut response = soon(response).await.unwrap();
            for event in ["data: one\n\n", "data: two\n\n"] {
                events.send(event).await.unwrap();
                assert_eq!(soon(response.body_mut().data()).await.unwrap().unwrap(), event, "{fields} {method}");
            }
            events.send("").await.unwrap();
            assert!(soon(response.body_mut().data()).await.is_none_or(|last| last.is_ok_and(|last| last.is_empty())));
        }
    }
}
