//! Every built-in plugin has an example that the Admin API accepts, and a row in the documentation.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::{Findings, Gateway, repository};

#[tokio::test(flavor = "multi_thread")]
async fn every_plugin_has_an_example_that_works_and_a_row_in_the_documentation() {
    let gateway = Gateway::on_sqlite().await;
    let documentation = std::fs::read_to_string(repository().join("docs/plugins.md")).unwrap();
    let enabled = gateway.admin_get("/plugins/enabled").await.expect(200).json();
    let mut findings = Findings::new();
    for name in enabled["enabled_plugins"].as_array().unwrap().iter().filter_map(Value::as_str) {
        let row = format!("| `{name}` |");
        findings.check(name, if documentation.contains(&row) { Ok(()) } else { Err(format!("no row {row}")) });
        let example = repository().join(format!("conf/plugins/{name}.yaml"));
        let Ok(text) = std::fs::read_to_string(&example) else {
            findings.check(name, Err(format!("{} is missing", example.display())));
            continue;
        };
        let plugin: Value = serde_yaml::from_str(&text).unwrap();
        findings.compare(name, &json!(name), &plugin["name"]);
        let reply = gateway.admin(Method::POST, "/plugins", plugin).await;
        findings.check(name, if reply.status == 201 { Ok(()) } else { Err(reply.body) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configurations_in_the_guide_to_third_party_tokens_are_accepted() {
    let gateway = Gateway::on_sqlite().await;
    let guide = std::fs::read_to_string(repository().join("docs/third-party-tokens.md")).unwrap();
    let blocks: Vec<&str> = guide.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 5, "the guide has {} configurations", blocks.len());
    let mut findings = Findings::new();
    for block in blocks {
        let plugin: Value = serde_json::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"));
        let reply = gateway.admin(Method::POST, "/schemas/plugins/validate", plugin).await;
        findings.check(block, if reply.status == 200 { Ok(()) } else { Err(reply.body) });
    }
}

/// The rows of the table of plugins on the page for those who come from Kong: the plugins, and what the page says of them.
fn plugins_of_kong() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(repository().join("docs/coming-from-kong.md")).unwrap();
    let section = page.split_once("\n### Plugins\n").expect("a section").1;
    let section = section.split_once("\n### ").expect("another section").0;
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .flat_map(|cells| {
            let plugins = cells[1].split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>();
            plugins.into_iter().map(move |plugin| (plugin, cells[2].to_owned())).collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_for_those_who_come_from_kong_says_which_plugins_exist() {
    let gateway = Gateway::on_sqlite().await;
    let enabled = gateway.admin_get("/plugins/enabled").await.expect(200).json();
    let enabled: Vec<&str> = enabled["enabled_plugins"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let told = plugins_of_kong();
    assert_eq!(told.len(), 45, "as many as Kong bundles: {told:?}");
    let mut findings = Findings::new();
    for (plugin, here) in &told {
        findings.compare(plugin, &enabled.contains(&plugin.as_str()), &(here == "yes"));
    }
}

/// The fields of Kong's plugins that are policies of an edge, with their defaults, by Kong's public reference (3.9).
fn policies_of_kong() -> Vec<(&'static str, Value)> {
    let redis = json!({
        "host": null, "port": 6379, "timeout": 2000, "username": null, "password": null, "database": 0, "ssl": false,
        "ssl_verify": false, "server_name": null,
    });
    vec![
        ("basic-auth", json!({"anonymous": null, "hide_credentials": false, "realm": "service"})),
        (
            "correlation-id",
            json!({"echo_downstream": false, "generator": "uuid#counter", "header_name": "Kong-Request-ID"}),
        ),
        ("ip-restriction", json!({"allow": null, "deny": null, "message": null, "status": null})),
        (
            "prometheus",
            json!({
                "ai_metrics": false, "bandwidth_metrics": false, "latency_metrics": false, "per_consumer": false,
                "status_code_metrics": false, "upstream_health_metrics": false, "wasm_metrics": false,
            }),
        ),
        (
            "rate-limiting",
            json!({
                "second": null, "minute": null, "hour": null, "day": null, "month": null, "year": null, "redis": redis,
                "limit_by": "consumer", "header_name": null, "path": null, "policy": "local", "fault_tolerant": true,
                "hide_client_headers": false, "error_code": 429, "error_message": "API rate limit exceeded",
                "sync_rate": -1,
            }),
        ),
        (
            "request-size-limiting",
            json!({"allowed_payload_size": 128, "require_content_length": false, "size_unit": "megabytes"}),
        ),
        (
            "request-termination",
            json!({
                "body": null, "content_type": null, "echo": false, "message": null, "status_code": 503, "trigger": null,
            }),
        ),
    ]
}

/// The defaults of a record's fields, from its schema.
fn defaults(record: &Value) -> Value {
    let fields = record["fields"].as_array().expect("fields").iter();
    let fields = fields.flat_map(|field| field.as_object().expect("a field"));
    let default = |field: &Value| match field["type"].as_str() {
        Some("record") => defaults(field),
        _ => field.get("default").cloned().unwrap_or_default(),
    };
    fields.map(|(name, field)| (name.clone(), default(field))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_have_the_fields_and_defaults_of_kong() {
    let gateway = Gateway::on_sqlite().await;
    let mut findings = Findings::new();
    let mut count = 0;
    for (plugin, expected) in policies_of_kong() {
        let schema = gateway.admin_get(&format!("/schemas/plugins/{plugin}")).await.expect(200).json();
        let config = schema["fields"].as_array().and_then(|fields| fields.iter().find_map(|field| field.get("config")));
        let mut here = defaults(config.expect("a configuration"));
        // What is Tollgate's own is additional.
        here.as_object_mut().expect("fields").retain(|name, _| name != "serve_cached_for");
        findings.compare(plugin, &expected, &here);
        count += expected.as_object().map_or(0, serde_json::Map::len);
    }
    findings.compare("fields", &42, &count);
}
