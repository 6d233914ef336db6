//! Third-party OAuth2 clients work with the gateway.

use std::io::Write;
use std::process::{Command, Stdio};

use oauth2::basic::BasicClient;
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse,
    PkceCodeChallenge, RedirectUrl, RefreshToken, Scope, TokenResponse, TokenUrl,
};
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application, REDIRECT_URI};
use tollgate_tests::{Gateway, Upstream, repository};
use url::Url;

/// Acts as the authorization page: the user has allowed this authorization request.
async fn allowed(gateway: &Gateway, api: &Api, authorization: &Url) -> Url {
    let asked: Vec<(String, String)> = authorization.query_pairs().into_owned().collect();
    let mut form: Vec<(&str, &str)> = asked.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    form.extend([("provision_key", api.provision_key()), ("authenticated_userid", "kate")]);
    let reply = api.authorize(gateway, &form).await.expect(200).json();
    Url::parse(reply["redirect_uri"].as_str().unwrap()).unwrap()
}

fn parameter(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(key, _)| key == name).unwrap_or_else(|| panic!("no {name} in {url}")).1.into_owned()
}

on_both_stores! {
    async fn the_oauth2_crate_obtains_uses_and_refreshes_tokens(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        // An id and a secret that differ from their form encoding, which this client sends.
        let fields = json!({"client_id": "shoe-store_1", "client_secret": "not so simple_secret-1"});
        let application = Application::register(&gateway, "client", fields).await;
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
                .set_auth_uri(AuthUrl::new(gateway.url("/api/oauth2/authorize")).unwrap())
                .set_token_uri(TokenUrl::new(gateway.url("/api/oauth2/token")).unwrap())
                .set_redirect_uri(RedirectUrl::new(REDIRECT_URI.to_owned()).unwrap());
            let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
            let (authorization, state) = client
                .authorize_url(CsrfToken::new_random)
                .add_scope(Scope::new("email".to_owned()))
                .add_scope(Scope::new("profile".to_owned()))
                .set_pkce_challenge(challenge)
                .url();
            let callback = allowed(&gateway, &api, &authorization).await;
            assert_eq!(&parameter(&callback, "state"), state.secret());
            let code = AuthorizationCode::new(parameter(&callback, "code"));
            let tokens = client.exchange_code(code).set_pkce_verifier(verifier).request_async(&http).await.unwrap();
            gateway.secrets.add(tokens.access_token().secret());
            let seen = api.get(&gateway, tokens.access_token().secret()).await.expect(200).json();
            assert_eq!(seen["headers"]["x-authenticated-scope"], json!(["email profile"]));
            assert_eq!(seen["headers"]["x-authenticated-userid"], json!(["kate"]));

            let refresh = RefreshToken::new(tokens.refresh_token().unwrap().secret().clone());
            let renewed = client.exchange_refresh_token(&refresh).request_async(&http).await.unwrap();
            api.get(&gateway, renewed.access_token().secret()).await.expect(200);
            api.get(&gateway, tokens.access_token().secret()).await.expect(401);

            let own = client.exchange_client_credentials().request_async(&http).await.unwrap();
            api.get(&gateway, own.access_token().secret()).await.expect(200);
        }
    }

    async fn authlib_obtains_uses_and_refreshes_tokens(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let application = Application::register(&gateway, "client", json!({})).await;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let authorization = Url::parse_with_params(&gateway.url("/api/oauth2/authorize"), [
            ("response_type", "code"),
            ("client_id", application.id()),
            ("scope", "email"),
            ("state", "a-state of this client"),
            ("redirect_uri", REDIRECT_URI),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ]).unwrap();
        let callback = allowed(&gateway, &api, &authorization).await;
        let certificate = tempfile::NamedTempFile::new().unwrap();
        certificate.as_file().write_all(&gateway.addresses.certificate).unwrap();
        let given = json!({
            "base": gateway.url("/api"), "certificate": certificate.path(),
            "client_id": application.id(), "client_secret": application.secret(),
            "callback": callback.as_str(), "redirect_uri": REDIRECT_URI, "state": "a-state of this client",
            "code_verifier": verifier.secret(), "username": "kate", "provision_key": api.provision_key(),
        });
        let outcome = tokio::task::spawn_blocking(move || run_authlib(&given)).await.unwrap();
        for (grant, user) in [
            ("authorization_code", json!(["kate"])),
            ("refresh_token", json!(["kate"])),
            ("client_credentials", Value::Null),
            ("password", json!(["kate"])),
        ] {
            assert_eq!(outcome[grant]["status"], json!(200), "{grant}");
            assert_eq!(outcome[grant]["headers"]["x-authenticated-userid"], user, "{grant}");
            assert_eq!(outcome[grant]["headers"]["x-authenticated-scope"], json!(["email"]), "{grant}");
        }
    }
}

fn run_authlib(given: &Value) -> Value {
    let python = std::env::var("TOLLGATE_TEST_AUTHLIB_PYTHON")
        .expect("TOLLGATE_TEST_AUTHLIB_PYTHON is not set: run the tests with ./dev test, which installs Authlib");
    let mut child = Command::new(python)
        .arg(repository().join("tests/clients/authlib_client.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a Python that starts");
    child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
