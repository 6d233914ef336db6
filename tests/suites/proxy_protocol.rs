//! The PROXY protocol: whose connection it is, said by a proxy in front, and to an upstream (docs/protocols.md).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tollgate_tests::raw;
use tollgate_tests::recorder::{ScriptedResponse, When};
use tollgate_tests::scenario::Api;
use tollgate_tests::web_server::{Kind, WebServer};
use tollgate_tests::{Findings, Gateway, Recorder, Reply, Store, Upstream};

use crate::nodes;

const PATIENCE: Duration = Duration::from_secs(20);

/// Both listeners believe PROXY headers from this machine.
const BELIEVING: [(&str, &str); 3] = [
    ("TOLLGATE_PROXY_HTTP_LISTEN", "proxy_protocol http2"),
    ("TOLLGATE_PROXY_HTTPS_LISTEN", "proxy_protocol"),
    ("TOLLGATE_TRUSTED_IPS", "127.0.0.1"),
];

async fn believing(settings: &[(&str, &str)]) -> Gateway {
    Gateway::on(Store::Sqlite, &[&BELIEVING, settings].concat()).await
}

async fn within(what: &str, holds: impl AsyncFn() -> bool) {
    nodes::within(PATIENCE, what, holds).await;
}

const GET: &str = "GET /api/x HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                   X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";

fn v1(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 127.0.0.1 1234 443\r\n").into_bytes()
}

fn v2(command: u8, source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11, 0, 12]);
    header.extend(source);
    header.extend([127, 0, 0, 1, 0x04, 0xd2, 0x01, 0xbb]);
    header
}

/// Sends a PROXY header and then a request, over TLS or not, from this address; reads until the gateway closes.
async fn send(address: SocketAddr, tls: bool, from: &str, header: Vec<u8>, request: &str) -> Option<Reply> {
    let request = request.to_owned();
    let from: SocketAddr = format!("{from}:0").parse().unwrap();
    let talk = move || {
        let socket = connect_from(from, address);
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (&socket).write_all(&header).ok()?;
        let mut response = Vec::new();
        if tls {
            let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
            connector.set_verify(SslVerifyMode::NONE);
            let mut stream = connector.build().connect("localhost", socket).ok()?;
            stream.write_all(request.as_bytes()).ok()?;
            let _ = stream.read_to_end(&mut response);
        } else {
            (&socket).write_all(request.as_bytes()).ok()?;
            let _ = (&socket).read_to_end(&mut response);
        }
        raw::parse(&response)
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

/// A connection from this address of the machine.
fn connect_from(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let connected = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(from).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    connected.set_nonblocking(false).unwrap();
    connected
}

/// What the upstream was told of the client.
fn told(reply: &Reply) -> Value {
    let headers = &reply.json()["headers"];
    let of = |name: &str| headers[name][0].clone();
    json!([of("x-real-ip"), of("x-forwarded-for"), of("x-forwarded-proto")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_from_a_trusted_proxy_names_the_client_on_both_listeners() {
    let gateway = believing(&[]).await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "api", &upstream).await;
    let mut findings = Findings::default();
    for (listener, tls) in [(gateway.http, false), (gateway.https, true)] {
        let scheme = if tls { "https" } else { "http" };
        for (name, header) in [("v1", v1("203.0.113.7")), ("v2", v2(1, [203, 0, 113, 7]))] {
            let reply = send(listener, tls, "127.0.0.1", header, GET).await.expect("a response");
            // The client is not trusted, so what it claims is not believed.
            let expected = json!(["203.0.113.7", "6.6.6.6, 203.0.113.7", scheme]);
            findings.compare(&format!("{scheme} {name}"), &expected, &told(&reply));
        }
        // The proxy's own connection: it is trusted, and so is what it says.
        for (name, header) in [("LOCAL", v2(0, [0; 4])), ("UNKNOWN", b"PROXY UNKNOWN\r\n".to_vec())] {
            let reply = send(listener, tls, "127.0.0.1", header, GET).await.expect("a response");
            findings.compare(name, &json!(["6.6.6.6", "6.6.6.6, 127.0.0.1", "https"]), &told(&reply));
        }
    }
    drop(findings);
    // Another thread writes the access log.
    let deadline = Instant::now() + PATIENCE;
    while !gateway.output().contains("203.0.113.7") {
        assert!(Instant::now() < deadline, "the access log names the client:\n{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_trusted_or_sends_no_valid_header_is_closed() {
    let gateway = believing(&[("TOLLGATE_LIMITS_TLS_HANDSHAKE_TIMEOUT", "1s")]).await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "api", &upstream).await;
    let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
    let mut findings = Findings::default();
    for (listener, tls) in [(gateway.http, false), (gateway.https, true)] {
        let rows = [
            ("no header", "127.0.0.1", Vec::new()),
            ("not trusted", "127.0.0.2", v1("203.0.113.7")),
            ("not valid", "127.0.0.1", b"PROXY TCP4 1.2.3.4 1.2.3.4 x 1\r\n".to_vec()),
            ("version 3", "127.0.0.1", v2(0x10, [1, 2, 3, 4])),
            ("too long", "127.0.0.1", long.clone()),
        ];
        for (name, from, header) in rows {
            let reply = send(listener, tls, from, header, GET).await.map(|reply| reply.status);
            findings.compare(&format!("{name}, TLS {tls}"), &None, &reply);
        }
    }
    drop(findings);
    assert_eq!(upstream.requests(), 0);
    let closed = gateway.metric("tollgate_limit_reached_total", &["limit=\"proxy_protocol\""]).await;
    assert!((closed - 10.0).abs() < 0.5, "{closed}");
    // A header that does not end is waited for as long as a handshake.
    let begun = Instant::now();
    let slow = send(gateway.http, false, "127.0.0.1", b"PROXY TCP4 1.2.3.4".to_vec(), "").await;
    assert!(slow.is_none() && begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < PATIENCE / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_and_limits_go_by_the_client_that_a_header_names() {
    let gateway = believing(&[]).await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "api", &upstream).await;
    let denied = json!({"name": "ip-restriction", "config": {"deny": ["203.0.113.7"]}});
    gateway.create("/services/api/plugins", denied).await;
    let limited = json!({"name": "rate-limiting", "config": {"minute": 1, "limit_by": "ip", "policy": "local"}});
    gateway.create("/services/api/plugins", limited).await;
    let ask = async |gateway: &Gateway, source: &str| {
        send(gateway.http, false, "127.0.0.1", v1(source), GET).await.map_or(0, |reply| reply.status)
    };
    for (source, expected) in [("203.0.113.7", 403), ("203.0.113.8", 200), ("203.0.113.8", 429), ("203.0.113.9", 200)] {
        assert_eq!(ask(&gateway, source).await, expected, "{source}");
    }
    // One client, one connection: the proxy has as many as it wants.
    let gateway = believing(&[("TOLLGATE_LIMITS_CONNECTIONS_PER_ADDRESS", "1")]).await;
    Api::open(&gateway, "api", &upstream).await;
    let mut held = tokio::net::TcpStream::connect(gateway.http).await.unwrap();
    held.write_all(&v1("203.0.113.10")).await.unwrap();
    held.write_all(b"GET /api/x HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    // It is served, and so it counts.
    assert_eq!(held.read_u8().await.unwrap(), b'H');
    assert_eq!(ask(&gateway, "203.0.113.10").await, 0, "a second connection of one client");
    assert_eq!(ask(&gateway, "203.0.113.11").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_follows_a_header_and_plain_http_on_the_tls_listener_is_noticed_after_one() {
    let gateway = believing(&[]).await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "api", &upstream).await;
    let mut socket = tokio::net::TcpStream::connect(gateway.http).await.unwrap();
    socket.write_all(&v1("203.0.113.7")).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(socket).await.unwrap();
    let task = tokio::spawn(connection);
    let request = http::Request::get(format!("http://{}/api/x", gateway.http)).body(()).unwrap();
    let (response, _) = requests.send_request(request, true).unwrap();
    let mut response = tollgate_tests::http2::soon(response).await.unwrap();
    let body = tollgate_tests::http2::soon(response.body_mut().data()).await.unwrap().unwrap();
    let echoed: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(echoed["headers"]["x-real-ip"], json!(["203.0.113.7"]));
    task.abort();
    let reply = send(gateway.https, false, "127.0.0.1", v1("203.0.113.7"), GET).await.expect("a response");
    assert_eq!(reply.status, 400, "{}", reply.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_says_whose_connections_it_passes_on() {
    let gateway = believing(&[]).await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "api", &upstream).await;
    let mut findings = Findings::default();
    for (name, option) in
        [("v1", "send-proxy"), ("v2", "send-proxy-v2"), ("v2 with a checksum", "send-proxy-v2 proxy-v2-options crc32c")]
    {
        for (listener, tls) in [(gateway.http, false), (gateway.https, true)] {
            let haproxy = WebServer::start(Kind::HaproxyPassing(option), listener);
            let reply = send(haproxy.address(), tls, "127.0.0.77", Vec::new(), GET).await.expect("a response");
            let scheme = if tls { "https" } else { "http" };
            let expected = json!(["127.0.0.77", "6.6.6.6, 127.0.0.77", scheme]);
            findings.compare(&format!("{name}, {scheme}"), &expected, &told(&reply));
        }
    }
    drop(findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_are_told_whose_requests_their_connections_carry() {
    for (version, expected) in [("v1", "PROXY TCP4 127.0.0.5 "), ("v2", "\r\n\r\n\0\r\nQUIT\n")] {
        let settings = [
            ("TOLLGATE_PROXY_UPSTREAM_PROXY_PROTOCOL", version),
            ("TOLLGATE_PROXY_UPSTREAM_PROXY_PROTOCOL_SERVICES", "told"),
        ];
        let gateway = Gateway::on(Store::Sqlite, &settings).await;
        // It takes what is no request line for a request that is to be answered: the gateway hears 400.
        let recorder = Recorder::start(When::Complete, |_| ScriptedResponse::ok("ok")).await;
        for name in ["told", "other"] {
            gateway.create("/services", json!({"name": name, "url": recorder.url(), "retries": 0})).await;
            gateway.create(&format!("/services/{name}/routes"), json!({"paths": [format!("/{name}")]})).await;
        }
        let request = |name: &str| format!("GET /{name} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let (told, other) = (request("told"), request("other"));
        send(gateway.http, false, "127.0.0.5", Vec::new(), &told).await;
        send(gateway.http, false, "127.0.0.5", Vec::new(), &other).await;
        let bytes = recorder.bytes();
        assert!(bytes[0].starts_with(expected), "{version}: {:?}", bytes[0]);
        assert!(bytes[1].starts_with("GET / "), "{version}: {:?}", bytes[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_told_reads_it_and_no_connection_serves_two_clients() {
    let upstream = Upstream::start().await;
    let receiving = believing(&[]).await;
    Api::open(&receiving, "api", &upstream).await;
    let mut findings = Findings::default();
    for version in ["v1", "v2"] {
        let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_PROXY_UPSTREAM_PROXY_PROTOCOL", version)]).await;
        for (name, url) in [("plain", receiving.plain_url("/api")), ("tls", receiving.url("/api"))] {
            let service =
                json!({"name": name, "url": url, "tls_verify": if name == "tls" { json!(false) } else { json!(null) }});
            gateway.create("/services", service).await;
            gateway.create(&format!("/services/{name}/routes"), json!({"paths": [format!("/{name}")]})).await;
        }
        for name in ["plain", "tls"] {
            for client in ["127.0.0.5", "127.0.0.6", "127.0.0.5"] {
                let get = format!("GET /{name}/x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
                let reply = send(gateway.http, false, client, Vec::new(), &get).await;
                let reply = reply.expect("a response");
                findings.compare(
                    &format!("{version} {name}"),
                    &json!(client),
                    &reply.json()["headers"]["x-real-ip"][0],
                );
            }
        }
    }
    drop(findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_reads_what_upstreams_are_told() {
    for version in ["v1", "v2"] {
        let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_PROXY_UPSTREAM_PROXY_PROTOCOL", version)]).await;
        let upstream = Upstream::start().await;
        let haproxy = WebServer::start(Kind::HaproxyTold, upstream.authority().parse().unwrap());
        gateway.create("/services", json!({"name": "api", "url": haproxy.url()})).await;
        gateway.create("/services/api/routes", json!({"paths": ["/api"]})).await;
        let reply = send(gateway.http, false, "127.0.0.5", Vec::new(), GET).await.expect("a response");
        assert_eq!(reply.json()["headers"]["x-seen"], json!(["127.0.0.5"]), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_say_that_they_are_nobodys_requests() {
    // It closes connections without a header; what has one gets 404 on every path.
    let target = believing(&[]).await;
    let check = |kind: &str, interval: f64| {
        let healthy = json!({"interval": interval, "successes": 1, "http_statuses": [404]});
        let unhealthy = json!({"interval": interval, "tcp_failures": 1, "http_failures": 1, "timeouts": 5});
        json!({"active": {"type": kind, "https_verify_certificate": false, "healthy": healthy, "unhealthy": unhealthy}})
    };
    for version in ["v1", "v2"] {
        let settings = [
            ("TOLLGATE_PROXY_UPSTREAM_PROXY_PROTOCOL", version),
            ("TOLLGATE_PROXY_UPSTREAM_PROXY_PROTOCOL_SERVICES", "told"),
        ];
        let gateway = Gateway::on(Store::Sqlite, &settings).await;
        let recorder = Recorder::start(When::Complete, |_| ScriptedResponse::ok("ok")).await;
        let targets =
            [("http", target.http), ("https", target.https), ("grpc", target.http), ("tcp", recorder.address())];
        for (kind, address) in targets {
            let upstream = json!({"name": format!("{kind}.upstream"), "healthchecks": check(kind, 0.0)});
            gateway.create("/upstreams", upstream).await;
            let path = format!("/upstreams/{kind}.upstream/targets");
            gateway.create(&path, json!({"target": address.to_string()})).await;
        }
        let service = json!({"name": "told", "host": "http.upstream"});
        gateway.create("/services", service).await;
        let health = async |kind: &str| {
            let shown = gateway.admin_get(&format!("/upstreams/{kind}.upstream/health")).await.expect(200).json();
            shown["data"][0]["health"].as_str().unwrap().to_owned()
        };
        for kind in ["http", "https", "grpc", "tcp"] {
            // No service goes there that is told, so its targets require no header.
            gateway.change("/services/told", json!({"host": "elsewhere.test"})).await;
            let path = format!("/upstreams/{kind}.upstream");
            gateway.change(&path, json!({"healthchecks": check(kind, 0.1)})).await;
            let untold = if kind == "tcp" { "HEALTHY" } else { "UNHEALTHY" };
            within(&format!("{version}, {kind}, untold"), async || health(kind).await == untold).await;
            gateway.change("/services/told", json!({"host": format!("{kind}.upstream")})).await;
            within(&format!("{version}, {kind}, told"), async || health(kind).await == "HEALTHY").await;
        }
        let expected = if version == "v1" { "PROXY UNKNOWN\r\n" } else { "\r\n\r\n\0\r\nQUIT\n \0\0\0" };
        within("a connection that is told", async || recorder.bytes().iter().any(|bytes| bytes == expected)).await;
        assert_eq!(recorder.bytes()[0], "", "{version}: a connection before that");
    }
}
