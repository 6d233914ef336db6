//! What idle client connections cost: the figures of docs/sizing.md.

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_tests::{Findings, Gateway, http2};

const CONNECTIONS: usize = 1000;

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
        let gateway = Gateway::on_sqlite().await;
        let memory = async || gateway.metric("process_resident_memory_bytes", &[]).await;
        let mut kept = Vec::new();
        for _ in 0..50 {
            kept.push(connect(&gateway, kind).await);
        }
        let before = memory().await;
        for _ in 0..CONNECTIONS {
            kept.push(connect(&gateway, kind).await);
        }
        let open = |metrics: &str| {
            let of = metrics.lines().filter_map(|line| line.strip_prefix("tollgate_connections_open{"));
            of.filter_map(|line| line.split_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
        };
        while open(&gateway.metrics().await) < 1050.0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let each = (memory().await - before) / f64::from(u32::try_from(CONNECTIONS).unwrap()) / 1024.0;
        println!("{kind}: {each:.1} KiB");
        let within = each > 1.0 && each < f64::from(most);
        findings.check(kind, if within { Ok(()) } else { Err(format!("{each:.1} KiB, at most {most}")) });
    }
}
