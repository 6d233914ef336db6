//! Every page, dark and light: nothing for axe-core to find, nothing that the browser reports.

use serde_json::json;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Console, Findings, Upstream};

/// Addresses of pages with their headings: each view, and forms with every kind of control.
const PAGES: [(&str, &str); 10] = [
    ("/", "Live traffic"),
    ("/tokens", "Tokens"),
    ("/health", "Upstream health"),
    ("/expiry", "Certificate expiry"),
    ("/plugins", "Plugins"),
    ("/plugins/new", "New Plugin"),
    ("/consumers/bob/oauth2", "OAuth2 credentials of Consumer bob"),
    ("/services/api", "Service api"),
    ("/routes/api", "Route api"),
    ("/upstreams/pool", "Upstream pool"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_accessible_in_dark_and_light_and_keeps_to_its_policy() {
    let console = Console::start(&[]).await;
    let gateway = &console.gateway;
    let upstream = Upstream::start().await;
    let api = Api::protected(gateway, "api", &upstream, json!({})).await;
    Application::register(gateway, "bob", json!({})).await;
    gateway.create("/upstreams", json!({"name": "pool"})).await;
    gateway.create("/upstreams/pool/targets", json!({"target": "127.0.0.1:9"})).await;
    api.get(gateway, "no-token").await.expect(401);
    let mut findings = Findings::new();
    for (path, heading) in PAGES {
        console.visit(path, heading).await;
        for scheme in ["dark", "light"] {
            console.prefer(scheme).await;
            findings.compare(&format!("{path}, {scheme}"), &Vec::<String>::new(), &console.violations().await);
        }
        findings.compare(&format!("{path}: messages"), &Vec::<String>::new(), &console.messages().await);
    }
    for scheme in ["dark", "light"] {
        console.prefer(scheme).await;
        console.visit("/services/new", "New Service").await;
        console.activate("Create").await;
        console.until("document.activeElement.id === 'field-host'").await;
        findings.compare(&format!("an error, {scheme}"), &Vec::<String>::new(), &console.violations().await);
        console.visit("/services/api", "Service api").await;
        console.activate("Delete…").await;
        console.until("document.getElementById('dialog').open").await;
        findings.compare(&format!("the dialog, {scheme}"), &Vec::<String>::new(), &console.violations().await);
    }
    drop(findings);
    the_checks_can_fail(&console).await;
}

/// A page with a fault is reported, and the policy refuses what a fault could bring into the page.
async fn the_checks_can_fail(console: &Console) {
    console.visit("/tokens", "Tokens").await;
    console.messages().await;
    console.script("document.querySelector('label[for=hint]').remove()").await;
    let found = console.violations().await;
    assert!(found.iter().any(|found| found.starts_with("label: ")), "{found:?}");
    console
        .script(
            "const script = document.createElement('script'); script.textContent = 'window.injected = 1';
             const style = document.createElement('style'); style.textContent = 'body { display: none }';
             document.body.append(script, style);",
        )
        .await;
    assert_eq!(
        console.script("return [typeof window.injected, getComputedStyle(document.body).display]").await,
        json!(["undefined", "grid"])
    );
    let messages = console.messages().await.join("\n");
    assert_eq!(messages.matches("Content Security Policy").count(), 2, "{messages}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_that_asks_for_a_token_is_accessible_and_so_is_the_way_to_the_content() {
    let console = Console::start(&[("TOLLGATE_ADMIN_AUTH", "tokens")]).await;
    console.visit("/", "Admin token").await;
    for scheme in ["dark", "light"] {
        console.prefer(scheme).await;
        assert_eq!(console.violations().await, Vec::<String>::new(), "{scheme}");
    }
    console.script("document.activeElement.blur()").await;
    console.reach("Skip to content").await;
    console.keys(tollgate_tests::console::ENTER).await;
    console.until("document.activeElement.id === 'main'").await;
    assert_eq!(console.script("return location.hash").await, "#/");
}
