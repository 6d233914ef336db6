//! Who uses it: with an admin token, which the page forgets, and with the role that reads.

use serde_json::json;
use tollgate_tests::Console;
use tollgate_tests::console::ENTER;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_signs_in_and_is_offered_no_change() {
    let mut console = Console::start(&[("TOLLGATE_ADMIN_AUTH", "tokens")]).await;
    let (made, reader) = console.gateway.tool(&["admin-token", "create", "reader", "--role", "read"]);
    assert!(made, "{reader}");
    console.gateway.make_admin_token();
    console.gateway.create("/services", json!({"name": "shop", "host": "127.0.0.1"})).await;

    console.visit("/services", "Admin token").await;
    assert_eq!(console.script("return document.activeElement.id").await, "token");
    console.keys(&format!("wrong{ENTER}")).await;
    console.until("document.querySelector('.error').textContent.includes('unknown or revoked')").await;
    console.fill("Token", &format!("{}{ENTER}", reader.trim())).await;
    console.heading("Services").await;
    assert!(console.text("#caller").await.starts_with("token:reader, read, on "));
    let links = console.script("return [...document.querySelectorAll('main a')].map((link) => link.textContent)").await;
    assert_eq!(links, json!(["shop"]));

    console.activate("shop").await;
    console.heading("Service shop").await;
    assert_eq!(console.text(".note").await, "The role of this admin token is read: it changes nothing.");
    let open =
        "return document.querySelectorAll('main button, main :is(input, select, textarea):not(:disabled)').length";
    assert_eq!(console.script(open).await, 0);
    let kept = "return [location.href, document.cookie, JSON.stringify(sessionStorage), performance.getEntries()\
                .map((entry) => entry.name).join()].join()";
    assert!(!console.script(kept).await.as_str().unwrap().contains("tga_"));

    // A token that ends is asked for again, and so is one that the page has forgotten.
    console.gateway.tool(&["admin-token", "revoke", "reader"]);
    console.browser.press(tollgate_tests::Locator::Css("nav a[href='#/routes']")).await;
    console.heading("Admin token").await;
    assert_eq!(console.script("return document.querySelectorAll('nav a').length").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_from_a_file_is_shown_and_not_changed() {
    let console = Console::start(&[("TOLLGATE_DATABASE_MODE", "off")]).await;
    let file = json!({"_format_version": "3.0", "services": [{"name": "shop", "host": "127.0.0.1"}]});
    console.gateway.create("/config", file).await;
    console.visit("/services/shop", "Service shop").await;
    assert_eq!(console.text(".note").await, "The configuration comes from a file, so it is not changed here.");
    assert_eq!(console.script("return document.querySelectorAll('main button').length").await, 0);
}
