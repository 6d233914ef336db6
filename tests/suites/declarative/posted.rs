//! `POST /config` and `GET /config` (gateway.md §10.2).

use http::Method;
use reqwest::multipart;
use serde_json::{Value, json};
use tollgate_tests::{Gateway, Reply, Store, Upstream};

use super::{CLIENTS, call, configuration, issued, status};

const ZEROS: &str = "00000000000000000000000000000000";

async fn without_a_file() -> Gateway {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_DATABASE", "off")]).await;
    CLIENTS.iter().for_each(|client| gateway.secrets.add(&format!("{client}-secret-of-a-client")));
    gateway
}

async fn post(gateway: &Gateway, query: &str, content_type: &str, body: &str) -> Reply {
    let url = gateway.addresses.admin.join(&format!("/config{query}")).unwrap();
    let request = gateway.client.post(url).header("content-type", content_type).body(body.to_owned());
    Reply::read(request.send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_posted_configuration_replaces_the_one_before_as_a_whole() {
    let upstream = Upstream::start().await;
    let mut gateway = without_a_file().await;
    assert_eq!(status(&gateway).await["configuration_hash"], ZEROS);
    let body = configuration(&upstream, &CLIENTS);
    let reply = post(&gateway, "", "application/json", &body).await.expect(201);
    let services = reply.json()["services"].clone();
    let [(id, service)] = services.as_object().unwrap().iter().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((&service["id"], &service["name"]), (&json!(id), &json!("api")));
    let tables: Vec<_> = reply.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(tables, ["consumers", "oauth2_credentials", "plugins", "routes", "services"]);
    let (shop, bank) = (issued(&gateway, "shop").await, issued(&gateway, "bank").await);
    assert_eq!((call(&gateway, &shop).await, call(&gateway, &bank).await), (200, 200));
    // In force when it is acknowledged.
    post(&gateway, "", "application/json", &configuration(&upstream, &["bank"])).await.expect(201);
    assert_eq!((call(&gateway, &shop).await, call(&gateway, &bank).await), (401, 200));
    // Without a file, what was posted last is what a new process has.
    let hash = status(&gateway).await["configuration_hash"].clone();
    gateway.kill();
    gateway.start_again().await;
    assert_eq!(status(&gateway).await["configuration_hash"], hash);
    assert_eq!(call(&gateway, &bank).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_read_from_every_kind_of_body() {
    let gateway = without_a_file().await;
    let yaml = |name: &str| format!("_format_version: '3.0'\nconsumers:\n- username: {name}\n");
    let usernames = async || {
        let page = gateway.admin_get("/consumers").await.json();
        page["data"].as_array().unwrap().iter().map(|one| one["username"].clone()).collect::<Vec<_>>()
    };
    for (number, content_type) in ["application/yaml", "text/yaml", "text/yaml; charset=utf-8"].iter().enumerate() {
        let name = format!("yaml-{number}");
        post(&gateway, "", content_type, &yaml(&name)).await.expect(201);
        assert_eq!(usernames().await, [json!(name)]);
    }
    post(&gateway, "", "application/json", &json!({"config": yaml("field")}).to_string()).await.expect(201);
    assert_eq!(usernames().await, [json!("field")]);
    let form = form_urlencoded(&[("config", &yaml("form"))]);
    post(&gateway, "", "application/x-www-form-urlencoded", &form).await.expect(201);
    assert_eq!(usernames().await, [json!("form")]);
    let url = gateway.addresses.admin.join("/config").unwrap();
    let parts = multipart::Form::new().text("config", yaml("parts"));
    Reply::read(gateway.client.post(url).multipart(parts).send().await.unwrap()).await.expect(201);
    assert_eq!(usernames().await, [json!("parts")]);
    post(&gateway, "", "text/plain", &yaml("text")).await.expect(415);
    for (content_type, body) in
        [("application/json", "{}"), ("text/yaml", " "), ("application/x-www-form-urlencoded", "a=b")]
    {
        let reply = post(&gateway, "", content_type, body).await.expect(400);
        assert_eq!(reply.json(), json!({"message": "expected a declarative configuration"}), "{content_type}");
    }
    let reply = post(&gateway, "", "application/json", "{").await.expect(400);
    assert_eq!(reply.json(), json!({"message": "Cannot parse JSON body"}));
    assert_eq!(usernames().await, [json!("parts")]);
}

fn form_urlencoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_in_force_already_is_told_by_its_hash() {
    let gateway = without_a_file().await;
    let body = "_format_version: '3.0'\nconsumers:\n- username: bob\n";
    post(&gateway, "?check_hash=1", "text/yaml", body).await.expect(201);
    let hash = status(&gateway).await["configuration_hash"].as_str().unwrap().to_owned();
    let md5 = openssl::hash::hash(openssl::hash::MessageDigest::md5(), body.as_bytes()).unwrap();
    assert_eq!(hash, md5.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let reply = post(&gateway, "?check_hash=1", "text/yaml", body).await.expect(304);
    assert_eq!(reply.body, "");
    let form = form_urlencoded(&[("check_hash", "1"), ("config", body)]);
    post(&gateway, "", "application/x-www-form-urlencoded", &form).await.expect(304);
    post(&gateway, "", "text/yaml", body).await.expect(201);
    post(&gateway, "?check_hash=1", "text/yaml", &body.replace("bob", "alice")).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_told_in_the_shape_that_is_asked_for_and_change_nothing() {
    let gateway = without_a_file().await;
    let good = "_format_version: '3.0'\nconsumers: [{username: bob}]\n";
    post(&gateway, "", "text/yaml", good).await.expect(201);
    let bad = "_format_version: '3.0'\nconsumers: [{username: alice}]\nservices: [{name: s, port: 99999, host: h}, {name: t}]\n";
    let reply = post(&gateway, "", "text/yaml", bad).await.expect(400).json();
    let (port, host) = ("value should be between 0 and 65535", "required field missing");
    let fields = json!({"services": [{"port": port}, {"host": host}]});
    let message = format!("declarative config is invalid: {{services={{{{port=\"{port}\"}},{{host=\"{host}\"}}}}}}");
    let expected = json!({
        "code": 14, "name": "invalid declarative configuration", "message": message, "fields": fields,
    });
    assert_eq!(reply, expected);
    let reply = post(&gateway, "?flatten_errors=1", "text/yaml", bad).await.expect(400).json();
    let flattened = json!([
        {
            "entity_type": "service", "entity_name": "s", "entity": {"name": "s", "port": 99999, "host": "h"},
            "errors": [{"type": "field", "field": "port", "message": port}],
        },
        {
            "entity_type": "service", "entity_name": "t", "entity": {"name": "t"},
            "errors": [{"type": "field", "field": "host", "message": host}],
        },
    ]);
    assert_eq!((&reply["code"], &reply["flattened_errors"]), (&json!(14), &flattened));
    gateway.admin_get("/consumers/bob").await.expect(200);
    gateway.admin_get("/consumers/alice").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_in_force_is_shown_as_a_file_that_means_the_same() {
    let upstream = Upstream::start().await;
    let gateway = without_a_file().await;
    post(&gateway, "", "application/json", &configuration(&upstream, &CLIENTS)).await.expect(201);
    let shown = async || gateway.admin_get("/config").await.expect(200).json()["config"].as_str().unwrap().to_owned();
    let text = shown().await;
    let lists = async || {
        let mut lists = Vec::new();
        for path in ["/services", "/routes", "/plugins", "/consumers", "/oauth2"] {
            lists.push(gateway.admin_get(path).await.json());
        }
        lists
    };
    let before = lists().await;
    post(&gateway, "", "text/yaml", &text).await.expect(201);
    assert_eq!((lists().await, shown().await), (before, text));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_database_there_is_no_configuration_to_replace() {
    let gateway = Gateway::on_sqlite().await;
    let message = json!({"message": "this endpoint is only available when Kong is configured to not use a database"});
    assert_eq!(gateway.admin_get("/config").await.expect(400).json(), message);
    let reply = gateway.admin(Method::POST, "/config", json!({"_format_version": "3.0"})).await.expect(400);
    assert_eq!(reply.json(), message);
    let shown: Value = status(&gateway).await;
    assert_eq!((shown.get("configuration_hash"), shown.get("declarative_config")), (None, None));
}
