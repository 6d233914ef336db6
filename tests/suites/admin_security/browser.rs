//! A page of another site in a real browser.

use axum::Router;
use axum::response::Html;
use tokio::net::TcpListener;
use tollgate_tests::{Browser, Locator};

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
