//! Behaviour without free file descriptors.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate_tests::scenario::Api;
use tollgate_tests::{Findings, Gateway, Upstream, raw};

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a condition holds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Checks that the Admin API and the status listener respond as usual.
async fn check_control(gateway: &Gateway, findings: &mut Findings) {
    findings.compare("the Admin API", &200, &gateway.admin_get("/services").await.status);
    let ready = gateway.addresses.status.join("/status/ready").unwrap();
    // Separate connections, like probes.
    for _ in 0..3 {
        let probe = reqwest::Client::builder().no_proxy().build().unwrap();
        let status = probe.get(ready.clone()).send().await.map(|response| response.status().as_u16());
        findings.compare("the status listener", &Some(200), &status.ok());
    }
    let written = gateway.admin(Method::POST, "/services", json!({"host": "a.test"})).await;
    findings.compare("a write", &201, &written.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_wait_for_descriptors_while_admin_and_status_respond() {
    let gateway = Gateway::with_open_files(160).await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "open", &upstream).await;
    let mut clients = Vec::new();
    for _ in 0..300 {
        // The kernel accepts them even if the gateway does not.
        clients.push(TcpStream::connect(gateway.http).await.unwrap());
    }
    let exhausted = r#"connection="client""#;
    eventually("the shortage is counted", async || {
        gateway.metric("tollgate_descriptors_exhausted_total", &[exhausted]).await >= 1.0
    })
    .await;
    let mut findings = Findings::new();
    check_control(&gateway, &mut findings).await;
    let logged = gateway.output().contains("no file descriptor left for clients");
    findings.check("the log", if logged { Ok(()) } else { Err(gateway.output()) });
    findings.compare("the limit", &160.0, &gateway.metric("process_max_fds", &[]).await);
    let open = gateway.metric("process_open_fds", &[]).await;
    findings.check("some are left", if open < 160.0 { Ok(()) } else { Err(open.to_string()) });

    // An accepted connection is served.
    let first = &mut clients[0];
    first.write_all(b"GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut response = String::new();
    tokio::time::timeout(PATIENCE, first.read_to_string(&mut response)).await.unwrap().unwrap();
    findings.check("an accepted client", if response.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(response) });
    drop(clients);
    let after = raw::get(&gateway.http.to_string(), "/open/x", &[]).await;
    findings.compare("after others have closed", &200, &after.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_descriptor_for_their_upstream_get_503() {
    let gateway = Gateway::with_open_files(160).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let service = json!({"name": "silent", "host": "127.0.0.1", "port": address.port()});
    gateway.create("/services", service).await;
    gateway.create("/services/silent/routes", json!({"paths": ["/"]})).await;
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = silent.accept().await {
            held.push(socket);
        }
    });
    // All connect before any sends a request, so that few descriptors are left for upstreams.
    let mut clients = Vec::new();
    for _ in 0..150 {
        clients.push(TcpStream::connect(gateway.http).await.unwrap());
    }
    for client in &mut clients {
        client.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    }
    let exhausted = r#"connection="upstream""#;
    eventually("a request is refused", async || {
        gateway.metric("tollgate_descriptors_exhausted_total", &[exhausted]).await >= 1.0
    })
    .await;
    let mut findings = Findings::new();
    check_control(&gateway, &mut findings).await;
    eventually("a refusal is logged", async || gateway.output().contains("out_of_descriptors")).await;
    let mut responses = Vec::new();
    for client in &mut clients {
        let mut head = [0; 4096];
        if let Ok(Ok(length)) = tokio::time::timeout(Duration::from_millis(20), client.read(&mut head)).await {
            responses.push(String::from_utf8_lossy(&head[..length]).into_owned());
        }
    }
    let refused = responses.iter().filter(|response| response.starts_with("HTTP/1.1 503")).count();
    findings.compare("only 503 responses", &refused, &responses.len());
    let complete = responses.first().is_some_and(|response| {
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or_default();
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        head.to_lowercase().contains("retry-after: 1")
            && body["message"] == "The upstream server is currently unavailable"
    });
    findings.check("the message", if complete { Ok(()) } else { Err(format!("{:?}", responses.first())) });
}
