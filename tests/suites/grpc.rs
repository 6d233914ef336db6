//! gRPC through the gateway, with clients and servers of two implementations (gateway.md §5, §6; oauth2.md §4.2).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Version};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tollgate_tests::grpc::{Caller, Implementation, Server};
use tollgate_tests::http2::{self, soon};
use tollgate_tests::scenario::{Application, every_grant};
use tollgate_tests::tls::Identity;
use tollgate_tests::{Authority, Findings, Gateway, Store};

use Implementation::{Node, Python};

/// Every kind of call, but those that end early.
const KINDS: [&str; 6] = ["unary", "failing", "collect", "expand", "chat", "refuse"];

/// A gateway whose plain listener takes HTTP/2 too, and which verifies no upstream.
async fn gateway(store: Store, settings: &[(&str, &str)]) -> Gateway {
    let always = [("TOLLGATE_PROXY_HTTP_LISTEN", "http2"), ("TOLLGATE_PROXY_UPSTREAM_TLS_VERIFY", "false")];
    Gateway::on(store, &[&always, settings].concat()).await
}

/// A service for this server, and routes to it: of gRPC for `test.Echo`, and of HTTP for its token endpoint.
async fn service(gateway: &Gateway, protocol: &str, server: &Server) {
    let (host, port) = (server.address.ip().to_string(), server.address.port());
    let service = json!({"name": "echo", "protocol": protocol, "host": host, "port": port});
    gateway.create("/services", service).await;
    let route = json!({"name": "calls", "protocols": ["grpc", "grpcs"], "paths": ["/test.Echo/"]});
    gateway.create("/services/echo/routes", route).await;
    gateway.create("/services/echo/routes", json!({"name": "tokens", "paths": ["/echo"]})).await;
}

/// Protects it, and returns a token of a client whose consumer is `caller`.
async fn protect(gateway: &Gateway) -> String {
    gateway.create("/services/echo/plugins", json!({"name": "oauth2", "config": every_grant()})).await;
    let caller = Application::register(gateway, "caller", json!({})).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", caller.id()),
        ("client_secret", caller.secret()),
        ("scope", "email"),
    ];
    let request = gateway.request(http::Method::POST, "/echo/oauth2/token").form(&form);
    gateway.send(request).await.expect(200).json()["access_token"].as_str().unwrap().to_owned()
}

/// A client of the gateway, over TLS or without.
fn client(gateway: &Gateway, implementation: Implementation, tls: bool, token: Option<&str>) -> Caller {
    Caller {
        implementation,
        address: if tls { gateway.https } else { gateway.http },
        authority: tls.then(|| gateway.certificate()),
        token: token.map(str::to_owned),
    }
}

/// The outcome of calls that reach the server as `caller`.
fn known(mut outcome: Value) -> Value {
    for call in ["unary", "failing"] {
        outcome[call]["user"] = json!("caller");
    }
    outcome
}

/// What came of a call that the gateway refuses.
fn refused(code: &str, message: &str) -> Value {
    json!({"code": code, "message": message})
}

async fn every_kind(store: Store) {
    let gateway = gateway(store, &[]).await;
    let server = Server::start(Python, None).await;
    service(&gateway, "grpc", &server).await;
    let token = protect(&gateway).await;
    let direct = Caller { implementation: Python, address: server.address, authority: None, token: None };
    let expected = known(direct.call(&KINDS).await);
    let through = |tls| client(&gateway, Python, tls, Some(&token));
    let over_tls = through(true);
    let in_clear = through(false);
    let (over_tls, in_clear) = tokio::join!(over_tls.call(&KINDS), in_clear.call(&KINDS));
    let mut findings = Findings::default();
    findings.compare("over TLS", &expected, &over_tls);
    findings.compare("without", &expected, &in_clear);
    drop(findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_every_kind_are_the_same_through_the_gateway_on_sqlite() {
    every_kind(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_every_kind_are_the_same_through_the_gateway_on_postgres() {
    every_kind(Store::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_servers_of_different_implementations_understand_each_other_over_tls() {
    let gateway = gateway(Store::Sqlite, &[]).await;
    let identity = Identity::issue(&[("CN", "localhost")], None);
    let server = Server::start(Node, Some(&identity)).await;
    service(&gateway, "grpcs", &server).await;
    let token = protect(&gateway).await;
    let call = |implementation| {
        let caller = client(&gateway, implementation, true, Some(&token));
        async move { caller.call(&KINDS).await }
    };
    let (python, node) = tokio::join!(call(Python), call(Node));
    let many = 200;
    let large = 64 * 1024;
    let expected = json!({
        "unary": {"response": "hello", "initial": "first", "user": "caller", "trailing": "last", "bytes": "00ff"},
        "failing": {
            "code": "FAILED_PRECONDITION", "message": "told to fail: 100% ü", "initial": "first", "user": "caller",
            "trailing": "last", "bytes": "00ff"
        },
        "collect": format!("{many} {}", many * large),
        "expand": format!("{many} True"),
        "chat": format!("{} {}", many + 3, many * large + 3),
        "refuse": refused("FAILED_PRECONDITION", "not now"),
    });
    let mut findings = Findings::default();
    findings.compare("grpcio", &expected, &python);
    findings.compare("grpc-js", &expected, &node);
    drop(findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_reach_a_call_as_its_status() {
    let gateway = gateway(Store::Sqlite, &[]).await;
    let server = Server::start(Python, None).await;
    service(&gateway, "grpc", &server).await;
    let token = protect(&gateway).await;
    let mut findings = Findings::default();
    for implementation in [Python, Node] {
        let call = |token: Option<&str>, calls: &'static [&'static str]| {
            let caller = client(&gateway, implementation, true, token);
            async move { caller.call(calls).await }
        };
        let unauthenticated = refused("UNAUTHENTICATED", "Unauthenticated");
        let expected = json!({"refuse": unauthenticated, "absent": refused("UNIMPLEMENTED", "no Route matched with those values")});
        findings.compare(&format!("{implementation:?}: no token"), &expected, &call(None, &["refuse", "absent"]).await);
        let outcome = call(Some("invalid"), &["refuse"]).await;
        findings.compare(&format!("{implementation:?}: no such token"), &json!({"refuse": unauthenticated}), &outcome);
    }
    let acl = gateway.create("/services/echo/plugins", json!({"name": "acl", "config": {"allow": ["others"]}})).await;
    let denied = client(&gateway, Python, true, Some(&token)).call(&["refuse"]).await;
    findings.compare(
        "acl",
        &json!({"refuse": refused("PERMISSION_DENIED", "You cannot consume this service")}),
        &denied,
    );
    gateway.delete(&format!("/plugins/{}", acl["id"].as_str().unwrap())).await;
    drop(server);
    let away = client(&gateway, Node, true, Some(&token)).call(&["refuse"]).await;
    let message = "An invalid response was received from the upstream server";
    findings.compare("no server", &json!({"refuse": refused("UNAVAILABLE", message)}), &away);
    drop(findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_token_cannot_be_checked_is_told_so() {
    let gateway = gateway(Store::Sqlite, &[]).await;
    let server = Server::start(Python, None).await;
    service(&gateway, "grpc", &server).await;
    let authority = Authority::start().await;
    authority.always_responds(Some(tollgate_tests::authority::Response::status("503 Service Unavailable")));
    let config =
        json!({"introspection_url": format!("{}/introspect", authority.url()), "authorization_value": "Basic x"});
    gateway.create("/services/echo/plugins", json!({"name": "oauth2-introspection", "config": config})).await;
    let outcome = client(&gateway, Python, true, Some("unknown-token")).call(&["refuse"]).await;
    assert_eq!(outcome["refuse"]["code"], "UNAVAILABLE", "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_has_its_status_in_headers_and_no_body() {
    let gateway = gateway(Store::Sqlite, &[]).await;
    let server = Server::start(Python, None).await;
    service(&gateway, "grpc", &server).await;
    protect(&gateway).await;
    let connection = http2::Connection::open(gateway.https).await;
    let mut shortest = Duration::MAX;
    for _ in 0..3 {
        // The call goes on: it is not ended before it is refused, and refused at once.
        let (response, _body) = connection.begin(call(&gateway, "Chat", &[]), false).await;
        let begun = Instant::now();
        let response = soon(response).await.unwrap();
        shortest = shortest.min(begun.elapsed());
        let of = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
        let said = ["grpc-status", "grpc-message", "content-type", "content-length"].map(of);
        assert_eq!(response.status(), 401);
        assert_eq!(said, ["16", "Unauthenticated", "application/grpc", "0"]);
        assert!(response.body().is_end_stream());
    }
    assert!(shortest < Duration::from_millis(900), "{shortest:?}");
}

/// A call with these further headers.
fn call(gateway: &Gateway, method: &str, headers: &[(&str, &str)]) -> Request<()> {
    let uri = format!("https://{}/test.Echo/{method}", gateway.https);
    let request = Request::post(uri).version(Version::HTTP_2).header("content-type", "application/grpc");
    headers
        .iter()
        .fold(request.header("te", "trailers"), |request, (name, value)| request.header(*name, *value))
        .body(())
        .unwrap()
}

/// A message of gRPC.
fn message(bytes: &[u8]) -> Bytes {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], bytes].concat().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_its_client_gives_up_ends_at_the_server() {
    for (clients, servers) in [(Python, Node), (Node, Python)] {
        let gateway = gateway(Store::Sqlite, &[]).await;
        let server = Server::start(servers, None).await;
        service(&gateway, "grpc", &server).await;
        let mut calling = client(&gateway, clients, true, None).begin(&["cancel"]);
        server.until_it_says("hanging").await;
        calling.cancel();
        assert_eq!(calling.outcome().await, json!({"cancel": "CANCELLED"}), "{clients:?}");
        server.until_it_says("ended").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_reaches_the_server_and_ends_the_call() {
    let gateway = gateway(Store::Sqlite, &[]).await;
    let server = Server::start(Python, None).await;
    service(&gateway, "grpc", &server).await;
    let outcome = client(&gateway, Node, false, None).call(&["deadline"]).await;
    assert_eq!(outcome, json!({"deadline": "DEADLINE_EXCEEDED"}));
    assert_eq!(server.until_it_says("hanging").await, "hanging 1");
    server.until_it_says("ended").await;
}

/// A server that takes calls and says nothing; it tells when one is reset.
async fn silent() -> (SocketAddr, tokio::sync::mpsc::Receiver<h2::Reason>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, (tell, told)) = (listener.local_addr().unwrap(), tokio::sync::mpsc::channel(8));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let tell = tell.clone();
                    tokio::spawn(async move {
                        let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
                        drop(request);
                        tell.send(reason).await.unwrap();
                    });
                }
            });
        }
    });
    (address, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_of_a_client_that_does_not_end_its_call_is_kept_by_the_gateway() {
    let gateway = gateway(Store::Sqlite, &[]).await;
    let (address, mut reset) = silent().await;
    let service = json!({"name": "echo", "protocol": "grpc", "host": "127.0.0.1", "port": address.port()});
    gateway.create("/services", service).await;
    let route = json!({"protocols": ["grpc", "grpcs"], "paths": ["/test.Echo/"]});
    gateway.create("/services/echo/routes", route).await;
    let connection = http2::Connection::open(gateway.https).await;
    let (response, mut body) = connection.begin(call(&gateway, "Hang", &[("grpc-timeout", "100m")]), false).await;
    body.send_data(message(b""), true).unwrap();
    let response = soon(response).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["grpc-status"].to_str().unwrap()), (504, "4"));
    assert_eq!(soon(reset.recv()).await, Some(h2::Reason::CANCEL));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_may_pause_for_longer_than_the_body_of_another_request() {
    let strict = [
        ("TOLLGATE_PROXY_READ_TIMEOUT", "1s"),
        ("TOLLGATE_LIMITS_BODY_MIN_RATE", "100000"),
        ("TOLLGATE_LIMITS_BODY_GRACE", "1s"),
    ];
    let gateway = gateway(Store::Sqlite, &strict).await;
    let server = Server::start(Python, None).await;
    service(&gateway, "grpc", &server).await;
    let connection = http2::Connection::open(gateway.https).await;
    let (response, mut body) = connection.begin(call(&gateway, "Chat", &[]), false).await;
    body.send_data(message(b"one"), false).unwrap();
    let mut response = soon(response).await.unwrap();
    assert_eq!(soon(response.body_mut().data()).await.unwrap().unwrap(), message(b"one"));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    body.send_data(message(b"two"), true).unwrap();
    assert_eq!(soon(response.body_mut().data()).await.unwrap().unwrap(), message(b"two"));
    let trailers = soon(response.body_mut().trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_which_neither_side_says_anything_ends_with_the_services_timeout() {
    let gateway = gateway(Store::Sqlite, &[]).await;
    let server = Server::start(Python, None).await;
    service(&gateway, "grpc", &server).await;
    gateway.change("/services/echo", json!({"read_timeout": 5000})).await;
    let connection = http2::Connection::open(gateway.https).await;
    let (response, mut body) = connection.begin(call(&gateway, "Collect", &[]), false).await;
    let begun = Instant::now();
    // The server says nothing before the end, and that is no silence.
    for _ in 0..3 {
        body.send_data(message(b"more"), false).unwrap();
        tokio::time::sleep(Duration::from_millis(2000)).await;
    }
    let response = soon(response).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["grpc-status"].to_str().unwrap()), (504, "4"));
    assert!(begun.elapsed() >= Duration::from_millis(4000 + 5000), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_of_grpcs_only_refuses_a_call_without_tls() {
    let gateway = gateway(Store::Sqlite, &[]).await;
    let server = Server::start(Python, None).await;
    service(&gateway, "grpc", &server).await;
    gateway.change("/routes/calls", json!({"protocols": ["grpcs"]})).await;
    let call = |tls| client(&gateway, Node, tls, None);
    let (clear, tls) = (call(false), call(true));
    let outcome = clear.call(&["refuse"]).await;
    assert_eq!(outcome, json!({"refuse": refused("CANCELLED", "gRPC request matched gRPCs route")}));
    assert_eq!(tls.call(&["refuse"]).await, json!({"refuse": refused("FAILED_PRECONDITION", "not now")}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_listener_with_http2_serves_http1_too_however_short_or_slow() {
    let gateway = gateway(Store::Sqlite, &[("TOLLGATE_PROXY_HEAD_TIMEOUT", "2s")]).await;
    let rows: [(&[&str], &str); 6] = [
        (&["GET / HTTP/1.0\r\n\r\n"], "HTTP/1.1 404 "),
        (&["P", "O", "ST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"], "HTTP/1.1 404 "),
        (&["PR", "I / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"], "HTTP/1.1 404 "),
        (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"], "HTTP/1.1 505 "),
        (&["\u{16}\u{3}\u{1}"], "HTTP/1.1 400 "),
        // Neither, and nothing more.
        (&["PR"], ""),
    ];
    let mut findings = Findings::default();
    for (pieces, expected) in rows {
        let mut client = tokio::net::TcpStream::connect(gateway.http).await.unwrap();
        client.set_nodelay(true).unwrap();
        for piece in pieces {
            client.write_all(piece.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut response = Vec::new();
        let _ = soon(client.read_to_end(&mut response)).await;
        let response = String::from_utf8_lossy(&response).into_owned();
        findings.compare(&pieces.concat(), &expected, &response.get(..expected.len()).unwrap_or(&response));
    }
    drop(findings);
}
