//! HTTP/2 from clients, as HTTP/1 upstreams and the clients themselves see it.
//! docs/compatibility/http.md lists the cases.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request};
use serde_json::{Value, json};
use tollgate_tests::http2::{Connection, Frames, outcome, soon};
use tollgate_tests::recorder::{Received, ScriptedResponse, When};
use tollgate_tests::scenario::{Application, every_grant};
use tollgate_tests::{Findings, Gateway, Recorder, Store};

fn post(gateway: &Gateway, path: &str) -> Request<()> {
    Request::builder().method(Method::POST).uri(gateway.url(path)).body(()).unwrap()
}

fn get(gateway: &Gateway, path: &str) -> Request<()> {
    Request::builder().uri(gateway.url(path)).body(()).unwrap()
}

/// An upstream that responds to every complete request with its line and body, and routes to it: `/open`, and
/// `/guarded` with an oauth2 plugin.
async fn echo(gateway: &Gateway) -> Recorder {
    let upstream = Recorder::start(When::Complete, |request: &Received| {
        ScriptedResponse::ok(&format!("{} {}", request.line(), request.body))
    })
    .await;
    for name in ["open", "guarded"] {
        gateway.create("/services", json!({"name": name, "url": upstream.url()})).await;
        let route = json!({"paths": [format!("/{name}")], "strip_path": false, "preserve_host": true});
        gateway.create(&format!("/services/{name}/routes"), route).await;
    }
    let plugin = json!({"name": "oauth2", "config": every_grant()});
    gateway.create("/services/guarded/plugins", plugin).await;
    upstream
}

/// All ways to cut a text into pieces, with and without an empty piece before and after.
fn cuts(text: &'static str) -> Vec<Vec<&'static str>> {
    let mut all = Vec::new();
    for cut in 0..1_usize << (text.len() - 1) {
        let mut pieces = Vec::new();
        let mut from = 0;
        for at in 1..text.len() {
            if cut >> (at - 1) & 1 == 1 {
                pieces.push(&text[from..at]);
                from = at;
            }
        }
        pieces.push(&text[from..]);
        for (before, after) in [(0, 0), (1, 0), (0, 1), (1, 2)] {
            let empty = |count| std::iter::repeat_n("", count);
            all.push(empty(before).chain(pieces.iter().copied()).chain(empty(after)).collect());
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_ends_once_however_it_was_framed() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_PROXY_THREADS", "1")]).await;
    let upstream = echo(&gateway).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("1"));
    let mut patterns = cuts("body");
    patterns.extend([vec![], vec![""], vec!["", ""]]);
    let mut findings = Findings::new();
    let mut expected = Vec::new();
    for pieces in patterns {
        // A new connection each: the library treats a hundred empty frames on one as an attack.
        let client = Connection::open(gateway.https).await;
        for length in [false, true] {
            for trailers in [None, Some(trailers.clone())] {
                let row = format!("{pieces:?}, content-length {length}, trailers {}", trailers.is_some());
                let body = pieces.concat();
                let mut request = post(&gateway, "/open/upload");
                if length {
                    request.headers_mut().insert("content-length", HeaderValue::from(body.len()));
                }
                let reply = client.send(request, &pieces, trailers).await.expect(&row);
                let text = format!("POST /open/upload {body}");
                findings.compare(&row, &(200, text), &(reply.0.status.as_u16(), reply.1));
                let next = client.send(get(&gateway, "/open/next"), &[], None).await.expect(&row);
                findings.compare(&row, &(200, "GET /open/next ".to_owned()), &(next.0.status.as_u16(), next.1));
                expected.extend([("POST /open/upload".to_owned(), body), ("GET /open/next".to_owned(), String::new())]);
            }
        }
    }
    let requests = upstream.requests();
    let received: Vec<_> = requests.iter().map(|request| (request.line().to_owned(), request.body.clone())).collect();
    findings.compare("all requests", &expected, &received);
    findings.compare("connections", &1, &upstream.bytes().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_an_upload_are_those_of_one_request() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = echo(&gateway).await;
    let client = Connection::open(gateway.https).await;
    for pieces in [&["hello", ""][..], &["", "hello", "", ""], &["hello"]] {
        client.send(post(&gateway, "/open/upload"), pieces, None).await.expect("a response");
    }
    let bytes = upstream.bytes().concat();
    let bodies: Vec<_> = bytes.split("POST /open/upload HTTP/1.1\r\n").skip(1).collect();
    for request in &bodies {
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n");
    }
    assert_eq!(bodies.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn unrelated_requests_after_an_upload_get_their_own_responses() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = echo(&gateway).await;
    let client = Connection::open(gateway.https).await;
    let mut findings = Findings::new();
    for round in 0..5 {
        let upload = client.send(post(&gateway, "/open/upload"), &["hello", ""], None).await.expect("a response");
        findings.compare("upload", &"POST /open/upload hello".to_owned(), &upload.1);
        let others = (0..8).map(|nth| {
            let path = format!("/open/{round}-{nth}");
            let client = &client;
            let request = get(&gateway, &path);
            async move { (path, client.send(request, &[], None).await.expect("a response").1) }
        });
        for (path, text) in futures::future::join_all(others).await {
            findings.compare("unrelated", &format!("GET {path} "), &text);
        }
    }
    let foreign: Vec<_> = upstream.requests().into_iter().filter(|request| !request.head.contains(" /open/")).collect();
    findings.compare("requests that no client sent", &Vec::<Received>::new(), &foreign);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_a_plugin_has_read_ends_once() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = echo(&gateway).await;
    let application = Application::register(&gateway, "kate", json!({})).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", application.id()),
        ("client_secret", application.secret()),
        ("scope", "email"),
    ];
    let token = gateway.send(gateway.request(Method::POST, "/guarded/oauth2/token").form(&form)).await.expect(200);
    let token = token.json()["access_token"].as_str().unwrap().to_owned();
    let body = format!("access_token={token}&a=1");
    let client = Connection::open(gateway.https).await;
    let (start, end) = body.split_at(10);
    for pieces in [&[body.as_str()][..], &[&body, ""], &["", start, end, ""]] {
        let mut request = post(&gateway, "/guarded/form");
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert("content-type", form);
        let reply = client.send(request, pieces, None).await.expect("a response");
        assert_eq!(reply.1, format!("POST /guarded/form {body}"), "{pieces:?}");
        let next = client.send(get(&gateway, "/open/next"), &[], None).await.expect("a response");
        assert_eq!(next.1, "GET /open/next ");
    }
    assert_eq!(upstream.requests().len(), 6);
    // With the token elsewhere, the body is unread when the request goes upstream.
    let mut request = post(&gateway, "/guarded/upload");
    request.headers_mut().insert("authorization", HeaderValue::try_from(format!("bearer {token}")).unwrap());
    let reply = client.send(request, &["hello", ""], None).await.expect("a response");
    assert_eq!(reply.1, "POST /guarded/upload hello");
    let next = client.send(get(&gateway, "/open/next"), &[], None).await.expect("a response");
    assert_eq!(next.1, "GET /open/next ");
    assert_eq!(upstream.requests().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resent_body_ends_once_on_each_connection() {
    let gateway = Gateway::on_sqlite().await;
    // The first attempt of each request gets no response.
    let upstream = Recorder::start(When::Complete, {
        let seen = std::sync::Mutex::new(std::collections::HashSet::new());
        move |request: &Received| match seen.lock().unwrap().insert(request.line().to_owned()) {
            true => ScriptedResponse::close(""),
            false => ScriptedResponse::ok(&request.body),
        }
    })
    .await;
    gateway.create("/services", json!({"name": "open", "url": upstream.url()})).await;
    gateway.create("/services/open/routes", json!({"paths": ["/"]})).await;
    let client = Connection::open(gateway.https).await;
    for (nth, pieces) in [&["hello"][..], &["hello", ""], &["he", "", "llo", ""]].into_iter().enumerate() {
        let mut request = post(&gateway, &format!("/{nth}"));
        *request.method_mut() = Method::PUT;
        let reply = client.send(request, pieces, None).await.expect("a response");
        assert_eq!((reply.0.status.as_u16(), reply.1.as_str()), (200, "hello"), "{pieces:?}");
    }
    for bytes in upstream.bytes() {
        for request in bytes.split("PUT ").skip(1) {
            let (_, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(body.ends_with("0\r\n\r\n") && body.matches("0\r\n\r\n").count() == 1, "{body:?}");
        }
    }
    assert_eq!(upstream.requests().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_wrong_length_is_never_complete_for_the_upstream() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = echo(&gateway).await;
    let client = Connection::open(gateway.https).await;
    let mut findings = Findings::new();
    for (length, pieces) in [
        ("0", &["x"][..]),
        ("0", &["", "x"]),
        ("00", &["x"]),
        ("5", &["hello", "!"]),
        ("5", &["hello", "", "!"]),
        ("5", &["hello!"]),
        ("5", &["hell", ""]),
        ("5", &["hell"]),
    ] {
        let mut request = post(&gateway, "/open/upload");
        request.headers_mut().insert("content-length", HeaderValue::from_static(length));
        let row = format!("{length} {pieces:?}");
        let failed = client.send(request, pieces, None).await.map(|reply| reply.0.status);
        findings.check(&row, if failed.is_err() { Ok(()) } else { Err(format!("{failed:?}")) });
        let next = client.send(get(&gateway, "/open/next"), &[], None).await.expect("a response");
        findings.compare(&row, &"GET /open/next ".to_owned(), &next.1);
    }
    let uploads = upstream.requests().iter().filter(|request| request.line().starts_with("POST")).count();
    findings.compare("complete uploads", &0, &uploads);
    // A request with the right length is complete, however late its end comes.
    let mut request = post(&gateway, "/open/upload");
    request.headers_mut().insert("content-length", HeaderValue::from_static("0"));
    let reply = client.send(request, &["", ""], None).await.expect("a response");
    findings.compare("no body", &"POST /open/upload ".to_owned(), &reply.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_in_several_fields_are_one_line_upstream() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = echo(&gateway).await;
    let client = Connection::open(gateway.https).await;
    let mut request = get(&gateway, "/open");
    for cookie in ["a=1", "b=2", "c=3; d=4"] {
        request.headers_mut().append("cookie", HeaderValue::from_static(cookie));
    }
    client.send(request, &[], None).await.expect("a response");
    assert_eq!(upstream.requests()[0].header("cookie"), ["a=1; b=2; c=3; d=4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_a_body_end_with_their_header() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Recorder::start(When::Complete, |request: &Received| match request.line().strip_prefix("HEAD") {
        Some(_) => ScriptedResponse::keep("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        None => ScriptedResponse::ok("hello"),
    })
    .await;
    gateway.create("/services", json!({"name": "open", "url": upstream.url()})).await;
    gateway.create("/services/open/routes", json!({"paths": ["/open"]})).await;
    gateway.create("/services", json!({"name": "guarded", "url": upstream.url()})).await;
    gateway.create("/services/guarded/routes", json!({"paths": ["/guarded"]})).await;
    gateway.create("/services/guarded/plugins", json!({"name": "oauth2", "config": every_grant()})).await;
    let dead = gateway.create("/services", json!({"url": "http://127.0.0.1:1", "retries": 0})).await;
    gateway.create("/routes", json!({"paths": ["/dead"], "service": {"id": dead["id"]}})).await;
    let grpc = gateway.create("/services", json!({"name": "grpc", "url": "http://127.0.0.1:1"})).await;
    let route = json!({"paths": ["/grpc"], "protocols": ["grpcs"], "service": {"id": grpc["id"]}});
    gateway.create("/routes", route).await;
    gateway.create("/services/grpc/plugins", json!({"name": "oauth2", "config": every_grant()})).await;
    let plain = Recorder::start(When::Complete, |request: &Received| {
        let status = request.line().rsplit('/').next().unwrap_or_default().to_owned();
        ScriptedResponse::keep(format!("HTTP/1.1 {status} X\r\n\r\n"))
    })
    .await;
    gateway.create("/services", json!({"name": "plain", "url": plain.url()})).await;
    gateway.create("/services/plain/routes", json!({"paths": ["/plain"]})).await;
    let mut findings = Findings::new();
    for (method, path, expected) in [
        ("HEAD", "/nowhere", "404"),
        ("HEAD", "/dead", "502"),
        ("HEAD", "/guarded", "401"),
        ("HEAD", "/open", "200"),
        ("GET", "/plain/204", "204"),
        ("GET", "/plain/304", "304"),
        ("HEAD", "/plain/200", "200"),
        ("POST", "/grpc/pkg.Service/Method", "401"),
        ("GET", "/nowhere", "404 DATA"),
    ] {
        let mut frames = Frames::open(gateway.https).await;
        let mut fields = vec![(":method", method), (":scheme", "https"), (":authority", "a.test"), (":path", path)];
        if path.starts_with("/grpc") {
            fields.extend([("content-type", "application/grpc"), ("te", "trailers")]);
        }
        frames.headers(1, &fields, true).await;
        findings.compare(&format!("{method} {path}"), &expected.to_owned(), &outcome(&frames.until_end(1).await));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_its_stream_is_logged_as_gone() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_LOG_FORMAT", "json")]).await;
    let upstream = Recorder::start(When::Complete, |_: &Received| ScriptedResponse::default()).await;
    gateway.create("/services", json!({"name": "silent", "url": upstream.url()})).await;
    gateway.create("/services/silent/routes", json!({"paths": ["/silent"], "request_buffering": false})).await;
    let client = Connection::open(gateway.https).await;
    for end in [true, false] {
        let (response, mut body) = client.begin(post(&gateway, "/silent"), end).await;
        // once it is on its way
        soon(async {
            while upstream.bytes().len() != if end { 1 } else { 2 } {
                tokio::task::yield_now().await;
            }
        })
        .await;
        body.send_reset(h2::Reason::CANCEL);
        drop(response);
    }
    let gone = || {
        let output = gateway.output();
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines = lines.filter(|line| line["path"] == "/silent");
        lines.map(|line| (line["status"].clone(), line["reason"].clone())).collect::<Vec<_>>()
    };
    soon(async {
        while gone().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(gone(), [(); 2].map(|()| (json!(0), json!("client_gone"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_upload_times_out() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_PROXY_READ_TIMEOUT", "300ms")]).await;
    let _upstream = echo(&gateway).await;
    let client = Connection::open(gateway.https).await;
    let (response, mut body) = client.begin(post(&gateway, "/open"), false).await;
    body.send_data("he".into(), false).unwrap();
    assert_eq!(soon(response).await.expect("a response").status(), 408);
}

#[tokio::test(flavor = "multi_thread")]
async fn response_trailers_reach_the_client() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Recorder::start(When::Complete, |_: &Received| {
        let trailers = "grpc-status: 0\r\nX-Two:  b \r\nContent-Length: 9\r\nSet-Cookie: a=1\r\n";
        ScriptedResponse::keep(format!(
            "HTTP/1.1 200 OK\r\nTrailer: grpc-status\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{trailers}\r\n"
        ))
    })
    .await;
    gateway.create("/services", json!({"name": "open", "url": upstream.url()})).await;
    gateway.create("/services/open/routes", json!({"paths": ["/"]})).await;
    let client = Connection::open(gateway.https).await;
    let (_, body, trailers) = client.send(get(&gateway, "/"), &[], None).await.expect("a response");
    let trailers = trailers.expect("trailers");
    let fields: Vec<_> = trailers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!((body.as_str(), fields), ("ok", vec![("grpc-status", "0"), ("x-two", "b")]));
    for (te, expected) in
        [("TE: trailers\r\n", "2\r\nok\r\n0\r\ngrpc-status: 0\r\nx-two: b\r\n\r\n"), ("", "2\r\nok\r\n0\r\n\r\n")]
    {
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{te}Connection: close\r\n\r\n");
        let response = tollgate_tests::raw::bytes(&gateway.http.to_string(), request.as_bytes()).await;
        let (_, body) = response.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body, expected, "{te:?}");
    }
    assert_eq!(upstream.bytes().len(), 1, "the connection is used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_heads_are_refused() {
    let gateway = Gateway::on_sqlite().await;
    let _upstream = echo(&gateway).await;
    for (length, expected) in [(1_000, 200), (40_000, 431), (80_000, 431), (120_000, 431)] {
        let client = Connection::open(gateway.https).await;
        let mut request = get(&gateway, "/open");
        request.headers_mut().insert("x-long", HeaderValue::try_from("a".repeat(length)).unwrap());
        let reply = client.send(request, &[], None).await.expect("a response");
        assert_eq!(reply.0.status.as_u16(), expected, "{length}");
    }
}

const GOOD: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/open")];

/// The fields of a valid request, with others replaced or appended.
fn with(fields: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<_> = GOOD.to_vec();
    for field in fields {
        match all.iter_mut().find(|(name, _)| name == &field.0 && name.starts_with(':')) {
            Some(place) => *place = *field,
            None => all.push(*field),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_end_as_documented() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = echo(&gateway).await;
    gateway.create("/services/open/routes", json!({"paths": ["/"], "strip_path": false})).await;
    let without = |name: &str| GOOD.into_iter().filter(|field| field.0 != name).collect::<Vec<_>>();
    let rows = [
        ("valid", with(&[]), "200 DATA"),
        ("the same Host", with(&[("host", "a.test")]), "200 DATA"),
        ("another Host", with(&[("host", "b.test")]), "400 DATA"),
        ("Host in place of :authority", [without(":authority"), vec![("host", "a.test")]].concat(), "200 DATA"),
        ("no authority at all", without(":authority"), "400 DATA"),
        ("two Hosts", with(&[("host", "a.test"), ("host", "a.test")]), "400 DATA"),
        ("user information", with(&[(":authority", "u@a.test")]), "400 DATA"),
        ("te: trailers", with(&[("te", "trailers")]), "200 DATA"),
        ("te: gzip", with(&[("te", "gzip")]), "RST 1"),
        ("connection", with(&[("connection", "close")]), "RST 1"),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")]), "RST 1"),
        ("upgrade", with(&[("upgrade", "websocket")]), "RST 1"),
        ("keep-alive", with(&[("keep-alive", "1")]), "RST 1"),
        ("proxy-connection", with(&[("proxy-connection", "close")]), "RST 1"),
        ("an upper-case name", with(&[("X-Upper", "1")]), "GOAWAY 1"),
        ("an empty name", with(&[("", "1")]), "GOAWAY 1"),
        ("a line feed in a value", with(&[("x-one", "a\nb")]), "GOAWAY 1"),
        ("a pseudo-header twice", [GOOD.to_vec(), vec![(":path", "/open")]].concat(), "RST 1"),
        ("a pseudo-header after a field", [vec![("x-one", "1")], GOOD.to_vec()].concat(), "RST 1"),
        ("an unknown pseudo-header", with(&[(":unknown", "1")]), "GOAWAY 1"),
        (":status in a request", with(&[(":status", "200")]), "RST 1"),
        (":protocol", with(&[(":method", "CONNECT"), (":protocol", "websocket")]), "RST 1"),
        ("no :method", without(":method"), "RST 1"),
        ("no :scheme", without(":scheme"), "RST 1"),
        ("no :path", without(":path"), "RST 1"),
        ("an empty :path", with(&[(":path", "")]), "RST 1"),
        ("a relative :path", with(&[(":path", "open")]), "RST 1"),
        ("an absolute :path", with(&[(":path", "https://a.test/open")]), "RST 1"),
        ("a space in :path", with(&[(":path", "/open/a b")]), "RST 1"),
        ("a control byte in :path", with(&[(":path", "/open/a\x01b")]), "RST 1"),
        ("* with GET", with(&[(":path", "*")]), "400 DATA"),
        ("content-length twice", with(&[("content-length", "0"), ("content-length", "0")]), "400 DATA"),
        ("content-lengths that differ", with(&[("content-length", "0"), ("content-length", "1")]), "RST 1"),
        ("content-length without DATA", with(&[("content-length", "1")]), "RST 1"),
        ("an invalid content-length", with(&[("content-length", "+1")]), "RST 1"),
        ("TRACE", with(&[(":method", "TRACE")]), "405 DATA"),
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "a.test:443")], "405 DATA"),
        ("a method that is not a token", with(&[(":method", "G T")]), "GOAWAY 1"),
        ("brace and quote in the path", with(&[(":path", "/open/{\"a\"}")]), "200 DATA"),
        ("angle bracket in the path", with(&[(":path", "/open/<a>")]), "200 DATA"),
        ("backtick in the path", with(&[(":path", "/open/`")]), "200 DATA"),
        ("a quote in the query", with(&[(":path", "/open?a=\"b\"")]), "200 DATA"),
        ("angle brackets in the query", with(&[(":path", "/open?q=<b>")]), "200 DATA"),
        ("brace, backtick, pipe, caret in the query", with(&[(":path", "/open?q={`|^\\}")]), "200 DATA"),
        ("a fragment in :path", with(&[(":path", "/open#part")]), "200 DATA"),
    ];
    let mut findings = Findings::new();
    for (row, fields, expected) in rows {
        let mut frames = Frames::open(gateway.https).await;
        frames.headers(1, &fields, true).await;
        findings.compare(row, &expected.to_owned(), &outcome(&frames.until_end(1).await));
    }
    let requests = upstream.requests();
    let targets: Vec<_> =
        requests.iter().map(|request| request.line()).filter(|line| !line.contains("/open/")).collect();
    let characters = ["GET /open?a=\"b\"", "GET /open?q=<b>", "GET /open?q={`|^\\}"];
    let expected = ["GET /open"; 4].into_iter().chain(characters).chain(["GET /open"]).collect::<Vec<_>>();
    findings.compare("what reached the upstream", &expected, &targets);
}
