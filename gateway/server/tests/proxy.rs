//! The data plane over real sockets: a snapshot built by the test, a small upstream, raw requests.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation is a failed test"
)]

mod gateway;
mod http1;

use std::time::Duration;

use gateway::{Gateway, Route, body_of, guard, header_of, refused, replying, status_of, upstream};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use tollgate::proxy::{IdentityHeaders, Settings};
use tollgate::upstream::named_services::NamedServices;
use tollgate_core::plugin::Verdict;
use tollgate_core::reply::Reply;
use tollgate_core::request::RequestBody;

const SERVER: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
}

fn seen(response: &str) -> Value {
    serde_json::from_str(body_of(response)).unwrap_or_else(|error| panic!("{error}: {response}"))
}

#[test]
fn a_request_reaches_its_service_with_the_headers_of_the_hop() {
    let gateway = Gateway::start(vec![Route::to("/api", &upstream())]);
    let response =
        gateway.send("GET /api/x%20y?q=1 HTTP/1.1\r\nHost: A.test\r\nUser-Agent: t\r\nConnection: close\r\n\r\n");
    assert_eq!(status_of(&response), 200, "{response}");
    let seen = seen(&response);
    assert_eq!(seen["target"], "/x%20y?q=1");
    assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen["headers"]["x-forwarded-host"], "a.test");
    assert_eq!(seen["headers"]["x-forwarded-path"], "/api/x%20y");
    assert_eq!(seen["headers"]["x-forwarded-prefix"], "/api");
    assert_eq!(seen["headers"]["x-forwarded-proto"], "http");
    assert_eq!(seen["headers"]["x-real-ip"], "127.0.0.1");
    assert_eq!(seen["headers"]["via"], "1.1 tollgate");
    assert_eq!(seen["headers"]["connection"], "keep-alive");
    assert_eq!(seen["headers"]["host"], gateway.upstream_host());
    assert_eq!(seen["headers"]["x-kong-request-id"].as_str(), header_of(&response, "x-kong-request-id"));
    assert_eq!(header_of(&response, "via"), Some("1.1 tollgate"));
    assert_eq!(header_of(&response, "server"), Some(SERVER));
    assert!(header_of(&response, "x-kong-upstream-latency").is_some());
    assert!(header_of(&response, "x-kong-proxy-latency").is_some());
    assert_eq!(header_of(&response, "x-kong-response-latency"), None);
}

#[test]
fn the_spelling_of_header_names_is_kept() {
    let gateway = Gateway::start(vec![Route::to("/", &gateway::mirror())]);
    let response = gateway.send(
        "GET /x?y HTTP/1.1\r\nhOst: a.test\r\nSOAPAction: x\r\nx-plain: y\r\nTE: trailers\r\nvia: 1.0 a\r\n\
         X-Kong-Request-Id: theirs\r\nConnection: close\r\n\r\n",
    );
    let head: Vec<&str> = body_of(&response).lines().collect();
    assert_eq!(head.first(), Some(&"GET /x?y HTTP/1.1"), "{response}");
    let host = format!("Host: {}", gateway.upstream_host());
    for line in [
        host.as_str(),
        "SOAPAction: x",
        "x-plain: y",
        "te: trailers",
        "X-Real-IP: 127.0.0.1",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Host: a.test",
        "Via: 1.0 a, 1.1 tollgate",
        "Connection: keep-alive",
    ] {
        assert!(head.contains(&line), "{line}: {response}");
    }
    let mut names: Vec<_> = head.iter().filter_map(|line| Some(line.split_once(':')?.0.to_lowercase())).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "each name once: {response}");
}

#[test]
fn an_unmatched_request_gets_the_404_of_the_gateway() {
    let gateway = Gateway::start(vec![Route::to("/api", &upstream())]);
    let response = gateway.send(&get("/other?access_token=hunter2"));
    assert_eq!(status_of(&response), 404);
    let id = header_of(&response, "x-kong-request-id").unwrap();
    let expected = format!("{{\n  \"message\":\"no Route matched with those values\",\n  \"request_id\":\"{id}\"\n}}");
    assert_eq!(body_of(&response), expected);
    assert_eq!(header_of(&response, "content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(header_of(&response, "server"), Some(SERVER));
    assert!(header_of(&response, "x-kong-response-latency").is_some());
    let log = gateway.log();
    assert!(log.contains("\"reason\":\"no_route\""), "{log}");
    assert!(log.contains("\"path\":\"/other\""), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn responses_to_head_have_a_length_and_no_body() {
    let gateway = Gateway::start(vec![]);
    let response = gateway.send("HEAD /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(status_of(&response), 404);
    assert_eq!(body_of(&response), "");
    assert_ne!(header_of(&response, "content-length"), Some("0"));
}

#[test]
fn identity_headers_of_a_client_never_arrive() {
    let set = guard(|request| {
        assert!(!request.headers.contains_key("x-consumer-id"));
        request.edits.set(HeaderName::from_static("x-consumer-id"), HeaderValue::from_static("ours"));
        Verdict::Continue
    });
    let gateway = Gateway::start(vec![Route::to("/", &upstream()).plugin(set)]);
    let response = gateway.send(
        "GET /x HTTP/1.1\r\nHost: a\r\nX-Consumer-ID: evil\r\nx_consumer_id: evil\r\nX-CONSUMER-ID: evil\r\n\
         X-Credential-Identifier: evil\r\nX_Authenticated-UserId: evil\r\nX-Kept: yes\r\nX-Dropped: 1\r\n\
         Transfer_Encoding: chunked\r\nContent_Length: 3\r\n\
         Connection: close, X-Consumer-Id, X-Dropped, X-Forwarded-For, Host\r\n\r\n",
    );
    let seen = seen(&response);
    assert!(!response.contains("evil"), "{response}");
    assert_eq!(seen["headers"]["x-consumer-id"], "ours");
    assert_eq!(seen["headers"]["x-kept"], "yes");
    assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1");
    for name in ["x-dropped", "transfer_encoding", "content_length", "x-credential-identifier"] {
        assert_eq!(seen["headers"].get(name), None, "{name}");
    }
}

#[test]
fn identity_headers_declared_by_a_plugin_never_arrive_from_a_client() {
    let identity_headers = IdentityHeaders::with_plugins([("test", &["x-subject", "jwt-claim-"][..])]).unwrap();
    let settings = Settings { identity_headers, ..gateway::settings() };
    let gateway = Gateway::start_with(settings, vec![Route::to("/", &upstream())]);
    let response = gateway.send(
        "GET /x HTTP/1.1\r\nHost: a\r\nX-Subject: evil\r\nx_subject: evil\r\nJWT.Claim-Iss: evil\r\n\
         X-Consumer-ID: evil\r\nX-Subjects: kept\r\nJwt-Claim: kept\r\nConnection: close\r\n\r\n",
    );
    let seen = seen(&response);
    assert!(!response.contains("evil"), "{response}");
    assert_eq!((&seen["headers"]["x-subjects"], &seen["headers"]["jwt-claim"]), (&json!("kept"), &json!("kept")));
}

#[test]
fn large_bodies_are_streamed() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    let body = "x".repeat(1 << 20);
    let response = gateway.send(&format!(
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(seen(&response)["body_length"], 1 << 20);
}

#[test]
fn a_body_that_a_plugin_read_still_reaches_the_upstream() {
    let reader = || {
        guard(|request| match &request.body {
            RequestBody::Unread => Verdict::NeedBody { limit: 1 << 20, terminal: false },
            RequestBody::Read(body) => {
                let length = HeaderValue::from(body.len());
                request.edits.set(HeaderName::from_static("x-read"), length);
                Verdict::Continue
            }
            RequestBody::TooLarge => {
                request.edits.set(HeaderName::from_static("x-read"), HeaderValue::from_static("too large"));
                Verdict::Continue
            }
        })
    };
    let gateway = Gateway::start(vec![Route::to("/", &upstream()).plugin(reader())]);
    for (length, read) in [(0, "0"), (5, "5"), (60_000, "60000"), (65_536, "65536"), (65_537, "too large")] {
        let body = "x".repeat(length);
        let response = gateway.send(&format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ));
        assert_eq!(status_of(&response), 200, "{length}: {response}");
        assert_eq!(seen(&response)["body_length"], length);
        assert_eq!(seen(&response)["headers"]["x-read"], read);
    }
    let chunked = gateway.send(
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    assert_eq!(seen(&chunked)["body"], "abcde", "{chunked}");
    assert_eq!(seen(&chunked)["headers"]["x-read"], "5");
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let reader = guard(|request| match request.body {
        RequestBody::Unread => Verdict::NeedBody { limit: 100, terminal: false },
        _ => Verdict::Continue,
    });
    let gateway = Gateway::start(vec![Route::to("/", &upstream()).plugin(reader)]);
    let response = gateway.converse(&[
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            "100",
        ),
        ("hello", "\"hello\""),
    ]);
    assert!(response.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), "{response}");
    assert!(!response.contains("\"expect\""), "{response}");
}

#[test]
fn a_plugin_can_replace_query_and_body() {
    let editor = guard(|request| match request.body {
        RequestBody::Read(_) => {
            request.edits.query = Some(String::new());
            request.edits.body = Some("shorter".into());
            Verdict::Continue
        }
        _ => Verdict::NeedBody { limit: 1000, terminal: false },
    });
    let gateway = Gateway::start(vec![Route::to("/", &upstream()).plugin(editor)]);
    for framing in ["Content-Length: 9\r\n\r\nabcdefghi", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"] {
        let response =
            gateway.send(&format!("POST /x?access_token=t HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}"));
        assert_eq!(seen(&response)["target"], "/x", "{response}");
        assert_eq!(seen(&response)["body"], "shorter");
    }
}

#[test]
fn a_plugins_reply_is_sent_unchanged_and_the_connection_kept() {
    let reply = replying(|| Reply::json(StatusCode::UNAUTHORIZED, "no_token", &json!({"error": "x"})));
    let gateway = Gateway::start(vec![Route::to("/", &upstream()).plugin(reply)]);
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let response = gateway.converse(&[(request, "{\"error\":\"x\"}"), (request, "{\"error\":\"x\"}")]);
    assert_eq!(response.matches("HTTP/1.1 401").count(), 2, "{response}");
    assert_eq!(response.matches("application/json; charset=utf-8").count(), 2, "{response}");
    assert!(gateway.log().contains("\"reason\":\"no_token\""));
}

#[test]
fn a_large_unread_body_does_not_hide_the_response() {
    let gateway = Gateway::start(vec![]);
    let body = "x".repeat(3_000_000);
    let response =
        gateway.send(&format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(status_of(&response), 404, "{response}");
    assert_eq!(header_of(&response, "connection"), Some("close"));
}

#[test]
fn a_panic_in_a_plugin_is_a_500_and_affects_nothing_else() {
    let panics = guard(|_| panic!("no good"));
    let gateway = Gateway::start(vec![Route::to("/bad", &upstream()).plugin(panics), Route::to("/good", &upstream())]);
    for _ in 0..3 {
        let response = gateway.send(&get("/bad"));
        assert_eq!(status_of(&response), 500);
        assert_eq!(body_of(&response), "{\"message\":\"An unexpected error occurred\"}");
    }
    assert_eq!(status_of(&gateway.send(&get("/good"))), 200);
}

#[test]
fn a_chain_that_cannot_run_refuses() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream()).uncompilable()]);
    let response = gateway.send(&get("/x"));
    assert_eq!(status_of(&response), 503);
    assert_eq!(header_of(&response, "retry-after"), Some("1"));
}

#[test]
fn a_route_without_service_responds_503_unless_a_plugin_replies() {
    let gateway = Gateway::start(vec![
        Route::without_service("/bare"),
        Route::without_service("/plugin").plugin(replying(|| Reply::message(StatusCode::OK, "ok", "hi"))),
    ]);
    let response = gateway.send(&get("/bare"));
    assert_eq!(status_of(&response), 503);
    assert!(body_of(&response).contains("no Service found with those values"));
    assert_eq!(status_of(&gateway.send(&get("/plugin"))), 200);
}

#[test]
fn an_upstream_that_refuses_is_502_and_one_that_stalls_504() {
    let gateway = Gateway::start(vec![
        Route::to("/refused", &refused()),
        Route::to("/slow", &upstream()).edit(|service| (service.read_timeout, service.retries) = (200, 1)),
        Route::to("/named", "no.such.host.invalid:80"),
    ]);
    let refused = gateway.send(&get("/refused"));
    assert_eq!(status_of(&refused), 502);
    let text = "An invalid response was received from the upstream server\nrequest_id: ";
    assert!(body_of(&refused).starts_with(text), "{refused}");
    assert_eq!(header_of(&refused, "content-type"), Some("text/plain; charset=utf-8"));
    let slow = gateway.send(&get("/slow/sleep"));
    assert_eq!(status_of(&slow), 504, "{slow}");
    assert!(body_of(&slow).starts_with("The upstream server is timing out"));
    let named = gateway.send(&get("/named"));
    assert_eq!(status_of(&named), 503);
    assert!(body_of(&named).contains("name resolution failed"));
}

#[test]
fn failed_attempts_are_retried_but_a_sent_post_is_not() {
    let (breaking, connections) = gateway::breaking();
    let route = Route::to("/", &breaking).edit(|service| service.retries = 3);
    let gateway = Gateway::start(vec![route]);
    assert_eq!(status_of(&gateway.send(&get("/x"))), 502);
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 4);
    let post = gateway.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    assert_eq!(status_of(&post), 502);
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 5);
}

#[test]
fn an_unsolicited_101_is_refused() {
    let switching = gateway::saying("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    let gateway = Gateway::start(vec![Route::to("/", &switching)]);
    assert_eq!(status_of(&gateway.send(&get("/x"))), 502);
}

#[test]
fn hop_by_hop_headers_of_a_response_are_removed() {
    let saying = "HTTP/1.1 200 OK\r\nServer: theirs\r\nVia: 1.0 fred\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n\
                  Connection: X-Private, keep-alive, Content-Length\r\nContent-Length: 2\r\nTrailer: x\r\n\r\nok";
    let gateway = Gateway::start(vec![Route::to("/", &gateway::saying(saying))]);
    let response = gateway.send(&get("/x"));
    assert_eq!(body_of(&response), "ok");
    assert_eq!(header_of(&response, "server"), Some("theirs"));
    assert_eq!(header_of(&response, "via"), Some("1.0 fred, 1.1 tollgate"));
    assert_eq!(header_of(&response, "content-length"), Some("2"));
    for name in ["x-private", "keep-alive", "trailer"] {
        assert_eq!(header_of(&response, name), None, "{name}");
    }
}

#[test]
fn hostile_heads_are_refused() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    let rows = [
        ("GET /x HTTP/1.1\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /x HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
        ("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
        ("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ];
    for (request, expected) in rows {
        let response = gateway.send(request);
        assert_eq!(status_of(&response), expected, "{request}: {response}");
    }
    let long = gateway.send(&get(&format!("/{}", "a".repeat(9000))));
    assert_eq!(status_of(&long), 414);
    let trace = gateway.send("TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(body_of(&trace).starts_with("Method not allowed\nrequest_id: "), "{trace}");
}

#[test]
fn https_upstreams_are_verified_unless_the_service_says_otherwise() {
    let secure = gateway::https_upstream();
    let gateway = Gateway::start(vec![
        Route::to("/verified", &secure).edit(|service| service.protocol = "https".to_owned()),
        Route::to("/trusting", &secure).edit(|service| {
            service.protocol = "https".to_owned();
            service.tls_verify = Some(false);
        }),
        Route::to("/named", &secure.replace("127.0.0.1", "localhost"))
            .edit(|service| service.protocol = "https".to_owned()),
    ]);
    for path in ["/verified", "/named"] {
        let response = gateway.send(&get(path));
        assert_eq!(status_of(&response), 502, "{response}");
    }
    assert_eq!(status_of(&gateway.send(&get("/trusting"))), 200);
    assert!(gateway.log().contains("\"reason\":\"upstream_tls\""), "{}", gateway.log());
}

#[test]
fn requests_are_counted_by_route_and_status() {
    let gateway = Gateway::start(vec![Route::to("/api", &upstream())]);
    gateway.send(&get("/api"));
    gateway.send(&get("/other"));
    let metrics = gateway.metrics_with(r#"tollgate_requests_total{code="404",route="",service=""} 1"#);
    assert!(metrics.contains(r#"tollgate_requests_total{code="200",route="/api",service="api"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"source="service""#), "{metrics}");
}

#[test]
fn a_stalled_client_times_out() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    let started = std::time::Instant::now();
    let response = gateway.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhi");
    assert_eq!(status_of(&response), 408, "{response}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_body_that_stalls_or_breaks_while_a_plugin_reads_it_is_a_client_error() {
    let reader = guard(|request| match request.body {
        RequestBody::Unread => Verdict::NeedBody { limit: 100, terminal: true },
        _ => Verdict::Reply(Reply::message(StatusCode::OK, "read", "read")),
    });
    let gateway = Gateway::start(vec![Route::to("/", &upstream()).plugin(reader)]);
    let stalled = gateway.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhi");
    assert_eq!(status_of(&stalled), 408, "{stalled}");
    let broken = gateway.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n0\r\n\r\n");
    assert_eq!(status_of(&broken), 400, "{broken}");
}

#[test]
fn a_body_too_long_to_be_replayed_is_refused_once_it_was_read() {
    let reader = guard(|request| match request.body {
        RequestBody::Unread => Verdict::NeedBody { limit: 1 << 20, terminal: false },
        _ => Verdict::Continue,
    });
    let gateway = Gateway::start(vec![Route::to("/", &upstream()).plugin(reader)]);
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let response = gateway.send(&format!("{head}{}0\r\n\r\n", chunk.repeat(4)));
    assert_eq!(status_of(&response), 413, "{response}");
    assert!(gateway.log().contains("\"reason\":\"body_too_large\""));
}

#[test]
fn close_is_recognised_in_any_connection_field() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    for fields in ["keep-alive\r\nConnection: close", "x\r\nConnection: y, Close"] {
        let response = gateway.send(&format!("GET /x HTTP/1.1\r\nHost: a\r\nConnection: {fields}\r\n\r\n"));
        assert_eq!(header_of(&response, "connection"), Some("close"), "{response}");
    }
}

#[test]
fn an_unreadable_response_is_not_retried() {
    let (unreadable, connections) = gateway::unreadable();
    let route = Route::to("/", &unreadable).edit(|service| service.retries = 5);
    let gateway = Gateway::start(vec![route]);
    for method in ["GET", "PUT", "DELETE"] {
        let before = connections.load(std::sync::atomic::Ordering::SeqCst);
        let response = gateway.send(&format!("{method} /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        assert_eq!(status_of(&response), 502, "{response}");
        assert_eq!(
            connections.load(std::sync::atomic::Ordering::SeqCst),
            before + 1,
            "{method}: the upstream has acted on it"
        );
    }
}

#[test]
fn an_idle_upstream_connection_is_reused() {
    let gateway = Gateway::start(vec![Route::to("/", &upstream())]);
    let request = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let response = gateway.converse(&[(request, "\"target\":\"/x\"}"), (request, "\"target\":\"/x\"}")]);
    assert_eq!(response.matches("HTTP/1.1 200").count(), 2, "{response}");
}

#[test]
fn a_path_that_an_upstream_may_read_as_another_routes_is_refused() {
    let refusing = || replying(|| Reply::message(StatusCode::UNAUTHORIZED, "no_token", "no"));
    let gateway = Gateway::start(vec![
        Route::to("/api", &upstream()),
        Route::to("/api/admin", &upstream()).plugin(refusing()),
        Route::to("/based", &upstream()).edit(|service| service.path = Some("/v1/x".to_owned())),
        Route::to("~/users/\\d+", &upstream()),
        Route::to("/guarded", &upstream()).plugin(refusing()),
    ]);
    let climbing = [
        "/api/..%2fother",
        "/api/..%2F..%2Fother",
        "/api/%2e%2e%2fother",
        "/api/..;/other",
        "/api/..;a=b/other",
        "/api/..%5cother",
        "/api/..\\other",
        "/api/%252e%252e/other",
        "/api/%252e%252e%252fother",
        "/api/..%252fother",
        "/api/x/..;/..;/other",
        "/api/x%2fy/..;/..;/..;/other",
        "/api/..%3b/other",
        // The same route, but the plugins of a longer one would be passed by.
        "/api/x%2f..%2fadmin",
        "/api/x/..;/admin/y",
        // Below the route, but not below the service.
        "/based/..%2fother",
        "/based/..;/based/other",
        "/users/7/..;/other",
    ];
    // Refused before any plugin.
    for target in climbing.into_iter().chain(["/guarded/..%2fapi"]) {
        let response = gateway.send(&get(target));
        let text = body_of(&response);
        assert_eq!(status_of(&response), 400, "{target}: {response}");
        assert!(text.contains("The path leaves its route or service by dot segments"), "{target}: {text}");
        assert_eq!(header_of(&response, "connection"), Some("close"));
    }
    let lines = gateway.log_lines(climbing.len() + 1);
    assert!(lines.iter().all(|line| line["reason"] == "climbing_path"), "{lines:?}");
    for (target, sent) in [
        ("/api/group%2Fproject", "/group%2Fproject"),
        ("/api/group%2fproject", "/group%2Fproject"),
        ("/api/a..b/c;v=1/..d", "/a..b/c;v=1/..d"),
        ("/api/x/..%2fy", "/x/..%2Fy"),
        ("/api/x/..;/y", "/x/..;/y"),
        ("/api/100%25", "/100%25"),
        ("/based/a%5Cb", "/v1/x/a%5Cb"),
        ("/based/a/..%2fb", "/v1/x/a/..%2Fb"),
        ("/users/7/a/..%2fb", "/a/..%2Fb"),
        ("/api/x/../y", "/y"),
    ] {
        let response = gateway.send(&get(target));
        assert_eq!((status_of(&response), seen(&response)["target"].as_str()), (200, Some(sent)), "{target}");
    }
}

#[test]
fn a_lenient_service_gets_paths_that_climb_for_others() {
    for named in ["api", "8f4ecf2e-5c0a-4d53-9d0a-3f1b1f2a7b11"] {
        let services = ["other", named].map(str::to_owned);
        let settings = Settings { live: gateway::live(NamedServices::new(services)), ..gateway::settings() };
        let id = "8f4ecf2e-5c0a-4d53-9d0a-3f1b1f2a7b11".parse().unwrap();
        let route = Route::to("/api", &upstream()).edit(|service| service.id = id);
        let other = Route::to("/strict", &upstream()).edit(|service| service.name = Some("strict".to_owned()));
        let gateway = Gateway::start_with(settings, vec![route, other]);
        let response = gateway.send(&get("/api/..%2fother"));
        assert_eq!((status_of(&response), seen(&response)["target"].as_str()), (200, Some("/..%2Fother")));
        assert_eq!(status_of(&gateway.send(&get("/strict/..%2fother"))), 400);
    }
}
