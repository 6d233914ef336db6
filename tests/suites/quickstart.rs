//! The tutorial's second half as a newcomer starts it: the program itself, oidc-provider and a real browser.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tollgate_tests::authorization_server::{installed_oidc_provider, log_in_at_oidc_provider};
use tollgate_tests::{Browser, Locator, Process, program, repository};

use crate::browser::{heading, press, text};

const PATIENCE: Duration = Duration::from_secs(60);

/// How long a revoked token is accepted: the `ttl` of the tutorial's plugin.
const TTL: Duration = Duration::from_secs(5);

/// The last words of its introduction.
const INTRODUCED: &str = "Press Ctrl-C to stop everything.\n";

/// The running program.
struct Quickstart {
    process: Process,
    folder: TempDir,
    /// What it says when all is running: the addresses, and what to do.
    introduction: String,
}

impl Quickstart {
    /// Starts it behind a third party.
    async fn start() -> Self {
        Self::start_in(tempfile::Builder::new().prefix("tollgate-quickstart-").tempdir().expect("a folder")).await
    }

    /// Starts it with the state in this folder.
    async fn start_in(mut folder: TempDir) -> Self {
        // A port that was free a moment ago may be taken: then it tries others.
        for _ in 0..3 {
            match Self::try_start(folder).await {
                Ok(started) => return started,
                Err(unused) => folder = unused,
            }
        }
        panic!("the quickstart did not start: {}", fs::read_to_string(output_of(&folder)).unwrap());
    }

    /// The folder when it exits instead.
    async fn try_start(folder: TempDir) -> Result<Self, TempDir> {
        let output = File::create(output_of(&folder)).unwrap();
        let mut command = Command::new(program("tollgate-quickstart"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TOLLGATE_")) {
            command.env_remove(name);
        }
        command.arg("--third-party").arg("--oidc-provider").arg(installed_oidc_provider());
        command.args(["--step-on=0", "--shoe-store=0", "--authorization-server=0"]);
        for (port, option) in free_ports().iter().zip(["proxy-http", "proxy-https", "admin", "status"]) {
            command.arg(format!("--{option}={port}"));
        }
        command.arg("--data").arg(folder.path());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let mut started = Self { process: Process::start(&mut command).unwrap(), folder, introduction: String::new() };
        let deadline = Instant::now() + PATIENCE;
        while !started.output().ends_with(INTRODUCED) {
            if started.process.ended().unwrap().is_some() {
                return Err(started.folder);
            }
            assert!(Instant::now() < deadline, "not running yet: {}", started.output());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let output = started.output();
        let begins = output.find("The third party, oidc-provider:").expect("an introduction");
        started.introduction = output[begins..].to_owned();
        Ok(started)
    }

    /// The address that the introduction gives after this.
    fn address(&self, of: &str) -> &str {
        let after = self.introduction.lines().find_map(|line| line.strip_prefix(of));
        after.unwrap_or_else(|| panic!("no {of} in {}", self.introduction))
    }

    fn output(&self) -> String {
        fs::read_to_string(output_of(&self.folder)).unwrap()
    }

    /// Sends SIGINT, and waits for its end.
    async fn interrupt(&mut self) -> ExitStatus {
        self.process.interrupt().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.ended().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on: {}", self.output());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn output_of(folder: &TempDir) -> PathBuf {
    folder.path().join("output.log")
}

fn free_ports() -> [u16; 4] {
    let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// The headers of the newest request that Step On shows, without those that differ from start to start.
async fn identity(browser: &Browser) -> BTreeMap<String, String> {
    let table = text(browser, "#requests li:first-child table").await;
    let row = |line: &str| line.split_once(' ').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut headers: BTreeMap<_, _> = table.lines().filter_map(row).collect();
    for varying in ["x-consumer-id", "x-credential-exp", "x-credential-iat"] {
        assert!(headers.remove(varying).is_some(), "no {varying} in {table}");
    }
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_walks_with_a_token_of_a_third_party_until_it_is_revoked() {
    let mut quickstart = Quickstart::start().await;
    let (store, step_on) = (quickstart.address("Shoe Fly Shoe: "), quickstart.address("Step On's API: "));
    let issuer = quickstart.address("The third party, oidc-provider: ").trim_end_matches('/');
    let browser = Browser::start().await;

    // The third party asks, and the user cancels.
    browser.goto(store).await;
    heading(&browser, "Walk more, pay less").await;
    press(&browser, "#connect").await;
    browser.press(Locator::XPath("//a[contains(., 'Cancel')]")).await;
    heading(&browser, "No steps shared").await;

    // She logs in there, and Step On tells the store her steps.
    press(&browser, "#connect").await;
    log_in_at_oidc_provider(&browser).await;
    heading(&browser, "Your steps, your discount").await;
    assert_eq!(text(&browser, "#user").await, "annie");
    assert_eq!(text(&browser, "#total").await, "48000");
    press(&browser, "#refresh").await;
    assert_eq!(text(&browser, "[role=status]").await, "Your step counts are up to date.");

    // What the third party said about the token has reached Step On.
    browser.goto(&format!("{step_on}requests")).await;
    let expected = [
        ("x-consumer-username", "shoeflyshoe"),
        ("x-credential-client-id", "shoeflyshoe"),
        ("x-credential-identifier", "annie"),
        ("x-credential-iss", issuer),
        ("x-credential-membership", "gold"),
        ("x-credential-scope", "step_counts"),
        ("x-credential-sub", "annie"),
        ("x-credential-token-type", "Bearer"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(identity(&browser).await, BTreeMap::from(expected));

    // The store shows its side of it.
    browser.goto(&format!("{store}flow")).await;
    let flow = text(&browser, "#flow").await;
    let titles = [
        "The store sends the browser to oidc-provider (step A)",
        "oidc-provider asks the user (steps B and C)",
        "oidc-provider sends the browser back (step C)",
        "The store redeems the code (steps D and E)",
        "The store refreshes its tokens (§6)",
    ];
    let places = titles.map(|title| flow.find(title));
    assert!(places.is_sorted() && places[0].is_some(), "{places:?}: {flow}");
    assert_eq!(text(&browser, "#requests").await, "The requests that reached Step On");

    // The third party revokes the token, and the gateway refuses it when it asks again.
    browser.goto(store).await;
    let start = Instant::now();
    press(&browser, "#revoke").await;
    let outcome = browser.text(Locator::XPath("//*[@role='status' or @role='alert']")).await;
    let notice = "oidc-provider has revoked the access token. The gateway still accepts it until it asks again, for 5 \
                  seconds at most. Look again";
    assert!([notice, "Your connection with Step On has ended."].contains(&outcome.as_str()), "{outcome}");
    while text(&browser, "main").await != ended() {
        assert!(start.elapsed() < TTL + PATIENCE / 4, "the token is still accepted after {:?}", start.elapsed());
        browser.goto(store).await;
    }
    press(&browser, "#what-happened").await;
    heading(&browser, "What just happened").await;
    let last = text(&browser, "#flow li:last-child pre.response").await;
    assert!(last.starts_with("401 Unauthorized") && last.contains("\"error\": \"invalid_token\""), "{last}");

    // Both end with the program. Another start has other secrets, and a third party that knows nobody yet.
    let authority = issuer.trim_start_matches("http://").to_owned();
    assert_eq!(quickstart.interrupt().await.code(), Some(0), "{}", quickstart.output());
    let deadline = Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(&authority).await.is_ok() {
        assert!(Instant::now() < deadline, "oidc-provider still listens on {authority}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let quickstart = Quickstart::start_in(quickstart.folder).await;
    browser.goto(quickstart.address("Shoe Fly Shoe: ")).await;
    press(&browser, "#connect").await;
    log_in_at_oidc_provider(&browser).await;
    heading(&browser, "Your steps, your discount").await;
    browser.close().await;
}

/// The store's page when the token has ended.
fn ended() -> &'static str {
    "That did not work\nYour connection with Step On has ended.\nConnect Step On again\nWhat just happened"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_shows_what_the_quickstart_with_a_third_party_says() {
    let quickstart = Quickstart::start().await;
    let mut said = quickstart.introduction.clone();
    for (of, usual) in [
        ("The third party, oidc-provider: ", "http://127.0.0.1:3002/"),
        ("Step On's API: ", "https://127.0.0.1:3000/"),
        ("Shoe Fly Shoe: ", "http://127.0.0.1:3001/"),
        ("The gateway's console: ", "http://127.0.0.1:8001/ui"),
    ] {
        said = said.replace(quickstart.address(of), usual);
    }
    let indented = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") };
    let said: String = said.lines().map(indented).collect();
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    assert!(readme.contains("\n    ./dev quickstart --third-party\n"), "the README does not tell the command");
    assert!(readme.contains(&said), "the README does not show:\n{said}");
}
