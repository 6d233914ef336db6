//! The gateway's console in a browser, as somebody uses it who has a keyboard and no mouse.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};

use crate::browser::{Browser, Locator};
use crate::gateway::{Gateway, Store};

const PATIENCE: Duration = Duration::from_secs(30);

/// No page has as many places that Tab reaches.
const STEPS: usize = 200;

/// Keys without a character, as WebDriver writes them.
pub const ENTER: &str = "\u{E007}";
/// Closes a dialog.
pub const ESCAPE: &str = "\u{E00C}";
const TAB: &str = "\u{E004}";
const CONTROL: &str = "\u{E009}";

/// What screen readers call the element that has the focus.
const NAME_OF_FOCUS: &str = "const it = document.activeElement; \
    return (it.getAttribute('aria-label') ?? it.labels?.[0]?.textContent ?? it.textContent).trim()";

/// What axe-core finds wrong: the rule, and where.
const AXE: &str = "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(({violations}) => \
    done(violations.map((found) => `${found.id}: ${found.nodes.map((node) => node.html).join(' ')}`)), \
    (error) => done([String(error)]));";

/// A gateway that serves it, and a browser.
pub struct Console {
    /// The gateway.
    pub gateway: Gateway,
    /// The browser.
    pub browser: Browser,
}

impl Console {
    /// On SQLite, with additional settings.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let settings = [&[("TOLLGATE_ADMIN_UI", "on")], settings].concat();
        let (gateway, browser) = tokio::join!(Gateway::on(Store::Sqlite, &settings), Browser::start());
        Self { gateway, browser }
    }

    /// Loads the page anew at an address of its own, such as `/services`, and waits for its heading.
    pub async fn visit(&self, path: &str, heading: &str) {
        // An address that differs after the `#` alone would not load the page.
        self.browser.goto("about:blank").await;
        let page = self.gateway.addresses.admin.join(&format!("/ui#{path}")).unwrap();
        self.browser.goto(page.as_str()).await;
        self.heading(heading).await;
    }

    /// Waits for a page with this heading.
    pub async fn heading(&self, heading: &str) {
        self.until(&format!("document.querySelector('h1')?.textContent === {}", json!(heading))).await;
    }

    /// Presses keys.
    pub async fn keys(&self, keys: &str) {
        let strokes = keys.chars().map(|key| key.to_string());
        let strokes = strokes.flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})));
        self.actions(strokes.collect()).await;
    }

    async fn actions(&self, strokes: Vec<Value>) {
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]});
        self.browser.command("actions", &actions).await.unwrap();
    }

    /// Presses Tab until what has the focus has this name.
    pub async fn reach(&self, name: &str) {
        let mut passed = Vec::new();
        while passed.len() < STEPS {
            self.keys(TAB).await;
            let reached = self.script(NAME_OF_FOCUS).await;
            if reached == name {
                return;
            }
            passed.push(reached);
        }
        panic!("Tab does not reach {name}, but {passed:?}");
    }

    /// Goes to a link or button by Tab, and presses Enter.
    pub async fn activate(&self, name: &str) {
        self.reach(name).await;
        self.keys(ENTER).await;
    }

    /// Goes to a field by Tab, and types in place of what it has.
    pub async fn fill(&self, label: &str, text: &str) {
        self.reach(label).await;
        let stroke = |kind: &str, key: &str| json!({"type": kind, "value": key});
        let all = [("keyDown", CONTROL), ("keyDown", "a"), ("keyUp", "a"), ("keyUp", CONTROL)];
        self.actions(all.map(|(kind, key)| stroke(kind, key)).to_vec()).await;
        self.keys(text).await;
    }

    /// Waits until the page says this as a notice.
    pub async fn told(&self, text: &str) {
        self.until(&format!("document.getElementById('status').textContent.includes({})", json!(text))).await;
    }

    /// Waits until an expression of JavaScript is true.
    pub async fn until(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.script(&format!("return Boolean({expression})")).await != true {
            if Instant::now() > deadline {
                let page = self.script("return document.body.innerText").await;
                panic!("not true: {expression}; the page is {page}; messages: {:?}", self.messages().await);
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// What a script returns.
    pub async fn script(&self, script: &str) -> Value {
        self.browser.command("execute/sync", &json!({"script": script, "args": []})).await.unwrap()
    }

    /// The text of the element that `css` selects, once it exists.
    pub async fn text(&self, css: &str) -> String {
        self.browser.text(Locator::Css(css)).await
    }

    /// What the browser has reported since the last call: errors of scripts, violations of policies, failed requests.
    pub async fn messages(&self) -> Vec<String> {
        let log = self.browser.command("se/log", &json!({"type": "browser"})).await.unwrap();
        log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// The colours that its user prefers: `dark` or `light`.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let command = json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}});
        self.browser.command("goog/cdp/execute", &command).await.unwrap();
    }

    /// What axe-core finds wrong with the page as it is shown now.
    pub async fn violations(&self) -> Vec<String> {
        if self.script("return typeof window.axe").await == "undefined" {
            self.script(&format!("{}; window.axe = axe", axe())).await;
        }
        let found = self.browser.command("execute/async", &json!({"script": AXE, "args": []})).await.unwrap();
        found.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    }

    /// Gives the window a size.
    pub async fn resize(&self, width: u32, height: u32) {
        self.browser.command("window/rect", &json!({"width": width, "height": height})).await.unwrap();
    }

    /// A picture of the window, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let picture = self.browser.read("screenshot").await.unwrap();
        base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }
}

/// axe-core's own source.
fn axe() -> String {
    let folder = std::env::var_os("TOLLGATE_TEST_NODE_CLIENTS").map(PathBuf::from).expect(
        "TOLLGATE_TEST_NODE_CLIENTS is not set: run the tests with ./dev test, which installs the packages of \
         tests/clients/node",
    );
    let file = folder.join("node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
