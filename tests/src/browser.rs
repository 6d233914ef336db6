//! A headless Chromium with its driver, stopped on drop.
//!
//! The few WebDriver (W3C) commands that the suites need, over the existing HTTP client.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;

const PATIENCE: Duration = Duration::from_secs(30);

/// WebDriver's name of the member that holds an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How an element is found.
#[derive(Debug, Clone, Copy)]
pub enum Locator<'l> {
    /// By a CSS selector.
    Css(&'l str),
    /// By an XPath expression.
    XPath(&'l str),
}

/// A browser with an empty profile.
pub struct Browser {
    client: Client,
    /// The address of the session.
    session: String,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts one.
    pub async fn start() -> Self {
        Self::start_knowing(&[]).await
    }

    /// Starts one for which these host names are this machine.
    pub async fn start_knowing(hosts: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().unwrap().port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Process::start(&mut command).expect("chromedriver, from Debian's chromium-driver");
        let profile = tempfile::Builder::new().prefix("tollgate-chromium-").tempdir().expect("a folder");
        let client = Client::builder().no_proxy().build().expect("an HTTP client");
        let sessions = format!("http://127.0.0.1:{port}/session");
        let wanted = json!({"capabilities": {"alwaysMatch": capabilities(&profile, hosts)}});
        let deadline = Instant::now() + PATIENCE;
        loop {
            match post(&client, &sessions, &wanted).await {
                Ok(made) => {
                    let id = made["sessionId"].as_str().expect("a session").to_owned();
                    return Self { client, session: format!("{sessions}/{id}"), _driver: driver, _profile: profile };
                }
                Err(error) => assert!(Instant::now() < deadline, "Chromium does not start: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Opens a page.
    pub async fn goto(&self, url: &str) {
        self.command("url", &json!({"url": url})).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Clicks an element, once it exists.
    pub async fn press(&self, what: Locator<'_>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The page may be replaced in between.
            let element = self.find(what).await;
            match self.command(&format!("element/{element}/click"), &json!({})).await {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < deadline, "{what:?}: {error}"),
            }
        }
    }

    /// Types into an element, once it accepts that.
    pub async fn enter(&self, what: Locator<'_>, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let element = self.find(what).await;
            match self.command(&format!("element/{element}/value"), &json!({"text": text})).await {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < deadline, "{what:?}: {error}"),
            }
        }
    }

    /// The text of an element, once it exists.
    pub async fn text(&self, what: Locator<'_>) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let element = self.find(what).await;
            match self.read(&format!("element/{element}/text")).await {
                Ok(text) => return text.as_str().unwrap_or_default().to_owned(),
                Err(error) => assert!(Instant::now() < deadline, "{what:?}: {error}"),
            }
        }
    }

    /// The id of an element, once it exists.
    pub async fn find(&self, what: Locator<'_>) -> String {
        let (using, value) = match what {
            Locator::Css(selector) => ("css selector", selector),
            Locator::XPath(path) => ("xpath", path),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.command("element", &json!({"using": using, "value": value})).await {
                Ok(found) => return found[ELEMENT].as_str().expect("an element").to_owned(),
                Err(error) if Instant::now() > deadline => {
                    let page = self.read("source").await.unwrap_or_default();
                    panic!("{what:?}: {error}; the page is {page}");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Closes its window; the processes are stopped on drop.
    pub async fn close(self) {
        self.client.delete(&self.session).send().await.expect("a browser that closes");
    }

    pub(crate) async fn command(&self, path: &str, body: &Value) -> Result<Value, String> {
        post(&self.client, &format!("{}/{path}", self.session), body).await
    }

    pub(crate) async fn read(&self, path: &str) -> Result<Value, String> {
        let asked = self.client.get(format!("{}/{path}", self.session)).send().await;
        value(asked.map_err(|error| error.to_string())?).await
    }
}

async fn post(client: &Client, url: &str, body: &Value) -> Result<Value, String> {
    value(client.post(url).json(body).send().await.map_err(|error| error.to_string())?).await
}

/// Every response of a driver has its result or error in `value`.
async fn value(response: reqwest::Response) -> Result<Value, String> {
    let status = response.status();
    let mut document: Value = response.json().await.map_err(|error| error.to_string())?;
    let value = document["value"].take();
    if status.is_success() { Ok(value) } else { Err(value["message"].to_string()) }
}

fn capabilities(profile: &TempDir, hosts: &[&str]) -> Value {
    // The sandbox needs privileges that containers lack. The certificates are self-signed. Pages of third parties
    // name hosts elsewhere, which must not delay them.
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--ignore-certificate-errors",
    ];
    // The first rule that fits counts.
    let hosts: String = hosts.iter().map(|host| format!("MAP {host} 127.0.0.1, ")).collect();
    let names = format!("--host-resolver-rules={hosts}MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost");
    let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
    arguments.push(names);
    arguments.push(format!("--user-data-dir={}", profile.path().display()));
    json!({"goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}})
}
