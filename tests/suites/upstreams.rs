//! What upstreams send and what reaches clients; which connections are reused, and under which server name.
//! docs/compatibility/http.md lists the cases.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{AlpnError, NameType, Ssl, SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;
use tollgate_tests::http2::{Connection, soon};
use tollgate_tests::recorder::{Received, ScriptedResponse, When};
use tollgate_tests::scenario::{Application, every_grant};
use tollgate_tests::{Findings, Gateway, Recorder, Store, raw};

/// A service `open` and a catch-all route to it.
async fn open(gateway: &Gateway, url: &str) {
    gateway.create("/services", json!({"name": "open", "url": url, "retries": 0})).await;
    let route = json!({"paths": ["/"], "preserve_host": true});
    gateway.create("/services/open/routes", route).await;
}

/// With one thread, consecutive requests can reuse connections.
async fn single() -> Gateway {
    Gateway::on(Store::Sqlite, &[("TOLLGATE_PROXY_THREADS", "1")]).await
}

/// Whether the connection is reused after this response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connected {
    Reused,
    NotReused,
}
use Connected::{NotReused, Reused};

#[tokio::test(flavor = "multi_thread")]
async fn upstream_responses_are_relayed_or_refused_as_documented() {
    let gateway = single().await;
    // name, response, then what the client gets: status, some lines of the head, body
    type Row = (&'static str, &'static str, u16, &'static [&'static str], &'static str, Connected);
    let rows: [Row; 43] = [
        ("valid", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, &["Content-Length: 2"], "ok", Reused),
        ("version 1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, &["HTTP/1.1 200 OK"], "ok", NotReused),
        (
            "version 1.0 that is kept",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
            200,
            &["HTTP/1.1 200 OK"],
            "ok",
            Reused,
        ),
        ("version 1.2", "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", 502, &[], "", NotReused),
        ("version 2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", 502, &[], "", NotReused),
        ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", 502, &[], "", NotReused),
        (
            "another reason",
            "HTTP/1.1 200 Fine, thanks\r\nContent-Length: 0\r\n\r\n",
            200,
            &["HTTP/1.1 200 Fine, thanks"],
            "",
            Reused,
        ),
        ("no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, &[], "", Reused),
        ("status 99", "HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n", 502, &[], "", NotReused),
        ("status 1000", "HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n", 502, &[], "", NotReused),
        ("status 999", "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", 999, &["HTTP/1.1 999 X"], "", Reused),
        ("status ABC", "HTTP/1.1 ABC X\r\nContent-Length: 0\r\n\r\n", 502, &[], "", NotReused),
        (
            "equal lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            200,
            &["Content-Length: 2"],
            "ok",
            Reused,
        ),
        (
            "a list of lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
            200,
            &["Content-Length: 2"],
            "ok",
            Reused,
        ),
        (
            "lengths that differ",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            502,
            &[],
            "",
            NotReused,
        ),
        ("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", 502, &[], "", NotReused),
        ("an empty length", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok", 502, &[], "", NotReused),
        (
            "length and coding",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            502,
            &[],
            "",
            NotReused,
        ),
        (
            "coding in any case",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            200,
            &[],
            "ok",
            Reused,
        ),
        (
            "two codings",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            502,
            &[],
            "",
            NotReused,
        ),
        ("another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok", 502, &[], "", NotReused),
        (
            "chunked of version 1.0",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            200,
            &["HTTP/1.1 200 OK"],
            "ok",
            NotReused,
        ),
        (
            "bytes after the body",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
            200,
            &[],
            "ok",
            NotReused,
        ),
        (
            "bytes after chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1",
            200,
            &[],
            "ok",
            NotReused,
        ),
        ("a body after 204", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", 204, &[], "", NotReused),
        (
            "chunks after 204",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            204,
            &[],
            "",
            NotReused,
        ),
        ("204", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, &[], "", Reused),
        ("304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", 304, &["Content-Length: 2"], "", Reused),
        (
            "folded line",
            "HTTP/1.1 200 OK\r\nX-One: a\r\n  b\r\nContent-Length: 0\r\n\r\n",
            200,
            &["X-One: a b"],
            "",
            Reused,
        ),
        (
            "space before the colon",
            "HTTP/1.1 200 OK\r\nX-One : a\r\nContent-Length: 0\r\n\r\n",
            200,
            &["X-One: a"],
            "",
            Reused,
        ),
        ("line feeds alone", "HTTP/1.1 200 OK\nX-One: a\nContent-Length: 0\n\n", 200, &["X-One: a"], "", Reused),
        ("NUL in a value", "HTTP/1.1 200 OK\r\nX-One: a\0b\r\nContent-Length: 0\r\n\r\n", 502, &[], "", NotReused),
        (
            "a bare CR in a value",
            "HTTP/1.1 200 OK\r\nX-One: a\rb\r\nContent-Length: 0\r\n\r\n",
            502,
            &[],
            "",
            NotReused,
        ),
        ("no colon", "HTTP/1.1 200 OK\r\nX-One\r\nContent-Length: 0\r\n\r\n", 502, &[], "", NotReused),
        ("no name", "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n", 502, &[], "", NotReused),
        ("a space in a name", "HTTP/1.1 200 OK\r\nX One: a\r\nContent-Length: 0\r\n\r\n", 502, &[], "", NotReused),
        ("101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", 502, &[], "", NotReused),
        (
            "100, then the response",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
            &["HTTP/1.1 200 OK"],
            "ok",
            Reused,
        ),
        (
            "103, then the response",
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
            &["HTTP/1.1 200 OK"],
            "ok",
            Reused,
        ),
        (
            "a keep-alive that ends",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            200,
            &[],
            "ok",
            NotReused,
        ),
        (
            "close among other tokens",
            "HTTP/1.1 200 OK\r\nConnection: x-one, Close\r\nX-One: a\r\nContent-Length: 2\r\n\r\nok",
            200,
            &[],
            "ok",
            NotReused,
        ),
        (
            "trailer without a colon",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\njunk\r\n\r\n",
            200,
            &[],
            "",
            NotReused,
        ),
        ("nothing", "", 502, &[], "", NotReused),
    ];
    let responses: Vec<_> = rows.iter().map(|row| row.1.to_owned()).collect();
    let upstream = Recorder::start(When::Complete, move |request: &Received| {
        match request.line().strip_prefix("GET /row/").and_then(|row| row.parse::<usize>().ok()) {
            // The refusal must not come from the end of the connection.
            Some(row) if responses[row].is_empty() => ScriptedResponse::close(""),
            Some(row) => ScriptedResponse::keep(responses[row].clone()),
            None => ScriptedResponse::ok("next"),
        }
    })
    .await;
    open(&gateway, &upstream.url()).await;
    let authority = gateway.http.to_string();
    let mut findings = Findings::new();
    for (nth, (name, _, status, lines, body, connected)) in rows.into_iter().enumerate() {
        let text = raw::bytes(&authority, request(&format!("/row/{nth}")).as_bytes()).await;
        let text = match text.split_once("\r\n\r\nHTTP/1.1 ") {
            Some((interim, last)) if interim.starts_with("HTTP/1.1 1") => format!("HTTP/1.1 {last}"),
            _ => text,
        };
        let (head, content) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let got: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        findings.compare(name, &status, &got);
        for line in lines {
            let found = head.lines().filter(|given| given == line).count();
            findings.compare(&format!("{name}: {line}"), &1, &found);
        }
        if status != 502 {
            let content = if head.to_lowercase().contains("transfer-encoding: chunked") {
                dechunk(content)
            } else {
                content.to_owned()
            };
            findings.compare(&format!("{name}: body"), &body.to_owned(), &content);
        }
        let next = raw::bytes(&authority, request(&format!("/next/{nth}")).as_bytes()).await;
        findings.check(name, if next.ends_with("next") { Ok(()) } else { Err(next) });
        let connections: Vec<_> = upstream.requests().iter().rev().take(2).map(|request| request.connection).collect();
        let got = if connections[0] == connections[1] { Reused } else { NotReused };
        findings.compare(&format!("{name}: connection"), &connected, &got);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_heads_are_bounded_and_a_body_in_response_to_head_is_dropped() {
    let gateway = single().await;
    let upstream = Recorder::start(When::Complete, |request: &Received| {
        let (lines, length) = match request.line() {
            "GET /many" => ("X-One: a\r\n".repeat(300), 2),
            "GET /long" => (format!("X-Long: {}\r\n", "a".repeat(2 << 20)), 2),
            _ => (String::new(), 2),
        };
        ScriptedResponse::keep(format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {length}\r\n\r\nok"))
    })
    .await;
    open(&gateway, &upstream.url()).await;
    let authority = gateway.http.to_string();
    for (path, expected) in [("/fine", 200), ("/many", 502), ("/long", 502)] {
        let reply = raw::exchange(&authority, request(path).as_bytes()).await.expect("a response");
        assert_eq!(reply.status, expected, "{path}");
    }
    let head = request("/fine").replacen("GET", "HEAD", 1);
    let response = raw::bytes(&authority, head.as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\n"), "{response}");
    raw::bytes(&authority, request("/fine").as_bytes()).await;
    let requests = upstream.requests();
    let [.., head, next] = requests.as_slice() else { panic!("two requests") };
    assert_ne!(head.connection, next.connection);
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        whole.push_str(rest.get(..size).unwrap_or_default());
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsolicited_upstream_response_reaches_no_client() {
    let gateway = single().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Responds to a first request, then sends 408 as servers do before they close an idle connection.
    let upstream = tokio::spawn(async move {
        let mut served = Vec::new();
        for response in ["first", "second"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                seen.push(stream.read_u8().await.unwrap());
            }
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{response}", response.len());
            stream.write_all(reply.as_bytes()).await.unwrap();
            served.push((stream, response));
            if response == "first" {
                // by now the response was read, or the 408 follows its end
                tokio::time::sleep(Duration::from_millis(50)).await;
                let unasked = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                served[0].0.write_all(unasked).await.unwrap();
            }
        }
        served
    });
    open(&gateway, &format!("http://{address}")).await;
    let authority = gateway.http.to_string();
    assert!(raw::bytes(&authority, request("/one").as_bytes()).await.ends_with("first"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(raw::bytes(&authority, request("/two").as_bytes()).await.ends_with("second"));
    upstream.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_an_early_response_is_not_reused() {
    let gateway = single().await;
    let upstream = Recorder::start(When::Head, |request: &Received| ScriptedResponse::ok(request.line())).await;
    open(&gateway, &upstream.url()).await;
    let routes = gateway.admin_get("/services/open/routes").await.json();
    let route = format!("/routes/{}", routes["data"][0]["id"].as_str().unwrap());
    gateway.change(&route, json!({"request_buffering": false})).await;
    let mut client = TcpStream::connect(gateway.http).await.unwrap();
    for (framing, body) in
        [("Content-Length: 4", ["bo", "dy"]), ("Transfer-Encoding: chunked", ["2\r\nbo\r\n", "2\r\ndy\r\n0\r\n\r\n"])]
    {
        let head = format!("POST /early HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n{}", body[0]);
        client.write_all(head.as_bytes()).await.unwrap();
        let response = read_until(&mut client, "POST /early").await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        let before = upstream.requests().len();
        let _ = client.write_all(body[1].as_bytes()).await;
        soon(async {
            while upstream.requests().len() == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let next = raw::bytes(&gateway.http.to_string(), request("/next").as_bytes()).await;
        assert!(next.ends_with("GET /next"), "{next}");
        let requests = upstream.requests();
        let [.., early, next] = requests.as_slice() else { panic!("two requests") };
        assert_ne!(early.connection, next.connection, "{framing}");
        client = TcpStream::connect(gateway.http).await.unwrap();
    }
}

async fn read_until(stream: &mut TcpStream, mark: &str) -> String {
    let mut text = String::new();
    soon(async {
        while !text.contains(mark) {
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).await.unwrap();
            assert!(length > 0, "closed after {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    })
    .await;
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_kept_according_to_the_settings() {
    let echo = |request: &Received| ScriptedResponse::ok(request.line());
    let mut findings = Findings::new();
    for (setting, value, expected) in [
        ("TOLLGATE_PROXY_UPSTREAM_KEEPALIVE_REQUESTS", "3", [0, 0, 0, 1, 1, 1, 2]),
        ("TOLLGATE_PROXY_UPSTREAM_KEEPALIVE_REQUESTS", "1", [0, 1, 2, 3, 4, 5, 6]),
        ("TOLLGATE_PROXY_UPSTREAM_KEEPALIVE_POOL_SIZE", "0", [0, 1, 2, 3, 4, 5, 6]),
        ("TOLLGATE_PROXY_UPSTREAM_KEEPALIVE_TIMEOUT", "1ms", [0, 1, 2, 3, 4, 5, 6]),
        ("TOLLGATE_PROXY_UPSTREAM_KEEPALIVE_TIMEOUT", "10m", [0; 7]),
    ] {
        let settings = [("TOLLGATE_PROXY_THREADS", "1"), (setting, value)];
        let gateway = Gateway::on(Store::Sqlite, &settings).await;
        let upstream = Recorder::start(When::Complete, echo).await;
        open(&gateway, &upstream.url()).await;
        for nth in 0..7 {
            raw::bytes(&gateway.http.to_string(), request(&format!("/{nth}")).as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let requests = upstream.requests();
        let connections: Vec<_> = requests.iter().map(|request| request.connection).collect();
        findings.compare(&format!("{setting}={value}"), &expected.to_vec(), &connections);
        if value == "3" {
            let said: Vec<_> = requests.iter().take(3).flat_map(|request| request.header("connection")).collect();
            findings.compare(
                "the Connection header sent upstream",
                &["keep-alive", "keep-alive", "close"].map(String::from).to_vec(),
                &said,
            );
        }
    }
}

/// A test authority, and a server certificate issued by it.
struct Certified {
    authority: X509,
    certificate: X509,
    key: PKey<Private>,
}

fn certify(names: &[&str], addresses: &[&str]) -> Certified {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let make = |name: &str, issuer: Option<(&X509, &PKey<Private>)>, own: &PKey<Private>| {
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(if issuer.is_some() { 2 } else { 1 }).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_issuer_name(issuer.map_or(&subject, |(issuer, _)| issuer.subject_name())).unwrap();
        builder.set_pubkey(own).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
        if issuer.is_none() {
            builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        } else {
            let mut alternatives = SubjectAlternativeName::new();
            for name in names {
                alternatives.dns(name);
            }
            for address in addresses {
                alternatives.ip(address);
            }
            let extension = alternatives.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(extension).unwrap();
        }
        builder.sign(issuer.map_or(own, |(_, key)| key), MessageDigest::sha256()).unwrap();
        builder.build()
    };
    let authority_key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let authority = make("a test's authority", None, &authority_key);
    let certificate = make("server", Some((&authority, &authority_key)), &key);
    Certified { authority, certificate, key }
}

/// A TLS server that records connection number, server name and Host of each request.
async fn tls_upstream(certified: &Certified) -> (SocketAddr, Arc<Mutex<Vec<(usize, Option<String>, String)>>>) {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(&certified.certificate).unwrap();
    acceptor.set_private_key(&certified.key).unwrap();
    acceptor.set_alpn_select_callback(|_, _| Err(AlpnError::NOACK));
    let acceptor = acceptor.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<_>>> = Arc::default();
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut connection = 0;
        while let Ok((socket, _)) = listener.accept().await {
            let mut stream = SslStream::new(Ssl::new(acceptor.context()).unwrap(), socket).unwrap();
            let (log, number) = (Arc::clone(&log), connection);
            connection += 1;
            tokio::spawn(async move {
                if Pin::new(&mut stream).accept().await.is_err() {
                    return;
                }
                let name = stream.ssl().servername(NameType::HOST_NAME).map(str::to_owned);
                loop {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let host = head.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap_or_default().to_owned();
                    log.lock().unwrap().push((number, name.clone(), host));
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                }
            });
        }
    });
    (address, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn server_name_and_verification_follow_the_host_sent() {
    let certified = certify(&["a.test", "b.test"], &["127.0.0.1"]);
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("authority.pem");
    std::fs::write(&authorities, certified.authority.to_pem().unwrap()).unwrap();
    let settings = [
        ("TOLLGATE_PROXY_THREADS", "1"),
        ("SSL_CERT_FILE", authorities.to_str().unwrap()),
        ("SSL_CERT_DIR", "/nonexistent"),
    ];
    let gateway = Gateway::on(Store::Sqlite, &settings).await;
    let (address, seen) = tls_upstream(&certified).await;
    for (name, preserve) in [("kept", true), ("own", false)] {
        let service = json!({"name": name, "url": format!("https://{address}"), "retries": 0});
        gateway.create("/services", service).await;
        let route = json!({"paths": [format!("/{name}")], "preserve_host": preserve});
        gateway.create(&format!("/services/{name}/routes"), route).await;
    }
    let own = address.to_string();
    let mut findings = Findings::new();
    for (path, host, expected) in [
        ("/kept", "a.test", Some((0, Some("a.test"), "a.test"))),
        ("/kept", "A.Test:8443", Some((0, Some("a.test"), "A.Test:8443"))),
        ("/kept", "b.test", Some((1, Some("b.test"), "b.test"))),
        ("/kept", "c.test", None),
        ("/kept", "127.0.0.1", Some((3, None, "127.0.0.1"))),
        ("/kept", "127.0.0.2", None),
        ("/own", "c.test", Some((3, None, own.as_str()))),
        ("/kept", "a.test", Some((0, Some("a.test"), "a.test"))),
    ] {
        let before = seen.lock().unwrap().len();
        let reply = raw::get(&gateway.http.to_string(), path, &[("Host", host)]).await;
        let row = format!("{path} for {host}");
        findings.compare(&row, &if expected.is_some() { 200 } else { 502 }, &reply.status);
        let got = seen.lock().unwrap().get(before).cloned();
        let expected = expected.map(|(number, name, host)| (number, name.map(str::to_owned), host.to_owned()));
        findings.compare(&row, &expected, &got);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_cut_short_is_incomplete_for_the_client() {
    let gateway = single().await;
    let certified = certify(&[], &["127.0.0.1"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(&certified.certificate).unwrap();
    acceptor.set_private_key(&certified.key).unwrap();
    let acceptor = acceptor.build();
    let rows = [
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n0\r\n"),
        ("Content-Length: 8", "half"),
    ];
    // Each connection is cut without close_notify after the response bytes.
    std::thread::spawn(move || {
        for (framing, body) in rows.into_iter().flat_map(|row| [row, row]) {
            use std::io::{Read as _, Write as _};
            let mut stream = acceptor.accept(listener.accept().unwrap().0).unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}").as_bytes()).unwrap();
        }
    });
    let service = json!({"name": "open", "url": format!("https://{address}"), "tls_verify": false, "retries": 0});
    gateway.create("/services", service).await;
    gateway.create("/services/open/routes", json!({"paths": ["/"]})).await;
    for (framing, _) in rows {
        let response = raw::bytes(&gateway.http.to_string(), request("/").as_bytes()).await;
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(framing), "{head}");
        let expected = if framing.starts_with("Content") { "half" } else { "4\r\nhalf\r\n" };
        assert_eq!(body, expected, "{framing}");
        let client = Connection::open(gateway.https).await;
        let request = Request::builder().uri(gateway.url("/")).body(()).unwrap();
        assert!(client.send(request, &[], None).await.is_err(), "{framing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_belongs_to_its_client_and_is_not_reused() {
    let gateway = single().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Each connection: one head; then 101 and an echo of all following bytes, or 200 for other requests.
    let upstream = tokio::spawn(async move {
        let mut heads = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            if head.to_lowercase().contains("\r\nupgrade: websocket\r\n") {
                let switching =
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst;";
                stream.write_all(switching).await.unwrap();
                let mut bytes = [0; 5];
                stream.read_exact(&mut bytes).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
                // until the client disconnects
                assert_eq!(stream.read(&mut bytes).await.unwrap_or(0), 0);
            } else {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
            heads.push((head, stream));
        }
        heads
    });
    open(&gateway, &format!("http://{address}")).await;
    let mut client = TcpStream::connect(gateway.http).await.unwrap();
    let upgrade = "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(upgrade.as_bytes()).await.unwrap();
    let response = read_until(&mut client, "first;").await;
    assert!(response.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{response}");
    // Bytes that look like a request belong to the other protocol here.
    client.write_all(b"GET /").await.unwrap();
    let echoed = read_until(&mut client, "GET /").await;
    assert_eq!(echoed, "GET /");
    drop(client);
    let next = raw::bytes(&gateway.http.to_string(), request("/next").as_bytes()).await;
    assert!(next.ends_with("ok"), "{next}");
    let heads = soon(upstream).await.unwrap();
    assert!(heads[1].0.starts_with("GET /next HTTP/1.1\r\n"), "{}", heads[1].0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_response_belongs_to_its_request_under_load_with_aborts() {
    const CLIENTS: usize = 8;
    const LASTING: Duration = Duration::from_secs(5);
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_PROXY_THREADS", "2")]).await;
    // Returns the consumer, sometimes late, sometimes in pieces, sometimes closing the connection.
    let upstream = Recorder::start(When::Complete, {
        let count = std::sync::atomic::AtomicUsize::new(0);
        move |request: &Received| {
            let nth = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let who = format!("{} {} {}", request.header("x-consumer-username").join(","), request.line(), request.body);
            let length = who.len();
            match nth % 7 {
                0 => ScriptedResponse::close(format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{who}")),
                1 | 2 => ScriptedResponse::keep(format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{who}\r\n0\r\n\r\n"
                )),
                3 => ScriptedResponse::keep(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{who}HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
                )),
                _ => ScriptedResponse::ok(&who),
            }
        }
    })
    .await;
    gateway.create("/services", json!({"name": "api", "url": upstream.url()})).await;
    gateway.create("/services/api/routes", json!({"paths": ["/"], "strip_path": false})).await;
    gateway.create("/services/api/plugins", json!({"name": "oauth2", "config": every_grant()})).await;
    let mut tokens = Vec::new();
    for nth in 0..CLIENTS {
        let application = Application::register(&gateway, &format!("user{nth}"), json!({})).await;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", application.id()),
            ("client_secret", application.secret()),
            ("scope", "email"),
        ];
        let token = gateway.send(gateway.request(Method::POST, "/oauth2/token").form(&form)).await.expect(200);
        tokens.push(token.json()["access_token"].as_str().unwrap().to_owned());
    }
    let end = Instant::now() + LASTING;
    let (http, https) = (gateway.http, gateway.https);
    let clients = tokens.into_iter().enumerate().map(|(nth, token)| async move {
        let one = over_http1(http, nth, &token, end);
        let two = over_http2(https, nth, &token, end);
        let (one, two) = tokio::join!(one, two);
        [one, two].concat()
    });
    let checked: Vec<_> = futures::future::join_all(clients).await.concat();
    assert!(checked.len() > 100, "{} responses in {LASTING:?}", checked.len());
    // The last hook runs once for each request.
    let logged = || {
        let mut counts = std::collections::HashMap::<String, usize>::new();
        for line in gateway.output().lines() {
            let path = line.split(' ').find(|word| word.starts_with("/h1-") || word.starts_with("/h2-"));
            path.into_iter().for_each(|path| *counts.entry(path.to_owned()).or_default() += 1);
        }
        counts
    };
    soon(async {
        loop {
            let logged = logged();
            if checked.iter().all(|path| logged.contains_key(path)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let more: Vec<_> = logged().into_iter().filter(|(_, count)| *count != 1).collect();
    assert_eq!(more, []);
}

/// Sends requests one after another, and aborts every fifth before its response. Returns the checked ones.
async fn over_http1(address: SocketAddr, nth: usize, token: &str, end: Instant) -> Vec<String> {
    let mut checked = Vec::new();
    for round in 0.. {
        if Instant::now() > end {
            break;
        }
        let path = format!("/h1-{nth}-{round}");
        let body = if round % 2 == 0 { String::new() } else { format!("body{round}") };
        let length = body.len();
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: a.test\r\nAuthorization: bearer {token}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        if round % 5 == 4 {
            // With an incomplete body, or without waiting for the response.
            let sent = if round % 2 == 0 { request.len() } else { request.len() - 2 };
            let _ = stream.write_all(&request.as_bytes()[..sent]).await;
            continue;
        }
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        soon(stream.read_to_end(&mut response)).await.unwrap();
        let response = String::from_utf8(response).unwrap();
        let expected = format!("user{nth} PUT {path} {body}");
        assert!(response.contains(&expected) && response.starts_with("HTTP/1.1 200"), "{expected}: {response}");
        checked.push(path);
    }
    checked
}

/// The same over one HTTP/2 connection, where a request is aborted by resetting its stream.
async fn over_http2(address: SocketAddr, nth: usize, token: &str, end: Instant) -> Vec<String> {
    let client = Connection::open(address).await;
    let mut checked = Vec::new();
    for round in 0.. {
        if Instant::now() > end {
            break;
        }
        let path = format!("/h2-{nth}-{round}");
        let request = Request::builder().method(Method::PUT).uri(format!("https://{address}{path}"));
        let request = request.header("authorization", format!("bearer {token}")).body(()).unwrap();
        if round % 5 == 4 {
            let (response, mut body) = client.begin(request, false).await;
            let _ = body.send_data(Bytes::from_static(b"cut"), false);
            tokio::task::yield_now().await;
            body.send_reset(h2::Reason::CANCEL);
            drop(response);
            continue;
        }
        let pieces: &[&str] = match round % 3 {
            0 => &[],
            1 => &["he", "llo", ""],
            _ => &["hello"],
        };
        let (head, text, _) = client.send(request, pieces, None).await.expect("a response");
        let expected = format!("user{nth} PUT {path} {}", pieces.concat());
        assert_eq!((head.status.as_u16(), text), (200, expected));
        checked.push(path);
    }
    checked
}
