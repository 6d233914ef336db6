//! A headless Chromium behind its driver, which ends with its variable.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder};
use serde_json::json;
use tempfile::TempDir;
use tollgate_quickstart::process::Process;

/// A browser without a past.
pub struct Browser {
    /// What drives it.
    pub page: Client,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts one.
    pub async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().unwrap().port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Process::start(&mut command).expect("chromedriver, from Debian's chromium-driver");
        let profile = tempfile::Builder::new().prefix("tollgate-chromium-").tempdir().expect("a folder");
        let address = format!("http://127.0.0.1:{port}");
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let mut builder = ClientBuilder::native();
            match builder.capabilities(capabilities(&profile)).connect(&address).await {
                Ok(page) => return Self { page, _driver: driver, _profile: profile },
                Err(error) => assert!(Instant::now() < deadline, "Chromium does not start: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Closes its window; the rest ends with the variable.
    pub async fn close(self) {
        self.page.clone().close().await.expect("a browser that closes");
    }
}

fn capabilities(profile: &TempDir) -> Capabilities {
    // The sandbox needs privileges that containers lack. The certificates sign themselves.
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
    let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
    arguments.push(format!("--user-data-dir={}", profile.path().display()));
    let mut capabilities = Capabilities::new();
    capabilities.insert("goog:chromeOptions".to_owned(), json!({"args": arguments}));
    capabilities
}
