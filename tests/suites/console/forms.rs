//! Entities, by forms made from the schemas, with the keyboard alone.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::Console;
use tollgate_tests::console::{ENTER, ESCAPE};

/// Keeps what the page sends to be written.
const RECORD_WRITES: &str = "const { fetch } = window; window.sent = []; window.fetch = (path, request) => {
    if (request.method !== 'GET') window.sent.push([request.method, request.body]);
    return fetch(path, request);
}";

async fn stored(console: &Console, path: &str) -> Value {
    console.gateway.admin_get(path).await.expect(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_creates_changes_and_deletes_entities_with_the_keyboard() {
    let console = Console::start(&[]).await;
    console.visit("/services", "Services").await;
    console.activate("New Service").await;
    console.heading("New Service").await;
    console.fill("name", "shop").await;
    console.fill("host (required)", "127.0.0.1").await;
    console.fill("port", "8080").await;
    console.fill("tags", &format!("blue{ENTER}green")).await;
    console.activate("Create").await;
    console.told("Created: Service shop.").await;
    console.heading("Service shop").await;
    let created = stored(&console, "/services/shop").await;
    let expected = json!(["127.0.0.1", 8080, ["blue", "green"], 5, true]);
    assert_eq!(json!(["host", "port", "tags", "retries", "enabled"].map(|name| &created[name])), expected);

    // A change sends what was changed alone.
    console.script(RECORD_WRITES).await;
    console.fill("path", "/v1").await;
    console.activate("Save").await;
    console.told("Saved.").await;
    let mut changed = stored(&console, "/services/shop").await;
    assert_eq!(changed["path"], "/v1");
    changed["path"] = Value::Null;
    changed["updated_at"] = created["updated_at"].clone();
    assert_eq!(changed, created);
    assert_eq!(console.script("return window.sent").await, json!([["PATCH", "{\"path\":\"/v1\"}"]]));

    // A route below it, whose form leaves out the service.
    console.activate("Routes").await;
    console.heading("Routes of Service shop").await;
    console.activate("New Route").await;
    console.heading("New Route").await;
    console.fill("paths", "/shop").await;
    console.activate("Add to headers").await;
    console.keys("x-tenant").await;
    console.fill("value", &format!("one{ENTER}two")).await;
    console.activate("Create").await;
    console.told("Created: Route").await;
    let route = stored(&console, "/services/shop/routes").await["data"][0].clone();
    assert_eq!(
        json!(["paths", "headers", "protocols"].map(|name| &route[name])),
        json!([["/shop"], {"x-tenant": ["one", "two"]}, ["http", "https"]])
    );
    delete(&console, "Service shop", "/services/shop", created["id"].as_str().unwrap(), &route).await;
}

/// What refers to the service refuses its end; then the route and the service end, each after a question.
async fn delete(console: &Console, title: &str, path: &str, id: &str, route: &Value) {
    console.visit(path, title).await;
    console.activate("Delete…").await;
    console.until("document.getElementById('dialog').open && document.activeElement.id === 'dialog-no'").await;
    console.keys(ESCAPE).await;
    console.until("!document.getElementById('dialog').open").await;
    console.activate("Delete…").await;
    console.activate("Delete").await;
    let why = "document.getElementById('alert').textContent.includes(\"an existing 'routes' entity references this\")";
    console.until(why).await;
    let route = route["id"].as_str().unwrap();
    console.visit(&format!("/routes/{route}"), &format!("Route {route}")).await;
    console.activate("Delete…").await;
    console.activate("Delete").await;
    console.told("Deleted: Route").await;
    console.visit(path, title).await;
    console.activate("Delete…").await;
    console.activate("Delete").await;
    console.told("Deleted: Service shop.").await;
    assert_eq!(console.gateway.admin_get(&format!("/services/{id}")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_protects_an_api_and_sees_the_generated_secret_once() {
    let console = Console::start(&[]).await;
    let gateway = &console.gateway;
    gateway.create("/services", json!({"name": "shop", "host": "127.0.0.1"})).await;
    console.visit("/plugins/new", "New Plugin").await;
    console.reach("Plugin").await;
    console.keys("rate").await;
    console.until("document.getElementById('field-config-minute')").await;
    console.fill("service", "shop").await;
    console.fill("minute", "5").await;
    console.activate("Create").await;
    console.told("Created: Plugin rate-limiting.").await;
    let plugin = stored(&console, "/services/shop/plugins").await["data"][0].clone();
    assert_eq!((&plugin["name"], &plugin["config"]["minute"]), (&json!("rate-limiting"), &json!(5)));
    console.fill("minute", "6").await;
    console.activate("Save").await;
    console.told("Saved.").await;
    let mut changed = stored(&console, "/services/shop/plugins").await["data"][0].clone();
    assert_eq!(changed["config"]["minute"], 6);
    changed["config"]["minute"] = json!(5);
    changed["updated_at"] = plugin["updated_at"].clone();
    assert_eq!(changed, plugin);

    console.visit("/consumers/new", "New Consumer").await;
    console.fill("username", "bob").await;
    console.activate("Create").await;
    console.told("Created: Consumer bob.").await;
    console.activate("OAuth2 credentials").await;
    console.heading("OAuth2 credentials of Consumer bob").await;
    console.activate("New OAuth2 credential").await;
    console.heading("New OAuth2 credential").await;
    console.fill("name (required)", "bobs app").await;
    console.activate("Create").await;
    console.told("Created: OAuth2 credential bobs app.").await;
    let credential = stored(&console, "/consumers/bob/oauth2").await["data"][0].clone();
    let secret = credential["client_secret"].as_str().unwrap();
    assert_eq!(console.text(".secrets code").await, secret);
    let id = credential["id"].as_str().unwrap();
    console.visit(&format!("/oauth2/{id}"), "OAuth2 credential bobs app").await;
    let shown =
        "return document.body.innerText + [...document.querySelectorAll('input')].map((one) => one.value).join()";
    let shown = console.script(shown).await;
    assert!(shown.as_str().unwrap().contains("bobs app") && !shown.as_str().unwrap().contains(secret), "{shown}");
    // An empty secret keeps what is stored.
    console.fill("name", "renamed").await;
    console.activate("Save").await;
    console.told("Saved.").await;
    let renamed = gateway.admin(Method::GET, &format!("/oauth2/{id}"), Value::Null).await.json();
    assert_eq!((&renamed["name"], &renamed["client_secret"]), (&json!("renamed"), &json!(secret)));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_shown_at_their_fields() {
    let console = Console::start(&[]).await;
    let error = async |field: &str| console.text(&format!("#field-{field}-error")).await;
    console.gateway.create("/services", json!({"name": "taken", "host": "127.0.0.1"})).await;
    console.visit("/services/new", "New Service").await;
    console.fill("name", "taken").await;
    console.fill("port", "99999").await;
    console.fill("path", "no-slash").await;
    console.keys(ENTER).await;
    console.until("document.activeElement.getAttribute('aria-invalid') === 'true'").await;
    assert_eq!(console.script("return document.activeElement.id").await, "field-host");
    let told = [error("host").await, error("port").await, error("path").await, error("name").await];
    let expected = ["required field missing", "value should be between 0 and 65535", "should start with: /", ""]
        .map(str::to_owned);
    assert_eq!(told, expected);
    let described = "return document.activeElement.getAttribute('aria-describedby').split(' ').at(-1)";
    assert_eq!(console.script(described).await, "field-host-error");

    console.keys("127.0.0.1").await;
    console.fill("port", "80").await;
    console.fill("path", "/").await;
    console.keys(ENTER).await;
    console.until("document.activeElement.id === 'field-name'").await;
    assert_eq!(error("name").await, "Another entity has this value already.");
    assert_eq!(error("port").await, "");

    // Of a record within a plugin's configuration, and of an entity as a whole.
    console.visit("/plugins/new", "New Plugin").await;
    console.reach("Plugin").await;
    console.keys("rate").await;
    console.until("document.getElementById('field-config-minute')").await;
    console.fill("minute", "-1").await;
    console.keys(ENTER).await;
    console.until("document.activeElement.id === 'field-config-minute'").await;
    assert_eq!(error("config-minute").await, "value must be greater than 0");
    console.visit("/routes/new", "New Route").await;
    console.activate("Create").await;
    let why = "document.querySelector('form > .error').textContent.startsWith(\"must set one of 'methods'\")";
    console.until(why).await;
    assert_eq!(console.gateway.admin_get("/services").await.json()["data"].as_array().unwrap().len(), 1);
}
