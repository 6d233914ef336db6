//! Debian's glewlwyd, on SQLite, configured through its administration API.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use http::Method;
use http::header::{COOKIE, SET_COOKIE};
use serde_json::{Value, json};

use super::{AuthorizationServer, CLIENT, Format, GATEWAY, SCOPE, USER};
use crate::browser::{Browser, Locator};
use crate::reply::Reply;

const HOW: &str = "run the tests with ./dev test, which installs Debian's glewlwyd and sqlite3";

/// The tables, and the user `admin` with the password `password`.
const TABLES: &str = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3";
const PAGES: &str = "/usr/share/glewlwyd/webapp";
const PAGES_CONFIG: &str = "/usr/share/glewlwyd/templates/config.json";

/// Who may introspect tokens of others has this scope.
const INTROSPECTION_SCOPE: &str = "introspection";

/// `glewlwyd --config-file=FILE`, with its database.
pub(super) fn command(server: &AuthorizationServer) -> Command {
    let folder = server.directory();
    let (database, pages) = (folder.join("glewlwyd.db"), folder.join("webapp"));
    if !database.exists() {
        create_tables(&database);
        copy_pages(&pages);
    }
    let file = folder.join("glewlwyd.conf");
    fs::write(&file, settings(server, &database, &pages)).expect("a file");
    let mut command = Command::new("glewlwyd");
    command.arg(format!("--config-file={}", file.display()));
    command
}

fn create_tables(database: &Path) {
    let tables = File::open(TABLES).unwrap_or_else(|error| panic!("{TABLES}: {error}; {HOW}"));
    let made = Command::new("sqlite3").arg(database).stdin(tables).status();
    assert!(made.unwrap_or_else(|error| panic!("sqlite3: {error}; {HOW}")).success(), "{TABLES} is SQL for SQLite");
}

/// Debian's pages contain links to files of other packages, which glewlwyd does not follow, and a folder in place of
/// their configuration.
fn copy_pages(pages: &Path) {
    let copied = Command::new("cp").args(["-rL", PAGES]).arg(pages).status();
    assert!(copied.is_ok_and(|status| status.success()), "{PAGES} cannot be copied; {HOW}");
    let config = pages.join("config.json");
    let _ = fs::remove_dir_all(&config);
    fs::copy(PAGES_CONFIG, config).unwrap_or_else(|error| panic!("{PAGES_CONFIG}: {error}; {HOW}"));
}

fn settings(server: &AuthorizationServer, database: &Path, pages: &Path) -> String {
    let (address, port) = (server.address, server.address.port());
    let types = [("html", "text/html"), ("css", "text/css"), ("js", "text/javascript"), ("json", "application/json")];
    let types = types.map(|(extension, mime)| format!("{{extension=\".{extension}\" mime_type=\"{mime}\"}}")).join(",");
    format!(
        r#"
port={port}
bind_address="127.0.0.1"
external_url="http://{address}"
login_url="login.html"
api_prefix="api"
static_files_path="{pages}"
static_files_mime_types=({types})
log_mode="console"
log_level="INFO"
cookie_secure=0
session_key="GLEWLWYD2_SESSION_ID"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
hash_algorithm="SHA512"
database={{type="sqlite3" path="{database}"}}
"#,
        pages = pages.display(),
        database = database.display(),
    )
}

/// Creates the scopes, the user, the clients, and the OpenID Connect endpoints.
pub(super) async fn provision(server: &AuthorizationServer) {
    let administrator = Administrator::log_in(server).await;
    for (scope, of_user) in [(SCOPE, true), (INTROSPECTION_SCOPE, false)] {
        administrator.create("scope", json!({"name": scope, "password_required": of_user, "scheme": {}})).await;
    }
    let (username, password) = USER;
    let user = json!({"username": username, "name": username, "password": password, "scope": [SCOPE], "enabled": true});
    administrator.create("user", user).await;
    administrator.create("client", client(CLIENT, &["code", "client_credentials"], SCOPE, server)).await;
    administrator.create("client", client(GATEWAY, &["client_credentials"], INTROSPECTION_SCOPE, server)).await;
    administrator.create("mod/plugin", endpoints(server)).await;
}

fn client((id, secret): (&str, &str), grants: &[&str], scope: &str, server: &AuthorizationServer) -> Value {
    json!({
        "client_id": id,
        "client_secret": secret,
        "name": id,
        "enabled": true,
        "confidential": true,
        "token_endpoint_auth_method": ["client_secret_basic"],
        "authorization_type": grants,
        "redirect_uri": [server.redirect_uri],
        "scope": [scope],
        "resource": [AuthorizationServer::audience(Format::Rs256)],
    })
}

fn endpoints(server: &AuthorizationServer) -> Value {
    json!({"module": "oidc", "name": "oidc", "display_name": "oidc", "enabled": true, "parameters": {
        "iss": server.issuer(),
        "jwks-private": json!({"keys": server.keys}).to_string(),
        "jwks-show": true,
        "access-token-duration": 600,
        "refresh-token-duration": 600,
        "code-duration": 60,
        "refresh-token-rolling": false,
        // OAuth 2.0 without an ID token.
        "allow-non-oidc": true,
        "auth-type-code-enabled": true,
        "auth-type-client-enabled": true,
        "auth-type-password-enabled": false,
        "auth-type-refresh-enabled": true,
        "pkce-allowed": true,
        "introspection-revocation-allowed": true,
        "introspection-revocation-allow-target-client": true,
        "introspection-revocation-auth-scope": [INTROSPECTION_SCOPE],
        "resource-allowed": true,
        "resource-client-property": "resource",
    }})
}

/// On its pages: the login, the consent, then on.
pub(super) async fn log_in(browser: &Browser) {
    browser.enter(Locator::Css("#username"), USER.0).await;
    browser.enter(Locator::Css("#password"), USER.1).await;
    browser.press(Locator::Css("#loginbut")).await;
    browser.press(Locator::Css(&format!("#grant-{SCOPE}"))).await;
    browser.press(Locator::XPath("//button[normalize-space()='Grant access']")).await;
    browser.press(Locator::XPath("//button[normalize-space()='Continue']")).await;
}

/// Replaces its keys.
pub(super) async fn publish_keys(server: &AuthorizationServer) {
    let administrator = Administrator::log_in(server).await;
    administrator.call(Method::PUT, "mod/plugin/oidc", endpoints(server)).await.expect(200);
    administrator.call(Method::PUT, "mod/plugin/oidc/reset", Value::Null).await.expect(200);
}

/// A session of its administrator.
struct Administrator<'s> {
    server: &'s AuthorizationServer,
    session: String,
}

impl<'s> Administrator<'s> {
    async fn log_in(server: &'s AuthorizationServer) -> Self {
        let mut administrator = Self { server, session: String::new() };
        let login = json!({"username": "admin", "password": "password"});
        let reply = administrator.call(Method::POST, "auth", login).await.expect(200);
        let cookie = reply.headers[SET_COOKIE].to_str().expect("a cookie");
        cookie.split(';').next().unwrap_or_default().clone_into(&mut administrator.session);
        administrator
    }

    async fn create(&self, collection: &str, entity: Value) {
        self.call(Method::POST, collection, entity).await.expect(200);
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Reply {
        let url = format!("http://{}/api/{path}", self.server.address);
        self.server.send(self.server.client.request(method, url).header(COOKIE, &self.session).json(&body)).await
    }
}
