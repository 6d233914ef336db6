//! The third party's authorization server: npm's `oidc-provider`, run by Node.
//!
//! Its clients get new secrets at each start. It keeps tokens in memory, so none of them outlives a start.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use reqwest::Client as Http;
use serde::Deserialize;
use serde_json::json;
use tokio::process::{Child, Command};
use url::Url;

use crate::browser_session::unguessable;
use crate::certificate::write_private;
use crate::setup::SCOPES;
use crate::tutorial::{self, listen};

/// A claim of its own in every token.
pub(super) const CLAIM: &str = "membership";

const READY_WITHIN: Duration = Duration::from_secs(60);

/// An installed server, and where it is to run.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The folder of its script, `server.mjs`, and of the packages that it needs.
    pub folder: PathBuf,
    /// Where it listens. Port 0 is any free port.
    pub address: SocketAddr,
    /// The folder for its configuration and its log.
    pub data: PathBuf,
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// Its configuration or its log cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// There is no Node.
    #[error("cannot start node, which runs oidc-provider; ./dev quickstart --third-party installs both")]
    Node(#[source] io::Error),
    /// It exited.
    #[error("oidc-provider exited ({status}); see {log}")]
    Exited {
        /// How.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
    },
    /// It does not respond.
    #[error("oidc-provider was not ready within {READY_WITHIN:?}; see {log}")]
    NotReady {
        /// Its log.
        log: PathBuf,
    },
}

/// A client's credentials.
pub(super) struct Client {
    pub(super) id: &'static str,
    pub(super) secret: String,
}

/// What the server publishes about itself (RFC 8414).
#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) issuer: Url,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) introspection_endpoint: Url,
    pub(super) revocation_endpoint: Url,
}

/// The running server. It is killed when this is dropped.
pub(super) struct Server {
    pub(super) metadata: Metadata,
    /// The store.
    pub(super) store: Client,
    /// The gateway, which introspects.
    pub(super) gateway: Client,
    _process: Child,
}

impl Server {
    /// Starts it, with the store and the gateway as its clients, and waits until it responds.
    pub(super) async fn start(installed: &Installed, redirect_uri: &Url, http: &Http) -> Result<Self, tutorial::Error> {
        // Says who has the port, before Node does in its own words.
        let (listener, address) = listen(installed.address)?;
        drop(listener);
        let store = Client { id: "shoeflyshoe", secret: unguessable() };
        let gateway = Client { id: "gateway", secret: unguessable() };
        let config = json!({
            "port": address.port(),
            "scopes": SCOPES,
            "claims": {CLAIM: "gold"},
            "clients": [
                {
                    "client_id": store.id,
                    "client_secret": store.secret,
                    "client_name": "Shoe Fly Shoe",
                    "redirect_uris": [redirect_uri],
                    "response_types": ["code"],
                    "grant_types": ["authorization_code", "refresh_token"],
                },
                {
                    "client_id": gateway.id,
                    "client_secret": gateway.secret,
                    "redirect_uris": [],
                    "response_types": [],
                    "grant_types": [],
                },
            ],
        });
        let mut process = spawn(installed, &config.to_string())?;
        let metadata = metadata(installed, address, http, &mut process).await?;
        Ok(Self { metadata, store, gateway, _process: process })
    }
}

/// It has its own process group: Ctrl-C in the terminal reaches only this program, which then ends it.
fn spawn(installed: &Installed, config: &str) -> Result<Child, NotStarted> {
    let file = installed.data.join("oidc-provider.json");
    write_private(&file, config.as_bytes()).map_err(|source| NotStarted::Write { path: file.clone(), source })?;
    let path = installed.log();
    let written = |source| NotStarted::Write { path: path.clone(), source };
    let log = File::create(&path).map_err(written)?;
    let mut command = Command::new("node");
    command.arg(installed.folder.join("server.mjs")).arg(file).process_group(0).kill_on_drop(true);
    command.stdout(log.try_clone().map_err(written)?).stderr(log);
    command.spawn().map_err(NotStarted::Node)
}

/// Waits until it publishes its metadata.
async fn metadata(
    installed: &Installed,
    address: SocketAddr,
    http: &Http,
    process: &mut Child,
) -> Result<Metadata, NotStarted> {
    let discovery = format!("http://{address}/.well-known/openid-configuration");
    let deadline = Instant::now() + READY_WITHIN;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = process.try_wait() {
            return Err(NotStarted::Exited { status, log: installed.log() });
        }
        if let Ok(response) = http.get(&discovery).send().await
            && let Ok(metadata) = response.json().await
        {
            return Ok(metadata);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(NotStarted::NotReady { log: installed.log() })
}

impl Installed {
    fn log(&self) -> PathBuf {
        self.data.join("oidc-provider.log")
    }
}
