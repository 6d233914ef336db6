//! Clients that nobody here wrote: they find the endpoints by themselves.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use oauth2::basic::BasicClient;
use oauth2::{
    AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, IntrospectionUrl, RevocationUrl,
    TokenIntrospectionResponse, TokenResponse, TokenUrl,
};
use tempfile::NamedTempFile;
use tollgate_tests::{Gateway, repository};
use url::Url;

use super::*;

/// A script of the npm packages in `tests/clients/node`.
pub(super) fn node(script: &str) -> Command {
    let folder = std::env::var_os("TOLLGATE_TEST_NODE_CLIENTS").map(PathBuf::from).expect(
        "TOLLGATE_TEST_NODE_CLIENTS is not set: run the tests with ./dev test, which installs the packages of \
         tests/clients/node, or set it to a copy of that folder in which `npm ci` was run",
    );
    let mut command = Command::new("node");
    command.arg(folder.join(script));
    command
}

fn python() -> Command {
    python_script("discovering_client.py")
}

fn python_script(script: &str) -> Command {
    let python = std::env::var("TOLLGATE_TEST_AUTHLIB_PYTHON")
        .expect("TOLLGATE_TEST_AUTHLIB_PYTHON is not set: run the tests with ./dev test, which installs it");
    let mut command = Command::new(python);
    command.arg(repository().join("tests/clients").join(script));
    command
}

/// A client in a process: one JSON document per line in each direction.
pub(super) struct Dialogue {
    process: Child,
    given: ChildStdin,
    said: BufReader<ChildStdout>,
    certificate: NamedTempFile,
}

impl Dialogue {
    pub(super) fn start(mut command: Command, gateway: &Gateway) -> Self {
        let certificate = NamedTempFile::new().unwrap();
        certificate.as_file().write_all(gateway.certificate().as_bytes()).unwrap();
        command.env("NODE_EXTRA_CA_CERTS", certificate.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("a client that starts");
        let (given, said) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, given, said, certificate }
    }

    pub(super) fn give(&mut self, document: &Value) {
        writeln!(self.given, "{document}").expect("a client that listens");
    }

    /// What it says next; it has failed if it says nothing.
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("a client that has not failed: see above")
    }

    /// Sends its user to the login page of the API as often as it asks, and returns its outcome.
    pub(super) async fn outcome(&mut self, gateway: &Gateway, api: &Api) -> Value {
        loop {
            let said = tokio::task::block_in_place(|| self.next());
            if let Some(user_code) = said["approve"].as_str() {
                approved(gateway, api, user_code).await;
                self.give(&json!({}));
                continue;
            }
            let Some(address) = said["browse"].as_str() else { return said["outcome"].clone() };
            let callback = allowed(gateway, api, &Url::parse(address).unwrap()).await;
            self.give(&json!({"callback": callback}));
        }
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Acts as the login page: the user has allowed this authorization request.
async fn allowed(gateway: &Gateway, api: &Api, authorization: &Url) -> Url {
    let asked: Vec<(String, String)> = authorization.query_pairs().into_owned().collect();
    let mut form: Vec<(&str, &str)> = asked.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    form.extend([("provision_key", api.provision_key()), ("authenticated_userid", "kate")]);
    let reply = api.authorize(gateway, &form).await.expect(200).json();
    Url::parse(reply["redirect_uri"].as_str().unwrap()).unwrap()
}

/// Acts as the page of devices: the user has typed this code, and has agreed.
async fn approved(gateway: &Gateway, api: &Api, user_code: &str) {
    let form = [
        ("provision_key", api.provision_key()),
        ("authenticated_userid", "kate"),
        ("user_code", user_code),
        ("action", "approve"),
    ];
    let path = format!("/{}/oauth2/device", api.name);
    gateway.send(gateway.request(http::Method::POST, &path).form(&form)).await.expect(200);
}

/// One of the libraries accepts no other scheme.
const REDIRECT_URI: &str = "https://client.test/callback";

async fn flows(name: &str, library: &str, command: fn(&str) -> Command) {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let config = json!({"profile": "bcp", "endpoints": ["metadata", "introspect", "revoke"]});
    let api = api(&gateway, &upstream, config).await;
    let client = Application::register(&gateway, "client", json!({"redirect_uris": [REDIRECT_URI]})).await;
    let server = Application::register(&gateway, "server", json!({"resource_server": true})).await;
    let known = |application: &Application| json!({"id": application.id(), "secret": application.secret()});
    for method in ["basic", "post"] {
        let mut dialogue = Dialogue::start(command(name), &gateway);
        let given = json!({
            "library": library, "issuer": gateway.url("/api"), "redirect_uri": REDIRECT_URI, "method": method,
            "client": known(&client), "resource_server": known(&server), "resource": gateway.url("/api/things"),
            "certificate": dialogue.certificate.path(),
        });
        dialogue.give(&given);
        let outcome = dialogue.outcome(&gateway, &api).await;
        assert_eq!(outcome, json!({"before": [200, true], "after": [401, false]}), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oauth2_crate_introspects_and_revokes() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = api(&gateway, &upstream, json!({"profile": "bcp", "endpoints": ["introspect", "revoke"]})).await;
    let application = Application::register(&gateway, "client", json!({"resource_server": true})).await;
    let http = |request: HttpRequest| {
        let client = gateway.client.clone();
        async move {
            let (head, body) = request.into_parts();
            let request = client.request(head.method, head.uri.to_string()).headers(head.headers).body(body);
            let received = request.send().await?;
            let mut response = HttpResponse::new(Vec::new());
            *response.status_mut() = received.status();
            *response.headers_mut() = received.headers().clone();
            *response.body_mut() = received.bytes().await?.to_vec();
            Ok::<_, reqwest::Error>(response)
        }
    };
    for auth_type in [AuthType::BasicAuth, AuthType::RequestBody] {
        let client = BasicClient::new(ClientId::new(application.id().to_owned()))
            .set_client_secret(ClientSecret::new(application.secret().to_owned()))
            .set_auth_type(auth_type)
            .set_token_uri(TokenUrl::new(gateway.url("/api/oauth2/token")).unwrap())
            .set_introspection_url(IntrospectionUrl::new(gateway.url("/api/oauth2/introspect")).unwrap())
            .set_revocation_url(RevocationUrl::new(gateway.url("/api/oauth2/revoke")).unwrap());
        let tokens = client.exchange_client_credentials().request_async(&http).await.unwrap();
        let access = tokens.access_token().clone();
        gateway.secrets.add(access.secret());
        let seen = client.introspect(&access).request_async(&http).await.unwrap();
        assert_eq!((seen.active(), seen.client_id().map(|id| id.as_str())), (true, Some(application.id())));
        api.get(&gateway, access.secret()).await.expect(200);
        client.revoke_token(access.clone().into()).unwrap().request_async(&http).await.unwrap();
        api.get(&gateway, access.secret()).await.expect(401);
        assert!(!client.introspect(&access).request_async(&http).await.unwrap().active());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openid_client_discovers_refreshes_introspects_and_revokes() {
    flows("openid_client.mjs", "", node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth4webapi_discovers_refreshes_introspects_and_revokes() {
    flows("oauth4webapi.mjs", "", node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authlib_discovers_refreshes_introspects_and_revokes() {
    flows("", "authlib", |_| python()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_oauthlib_discovers_refreshes_and_revokes() {
    flows("", "requests-oauthlib", |_| python()).await;
}

/// A client that authenticates with an assertion, and whose token is of no use to others.
async fn keys(script: &str) {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let config = json!({
        "endpoints": ["metadata"], "issuer": gateway.url("/api"), "dpop": "required", "dpop_nonce": true,
    });
    let api = api(&gateway, &upstream, config).await;
    let key = tollgate_tests::IssuerKey::generate("k1", "ES256");
    let fields = json!({"jwks": {"keys": [key.jwk()]}, "token_endpoint_auth_method": "private_key_jwt"});
    let client = Application::register(&gateway, "client", fields).await;
    let mut dialogue = Dialogue::start(node(script), &gateway);
    dialogue.give(&json!({
        "issuer": gateway.url("/api"), "client": {"id": client.id(), "key": key.private_jwk()},
        "resource": gateway.url("/api/things"),
    }));
    let outcome = dialogue.outcome(&gateway, &api).await;
    assert_eq!(outcome, json!({"type": "dpop", "statuses": [200, 200], "stolen": 401}));
}

#[tokio::test(flavor = "multi_thread")]
async fn openid_client_authenticates_with_an_assertion_and_proves_its_key() {
    keys("keys_openid_client.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth4webapi_authenticates_with_an_assertion_and_proves_its_key() {
    keys("keys_oauth4webapi.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authlib_authenticates_with_an_assertion() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = api(&gateway, &upstream, json!({"issuer": gateway.url("/api")})).await;
    let key = tollgate_tests::IssuerKey::generate("k1", "RS256");
    let fields = json!({"jwks": {"keys": [key.jwk()]}, "token_endpoint_auth_method": "private_key_jwt"});
    let client = Application::register(&gateway, "client", fields).await;
    let mut dialogue = Dialogue::start(python_script("assertion_client.py"), &gateway);
    let given = json!({
        "endpoint": gateway.url("/api/oauth2/token"), "id": client.id(), "key": key.private_pem(),
        "certificate": dialogue.certificate.path(), "resource": gateway.url("/api/things"),
    });
    dialogue.give(&given);
    assert_eq!(dialogue.outcome(&gateway, &api).await, 200);
}

/// A client that registers itself, pushes its request, and is a device; in both profiles, over both versions of HTTP.
async fn registers_pushes_and_is_a_device(script: &str) {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    gateway.create("/consumers", json!({"username": "strangers"})).await;
    let initial = "an initial access token of some length";
    let usual = json!({
        "endpoints": ["metadata", "par", "device", "register"], "device_verification_uri": "https://login.test/device",
        "device_poll_interval": 1, "registration": "token", "registration_consumer": "strangers",
        "initial_access_tokens": [initial], "par_required": true,
    });
    for (name, profile, dpop) in [("kong", "kong", "off"), ("bcp", "bcp", "off"), ("bound", "bcp", "required")] {
        let own = json!({
            "profile": profile, "dpop": dpop, "dpop_nonce": dpop == "required",
            "issuer": gateway.url(&format!("/{name}")),
        });
        let config = tollgate_tests::scenario::laid_over(usual.clone(), own);
        let api = Api::protected(&gateway, name, &upstream, config).await;
        for (method, http2) in [("client_secret_basic", false), ("none", true)] {
            let mut dialogue = Dialogue::start(node(script), &gateway);
            dialogue.give(&json!({
                "issuer": gateway.url(&format!("/{name}")), "redirect_uri": REDIRECT_URI,
                "resource": gateway.url(&format!("/{name}/things")), "method": method, "initial_access_token": initial,
                "dpop": dpop == "required", "http2": http2,
            }));
            let outcome = dialogue.outcome(&gateway, &api).await;
            let kind = if dpop == "required" { "dpop" } else { "bearer" };
            let expected = json!({
                "shown": ["client_id", "request_uri"], "type": kind, "pushed": 200, "device": 200, "scope": "email",
            });
            assert_eq!(outcome, expected, "{name} {method} HTTP/2: {http2}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openid_client_registers_pushes_its_request_and_is_a_device() {
    registers_pushes_and_is_a_device("grants_openid_client.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth4webapi_registers_pushes_its_request_and_is_a_device() {
    registers_pushes_and_is_a_device("grants_oauth4webapi.mjs").await;
}
