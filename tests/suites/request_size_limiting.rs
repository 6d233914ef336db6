//! Limits of request bodies, declared or not.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate_tests::recorder::{ScriptedResponse, When};
use tollgate_tests::scenario::Api;
use tollgate_tests::{Findings, Gateway, Recorder, Reply, Upstream, raw};

const EXCEEDED: &str = "Request size limit exceeded";

async fn limited(gateway: &Gateway, name: &str, upstream: &Upstream, config: Value) {
    Api::open(gateway, name, upstream).await;
    let plugin = json!({"name": "request-size-limiting", "config": config});
    gateway.create(&format!("/services/{name}/plugins"), plugin).await;
}

fn authority(gateway: &Gateway) -> String {
    gateway.plain_url("").trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// A request with these lines after its first ones.
async fn post(gateway: &Gateway, path: &str, rest: &str) -> Reply {
    let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{rest}");
    raw::exchange(&authority(gateway), request.as_bytes()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_however_its_length_is_known() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    limited(&gateway, "a", &upstream, json!({"allowed_payload_size": 10, "size_unit": "bytes"})).await;
    let config = json!({"allowed_payload_size": 1, "require_content_length": true});
    limited(&gateway, "b", &upstream, config).await;
    let mut findings = Findings::new();
    for (path, rest, status, message) in [
        ("/a/x", "Content-Length: 10\r\n\r\n0123456789", 200, None),
        ("/a/x", "Content-Length: 11\r\n\r\n0123456789a", 413, Some(EXCEEDED)),
        // Nothing of it is awaited.
        ("/a/x", "Content-Length: 11\r\nExpect: 100-continue\r\n\r\n", 417, Some(EXCEEDED)),
        ("/a/x", "Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", 200, None),
        ("/a/x", "Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n6\r\n56789a\r\n0\r\n\r\n", 413, Some(EXCEEDED)),
        ("/a/x", "\r\n", 200, None),
        ("/b/x", "\r\n", 411, Some("A valid Content-Length header is required")),
        ("/b/x", "Content-Length: 1\r\n\r\n0", 200, None),
        ("/b/x", "Transfer-Encoding: chunked\r\n\r\n1\r\n0\r\n0\r\n\r\n", 200, None),
    ] {
        let reply = post(&gateway, path, rest).await;
        let heard = if reply.status == 200 { Value::Null } else { reply.json()["message"].clone() };
        findings.compare(&format!("{path} {rest:?}"), &(status, json!(message)), &(reply.status, heard));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_receives_no_end_of_a_body_that_is_too_long() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Recorder::start(When::Complete, |_| ScriptedResponse::ok("")).await;
    gateway.create("/services", json!({"name": "a", "url": upstream.url()})).await;
    gateway.create("/services/a/routes", json!({"paths": ["/a"]})).await;
    let config = json!({"allowed_payload_size": 10, "size_unit": "bytes"});
    gateway.create("/services/a/plugins", json!({"name": "request-size-limiting", "config": config})).await;
    let reply =
        post(&gateway, "/a/x", "Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n6\r\n56789a\r\n0\r\n\r\n").await;
    assert_eq!((reply.status, reply.json()["message"].clone()), (413, json!(EXCEEDED)));
    assert_eq!(upstream.requests(), [], "no complete request");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_an_upgrade_is_no_body() {
    let gateway = Gateway::on_sqlite().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Switches protocols, then echoes.
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        until(&mut stream, "\r\n\r\n").await;
        let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(switching.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    gateway.create("/services", json!({"name": "a", "url": url})).await;
    gateway.create("/services/a/routes", json!({"paths": ["/a"]})).await;
    let config = json!({"allowed_payload_size": 1, "size_unit": "bytes"});
    gateway.create("/services/a/plugins", json!({"name": "request-size-limiting", "config": config})).await;
    let mut client = TcpStream::connect(authority(&gateway)).await.unwrap();
    let upgrade = "GET /a/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(upgrade.as_bytes()).await.unwrap();
    let head = until(&mut client, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.write_all(b"longer than a byte").await.unwrap();
    assert_eq!(until(&mut client, "byte").await, "longer than a byte");
    drop(client);
    upstream.abort();
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let read = async {
        let mut text = String::new();
        while !text.ends_with(end) {
            text.push(char::from(stream.read_u8().await.expect("more bytes")));
        }
        text
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("the end in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_is_rejected() {
    let gateway = Gateway::on_sqlite().await;
    let config = json!({"allowed_payload_size": -1, "size_unit": "bits"});
    let plugin = json!({"name": "request-size-limiting", "config": config});
    let reply = gateway.admin(Method::POST, "/plugins", plugin).await.expect(400);
    let units = "expected one of: megabytes, kilobytes, bytes";
    let faults = json!({"allowed_payload_size": "must not be negative", "size_unit": units});
    assert_eq!(reply.json()["fields"]["config"], faults);
}
