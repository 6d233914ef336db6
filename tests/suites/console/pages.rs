//! The pages that are not about an entity: traffic, tokens, health, certificates; and the search in lists.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::console::ENTER;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Console, Upstream};

/// The value of a figure, under its name.
async fn figure(console: &Console, section: &str, name: &str) -> Value {
    let find = format!(
        "const section = [...document.querySelectorAll('section')].find((one) => one.querySelector('h2').textContent.startsWith({}));
         return [...section.querySelectorAll('dt')].find((one) => one.textContent === {}).nextSibling.textContent",
        json!(section),
        json!(name)
    );
    console.script(&find).await
}

async fn issued(console: &Console, api: &Api, client: &Application) -> String {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client.id()),
        ("client_secret", client.secret()),
        ("scope", "email"),
    ];
    let reply = api.token(&console.gateway, &form).await.expect(200);
    reply.json()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_what_the_gateway_has_served() {
    let console = Console::start(&[]).await;
    let gateway = &console.gateway;
    let upstream = Upstream::start().await;
    let api = Api::protected(gateway, "api", &upstream, json!({})).await;
    let client = Application::register(gateway, "bob", json!({})).await;
    let token = issued(&console, &api, &client).await;
    for _ in 0..4 {
        api.get(gateway, &token).await.expect(200);
    }
    gateway.send(gateway.request(Method::GET, "/nowhere")).await.expect(404);
    console.visit("/", "Live traffic").await;
    // The token, what it was used for, and what matched no route.
    console.until("[...document.querySelectorAll('dd')].some((one) => one.textContent === '6')").await;
    let requests = [("Requests", "6"), ("Status 2xx", "5"), ("Status 4xx", "1"), ("Status 5xx", "0")];
    for (name, value) in requests {
        assert_eq!(figure(&console, "Requests", name).await, value, "{name}");
    }
    for name in ["Gateway", "Upstream"] {
        let figure = figure(&console, "Latency", name).await;
        assert_eq!(figure.as_str().unwrap().matches("s").count(), 2, "{name}: {figure}");
    }
    assert_eq!(figure(&console, "Tokens", "Hit ratio").await, "75 %");
    assert_eq!(figure(&console, "Store", "Responds").await, "✓ yes");
    assert_eq!(
        figure(&console, "Store", "Kind").await,
        gateway.admin_get("/").await.json()["configuration"]["database"]
    );
    assert_eq!(figure(&console, "Node", "Id").await, gateway.admin_get("/").await.json()["node_id"]);
    assert!(console.text("main").await.contains("Busiest routes"));

    // Then those of the last minute, as long as they are not paused.
    console.until("document.querySelector('main p:not(.actions)').textContent.startsWith('The last')").await;
    console.activate("Pause").await;
    console.until("document.activeElement.textContent === 'Go on'").await;
    console.keys(ENTER).await;
    api.get(gateway, &token).await.expect(200);
    console.until("[...document.querySelectorAll('dt')].find((one) => one.textContent === 'Requests').nextSibling.textContent === '1'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_token_is_explained_found_and_revoked() {
    let console = Console::start(&[]).await;
    let gateway = &console.gateway;
    let upstream = Upstream::start().await;
    let api = Api::protected(gateway, "api", &upstream, json!({})).await;
    let client = Application::register(gateway, "bob", json!({"client_id": "bobs-app"})).await;
    let token = issued(&console, &api, &client).await;
    console.visit("/tokens", "Tokens").await;
    console.fill("Route", "api").await;
    console.fill("Token", &format!("{token}{ENTER}")).await;
    console.told("The token is accepted.").await;
    let explained = console.text("#explanation").await;
    for part in ["✓ accepted", "bobs-app", "look_up", "passed", "expiry"] {
        assert!(explained.contains(part), "no {part} in {explained}");
    }
    console.activate("Find it among those issued").await;
    console.until("document.querySelector('#found table')").await;
    let hint = &token[token.len() - 4..];
    assert!(console.text("#found").await.starts_with(&format!("1 of 1 tokens end in {hint}.")));
    console.activate(&format!("Revoke …{hint}")).await;
    console.activate("Revoke").await;
    console.told(&format!("Revoked: …{hint}.")).await;
    console.until("!document.querySelector('#found table')").await;
    assert_eq!(api.get(gateway, &token).await.status, 401);
    console.visit("/tokens", "Tokens").await;
    console.fill("Route", "api").await;
    console.fill("Token", &format!("{token}{ENTER}")).await;
    console.told("The token is refused.").await;
    assert!(console.text("#explanation").await.starts_with("✗ refused with 401 token_unknown"));
    let addresses = "return performance.getEntries().map((entry) => entry.name).concat(location.href).join()";
    assert!(!console.script(addresses).await.as_str().unwrap().contains(&token));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_searched_and_health_and_expiry_are_shown() {
    let console = Console::start(&[]).await;
    let gateway = &console.gateway;
    for name in ["red", "green", "blue"] {
        gateway.create("/services", json!({"name": name, "host": format!("{name}.test"), "tags": ["colour"]})).await;
    }
    gateway.create("/upstreams", json!({"name": "pool"})).await;
    gateway.create("/upstreams/pool/targets", json!({"target": "127.0.0.1:9", "weight": 7})).await;

    console.visit("/services", "Services").await;
    assert_eq!(console.text(".count").await, "3 found.");
    console.fill("Search", "GREEN.test").await;
    console.until("document.querySelector('.count').textContent === '1 found.'").await;
    let names =
        console.script("return [...document.querySelectorAll('tbody th')].map((cell) => cell.textContent)").await;
    assert_eq!(names, json!(["green"]));
    console.keys(ENTER).await;
    console.told("None has exactly the name or id GREEN.test.").await;
    console.fill("Search", &format!("blue{ENTER}")).await;
    console.heading("Service blue").await;

    console.visit("/health", "Upstream health").await;
    let health = console.text("main section").await;
    assert!(health.starts_with("pool – not checked") && health.contains("127.0.0.1:9 – not checked 7"), "{health}");
    console.activate("pool").await;
    console.heading("Upstream pool").await;
    console.activate("Targets").await;
    console.heading("Targets of Upstream pool").await;
    console.activate("127.0.0.1:9").await;
    console.heading("Target 127.0.0.1:9").await;
    console.fill("weight", "8").await;
    console.activate("Save").await;
    console.told("Saved.").await;

    console.visit("/expiry", "Certificate expiry").await;
    let row = console.text("tbody tr").await;
    assert!(row.starts_with("default ") && row.ends_with("✓ valid"), "{row}");
}
