//! WebSocket: the handshake is a request like any other, and then bytes go both ways (docs/protocols.md).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_openssl::SslStream;
use tollgate_tests::http2::{self, soon};
use tollgate_tests::scenario::{Application, every_grant};
use tollgate_tests::{Gateway, raw};

/// ALPN of a client that speaks only HTTP/1.1.
const HTTP1: &[u8] = b"\x08http/1.1";

/// An upstream that accepts every handshake and then sends back what it gets, in capitals, until it is told `bye`. It
/// tells what it got on each connection once that has ended.
async fn shouting() -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, (tell, told)) = (listener.local_addr().unwrap(), mpsc::channel(8));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move { tell.send(shout(connection).await).await });
        }
    });
    (address, told)
}

async fn shout(mut connection: TcpStream) -> String {
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        if !connection.read_buf(&mut received).await.is_ok_and(|length| length > 0) {
            return String::new();
        }
    }
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    connection.write_all(switch.as_bytes()).await.unwrap();
    let (mut bytes, mut said) = ([0; 1024], String::new());
    while let Ok(length @ 1..) = connection.read(&mut bytes).await {
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        said.push_str(&text);
        if text.contains("bye") || connection.write_all(text.to_uppercase().as_bytes()).await.is_err() {
            break;
        }
    }
    said
}

/// A service of it that needs a token, and a token.
async fn protected(gateway: &Gateway, upstream: SocketAddr) -> String {
    let service = json!({"name": "chat", "url": format!("http://{upstream}"), "retries": 0});
    gateway.create("/services", service).await;
    gateway.create("/services/chat/routes", json!({"paths": ["/chat"]})).await;
    gateway.create("/services/chat/plugins", json!({"name": "oauth2", "config": every_grant()})).await;
    let client = Application::register(gateway, "client", json!({})).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client.id()),
        ("client_secret", client.secret()),
        ("scope", "email"),
    ];
    let request = gateway.request(http::Method::POST, "/chat/oauth2/token").form(&form);
    gateway.send(request).await.expect(200).json()["access_token"].as_str().unwrap().to_owned()
}

/// A handshake over TLS: its stream, and the head of the response.
async fn handshake(gateway: &Gateway, target: &str, header: &str) -> (SslStream<TcpStream>, String) {
    let mut stream = http2::tls(gateway.https, HTTP1).await;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: a.test\r\n{header}Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        assert_ne!(soon(stream.read_buf(&mut head)).await.unwrap(), 0);
    }
    (stream, String::from_utf8(head).unwrap())
}

/// Sends a text and waits for it to come back.
async fn echoed(stream: &mut SslStream<TcpStream>, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut back = vec![0; text.len()];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(String::from_utf8(back).unwrap(), text.to_uppercase());
}

on_both_stores! {
    async fn a_handshake_needs_a_token_and_keeps_what_it_opened(gateway: Gateway) {
        let (upstream, mut told) = shouting().await;
        let token = protected(&gateway, upstream).await;
        let bearer = format!("Authorization: Bearer {token}\r\n");
        for (target, header) in [("/chat", ""), ("/chat?access_token=unknown", "")] {
            let (_, head) = handshake(&gateway, target, header).await;
            assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
        }
        // A browser cannot set a header: the token may be in the query.
        let (mut first, head) = handshake(&gateway, "/chat", &bearer).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let (mut second, head) = handshake(&gateway, &format!("/chat?access_token={token}"), "").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        echoed(&mut first, "one").await;
        echoed(&mut second, "two").await;
        // The token is checked in the handshake: what is open stays open.
        gateway.delete(&format!("/oauth2_tokens/{token}")).await;
        let (_, head) = handshake(&gateway, "/chat", &bearer).await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
        echoed(&mut first, "three").await;
        // Either side ends it, and the other hears of it.
        drop(second);
        assert_eq!(soon(told.recv()).await.unwrap(), "two");
        first.write_all(b"bye").await.unwrap();
        assert_eq!(soon(told.recv()).await.unwrap(), "onethreebye");
        assert_eq!(soon(first.read(&mut [0; 8])).await.unwrap_or_default(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_the_upstream_says_nothing_ends_with_its_services_timeout() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, mut told) = shouting().await;
    let token = protected(&gateway, upstream).await;
    gateway.change("/services/chat", json!({"read_timeout": 3000})).await;
    let (mut stream, _) = handshake(&gateway, "/chat", &format!("Authorization: Bearer {token}\r\n")).await;
    let begun = Instant::now();
    for _ in 0..3 {
        echoed(&mut stream, "on").await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    assert_eq!(soon(stream.read(&mut [0; 8])).await.unwrap_or_default(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(2400 + 2900), "{:?}", begun.elapsed());
    assert_eq!(soon(told.recv()).await.unwrap(), "ononon");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_a_handshake_is_refused() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, _told) = shouting().await;
    protected(&gateway, upstream).await;
    // SETTINGS_ENABLE_CONNECT_PROTOCOL is not announced (RFC 8441 §3), so clients use HTTP/1.1.
    let (requests, connection) = h2::client::handshake(http2::tls(gateway.https, http2::H2).await).await.unwrap();
    let task = tokio::spawn(connection);
    let mut requests = soon(requests.ready()).await.unwrap();
    let request = http::Request::get(format!("https://{}/none", gateway.https)).body(()).unwrap();
    assert_eq!(soon(requests.send_request(request, true).unwrap().0).await.unwrap().status(), 404);
    assert!(!requests.is_extended_connect_protocol_enabled());
    task.abort();
    let connect = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let reply = raw::exchange(&gateway.http.to_string(), connect.as_bytes()).await.expect("a response");
    assert_eq!(reply.status, 405);
}
