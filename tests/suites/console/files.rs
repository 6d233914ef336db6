//! What `/ui` sends, and to whom.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::{Gateway, Reply, Store};

/// The whole policy: nothing inline, nothing from elsewhere, in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

async fn send(gateway: &Gateway, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
    let url = gateway.addresses.admin.join(path).unwrap();
    let request = gateway.client.request(method, url);
    gateway.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_console_unless_it_is_turned_on() {
    let gateway = Gateway::on_sqlite().await;
    for path in ["/ui", "/ui/", "/ui/console.js", "/ui/caller"] {
        let reply = send(&gateway, Method::GET, path, &[]).await;
        assert_eq!((reply.status, reply.json()), (404, json!({"message": "Not found"})), "{path}");
    }
    let listed: Value = gateway.admin_get("/endpoints").await.json();
    assert!(!listed.to_string().contains("\"/ui"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_files_go_to_everybody_who_may_reach_the_listener_and_who_calls_is_told_to_callers() {
    let settings = [("TOLLGATE_ADMIN_UI", "on"), ("TOLLGATE_ADMIN_AUTH", "tokens")];
    let mut gateway = Gateway::on(Store::Sqlite, &settings).await;
    let page = send(&gateway, Method::GET, "/ui", &[]).await;
    for (path, content_type) in [
        ("/ui", "text/html"),
        ("/ui/", "text/html"),
        ("/ui/console.css", "text/css"),
        ("/ui/api.js", "text/javascript"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let reply = send(&gateway, method.clone(), path, &[]).await;
            let of = |name: &str| reply.header(name).unwrap_or_default();
            assert_eq!(reply.status, 200, "{method} {path}");
            assert_eq!(of("content-type"), format!("{content_type}; charset=utf-8"), "{method} {path}");
            assert_eq!(of("content-security-policy"), POLICY, "{method} {path}");
            assert_eq!(of("x-content-type-options"), "nosniff", "{method} {path}");
            assert_eq!(of("referrer-policy"), "no-referrer", "{method} {path}");
            assert_eq!(of("cache-control"), "no-store", "{method} {path}");
            assert_eq!(reply.body.is_empty(), method == Method::HEAD, "{method} {path}");
        }
    }
    assert!(page.body.contains("/ui/console.js") && !page.body.contains("tga_"), "{}", page.body);
    for (path, status) in [("/ui/caller", 401), ("/services", 401), ("/ui/nothing.js", 401), ("/ui/a/b", 401)] {
        assert_eq!(send(&gateway, Method::GET, path, &[]).await.status, status, "{path}");
    }
    assert_eq!(send(&gateway, Method::POST, "/ui", &[]).await.status, 401);
    let elsewhere = [("origin", "https://evil.test")];
    assert_eq!(send(&gateway, Method::GET, "/ui", &elsewhere).await.status, 403);
    let linked = [("sec-fetch-site", "cross-site")];
    assert_eq!(send(&gateway, Method::GET, "/ui", &linked).await.status, 403);

    gateway.make_admin_token();
    let node = gateway.admin_get("/").await.json();
    let caller = gateway.admin_get("/ui/caller").await.expect(200).json();
    assert_eq!(
        caller,
        json!({
            "name": "token:tests", "role": "write", "configuration": "database",
            "node": {"id": node["node_id"], "hostname": node["hostname"]},
        })
    );
    let listed = gateway.admin_get("/endpoints").await.expect(200).json();
    let described = gateway.admin_get("/openapi.json").await.expect(200).json();
    for path in ["/ui", "/ui/caller"] {
        assert!(listed["data"].as_array().unwrap().contains(&json!(path)), "{path} is not listed");
        assert!(described["paths"][path]["get"].is_object(), "{path} is not described");
    }
    let paths: Vec<&str> = described["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(json!(paths), listed["data"]);
    assert_eq!(gateway.admin_get("/ui/nothing.js").await.status, 404);
    assert_eq!(gateway.admin(Method::POST, "/ui", json!({})).await.status, 405);
    assert_eq!(gateway.admin(Method::PUT, "/ui/caller", json!({})).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_the_page_is_sent_under_names_of_this_machine_only() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_ADMIN_UI", "on")]).await;
    for (host, status) in [("localhost", 200), ("127.0.0.1:1", 200), ("rebound.test", 403)] {
        assert_eq!(send(&gateway, Method::GET, "/ui", &[("host", host)]).await.status, status, "{host}");
    }
}
