//! `/openapi.json` against the Admin API that it describes.

mod page;

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

/// What each response is held to. Whether input is valid also depends on rules that need code, and on what is stored.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,response_headers_conformance";

on_both_stores! {
    async fn responses_are_what_the_document_says(gateway: Gateway) {
        // Entities to be found, changed and listed: what is generated rarely refers to any.
        let service = gateway.create("/services", json!({"name": "api", "host": "127.0.0.1"})).await;
        let route = gateway.create("/routes", json!({"name": "api", "paths": ["/api"], "service": {"id": service["id"]}})).await;
        gateway.create("/consumers", json!({"username": "kate"})).await;
        gateway.create("/upstreams", json!({"name": "pool.test"})).await;
        gateway.create("/upstreams/pool.test/targets", json!({"target": "127.0.0.1:1"})).await;
        let plugin = json!({"name": "oauth2", "service": {"id": service["id"]}, "config": {"enable_client_credentials": true}});
        gateway.create("/plugins", plugin).await;
        gateway.create("/consumers/kate/oauth2", json!({"name": "app", "redirect_uris": ["https://a.test/"]})).await;
        assert!(route["id"].is_string());

        let address = gateway.addresses.admin.to_string();
        let output = tokio::task::spawn_blocking(move || schemathesis(&address)).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    async fn the_document_has_every_path_and_every_plugin(gateway: Gateway) {
        let document = gateway.admin_get("/openapi.json").await.expect(200).json();
        let paths: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let endpoints = gateway.admin_get("/endpoints").await.expect(200).json();
        assert_eq!(paths, serde_json::from_value::<BTreeSet<String>>(endpoints["data"].clone()).unwrap());

        let schemas = document["components"]["schemas"].as_object().unwrap();
        let enabled = gateway.admin_get("/plugins/enabled").await.expect(200).json();
        for name in enabled["enabled_plugins"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let given = &schemas[&format!("plugins.{name}.given")];
            let published = gateway.admin_get(&format!("/schemas/plugins/{name}")).await.expect(200).json();
            let config = published["fields"].as_array().unwrap().iter().find_map(|field| field.get("config")).unwrap();
            let empty = Vec::new();
            let fields = config["fields"].as_array().unwrap_or(&empty).iter();
            let mut published: Vec<&String> = fields.flat_map(|field| field.as_object().unwrap().keys()).collect();
            published.sort_unstable();
            let nothing = serde_json::Map::new();
            let properties = given["properties"]["config"]["properties"].as_object().unwrap_or(&nothing);
            let known: BTreeSet<&String> = properties.keys().collect();
            assert!(published.iter().all(|field| known.contains(field)), "{name}: {published:?}, {known:?}");
        }
        let broken = references(&document).into_iter().filter(|reference| {
            document.pointer(reference.trim_start_matches('#')).is_none()
        });
        assert_eq!(broken.collect::<Vec<_>>(), Vec::<String>::new(), "references to nothing");
    }
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(references).collect(),
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        _ => Vec::new(),
    }
}

/// Runs it, bounded in examples and in time; the same examples each time. The log level is left as it is: with `trace`
/// the rest would be about the log.
fn schemathesis(address: &str) -> std::process::Output {
    let program = std::env::var("TOLLGATE_TEST_SCHEMATHESIS")
        .expect("TOLLGATE_TEST_SCHEMATHESIS is not set: run the tests with ./dev test, which installs Schemathesis");
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.current_dir(folder.path()).env("NO_COLOR", "1");
    command.args(["run", &format!("{address}openapi.json"), "--checks", CHECKS, "--phases", "coverage,fuzzing"]);
    command.args(["--max-examples", "2", "--seed", "1", "--workers", "2", "--max-failures", "20", "--max-time", "10"]);
    command.args(["--no-shrink", "--suppress-health-check", "all", "--warnings", "off", "--request-timeout", "10"]);
    command.args(["--exclude-path", "/debug/node/log-level/{log_level}"]);
    command.output().expect("Schemathesis starts")
}
