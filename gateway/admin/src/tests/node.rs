//! See gateway.md §2.5.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn the_root_describes_the_node() {
    let admin = Admin::new();
    admin.made("/plugins", json!({ "name": "guard" })).await;
    let (status, body) = admin.get("/").await;
    assert_eq!(status, 200);
    let expected = json!({
        "tagline": "Welcome to kong", "version": "3.10.0", "edition": "community", "hostname": "host",
        "node_id": Uuid::from_u128(1), "timers": { "running": 0, "pending": 0 }, "lua_version": "none",
        "plugins": {
            "available_on_server": { "guard": { "version": "3.10.0", "priority": 1400 } },
            "enabled_in_cluster": ["guard"],
        },
        "configuration": { "database": "postgres" },
        "pids": { "master": 42, "workers": [42] },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn status_shows_connections_and_whether_the_database_responds() {
    let admin = Admin::new();
    let (status, body) = admin.get("/status").await;
    assert_eq!((status, &body["database"]), (200, &json!({ "reachable": true })));
    assert_eq!(body["server"]["total_requests"], json!(3));
    let refused = (400, json!({ "message": "invalid unit 'V' (expected 'k/K', 'm/M', or 'g/G')" }));
    assert_eq!(admin.get("/status?unit=V").await, refused);
}

#[tokio::test]
async fn a_probe_gets_a_response_even_if_the_api_is_busy_or_the_database_is_down() {
    let admin = Admin::beside(Database::Silent, Limits { concurrent_requests: 0, ..Limits::default() });
    assert_eq!(admin.get("/status").await.0, 503);
    let begin = Instant::now();
    let response = admin.probe().await;
    assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
    let (status, body) = response.status_and_body();
    assert_eq!((status, &body["database"]), (200, &json!({ "reachable": false })));
    assert_eq!(response.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn schemas_are_published_and_validate_without_a_write() {
    let admin = Admin::new();
    let (status, body) = admin.get("/schemas/services").await;
    assert_eq!(status, 200);
    assert!(body["fields"].as_array().is_some_and(|fields| fields.iter().any(|field| field.get("retries").is_some())));
    assert!(body["entity_checks"].is_array());
    let (status, by_name) = admin.get("/schemas/plugins/guard").await;
    let fields = by_name["fields"].as_array().unwrap().iter();
    let names: Vec<_> = fields.flat_map(|field| field.as_object().unwrap().keys()).collect();
    assert_eq!(names, ["consumer", "protocols", "config"]);
    assert_eq!((status, admin.get("/plugins/schema/guard").await), (200, (200, by_name)));
    assert_eq!(admin.get("/schemas/zz").await, (404, json!({ "message": "No entity named 'zz'" })));
    assert_eq!(admin.get("/schemas/plugins/zz").await, (404, json!({ "message": "No plugin named 'zz'" })));

    let successful = (200, json!({ "message": "schema validation successful" }));
    assert_eq!(admin.json("POST", "/schemas/services/validate", json!({ "host": "h" })).await, successful);
    assert_eq!(admin.json("POST", "/schemas/plugins/validate", json!({ "name": "guard" })).await, successful);
    assert_eq!(admin.form("POST", "/schemas/plugins/validate", "name=guard&config.hide=true").await, successful);
    let (status, body) = admin.json("POST", "/schemas/services/validate", json!({})).await;
    assert_eq!((status, &body["fields"]), (400, &json!({ "host": "required field missing" })));
    assert_eq!(admin.json("POST", "/schemas/zz/validate", json!({})).await.0, 404);
    assert_eq!(admin.get("/services").await.1["data"], json!([]));
}

#[tokio::test]
async fn kinds_without_paths_have_a_schema() {
    let admin = Admin::new();
    assert_eq!(admin.get("/guard_codes").await, not_found());
    let (status, schema) = admin.get("/schemas/guard_codes").await;
    assert_eq!((status, &schema["fields"][0]["code"]["required"]), (200, &json!(true)));
    let (status, body) = admin.json("POST", "/schemas/guard_codes/validate", json!({})).await;
    assert_eq!((status, &body["fields"]), (400, &json!({ "code": "required field missing" })));
    let valid = (200, json!({ "message": "schema validation successful" }));
    assert_eq!(admin.json("POST", "/schemas/guard_codes/validate", json!({ "code": "c" })).await, valid);
}

#[tokio::test]
async fn the_catalogue_is_sorted_and_every_entry_is_served() {
    let admin = Admin::with_kinds(vec![tollgate_core::entity::upstream::kind(), tollgate_core::entity::target::kind()]);
    let (_, body) = admin.get("/endpoints").await;
    let paths: Vec<&str> = body["data"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    assert!(paths.is_sorted());
    for expected in
        ["/", "/routes/{routes}/service", "/services/{services}/routes/{routes}", "/guards/{guard_credentials}"]
    {
        assert!(paths.contains(&expected), "{expected}");
    }
    for path in paths {
        let path = path.replace(['{', '}'], "");
        assert_eq!(admin.bare("OPTIONS", &path).await.status, 204, "{path}");
    }
}

#[tokio::test]
async fn the_cache_is_shown_and_cleared() {
    let admin = Admin::new();
    assert_eq!(admin.get("/cache/guard:1").await, (200, json!({ "id": 1 })));
    assert_eq!(admin.get("/cache/other").await, not_found());
    assert_eq!(admin.delete("/cache/guard:1").await, (204, Value::Null));
    assert_eq!(admin.get("/cache/guard:1").await, not_found());
    assert_eq!(admin.delete("/cache").await, (204, Value::Null));
}

#[tokio::test]
async fn the_small_endpoints_respond() {
    let admin = Admin::new();
    assert_eq!(admin.get("/plugins/enabled").await, (200, json!({ "enabled_plugins": ["guard"] })));
    let text = "this endpoint is only available when Kong is configured to not use a database";
    for method in ["GET", "POST"] {
        assert_eq!(admin.bare(method, "/config").await.status_and_body(), (400, json!({ "message": text })));
    }
    let metrics = admin.bare("GET", "/metrics").await;
    assert_eq!((metrics.text.as_str(), metrics.header("content-type")), ("up 1\n", "text/plain; charset=UTF-8"));
    assert_eq!(admin.get("/timers").await.0, 200);
}

#[tokio::test]
async fn the_log_level_is_shown_and_set() {
    let admin = Admin::new();
    let message = |text: &str| json!({ "message": text });
    assert_eq!(admin.get("/debug/node/log-level").await, (200, message("log level: info")));
    let put = async |level: &str| admin.bare("PUT", &format!("/debug/node/log-level/{level}")).await.status_and_body();
    assert_eq!(put("info").await, (200, message("log level is already info")));
    assert_eq!(put("trace").await, (200, message("log level changed")));
    assert_eq!(admin.get("/debug/node/log-level").await, (200, message("log level: trace")));
    assert_eq!(put("debug").await, (200, message("log level changed")));
    assert_eq!(put("loud").await, (400, message("unknown log level: loud")));
    assert_eq!(admin.get("/debug/node/log-level").await, (200, message("log level: debug")));
}
