//! Who may send a request, and what the audit log says of it.

use axum::extract::ConnectInfo;

use super::*;
use crate::Role;
use crate::access::Authentication;
use crate::browser::{BrowserRules, Hosts, Origins};
use crate::peer::{Peer, Transport};
use crate::status_guard::judge;

fn with_tokens(tokens: AdminTokens) -> Access {
    let browser = BrowserRules { origins: Origins::None, hosts: Hosts::Any };
    Access { browser, authentication: Authentication::Tokens(tokens) }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let request =
        Request::builder().method(method).uri(path).extension(ConnectInfo(peer("192.0.2.1", Transport::Plain)));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Body::from(body.to_owned())).unwrap()
}

fn peer(address: &str, transport: Transport) -> Peer {
    Peer { address: (address.parse::<std::net::IpAddr>().unwrap(), 5).into(), transport }
}

const JSON: (&str, &str) = ("content-type", "application/json");
const SERVICE: &str = r#"{"name":"s","host":"h"}"#;

#[tokio::test]
async fn a_token_is_needed_and_its_role_decides_what_it_may_do() {
    let (admin, tokens, events) = Admin::with_access(with_tokens);
    let reader = tokens.create("reader", Role::Read).await.unwrap();
    let writer = tokens.create("writer", Role::Write).await.unwrap();
    let bearer = |token: &str| format!("Bearer {token}");
    let (reads, writes) = (bearer(reader.expose()), bearer(writer.expose()));

    for (headers, expected) in [
        (vec![], 401),
        (vec![("authorization", "Basic eDp5")], 401),
        (vec![("authorization", "Bearer tga_0000000000000000000000000000000000000000")], 401),
        (vec![("authorization", reads.as_str())], 200),
        (vec![("authorization", writes.as_str())], 200),
        (vec![("kong-admin-token", reader.expose())], 200),
        (vec![("kong-admin-token", reader.expose()), ("authorization", reads.as_str())], 200),
        (vec![("kong-admin-token", reader.expose()), ("authorization", writes.as_str())], 401),
    ] {
        for path in ["/services", "/nothing", "/metrics", "/"] {
            let seen = admin.send(request("GET", path, &headers, "")).await;
            let expected = if path == "/nothing" && expected == 200 { 404 } else { expected };
            assert_eq!(seen.status, expected, "{path} {headers:?}");
            assert_eq!(seen.header("www-authenticate").is_empty(), expected != 401, "{path} {headers:?}");
        }
    }
    assert_eq!(admin.send(request("OPTIONS", "/services", &[], "")).await.status, 204);
    events.take();

    let write = |token: &str| request("POST", "/services", &[JSON, ("kong-admin-token", token)], SERVICE);
    let refused = admin.send(write(reader.expose())).await;
    let message = "The role of this admin token is read: changes need one with the role write";
    assert_eq!(refused.status_and_body(), (403, json!({ "message": message })));
    let validated =
        request("POST", "/schemas/services/validate", &[JSON, ("kong-admin-token", reader.expose())], SERVICE);
    assert_eq!(admin.send(validated).await.status, 200);
    let made = admin.send(write(writer.expose())).await;
    assert_eq!(made.status, 201);
    assert!(tokens.revoke("writer").await.unwrap());
    assert_eq!(admin.send(write(writer.expose())).await.status, 401);

    let id = made.status_and_body().1["id"].clone();
    let line = |more: Value| {
        let mut line = json!({"event": "admin_write", "client": "192.0.2.1", "method": "POST", "entity": "services"});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let fields =
        ["connect_timeout", "enabled", "host", "name", "port", "protocol", "read_timeout", "retries", "write_timeout"];
    let expected = [
        line(json!({"outcome": "refused", "actor": "token:reader", "status": 403})),
        line(json!({"outcome": "done", "actor": "token:writer", "status": 201, "id": id, "fields": fields})),
        json!({"event": "admin_refused", "outcome": "refused", "client": "192.0.2.1", "reason": "token_unknown"}),
    ];
    assert_eq!(events.take(), expected);
}

#[tokio::test]
async fn a_client_certificate_names_the_caller() {
    let (admin, _, events) = Admin::with_access(|_| Access::default());
    let mut request = request("DELETE", "/services/x", &[], "");
    let transport = Transport::TlsWithCertificate("CN=ops".to_owned());
    request.extensions_mut().insert(ConnectInfo(peer("::ffff:192.0.2.9", transport)));
    assert_eq!(admin.send(request).await.status, 204);
    let expected = json!({
        "event": "admin_write", "outcome": "done", "actor": "certificate:CN=ops", "client": "192.0.2.9",
        "method": "DELETE", "entity": "services", "status": 204,
    });
    assert_eq!(events.take(), [expected]);
}

#[tokio::test]
async fn pages_of_other_origins_and_other_hosts_are_refused_and_may_read_nothing() {
    let (admin, _, events) = Admin::with_access(|_| Access::default());
    let form = ("content-type", "application/x-www-form-urlencoded");
    for (headers, reason) in [
        (vec![form, ("origin", "http://evil.test")], "origin_not_allowed"),
        (vec![form, ("sec-fetch-site", "cross-site")], "origin_not_allowed"),
        (vec![form, ("host", "evil.test:8001")], "host_not_allowed"),
        (vec![form, ("host", "evil.test:8001"), ("origin", "http://evil.test:8001")], "host_not_allowed"),
    ] {
        for method in ["GET", "POST", "OPTIONS", "HEAD"] {
            let seen = admin.send(request(method, "/services", &headers, "host=h")).await;
            assert_eq!(seen.status, 403, "{method} {headers:?}");
            assert_eq!(seen.header("access-control-allow-origin"), "", "{method} {headers:?}");
            assert_eq!(seen.header("access-control-allow-credentials"), "", "{method} {headers:?}");
            let refused = json!({
                "event": "admin_refused", "outcome": "refused", "client": "192.0.2.1", "reason": reason,
            });
            assert_eq!(events.take(), [refused], "{method} {headers:?}");
        }
    }
    assert_eq!(admin.get("/services").await.1["data"], json!([]));
    assert_eq!(admin.send(request("POST", "/services", &[form], "host=h")).await.status, 201);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_use_everything() {
    let origin = "https://ui.test";
    let browser = BrowserRules { origins: Origins::Listed(vec![origin.to_owned()]), ..BrowserRules::default() };
    let (admin, ..) = Admin::with_access(|_| Access { browser, ..Access::default() });
    let headers = [("origin", origin), ("sec-fetch-site", "cross-site"), JSON];
    for (method, status) in [("OPTIONS", 204), ("GET", 200), ("POST", 201)] {
        let seen = admin.send(request(method, "/services", &headers, SERVICE)).await;
        assert_eq!((seen.status.as_u16(), seen.header("access-control-allow-origin")), (status, origin), "{method}");
        assert_eq!(seen.header("access-control-allow-credentials"), "true", "{method}");
    }
}

#[tokio::test]
async fn the_audit_log_names_the_fields_that_a_write_changed() {
    let (admin, _, events) = Admin::with_access(|_| Access::default());
    let id = admin.made("/services", json!({"name": "s", "host": "h"})).await;
    events.take();
    let changes = json!({"name": "s", "host": "h2", "tags": ["t"]}).to_string();
    assert_eq!(admin.typed("PATCH", "/services/s", "application/json", &changes).await.status, 200);
    let refused = json!({"port": "s3cr3t"}).to_string();
    assert_eq!(admin.typed("PATCH", "/services/s", "application/json", &refused).await.status, 400);
    assert_eq!(admin.bare("DELETE", "/services/s").await.status, 204);
    assert_eq!(admin.bare("PATCH", "/services").await.status, 405);
    assert_eq!(admin.bare("DELETE", "/cache").await.status, 204);
    let line = |outcome: &str, method: &str, status: u16| {
        json!({"event": "admin_write", "outcome": outcome, "actor": "anonymous", "method": method,
               "entity": "services", "status": status})
    };
    let mut changed = line("done", "PATCH", 200);
    changed["fields"] = json!(["host", "tags"]);
    changed["id"] = json!(id);
    let mut deleted = line("done", "DELETE", 204);
    deleted["id"] = json!(id);
    let mut cleared = line("done", "DELETE", 204);
    cleared["entity"] = json!("cache");
    assert_eq!(events.take(), [changed, line("refused", "PATCH", 400), deleted, cleared]);
}

#[tokio::test]
async fn an_entity_that_the_node_objects_to_is_refused_on_write() {
    let admin = Admin::new();
    let refused = |host: &str| {
        json!({"code": 2, "name": "schema violation", "message": format!("schema violation (host: {host} is not called)"),
               "fields": {"host": format!("{host} is not called")}})
    };
    let body = json!({"name": "s", "host": "forbidden"});
    assert_eq!(admin.json("POST", "/services", body.clone()).await, (400, refused("forbidden")));
    assert_eq!(admin.json("PUT", "/services/s", body.clone()).await, (400, refused("forbidden")));
    assert_eq!(admin.json("POST", "/schemas/services/validate", body).await, (400, refused("forbidden")));
    admin.made("/services", json!({"name": "s", "host": "h"})).await;
    let changed = admin.json("PATCH", "/services/s", json!({"host": "forbidden2"})).await;
    assert_eq!(changed, (400, refused("forbidden2")));
}

#[tokio::test]
async fn the_node_is_drained_from_this_machine_or_with_a_token_and_by_no_page() {
    let (admin, tokens, _) = Admin::with_access(with_tokens);
    let (reader, writer) =
        (tokens.create("r", Role::Read).await.unwrap(), tokens.create("w", Role::Write).await.unwrap());
    let local = BrowserRules::default();
    let remote = BrowserRules { hosts: Hosts::Any, ..BrowserRules::default() };
    let token = |token: &tollgate_core::secret::Secret| token.expose().to_owned();
    let (reader, writer) = (token(&reader), token(&writer));
    for (rules, address, method, headers, expected) in [
        (&local, "127.0.0.1", "GET", vec![("host", "localhost:8007")], Ok("anonymous")),
        (&local, "127.0.0.1", "GET", vec![("host", "evil.test")], Err(403)),
        (&local, "127.0.0.1", "POST", vec![], Ok("anonymous")),
        (&local, "127.0.0.1", "POST", vec![("origin", "http://evil.test")], Err(403)),
        (&local, "127.0.0.1", "POST", vec![("sec-fetch-site", "cross-site")], Err(403)),
        (&remote, "192.0.2.1", "GET", vec![("host", "node.test")], Ok("anonymous")),
        (&remote, "192.0.2.1", "POST", vec![("host", "node.test")], Err(401)),
        (&remote, "192.0.2.1", "POST", vec![("kong-admin-token", reader.as_str())], Err(403)),
        (&remote, "192.0.2.1", "POST", vec![("kong-admin-token", writer.as_str())], Ok("token:w")),
        (&remote, "127.0.0.1", "POST", vec![("host", "node.test")], Ok("anonymous")),
    ] {
        let (parts, _) = request(method, "/status/ready", &headers, "").into_parts();
        let peer = peer(address, Transport::Plain);
        let judged = judge(&admin.0, rules, &parts, Some(&peer)).await;
        let judged = judged.map_err(|failure| crate::response::Response::from(failure).status.as_u16());
        assert_eq!(judged, expected.map(str::to_owned), "{address} {method} {headers:?}");
    }
}
