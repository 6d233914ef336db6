use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tollgate_core::entity;
use tollgate_core::request::{Addressed, Edits, Target};
use tollgate_plugin::testing::Entities;
use uuid::Uuid;

use super::*;

const ROUTE: Uuid = Uuid::from_u128(1);

async fn decide(config: Value, query: Option<&str>, headers: &[(&'static str, &'static str)], http2: bool) -> Verdict {
    let stored = json!({
        "status_code": 503, "message": null, "content_type": null, "body": null, "echo": false, "trigger": null,
    });
    let mut stored = stored.as_object().unwrap().clone();
    stored.extend(config.as_object().unwrap().clone());
    let routes = Entities::new(entity::route::kind());
    routes.put(ROUTE, json!({"name": "r"}));
    let services = Entities::new(entity::service::kind());
    services.stop();
    let termination = Termination {
        config: Config::try_from(&Value::Object(stored)).unwrap(),
        echo: Arc::new(Echo::new(Uuid::nil(), routes, services)),
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    let target = Target { route_id: ROUTE, service_id: Some(Uuid::nil()) };
    let mut request = Request {
        method: &Method::POST,
        path: "/a",
        query,
        headers: &map,
        http2,
        tls: false,
        peer: [127, 0, 0, 1].into(),
        client: [127, 0, 0, 1].into(),
        peer_trusted: false,
        addressed: Addressed::default(),
        certificate: None,
        arrival: &(),
        target: &target,
        body: RequestBody::Unread,
        edits: Edits::default(),
        response: Vec::new(),
        identity: None,
        served_stale: None,
        notes: None,
    };
    loop {
        let verdict = match termination.access(&mut request) {
            Access::Ready(verdict) => verdict,
            Access::Pending(waiting) => waiting.await,
        };
        match verdict.unwrap() {
            Verdict::NeedBody { terminal: true, .. } => {
                assert_eq!(termination.needs().body_limit, BODY_LIMIT);
                request.body = RequestBody::Read(Bytes::from_static(b"a=1&a=2&b"));
            }
            verdict => return verdict,
        }
    }
}

async fn reply(config: Value) -> Reply {
    let Verdict::Reply(reply) = decide(config, None, &[], false).await else { panic!("passed") };
    reply
}

fn terminated(status: u16, body: Body) -> Reply {
    Reply { status: StatusCode::from_u16(status).unwrap(), headers: Vec::new(), body, reason: REASON }
}

#[tokio::test]
async fn a_status_has_its_usual_message_or_none() {
    for (status, message) in [
        (401, "Unauthorized"),
        (404, "Not found"),
        (405, "Method not allowed"),
        (500, "An unexpected error occurred"),
        (502, "Bad Gateway"),
        (503, "Service unavailable"),
    ] {
        let body = json!({ "message": message }).to_string();
        assert_eq!(reply(json!({ "status_code": status })).await, terminated(status, Body::Json(body.into())));
    }
    assert_eq!(reply(json!({"status_code": 200})).await, terminated(200, Body::Empty));
    let own = json!({"status_code": 404, "message": "gone"});
    assert_eq!(reply(own).await, terminated(404, Body::Json(r#"{"message":"gone"}"#.into())));
}

#[tokio::test]
async fn a_body_is_sent_as_it_is_with_its_type_or_none() {
    let plain = reply(json!({"status_code": 418, "body": "<p>"})).await;
    assert_eq!(plain, terminated(418, Body::Raw("<p>".into())));
    let typed = reply(json!({"status_code": 418, "body": "<p>", "content_type": "text/html"})).await;
    let expected = terminated(418, Body::Raw("<p>".into()));
    assert_eq!(typed, expected.with_header(CONTENT_TYPE, HeaderValue::from_static("text/html")));
}

#[tokio::test]
async fn only_requests_with_the_trigger_are_responded_to() {
    let config = || json!({"trigger": "X-Stop"});
    for (query, headers) in [(None, &[][..]), (Some("x-stop=1"), &[]), (Some("a=X-Stop"), &[("x-stopped", "1")])] {
        assert!(matches!(decide(config(), query, headers, false).await, Verdict::Continue), "{query:?} {headers:?}");
    }
    for (query, headers) in [(Some("X-Stop"), &[][..]), (Some("X%2dStop=1"), &[]), (None, &[("x-stop", "")])] {
        assert!(matches!(decide(config(), query, headers, false).await, Verdict::Reply(_)), "{query:?} {headers:?}");
    }
}

#[tokio::test]
async fn a_grpc_call_is_refused_in_headers() {
    let grpc = [("content-type", "application/grpc")];
    let Verdict::Reply(reply) = decide(json!({"message": "closed"}), None, &grpc, true).await else { panic!("passed") };
    assert_eq!(reply.body, Body::Empty);
    let headers: Vec<_> = reply.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers, [("grpc-status", "14"), ("grpc-message", "closed")]);
}

#[tokio::test]
async fn a_copy_has_what_the_client_sent() {
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("x-a", "1"), ("x-a", "2")];
    let verdict = decide(json!({"echo": true, "status_code": 200}), Some("q=%20&flag"), &headers, false).await;
    let Verdict::Reply(Reply { body: Body::Json(body), .. }) = verdict else { panic!("{verdict:?}") };
    let mut copy: Value = serde_json::from_slice(&body).unwrap();
    let node = copy["kong"].take();
    assert_eq!((&node["node_id"], &node["worker_pid"]), (&json!(Uuid::nil()), &json!(std::process::id())));
    let expected = json!({
        "message": null,
        "kong": null,
        "request": {
            "scheme": "http", "host": null, "port": null, "method": "POST", "path": "/a",
            "headers": {"content-type": "application/x-www-form-urlencoded", "x-a": ["1", "2"]},
            "query": {"q": " ", "flag": true},
            "body": {"a": ["1", "2"], "b": true},
            "raw_body": "a=1&a=2&b",
        },
        "matched_route": {"id": ROUTE, "name": "r"},
        // The store of services does not respond.
        "matched_service": null,
    });
    assert_eq!(copy, expected);
}
