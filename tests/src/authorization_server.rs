//! Authorization servers that nobody here wrote, as local variables: node's oidc-provider and Debian's glewlwyd.
//!
//! Each listens on a free port of 127.0.0.1 and stops on drop. Both have the same parties: the client [`CLIENT`],
//! the user [`USER`], and [`GATEWAY`], which introspects. What follows the standards is written once, here; how a
//! product is configured, started and logged in to is in its own file.

mod code_flow;
mod glewlwyd;
mod oidc_provider;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::issuer_key::IssuerKey;
use crate::process::Process;
use crate::reply::Reply;
pub use oidc_provider::{installed as installed_oidc_provider, log_in as log_in_at_oidc_provider};

/// The client that obtains tokens, and its secret.
pub const CLIENT: (&str, &str) = ("shop", "secret-of-the-shop-0123456789");
/// The client that the gateway is when it introspects, and its secret.
pub const GATEWAY: (&str, &str) = ("gateway", "secret-of-the-gateway-0123456789");
/// The same at oidc-provider, where it authenticates with assertions signed by
/// [`gateway_key`](AuthorizationServer::gateway_key).
pub const GATEWAY_WITH_KEY: &str = "gateway-with-key";
/// The user, and the password.
pub const USER: (&str, &str) = ("annie", "password-of-annie");
/// The scope of all tokens.
pub const SCOPE: &str = "things";
/// The audiences of JWTs begin with this; the algorithm follows.
const RESOURCES: &str = "https://api.test/";

/// A key for each of these signs.
const ALGORITHMS: [&str; 2] = ["RS256", "ES256"];

const PATIENCE: Duration = Duration::from_secs(30);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// npm's `oidc-provider`. It keeps tokens in memory: a restart forgets them.
    OidcProvider,
    /// Debian's `glewlwyd`. It keeps tokens in SQLite: they survive a restart. It has no opaque access tokens.
    Glewlwyd,
}

/// What an access token looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Only the server can say what it is.
    Opaque,
    /// RFC 9068, signed with RS256.
    Rs256,
    /// RFC 9068, signed with ES256. Not at glewlwyd.
    Es256,
}

/// A running server.
pub struct AuthorizationServer {
    product: Product,
    address: SocketAddr,
    /// RFC 8414, as the server publishes it.
    metadata: Value,
    /// Where the browser is sent back to.
    redirect_uri: String,
    /// Private JWKs. The first one of an algorithm signs.
    keys: Vec<Value>,
    /// Of [`GATEWAY_WITH_KEY`].
    gateway_key: IssuerKey,
    client: Client,
    /// `None` while it is stopped.
    process: Option<Process>,
    directory: TempDir,
}

impl Product {
    fn issuer(self, address: SocketAddr) -> String {
        match self {
            Self::OidcProvider => format!("http://{address}"),
            Self::Glewlwyd => format!("http://{address}/api/oidc"),
        }
    }
}

impl AuthorizationServer {
    /// Starts one. After a login the browser is sent to `redirect_uri`, which must show its request, as an
    /// [`Upstream`](crate::Upstream) does.
    pub async fn start(product: Product, redirect_uri: &str) -> Self {
        let mut server = Self {
            product,
            address: free_port(),
            metadata: Value::Null,
            redirect_uri: redirect_uri.to_owned(),
            keys: signing_keys(),
            gateway_key: IssuerKey::generate("gateway", "ES256"),
            client: Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap(),
            process: None,
            directory: tempfile::Builder::new().prefix("tollgate-authority-").tempdir().expect("a folder"),
        };
        // A port that was free a moment ago may be taken: then it tries others.
        for _ in 0..3 {
            if server.is_started().await {
                if product == Product::Glewlwyd {
                    glewlwyd::provision(&server).await;
                }
                let discovery = format!("{}/.well-known/openid-configuration", server.issuer());
                server.metadata = server.send(server.client.get(discovery)).await.expect(200).json();
                return server;
            }
            server.address = free_port();
        }
        panic!("{product:?} did not start:\n{}", server.output());
    }

    /// Its issuer identifier.
    pub fn issuer(&self) -> String {
        self.product.issuer(self.address)
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// An address that it publishes, such as `introspection_endpoint` or `jwks_uri`.
    pub fn endpoint(&self, name: &str) -> &str {
        self.metadata[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.metadata))
    }

    /// The `Authorization` of [`GATEWAY`].
    pub fn gateway_authorization() -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", GATEWAY.0, GATEWAY.1)))
    }

    /// The private key of [`GATEWAY_WITH_KEY`], in PEM.
    pub fn gateway_key(&self) -> String {
        self.gateway_key.private_pem()
    }

    /// The audience of tokens of this format.
    pub fn audience(format: Format) -> Option<String> {
        match format {
            Format::Opaque => None,
            Format::Rs256 => Some(format!("{RESOURCES}RS256")),
            Format::Es256 => Some(format!("{RESOURCES}ES256")),
        }
    }

    /// An access token for the client itself.
    pub async fn token(&self, format: Format) -> String {
        let mut form = vec![("grant_type", "client_credentials"), ("scope", SCOPE)];
        let audience = Self::audience(format);
        form.extend(audience.as_deref().map(|audience| ("resource", audience)));
        let tokens = self.post("token_endpoint", CLIENT, &form).await.expect(200).json();
        tokens["access_token"].as_str().expect("an access token").to_owned()
    }

    /// Introspects a token as [`GATEWAY`] (RFC 7662).
    pub async fn introspect(&self, token: &str) -> Value {
        self.post("introspection_endpoint", GATEWAY, &[("token", token)]).await.expect(200).json()
    }

    /// Revokes a token as its client (RFC 7009).
    pub async fn revoke(&self, token: &str) {
        self.post("revocation_endpoint", CLIENT, &[("token", token)]).await.expect(200);
    }

    /// The key ids that it publishes.
    pub async fn published_keys(&self) -> Vec<String> {
        let set = self.send(self.client.get(self.endpoint("jwks_uri"))).await.expect(200).json();
        let keys = set["keys"].as_array().expect("keys").iter();
        keys.map(|key| key["kid"].as_str().expect("a key id").to_owned()).collect()
    }

    /// New keys sign from now on. The old ones are still published, so that their tokens stay valid.
    pub async fn rotate_keys(&mut self) {
        let old = std::mem::replace(&mut self.keys, signing_keys());
        self.keys.extend(old);
        self.publish_keys().await;
    }

    /// Only the keys that sign are published: tokens of older ones end.
    pub async fn withdraw_old_keys(&mut self) {
        self.keys.truncate(ALGORITHMS.len());
        self.publish_keys().await;
    }

    async fn publish_keys(&self) {
        match self.product {
            Product::OidcProvider => oidc_provider::publish_keys(self).await,
            Product::Glewlwyd => glewlwyd::publish_keys(self).await,
        }
    }

    /// Stops it. Its port refuses connections.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop().expect("a server that ends");
        }
    }

    /// Starts it again, on the same port and with the same keys.
    pub async fn restart(&mut self) {
        self.stop();
        assert!(self.is_started().await, "{:?} did not start again:\n{}", self.product, self.output());
    }

    /// Starts the process and waits until it responds; false if it ends instead.
    async fn is_started(&mut self) -> bool {
        let mut command = match self.product {
            Product::OidcProvider => oidc_provider::command(self),
            Product::Glewlwyd => glewlwyd::command(self),
        };
        let output = File::options().create(true).append(true).open(self.directory.path().join("output.log")).unwrap();
        command.current_dir(self.directory.path()).stdout(output.try_clone().unwrap()).stderr(output);
        let mut process = start_process(&mut command);
        let deadline = Instant::now() + PATIENCE;
        while self.client.get(format!("http://{}/", self.address)).send().await.is_err() {
            if process.ended().expect("a child").is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "{:?} does not respond:\n{}", self.product, self.output());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.process = Some(process);
        true
    }

    async fn post(&self, endpoint: &str, (id, secret): (&str, &str), form: &[(&str, &str)]) -> Reply {
        self.send(self.client.post(self.endpoint(endpoint)).basic_auth(id, Some(secret)).form(form)).await
    }

    async fn send(&self, request: RequestBuilder) -> Reply {
        let response = request.send().await.unwrap_or_else(|error| panic!("{error}; its output:\n{}", self.output()));
        Reply::read(response).await
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn output(&self) -> String {
        fs::read_to_string(self.directory().join("output.log")).unwrap_or_default()
    }
}

/// New private JWKs.
fn signing_keys() -> Vec<Value> {
    let keys = ALGORITHMS.map(|algorithm| IssuerKey::generate(&Uuid::new_v4().to_string(), algorithm));
    keys.iter().map(IssuerKey::private_jwk).collect()
}

fn start_process(command: &mut Command) -> Process {
    Process::start(command).unwrap_or_else(|error| {
        panic!("{}: {error}; run the tests with ./dev test, which installs it", command.get_program().display())
    })
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().unwrap()
}
