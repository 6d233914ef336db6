//! node's oidc-provider, as `tests/servers/oidc-provider` configures it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::{AuthorizationServer, CLIENT, GATEWAY, GATEWAY_WITH_KEY, SCOPE, USER};
use crate::browser::{Browser, Locator};

const HOW: &str = "TOLLGATE_TEST_OIDC_PROVIDER is not set: run the tests with ./dev test, which installs \
    oidc-provider, or set it to a copy of tests/servers/oidc-provider in which `npm ci` was run";

/// The folder in which it is installed.
pub fn installed() -> PathBuf {
    std::env::var_os("TOLLGATE_TEST_OIDC_PROVIDER").unwrap_or_else(|| panic!("{HOW}")).into()
}

/// `node server.mjs CONFIG`.
pub(super) fn command(server: &AuthorizationServer) -> Command {
    let config = json!({
        "port": server.address.port(),
        "keys": server.keys,
        "scopes": [SCOPE, "more"],
        "claims": {"tenant": 7, "roles": ["reader", "writer"]},
        "clients": [
            {
                "client_id": CLIENT.0,
                "client_secret": CLIENT.1,
                "redirect_uris": [server.redirect_uri],
                "response_types": ["code"],
                "grant_types": ["authorization_code", "client_credentials"],
            },
            {
                "client_id": GATEWAY.0,
                "client_secret": GATEWAY.1,
                "redirect_uris": [],
                "response_types": [],
                "grant_types": [],
                "introspection_signed_response_alg": "RS256",
            },
            {
                "client_id": GATEWAY_WITH_KEY,
                "token_endpoint_auth_method": "private_key_jwt",
                "jwks": {"keys": [server.gateway_key.jwk()]},
                "redirect_uris": [],
                "response_types": [],
                "grant_types": [],
            },
        ],
    });
    let file = server.directory().join("config.json");
    fs::write(&file, config.to_string()).expect("a file");
    let mut command = Command::new("node");
    command.arg(installed().join("server.mjs")).arg(file);
    command
}

/// On its development pages: the login, then the consent.
pub async fn log_in(browser: &Browser) {
    browser.enter(Locator::Css("input[name=login]"), USER.0).await;
    browser.enter(Locator::Css("input[name=password]"), USER.1).await;
    browser.press(Locator::XPath("//button[normalize-space()='Sign-in']")).await;
    browser.press(Locator::XPath("//button[normalize-space()='Continue']")).await;
}

/// Replaces its keys.
pub(super) async fn publish_keys(server: &AuthorizationServer) {
    let request = server.client.post(format!("http://{}/test/keys", server.address)).json(&server.keys);
    server.send(request).await.expect(204);
}
