//! A page of another site in a real browser.

use axum::Router;
use axum::response::Html;
use tokio::net::TcpListener;
use tollgate_tests::{Browser, Forwarder, Locator};

use super::*;

/// A page that tries to create a service in four ways, and shows what it could read.
fn page(admin: &str) -> String {
    format!(
        "<!doctype html><title>Elsewhere</title><h1>Elsewhere</h1><p id=read>nothing yet</p>
         <iframe name=hidden></iframe>
         <form id=form method=post action='{admin}services' target=hidden><input name=host value=form></form>
         <script>
           const form = 'application/x-www-form-urlencoded';
           const post = (options) => fetch('{admin}services', {{method: 'POST', ...options}}).then(() => 'sent', () => 'failed');
           document.getElementById('form').submit();
           Promise.all([
             post({{mode: 'no-cors', headers: {{'content-type': form}}, body: 'host=simple'}}),
             post({{headers: {{'content-type': form}}, body: 'host=cors'}}),
             post({{headers: {{'content-type': 'application/json'}}, body: '{{\"host\":\"preflight\"}}'}}),
             fetch('{admin}services').then((response) => response.text(), () => 'unreadable'),
           ]).then((seen) => document.getElementById('read').textContent = 'done: ' + seen.join(', '));
         </script>"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_in_a_browser_neither_writes_nor_reads() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_AUDIT_LOG", "audit.log")]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    let html = page(gateway.addresses.admin.as_str());
    let site = Router::new().fallback(async move || Html(html));
    let serving = tokio::spawn(async move { axum::serve(listener, site).await.unwrap() });

    let browser = Browser::start().await;
    browser.goto(&elsewhere).await;
    browser.find(Locator::XPath("//p[starts-with(., 'done')]")).await;
    let read = browser.text(Locator::Css("#read")).await;
    assert!(read.ends_with("failed, failed, unreadable"), "{read}");
    // The form and at least one of the fetches reached the listener.
    let refused = lines(&gateway, "audit.log", 2).await;
    for line in &refused {
        assert_eq!(
            (&line["event"], &line["reason"]),
            (&json!("admin_refused"), &json!("origin_not_allowed")),
            "{line}"
        );
    }
    assert_eq!(services(&gateway).await, json!([]));
    browser.close().await;
    serving.abort();
}

/// A page that, once its button is pressed, reads and writes under its own origin, and shows statuses and bodies.
const REBINDING: &str = "<!doctype html><title>Rebinding</title><button>Attack</button><p id=read>nothing yet</p>
    <script>
      const call = (method, path, type, body) => fetch(path, {method, headers: type ? {'content-type': type} : {}, body})
        .then(async (response) => method + ' ' + path + ' ' + response.status + ' ' + await response.text(), () => 'failed');
      const form = 'application/x-www-form-urlencoded', json = 'application/json';
      document.querySelector('button').onclick = () => Promise.all([
        call('GET', '/services'), call('GET', '/'), call('GET', '/consumers/canary'), call('GET', '/metrics'),
        call('GET', '/status/ready'), call('POST', '/services', form, 'host=simple'),
        call('POST', '/services', json, '{\"host\":\"json\"}'), call('PUT', '/consumers/late', json, '{}'),
        call('DELETE', '/consumers/canary'), call('POST', '/status/ready', form, 'status=draining'),
      ]).then((seen) => document.getElementById('read').textContent = 'done: ' + seen.join('\\n'));
    </script>";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_name_comes_to_mean_this_machine_neither_writes_nor_reads() {
    let gateway = Gateway::on_sqlite().await;
    gateway.create("/consumers", json!({"username": "canary"})).await;
    let browser = Browser::start_knowing(&["rebound.test"]).await;
    for (listener, known) in [(&gateway.addresses.admin, "/services"), (&gateway.addresses.status, "/metrics")] {
        // The attacker's server, which closes each connection so that the next request looks the name up again.
        let site = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = site.local_addr().unwrap();
        let page = Router::new().fallback(|| async { ([("connection", "close")], Html(REBINDING)) });
        let serving = tokio::spawn(async move { axum::serve(site, page).await.unwrap() });
        browser.goto(&format!("http://rebound.test:{}/", address.port())).await;
        browser.find(Locator::Css("button")).await;
        // From here on the same name and port are the listener.
        serving.abort();
        let _ = serving.await;
        let listener = format!("127.0.0.1:{}", listener.port().unwrap());
        let _rebound = Forwarder::listening(address, listener).await;
        browser.press(Locator::Css("button")).await;
        browser.find(Locator::XPath("//p[starts-with(., 'done')]")).await;
        let seen = browser.text(Locator::Css("#read")).await;
        assert!(seen.contains(&format!("GET {known} 403 ")), "the request reached no listener: {seen}");
        let calls = seen.matches(" /").count();
        assert_eq!(seen.matches(" 403 ").count(), calls, "{seen}");
        assert!(!seen.contains("canary\"") && !seen.contains("tollgate_") && !seen.contains("\"data\""), "{seen}");
    }
    browser.close().await;
    assert_eq!(services(&gateway).await, json!([]));
    let consumers = gateway.admin_get("/consumers").await.expect(200).json();
    assert_eq!(consumers["data"].as_array().map(Vec::len), Some(1), "{consumers}");
    let ready = gateway.addresses.status.join("/status/ready").unwrap();
    assert_eq!(gateway.client.get(ready).send().await.unwrap().status(), 200, "it is not drained");
}
