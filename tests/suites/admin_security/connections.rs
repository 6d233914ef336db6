//! What connections to the Admin API and to the status listener may cost, over raw sockets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tollgate_tests::http2::soon;

use super::*;

/// Both listeners of the operator, with a path that each has.
fn listeners(gateway: &Gateway) -> [(SocketAddr, &'static str); 2] {
    let address = |url: &url::Url| SocketAddr::from(([127, 0, 0, 1], url.port().expect("a port")));
    [(address(&gateway.addresses.admin), "/services"), (address(&gateway.addresses.status), "/status/ready")]
}

fn request(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

async fn connect(listener: SocketAddr) -> TcpStream {
    connect_from([127, 0, 0, 1], listener).await
}

async fn connect_from(client: [u8; 4], listener: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((client, 0))).unwrap();
    soon(socket.connect(listener)).await.expect("a listening gateway")
}

/// Sends this, then a byte now and then; everything that comes back until the connection is closed.
async fn drip(listener: SocketAddr, begin: &str, byte: &[u8]) -> String {
    let mut stream = connect(listener).await;
    stream.write_all(begin.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let talk = async {
        loop {
            tokio::select! {
                read = stream.read_buf(&mut received) => if !matches!(read, Ok(1..)) { break },
                () = tokio::time::sleep(Duration::from_millis(50)) => drop(stream.write_all(byte).await),
            }
        }
    };
    soon(talk).await;
    String::from_utf8_lossy(&received).into_owned()
}

/// What comes back until the connection is closed.
async fn exchange(mut stream: TcpStream, request: &str) -> String {
    let mut received = Vec::new();
    // Closed with unread bytes, it is reset.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = soon(stream.read_to_end(&mut received)).await;
    String::from_utf8_lossy(&received).into_owned()
}

fn statuses(responses: &str) -> Vec<&str> {
    responses.split("HTTP/1.1 ").skip(1).map(|response| &response[..3]).collect()
}

async fn reached(gateway: &Gateway, limit: &str) -> f64 {
    gateway.metric("tollgate_limit_reached_total", &[&format!("limit=\"{limit}\"")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_connection_ends_without_a_whole_head_in_time() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_PROXY_HEAD_TIMEOUT", "1s")]).await;
    for (listener, path) in listeners(&gateway) {
        let begun = format!("GET {path} HTTP/1.1\r\nX: ");
        let whole = request(path, "");
        let second = format!("{whole}{begun}");
        let (dripped, silent, idle, second) = tokio::join!(
            drip(listener, &begun, b"a"),
            drip(listener, "", b""),
            drip(listener, &whole, b""),
            drip(listener, &second, b"a"),
        );
        assert_eq!((dripped.as_str(), silent.as_str()), ("", ""), "{path}");
        assert_eq!((statuses(&idle), statuses(&second)), (vec!["200"], vec!["200"]), "{path}");
    }
    assert!(reached(&gateway, "client_timeout").await >= 4.0);
    assert_eq!(services(&gateway).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_head_has_a_size_and_a_number_of_fields() {
    let gateway = Gateway::on_sqlite().await;
    for (number, (listener, path)) in listeners(&gateway).into_iter().enumerate() {
        let fields = |count: usize| (0..count).map(|number| format!("X-{number}: a\r\n")).collect::<String>();
        let filler = |size: usize| format!("X: {}\r\n", "a".repeat(size));
        for (fields, expected) in [
            (fields(200), "200"),
            (fields(300), "431"),
            (filler(30_000), "200"),
            (filler(40_000), "431"),
            (filler(4_000_000), "431"),
        ] {
            let fields = format!("{fields}Connection: close\r\n");
            let response = exchange(connect(listener).await, &request(path, &fields)).await;
            // Whoever still sends when the connection is closed may not see why.
            let seen = statuses(&response);
            let unseen = seen.is_empty() && fields.len() > 1_000_000;
            assert!(seen == [expected] || unseen, "{path} {}: {response}", fields.len());
        }
        assert_eq!(reached(&gateway, "head").await, 3.0 * (number + 1) as f64, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_listener_has_a_number_of_connections_in_all_and_of_each_address() {
    let settings =
        [("TOLLGATE_LIMITS_OPERATOR_CONNECTIONS", "8"), ("TOLLGATE_LIMITS_OPERATOR_CONNECTIONS_PER_ADDRESS", "5")];
    let gateway = Gateway::on(Store::Sqlite, &settings).await;
    let addresses: [[u8; 4]; 3] = [[127, 0, 0, 2], [127, 0, 0, 3], [127, 0, 0, 4]];
    for (listener, path) in listeners(&gateway) {
        let request = request(path, "Connection: close\r\n");
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(connect_from(addresses[0], listener).await);
        }
        let refused = exchange(connect_from(addresses[0], listener).await, &request).await;
        assert_eq!(refused, "", "{path}: a sixth connection of one address");
        let other = exchange(connect_from(addresses[1], listener).await, &request).await;
        assert_eq!(statuses(&other), ["200"], "{path}: {other}");
        // The connections of this test's own client count as well.
        for _ in 0..3 {
            held.push(connect_from(addresses[1], listener).await);
        }
        let refused = exchange(connect_from(addresses[2], listener).await, &request).await;
        assert_eq!(refused, "", "{path}: a ninth connection");
        drop(held);
        let deadline = Instant::now() + PATIENCE;
        while statuses(&exchange(connect_from(addresses[0], listener).await, &request).await) != ["200"] {
            assert!(Instant::now() < deadline, "{path}: closed connections count");
        }
    }
    for limit in ["operator_connections", "operator_connections_per_address"] {
        assert!(reached(&gateway, limit).await >= 2.0, "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_connection_ends_if_its_responses_are_not_read() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_PROXY_WRITE_TIMEOUT", "1s")]).await;
    for (number, (listener, path)) in listeners(&gateway).into_iter().enumerate() {
        let path = if path == "/services" { "/schemas/services" } else { "/metrics" };
        let mut stream = connect(listener).await;
        // Requests until nothing more is taken, since the responses have nowhere to go.
        let requests = request(path, "").repeat(1000);
        soon(async { while stream.write_all(requests.as_bytes()).await.is_ok() {} }).await;
        assert_eq!(reached(&gateway, "write_timeout").await, (number + 1) as f64, "{path}");
    }
}
