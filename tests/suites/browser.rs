//! The Step On tutorial in a real browser, with the pages' security policies in force.

use tollgate_tests::{Browser, Locator};

use crate::tutorial;

/// Clicks the element that `css` selects.
pub(crate) async fn press(browser: &Browser, css: &str) {
    browser.press(Locator::Css(css)).await;
}

/// The text of the element that `css` selects, once it exists.
pub(crate) async fn text(browser: &Browser, css: &str) -> String {
    browser.text(Locator::Css(css)).await
}

/// Waits for the page with a heading.
pub(crate) async fn heading(browser: &Browser, expected: &str) {
    browser.find(Locator::XPath(&format!("//h1[normalize-space()='{expected}']"))).await;
}

on_both_stores! {
    async fn a_user_denies_then_allows_and_sees_the_discount(gateway: Gateway) {
        let (tutorial, _) = tutorial::start(&gateway).await;
        let browser = Browser::start().await;
        browser.goto(&tutorial.shoe_store.url()).await;
        heading(&browser, "Walk more, pay less").await;

        press(&browser, "#connect").await;
        heading(&browser, "Log in to Step On").await;
        press(&browser, "input[value=annie]").await;
        press(&browser, "form[action='/login'] button").await;

        heading(&browser, "Share your steps?").await;
        assert_eq!(text(&browser, "#user").await, "annie");
        assert_eq!(text(&browser, "#application").await, "Shoe Fly Shoe");
        press(&browser, "button[value=deny]").await;
        heading(&browser, "No steps shared").await;

        press(&browser, "#connect").await;
        heading(&browser, "Share your steps?").await;
        press(&browser, "button[value=allow]").await;
        heading(&browser, "Your steps, your discount").await;
        assert_eq!(text(&browser, "#user").await, "annie");
        assert_eq!(text(&browser, "#total").await, "48000");
        assert_eq!(text(&browser, "#discount").await, "9 %");

        press(&browser, "#what-happened").await;
        heading(&browser, "What just happened").await;
        assert!(text(&browser, "#flow li:last-child pre.response").await.contains("\"total\": 48000"));
        press(&browser, "main a[href='/']").await;
        heading(&browser, "Your steps, your discount").await;

        press(&browser, "#refresh").await;
        assert_eq!(text(&browser, "[role=status]").await, "Your step counts are up to date.");
        assert_eq!(text(&browser, "#total").await, "48000");
        browser.close().await;
    }
}
