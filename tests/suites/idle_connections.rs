//! What idle client connections cost: the figures of docs/sizing.md.

use std::time::Duration;

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_tests::gateway::Store;
use tollgate_tests::{Findings, Gateway, http2};

const CONNECTIONS: u32 = 400;

/// Connections before those that are measured: buffers and tables that all share are there then.
const BEFORE: u32 = 50;

/// The machine may be busy, and connections are to be open at once.
const SETTINGS: [(&str, &str); 2] =
    [("TOLLGATE_PROXY_KEEPALIVE_TIMEOUT", "10m"), ("TOLLGATE_PROXY_HEAD_TIMEOUT", "10m")];

/// A connection that is kept.
type Kept = Box<dyn std::any::Any + Send>;

/// Sends a request over HTTP/1.1, to which the gateway responds itself.
async fn one_request<S: AsyncReadExt + AsyncWriteExt + Unpin>(stream: &mut S) {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: idle.test\r\n\r\n").await.unwrap();
    let (mut response, mut chunk) = (Vec::new(), [0; 4096]);
    while !response.ends_with(b"}") {
        let length = stream.read(&mut chunk).await.unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&response));
        response.extend_from_slice(&chunk[..length]);
    }
}

async fn connect(gateway: &Gateway, kind: &str) -> Kept {
    match kind {
        "no request yet" => Box::new(TcpStream::connect(gateway.http).await.unwrap()),
        "HTTP/1.1" => {
            let mut stream = TcpStream::connect(gateway.http).await.unwrap();
            one_request(&mut stream).await;
            Box::new(stream)
        }
        "HTTP/1.1 over TLS" => {
            let mut stream = http2::tls(gateway.https, b"\x08http/1.1").await;
            one_request(&mut stream).await;
            Box::new(stream)
        }
        _ => {
            let connection = http2::Connection::open(gateway.https).await;
            let request = Request::get("https://idle.test/").body(()).unwrap();
            let (response, _) = connection.begin(request, true).await;
            assert_eq!(http2::soon(response).await.unwrap().status().as_u16(), 404);
            Box::new(connection)
        }
    }
}

/// Bytes for each of so many connections, above the memory before. Bounds are twice what docs/sizing.md says.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_take_bounded_memory() {
    let mut findings = Findings::new();
    for (kind, most) in [("no request yet", 58), ("HTTP/1.1", 78), ("HTTP/1.1 over TLS", 108), ("HTTP/2 over TLS", 108)]
    {
        let gateway = Gateway::on(Store::Sqlite, &SETTINGS).await;
        let memory = async || gateway.metric("process_resident_memory_bytes", &[]).await;
        let mut kept = Vec::new();
        for _ in 0..BEFORE {
            kept.push(connect(&gateway, kind).await);
        }
        let before = memory().await;
        for _ in 0..CONNECTIONS {
            kept.push(connect(&gateway, kind).await);
        }
        let listener = if kind.ends_with("TLS") { r#"listener="https""# } else { r#"listener="http""# };
        let all = async {
            while gateway.metric("tollgate_connections_open", &[listener]).await < f64::from(BEFORE + CONNECTIONS) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("all connections are open");
        let each = (memory().await - before) / f64::from(CONNECTIONS) / 1024.0;
        println!("{kind}: {each:.1} KiB");
        let within = each > 1.0 && each < f64::from(most);
        findings.check(kind, if within { Ok(()) } else { Err(format!("{each:.1} KiB, at most {most}")) });
    }
}
