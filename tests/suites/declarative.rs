//! A configuration that comes from a file: `database: off` (gateway.md §10). `commands`: `tollgate config`; `posted`:
//! `POST /config`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_tests::{Gateway, Reply, Store, Upstream, program};

use crate::nodes::within;

mod commands;
mod posted;

const PATIENCE: Duration = Duration::from_secs(30);

/// The clients of [`configuration`] that are there at first.
const CLIENTS: [&str; 2] = ["shop", "bank"];

/// A file with a configuration, in a folder of its own.
struct File {
    folder: TempDir,
}

impl File {
    fn with(text: &str) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap() };
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("tollgate.yml")
    }

    /// Replaces it at once, as deployment tools do.
    fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    /// A gateway that reads it. `settings` by their environment names.
    async fn gateway(&self, store: Store, settings: &[(&str, &str)]) -> Gateway {
        let path = self.path().display().to_string();
        let own = [("TOLLGATE_DATABASE_MODE", "off"), ("TOLLGATE_DECLARATIVE_CONFIG", path.as_str())];
        let gateway = Gateway::on(store, &[own.as_slice(), settings].concat()).await;
        CLIENTS.iter().for_each(|client| gateway.secrets.add(&format!("{client}-secret-of-a-client")));
        gateway
    }
}

/// A service with a route `/api` and the plugin oauth2, and a consumer with a credential for each client.
fn configuration(upstream: &Upstream, clients: &[&str]) -> String {
    let consumers: Vec<Value> = clients
        .iter()
        .map(|client| {
            json!({
                "username": client,
                "oauth2_credentials": [{
                    "name": client,
                    "client_id": client,
                    "client_secret": format!("{client}-secret-of-a-client"),
                    "hash_secret": *client == "bank",
                    "redirect_uris": ["http://client.test/callback"],
                }],
            })
        })
        .collect();
    let plugin = json!({"name": "oauth2", "config": {
        "scopes": ["email"], "enable_client_credentials": true, "enable_authorization_code": true,
        "provision_key": "provision-key-of-the-file",
    }});
    let file = json!({
        "_format_version": "3.0",
        "services": [{
            "name": "api", "url": upstream.url(), "routes": [{"name": "api", "paths": ["/api"]}], "plugins": [plugin],
        }],
        "consumers": consumers,
    });
    file.to_string()
}

async fn token(gateway: &Gateway, client: &str) -> Reply {
    let secret = format!("{client}-secret-of-a-client");
    let form = [("grant_type", "client_credentials"), ("client_id", client), ("client_secret", secret.as_str())];
    gateway.send(gateway.request(Method::POST, "/api/oauth2/token").form(&form)).await
}

async fn issued(gateway: &Gateway, client: &str) -> String {
    token(gateway, client).await.expect(200).json()["access_token"].as_str().unwrap().to_owned()
}

async fn call(gateway: &Gateway, token: &str) -> u16 {
    gateway.send(gateway.request(Method::GET, "/api/things").bearer_auth(token)).await.status
}

async fn status(gateway: &Gateway) -> Value {
    gateway.admin_get("/status").await.expect(200).json()
}

fn hang_up(gateway: &Gateway) {
    let pid = Pid::from_raw(i32::try_from(gateway.process_id()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}

async fn a_file_is_served_and_its_clients_get_tokens(store: Store) {
    let upstream = Upstream::start().await;
    let file = File::with(&configuration(&upstream, &CLIENTS));
    let mut gateway = file.gateway(store, &[]).await;
    let tokens = [issued(&gateway, "shop").await, issued(&gateway, "bank").await];
    for token in &tokens {
        assert_eq!(call(&gateway, token).await, 200);
    }
    // A code is issued and redeemed once.
    let form = [
        ("provision_key", "provision-key-of-the-file"),
        ("authenticated_userid", "kate"),
        ("client_id", "shop"),
        ("response_type", "code"),
        ("scope", "email"),
    ];
    let reply = gateway.send(gateway.request(Method::POST, "/api/oauth2/authorize").form(&form)).await.expect(200);
    let redirect = url::Url::parse(reply.json()["redirect_uri"].as_str().unwrap()).unwrap();
    let code = redirect.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let secret = "shop-secret-of-a-client";
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "shop"),
        ("client_secret", secret),
        ("code", code.as_str()),
    ];
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(gateway.send(gateway.request(Method::POST, "/api/oauth2/token").form(&form)).await.status);
    }
    assert_eq!(statuses, [200, 400]);
    // The secrets of the file are stored as its entities ask for it.
    assert!(!gateway.at_rest().contains("bank-secret-of-a-client"), "a secret that was to be hashed is stored");
    assert_eq!(gateway.admin_get("/").await.json()["configuration"]["database"], "off");
    // Tokens outlive the process, and so do ids: the same file means the same entities.
    let ids =
        |page: Reply| page.json()["data"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect::<Vec<_>>();
    let before = ids(gateway.admin_get("/plugins").await);
    gateway.kill();
    gateway.start_again().await;
    assert_eq!(ids(gateway.admin_get("/plugins").await), before);
    for token in &tokens {
        assert_eq!(call(&gateway, token).await, 200);
    }
    // What was issued can be revoked, as there is no file that says it again.
    gateway.delete(&format!("/oauth2_tokens/{}", tokens[0])).await;
    assert_eq!(call(&gateway, &tokens[0]).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_served_and_its_clients_get_tokens_on_sqlite() {
    a_file_is_served_and_its_clients_get_tokens(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_served_and_its_clients_get_tokens_on_postgres() {
    a_file_is_served_and_its_clients_get_tokens(Store::Postgres).await;
}

async fn what_a_file_no_longer_contains_ends_at_once(store: Store) {
    let upstream = Upstream::start().await;
    let file = File::with(&configuration(&upstream, &CLIENTS));
    let gateway = file.gateway(store, &[("TOLLGATE_DECLARATIVE_CONFIG_WATCH", "false")]).await;
    let (shop, bank) = (issued(&gateway, "shop").await, issued(&gateway, "bank").await);
    // They are cached now.
    assert_eq!((call(&gateway, &shop).await, call(&gateway, &bank).await), (200, 200));
    let before = status(&gateway).await["configuration_hash"].clone();
    file.write(&configuration(&upstream, &["bank"]));
    hang_up(&gateway);
    within(PATIENCE, "the new file", async || status(&gateway).await["configuration_hash"] != before).await;
    assert_eq!((call(&gateway, &shop).await, call(&gateway, &bank).await), (401, 200));
    assert_eq!(token(&gateway, "shop").await.status, 400);
    assert_eq!(gateway.admin_get("/consumers/shop").await.status, 404);
    // Whoever comes back has no old tokens.
    file.write(&configuration(&upstream, &CLIENTS));
    hang_up(&gateway);
    within(PATIENCE, "the old file", async || status(&gateway).await["configuration_hash"] == before).await;
    assert_eq!((call(&gateway, &shop).await, call(&gateway, &bank).await), (401, 200));
    let again = issued(&gateway, "shop").await;
    assert_eq!(call(&gateway, &again).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_no_longer_contains_ends_at_once_on_sqlite() {
    what_a_file_no_longer_contains_ends_at_once(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_no_longer_contains_ends_at_once_on_postgres() {
    what_a_file_no_longer_contains_ends_at_once(Store::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_one_file_share_tokens_and_what_ends_them() {
    let upstream = Upstream::start().await;
    let file = File::with(&configuration(&upstream, &CLIENTS));
    let settings = [("TOLLGATE_DECLARATIVE_CONFIG_WATCH", "false")];
    let one = file.gateway(Store::Postgres, &settings).await;
    let path = file.path().display().to_string();
    let own = [("TOLLGATE_DATABASE_MODE", "off"), ("TOLLGATE_DECLARATIVE_CONFIG", path.as_str())];
    let other = one.another_node_with(&[own.as_slice(), &settings].concat()).await;
    let token = issued(&one, "shop").await;
    assert_eq!((call(&one, &token).await, call(&other, &token).await), (200, 200));
    file.write(&configuration(&upstream, &["bank"]));
    hang_up(&one);
    within(PATIENCE, "the new file on its node", async || call(&one, &token).await == 401).await;
    within(PATIENCE, "the new file on the other node", async || call(&other, &token).await == 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_faults_changes_nothing_and_is_told() {
    let upstream = Upstream::start().await;
    let file = File::with(&configuration(&upstream, &CLIENTS));
    let gateway = file.gateway(Store::Sqlite, &[]).await;
    let token = issued(&gateway, "shop").await;
    let before = status(&gateway).await;
    assert_eq!(before["declarative_config"], json!({"valid": true, "faults": []}));
    let metric = async || gateway.metric("tollgate_declarative_config_valid", &[]).await;
    assert!((metric().await - 1.0).abs() < 0.5);
    // It is read without being asked: it is watched.
    file.write("_format_version: '3.0'\nservices:\n- host: h\n  port: 99999\n- name: a b\n  host: h\n");
    within(PATIENCE, "the faults", async || status(&gateway).await["declarative_config"]["valid"] == false).await;
    let path = file.path().display().to_string();
    let name = "invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~";
    let faults = [
        format!("{path}:4:3: services.1.port: value should be between 0 and 65535"),
        format!("{path}:5:3: services.2.name: {name}"),
    ];
    let after = status(&gateway).await;
    assert_eq!(after["declarative_config"]["faults"], json!(faults));
    assert_eq!(after["configuration_hash"], before["configuration_hash"]);
    assert!(metric().await < 0.5);
    assert!(gateway.metric("tollgate_declarative_config_loads_total", &["result=\"refused\""]).await > 0.5);
    let output = gateway.output();
    assert!(faults.iter().all(|fault| output.contains(fault)), "{output}");
    assert_eq!(call(&gateway, &token).await, 200);
    fs::remove_file(file.path()).unwrap();
    file.write(&configuration(&upstream, &CLIENTS));
    within(PATIENCE, "the file without faults", async || status(&gateway).await["declarative_config"]["valid"] == true)
        .await;
    assert!((metric().await - 1.0).abs() < 0.5);
    assert_eq!(call(&gateway, &token).await, 200);
    // One that stays away is a fault, too.
    fs::remove_file(file.path()).unwrap();
    within(PATIENCE, "the missing file", async || status(&gateway).await["declarative_config"]["valid"] == false).await;
    let faults = status(&gateway).await["declarative_config"]["faults"].to_string();
    assert!(faults.contains(&path) && faults.contains("No such file"), "{faults}");
    assert_eq!(call(&gateway, &token).await, 200);
}

#[test]
fn a_gateway_with_a_faulty_file_lists_every_fault_and_does_not_start() {
    let services: String =
        (0..10).map(|port| format!("- {{name: s{port}, host: h, port: {}}}\n", 70_000 + port)).collect();
    let file = File::with(&format!("_format_version: '3.0'\nservices:\n{services}"));
    let path = file.path();
    let run = |command: &str| {
        let mut tollgate = Command::new(program("tollgate"));
        std::env::vars().filter(|(name, _)| name.starts_with("TOLLGATE_")).for_each(|(name, _)| {
            tollgate.env_remove(name);
        });
        let settings = format!(
            "data_directory: {0}\ndatabase: off\ndeclarative_config: {0}/tollgate.yml\n",
            file.folder.path().display()
        );
        let settings_file = file.folder.path().join("settings.yaml");
        fs::write(&settings_file, settings).unwrap();
        let listeners = [
            "proxy.http_listen=127.0.0.1:0",
            "proxy.https_listen=off",
            "admin.listen=127.0.0.1:0",
            "status.listen=127.0.0.1:0",
        ];
        tollgate.arg(command).arg("--config").arg(settings_file);
        listeners.iter().for_each(|listener| {
            tollgate.args(["--set", listener]);
        });
        tollgate.output().unwrap()
    };
    let expected: Vec<String> = (0..10)
        .map(|row| {
            let at = format!("{}:{}:23", path.display(), row + 3);
            format!("tollgate: {at}: services.{}.port: value should be between 0 and 65535", row + 1)
        })
        .collect();
    for command in ["run", "check"] {
        let output = run(command);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let told: Vec<&str> = errors.lines().filter(|line| line.starts_with("tollgate: ")).collect();
        assert_eq!((output.status.code(), told), (Some(1), expected.iter().map(String::as_str).collect()), "{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_of_a_file_cannot_be_written_one_by_one() {
    let upstream = Upstream::start().await;
    let file = File::with(&configuration(&upstream, &CLIENTS));
    let gateway = file.gateway(Store::Sqlite, &[]).await;
    let id = gateway.admin_get("/services/api").await.json()["id"].as_str().unwrap().to_owned();
    let by_id = format!("/services/{id}");
    let cases = [
        (Method::POST, "/services", "cannot create 'services' entities when not using a database"),
        (Method::POST, "/services/api/routes", "cannot create 'routes' entities when not using a database"),
        (Method::PUT, &by_id, "cannot create or update 'services' entities when not using a database"),
        (Method::PUT, "/services/x", "cannot create or update 'services' entities by 'name' when not using a database"),
        (Method::PATCH, "/services/api", "cannot update 'services' entities by 'name' when not using a database"),
        (Method::PATCH, &by_id, "cannot update 'services' entities when not using a database"),
        (Method::DELETE, &by_id, "cannot remove 'services' entities when not using a database"),
        (
            Method::DELETE,
            "/consumers/shop",
            "cannot remove 'consumers' entities by 'username' when not using a database",
        ),
        (
            Method::DELETE,
            "/consumers/shop/oauth2/shop",
            "cannot remove 'oauth2_credentials' entities by 'client_id' when not using a database",
        ),
        (Method::PATCH, "/routes/api/service", "cannot update 'services' entities when not using a database"),
    ];
    for (method, path, message) in cases {
        let reply = gateway.admin(method.clone(), path, json!({"host": "h"})).await.expect(405);
        let body = json!({"code": 12, "name": "operation unsupported", "message": message});
        assert_eq!((reply.json(), reply.header("allow").is_some()), (body, true), "{method} {path}");
    }
    let names: Vec<Value> = gateway.admin_get("/consumers").await.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|consumer| consumer["username"].clone())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_a_configuration_of_its_own_is_not_taken_over() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::on_sqlite().await;
    gateway.create("/services", json!({"name": "of-the-database", "url": upstream.url()})).await;
    gateway.kill();
    let file = File::with(&configuration(&upstream, &CLIENTS));
    let path = file.path().display().to_string();
    let run = ["run", "--set", "database=off", "--set", &format!("declarative_config={path}")];
    let (started, output) = gateway.tool(&run);
    let told = "the database has 1 'services' entities that no file has declared, and that the file does not contain: \
                use another database, or declare them too (`tollgate config export` writes them)";
    assert!(!started && output.contains(told), "{output}");
    gateway.start_again().await;
    gateway.admin_get("/services/of-the-database").await.expect(200);
    gateway.admin_get("/services/api").await.expect(404);
}
