//! Equivalent spellings reach the same route with its plugins; ambiguous ones are refused.

use std::net::SocketAddr;
use std::pin::Pin;

use http::{Method, Request};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Findings, Gateway, Reply, Store, Upstream, raw};

/// Requests that match the protected route get 401; requests that miss it get 200 from `/`.
const PROTECTED: u16 = 401;
const PASSED_BY: u16 = 200;
const REFUSED: u16 = 400;

/// A route with these criteria and an oauth2 plugin, and a catch-all route without plugins.
async fn protect(gateway: &Gateway, upstream: &Upstream, criteria: &Value) -> Value {
    gateway.create("/services", json!({"name": "open", "url": upstream.url()})).await;
    gateway.create("/services/open/routes", json!({"paths": ["/"], "preserve_host": true})).await;
    gateway.create("/services", json!({"name": "protected", "url": upstream.url()})).await;
    let plugin = json!({"name": "oauth2", "config": {"enable_client_credentials": true}});
    gateway.create("/services/protected/plugins", plugin).await;
    gateway.create("/services/protected/routes", criteria.clone()).await
}

const HOSTS: [&str; 7] =
    ["Secure.Test", "*.Wild.test", "wild.*", "[0::1]", "port.test:8443", "own.test:80", "secure-own.test:443"];

const ASKED: [(&str, u16); 42] = [
    ("secure.test", PROTECTED),
    ("Secure.Test", PROTECTED),
    ("SECURE.TEST", PROTECTED),
    ("secure.test.", PROTECTED),
    ("secure.test:", PROTECTED),
    ("SECURE.test.:0080", PROTECTED),
    ("secure.test:81", PROTECTED),
    ("x.wild.test", PROTECTED),
    ("X.Y.WILD.TEST.", PROTECTED),
    ("Wild.Example.", PROTECTED),
    ("wildest.example", PASSED_BY),
    ("[::1]", PROTECTED),
    ("[0:0:0:0:0:0:0:1]:99", PROTECTED),
    ("[0000::0001]:", PROTECTED),
    ("[::2]", PASSED_BY),
    ("port.test:8443", PROTECTED),
    ("PORT.test.:08443", PROTECTED),
    ("port.test:8444", PASSED_BY),
    ("port.test", PASSED_BY),
    ("own.test:81", PASSED_BY),
    ("other.test", PASSED_BY),
    ("secure.test.other", PASSED_BY),
    ("secure.test:80:80", REFUSED),
    ("secure.test:http", REFUSED),
    ("secure.test:+80", REFUSED),
    ("secure.test:65536", REFUSED),
    ("secure.test..", REFUSED),
    ("secure..test", REFUSED),
    (".secure.test", REFUSED),
    ("secure%2etest", REFUSED),
    ("%73ecure.test", REFUSED),
    ("secure.test,other.test", REFUSED),
    ("s\u{e9}cure.test", REFUSED),
    ("user@secure.test", REFUSED),
    ("::1", REFUSED),
    ("[::1%25lo]", REFUSED),
    ("[::1", REFUSED),
    ("127.1", REFUSED),
    ("0x7f.0.0.1", REFUSED),
    ("2130706433", REFUSED),
    ("127.0.0.01", REFUSED),
    ("", REFUSED),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_host_reaches_its_route_in_every_spelling() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let route = protect(&gateway, &upstream, &json!({"hosts": HOSTS, "paths": ["/"]})).await;
    let mut findings = Findings::new();
    findings.compare("the Admin API shows hosts as they were written", &json!(HOSTS), &route["hosts"]);
    // The scheme's default port equals none.
    let own = [("own.test", PROTECTED), ("OWN.test.:080", PROTECTED), ("secure-own.test:443", PROTECTED)];
    let not_own = [("secure-own.test", PASSED_BY)];
    for (host, expected) in ASKED.iter().chain(&own).chain(&not_own) {
        let reply = raw::get(&gateway.http.to_string(), "/x", &[("Host", host)]).await;
        findings.compare(&format!("Host: {host}"), expected, &reply.status);
        let absolute = raw::get(&gateway.http.to_string(), &format!("http://{host}/x"), &[("Host", host)]).await;
        if !host.is_empty() {
            findings.compare(&format!("http://{host}/x"), expected, &absolute.status);
        }
    }
    let refused = raw::get(&gateway.http.to_string(), "/x", &[("Host", "secure.test:80:80")]).await;
    findings.check("the log", logged(&gateway, "bad_host", &refused).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_reaches_its_route_in_every_spelling_over_http2() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protect(&gateway, &upstream, &json!({"hosts": HOSTS, "paths": ["/"]})).await;
    let mut findings = Findings::new();
    let own = [("secure-own.test", PROTECTED), ("SECURE-own.test.:443", PROTECTED), ("own.test", PASSED_BY)];
    for (host, expected) in ASKED.iter().chain(&own) {
        // Some are not valid authorities and cannot be sent.
        if let Some(status) = over_http2(gateway.https, "GET", host, &[]).await {
            // A reset stream counts as refused.
            findings.compare(&format!(":authority {host}"), expected, &status);
        }
    }
    for method in ["get", "Get", "trace", "cONNECT"] {
        findings.compare(method, &Some(REFUSED), &over_http2(gateway.https, method, "secure.test", &[]).await);
    }
    let twice = [("authorization", "Bearer x"), ("authorization", "Bearer x")];
    findings.compare("two tokens", &Some(400), &over_http2(gateway.https, "GET", "other.test", &twice).await);
}

/// The status of a response; 400 if the stream is reset, `None` if the request cannot be sent.
async fn over_http2(address: SocketAddr, method: &str, authority: &str, headers: &[(&str, &str)]) -> Option<u16> {
    let uri = http::Uri::builder().scheme("https").authority(authority).path_and_query("/x").build().ok()?;
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_alpn_protos(b"\x02h2").unwrap();
    let offer = connector.build().configure().unwrap().verify_hostname(false).into_ssl("localhost").unwrap();
    let mut stream = SslStream::new(offer, TcpStream::connect(address).await.unwrap()).unwrap();
    Pin::new(&mut stream).connect().await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let (response, _) = requests.ready().await.unwrap().send_request(request.body(()).unwrap(), true).ok()?;
    let status = response.await.map_or(REFUSED, |response| response.status().as_u16());
    connection.abort();
    Some(status)
}

/// Whether the access log gives this reason for a response.
async fn logged(gateway: &Gateway, reason: &str, reply: &Reply) -> Result<(), String> {
    let id = reply.header("x-kong-request-id").unwrap_or_default();
    for _ in 0..500 {
        if gateway.output().lines().any(|line| line.contains(reason) && line.contains(&id)) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Err(format!("{reason} of {id} is not in the log"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_host_as_sent_and_in_normal_form() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protect(&gateway, &upstream, &json!({"hosts": HOSTS, "paths": ["/"]})).await;
    let mut findings = Findings::new();
    let rows = [
        ("Other.TEST.:0080", "other.test"),
        ("[0::2]:99", "[::2]"),
        ("other.test", "other.test"),
        ("127.0.0.1.", "127.0.0.1"),
    ];
    for (host, normal) in rows {
        let seen = raw::get(&gateway.http.to_string(), "/x", &[("Host", host)]).await.content();
        findings.compare("Host, preserved", &json!([host]), &seen["headers"]["host"]);
        findings.compare("X-Forwarded-Host", &json!([normal]), &seen["headers"]["x-forwarded-host"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_and_headers_reach_their_route_in_every_spelling() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let criteria = json!({"methods": ["GET", "POST"], "headers": {"X-Tier": ["Gold", "~*^sil"]}});
    protect(&gateway, &upstream, &criteria).await;
    let mut findings = Findings::new();
    let rows = [
        ("GET", "X-Tier: Gold", PROTECTED),
        ("GET", "x-tier: GOLD", PROTECTED),
        ("GET", "X_Tier: gold", PROTECTED),
        ("GET", "X-Tier:\t gold \t", PROTECTED),
        ("GET", "X-Tier: bronze\r\nX-Tier: gold", PROTECTED),
        ("GET", "X-Tier: bronze\r\nx_tier: gold", PROTECTED),
        ("GET", "X-Tier: SILVER", PROTECTED),
        ("POST", "X-Tier: gold", PROTECTED),
        ("PUT", "X-Tier: gold", PASSED_BY),
        ("GET", "X-Tier: golden", PASSED_BY),
        ("get", "X-Tier: gold", REFUSED),
        ("Get", "X-Tier: gold", REFUSED),
        ("gET", "X-Tier: bronze", REFUSED),
        ("M-SEARCH", "X-Tier: gold", PASSED_BY),
        ("TRACE", "X-Tier: gold", 405),
        ("trace", "X-Tier: gold", REFUSED),
        ("Connect", "X-Tier: gold", REFUSED),
    ];
    for (method, header, expected) in rows {
        let request = format!("{method} /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{header}\r\n\r\n");
        let reply = raw::exchange(&gateway.http.to_string(), request.as_bytes()).await;
        findings.compare(&format!("{method} {header}"), &Some(expected), &reply.as_ref().map(|reply| reply.status));
        if expected == REFUSED {
            findings.check(method, logged(&gateway, "bad_method", &reply.unwrap()).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_peers_scheme_is_read_in_every_spelling() {
    let trusted = [("TOLLGATE_TRUSTED_IPS", "127.0.0.1/32")];
    let gateway = Gateway::on(Store::Sqlite, &trusted).await;
    let upstream = Upstream::start().await;
    let service = gateway.create("/services", json!({"url": upstream.url()})).await;
    let to_https = |path: &str, code: u16, hosts: Value| {
        json!({"paths": [path], "protocols": ["https"], "https_redirect_status_code": code, "hosts": hosts,
               "service": {"id": service["id"]}})
    };
    gateway.create("/routes", to_https("/", 426, Value::Null)).await;
    gateway.create("/routes", to_https("/moved", 301, Value::Null)).await;
    gateway.create("/routes", to_https("/port", 426, json!(["a.test:443"]))).await;
    let mut findings = Findings::new();
    let rows = [
        ("X-Forwarded-Proto: https", 200),
        ("x-forwarded-proto: HTTPS", 200),
        ("X-Forwarded-Proto: http", 426),
        ("X-Forwarded-Proto: https, http", 426),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http", 426),
        ("X_Forwarded_Proto: https", 426),
        ("X-Forwarded_Proto: https", 426),
        ("Accept: */*", 426),
    ];
    for (header, expected) in rows {
        let request = format!("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{header}\r\n\r\n");
        let reply = raw::exchange(&gateway.http.to_string(), request.as_bytes()).await.unwrap();
        findings.compare(header, &expected, &reply.status);
    }
    for (claimed, expected) in [
        ("Shop.Example.:8443", "https://shop.example/moved"),
        ("[0::1]:8443", "https://[::1]/moved"),
        ("evil.test, a.test", "https://a.test/moved"),
        ("evil.test/x", "https://a.test/moved"),
    ] {
        let headers = [("Host", "A.test.:80"), ("X-Forwarded-Host", claimed)];
        let reply = raw::get(&gateway.http.to_string(), "/moved", &headers).await;
        findings.compare(claimed, &(301, Some(expected.to_owned())), &(reply.status, reply.header("location")));
    }
    for host in ["a.test", "A.test:443", "a.test.:"] {
        let headers = [("Host", host), ("X-Forwarded-Proto", "https")];
        let reply = raw::get(&gateway.http.to_string(), "/port", &headers).await;
        findings.compare(&format!("a.test:443 as {host}"), &200, &reply.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_headers_cannot_be_set_in_another_spelling() {
    let mut findings = Findings::new();
    let trusted = [("TOLLGATE_TRUSTED_IPS", "127.0.0.1/32")];
    for settings in [&[][..], &trusted] {
        let gateway = Gateway::on(Store::Sqlite, settings).await;
        let upstream = Upstream::start().await;
        Api::open(&gateway, "open", &upstream).await;
        let plain = raw::get(&gateway.http.to_string(), "/open/x", &[("Host", "a.test")]).await.content();
        let ours: Vec<&String> =
            plain["headers"].as_object().unwrap().keys().filter(|name| name.contains('-')).collect();
        findings.check("the gateway sets several", if ours.len() >= 8 { Ok(()) } else { Err(format!("{ours:?}")) });
        let more =
            ["x-forwarded-prefix", "x-consumer-id", "x-credential-identifier", "content-length", "transfer-encoding"];
        for name in ours.into_iter().map(String::as_str).chain(more) {
            let (first, rest) = name.split_once('-').unwrap();
            let spellings = [
                name.replace('-', "_"),
                name.replace('-', "_").to_uppercase(),
                format!("{first}_{rest}"),
                name.rsplit_once('-').map(|(start, end)| format!("{start}_{end}")).unwrap(),
                name.replace('-', "."),
            ];
            for spelling in spellings {
                let headers = [("Host", "a.test"), (spelling.as_str(), "evil"), ("X_Kept", "kept")];
                let reply = raw::get(&gateway.http.to_string(), "/open/x", &headers).await;
                let seen = reply.content()["headers"].clone();
                findings.compare(&spelling, &Value::Null, &seen[spelling.to_lowercase()]);
                findings.compare("others are kept", &json!(["kept"]), &seen["x_kept"]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_credentials_are_refused() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    Api::protected(&gateway, "named", &upstream, json!({"auth_header_name": "x-my-auth"})).await;
    Api::open(&gateway, "open", &upstream).await;
    let client = Application::register(&gateway, "app", json!({})).await;
    let token = api.tokens(&gateway, &client).await["access_token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let mut findings = Findings::new();
    type Row<'r> = (&'r str, &'r str, Vec<(&'r str, &'r str)>, u16);
    let rows: [Row<'_>; 13] = [
        ("GET", "/api/x", vec![("Authorization", &bearer)], 200),
        ("GET", "/api/x", vec![("Authorization", &bearer), ("Authorization", &bearer)], 400),
        ("GET", "/api/x", vec![("Authorization", &bearer), ("authorization", "Bearer other")], 400),
        ("GET", "/api/x", vec![("Authorization", "Basic eDp5"), ("Authorization", &bearer)], 400),
        ("GET", "/open/x", vec![("Authorization", &bearer), ("Authorization", "Bearer other")], 400),
        ("GET", "/open/x", vec![("Proxy-Authorization", "Basic eDp5"), ("Proxy_Authorization", "Basic eDp6")], 400),
        ("GET", "/open/x", vec![("Proxy-Authorization", "Basic eDp5"), ("Authorization", &bearer)], 200),
        ("GET", "/none", vec![("Authorization", &bearer), ("Authorization", &bearer)], 400),
        ("POST", "/api/oauth2/token", vec![("Authorization", "Basic eDp5"), ("Authorization", "Basic eDp6")], 400),
        ("POST", "/api/oauth2/authorize", vec![("Authorization", "a"), ("Authorization", "b")], 400),
        ("GET", "/named/x", vec![("X-My-Auth", "Bearer a"), ("X-My-Auth", "Bearer b")], 400),
        ("GET", "/named/x", vec![("X-My-Auth", "Bearer a"), ("X_My_Auth", "Bearer b")], 400),
        ("GET", "/named/x", vec![("X-My-Auth", "Bearer a, Bearer b")], 400),
    ];
    for (method, path, headers, expected) in rows {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 0\r\n{lines}\r\n"
        );
        let reply = raw::exchange(&gateway.http.to_string(), request.as_bytes()).await.unwrap();
        findings.compare(&format!("{method} {path} {}", headers.len()), &expected, &reply.status);
        if expected == 400 {
            findings.check(path, logged(&gateway, "repeated_credentials", &reply).await);
        }
    }
    gateway.send(gateway.request(Method::GET, "/api/x").header("authorization", &bearer)).await.expect(200);
}
