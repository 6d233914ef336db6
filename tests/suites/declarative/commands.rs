//! `tollgate config validate | import | export`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::{Gateway, Reply, Store, Upstream, program};

use super::{CLIENTS, File, call, configuration, issued};

/// `tollgate config …` without a database.
fn config(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(program("tollgate"));
    std::env::vars().filter(|(name, _)| name.starts_with("TOLLGATE_")).for_each(|(name, _)| {
        command.env_remove(name);
    });
    let output = command.arg("config").args(arguments).current_dir(std::env::temp_dir()).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn import(gateway: &Gateway, file: &File) -> (bool, String) {
    gateway.tool(&["config", "import", &file.path().display().to_string()])
}

#[test]
fn a_file_is_validated_without_a_database() {
    let good = File::with("_format_version: '3.0'\nconsumers:\n- username: bob\n  keyauth_credentials: [{key: k}]\n");
    let path = good.path().display().to_string();
    assert_eq!(config(&["validate", &path]), (true, format!("{path}: 2 entities, no faults.\n")));
    // Every fault of every plugin's entities and configurations, with its place.
    let bad = File::with(
        r#"_format_version: "3.0"
consumers:
- username: bob
  oauth2_credentials:
  - name: app
    redirect_uris: [not-a-uri]
    client_type: odd
  jwt_secrets:
  - algorithm: none
  acls:
  - {}
  basicauth_credentials:
  - username: b
plugins:
- name: oauth2
  config:
    enable_client_credentials: true
    token_expiration: soon
- name: key-auth
  config: {key_nmaes: [k]}
certificates:
- cert: nothing
  key: nothing
"#,
    );
    let path = bad.path().display().to_string();
    let (valid, output) = config(&["validate", &path]);
    assert!(!valid && output.lines().count() == 9, "{output}");
    let fields = [
        "6:21: consumers.1.oauth2_credentials.1.redirect_uris.1: ",
        "7:5: consumers.1.oauth2_credentials.1.client_type: expected one of: confidential, public",
        "9:5: consumers.1.jwt_secrets.1.algorithm: expected one of: ",
        "consumers.1.acls.1.group: required field missing",
        "13:5: consumers.1.basicauth_credentials.1.password: required field missing",
        "18:5: plugins.1.config.token_expiration: expected a number",
        "20:12: plugins.2.config.key_nmaes: unknown field",
        "22:3: certificates.1.cert: ",
        "23:3: certificates.1.key: ",
    ];
    for field in fields {
        assert!(output.contains(field), "{field}\n{output}");
    }
    assert!(!config(&["validate", "/nowhere.yml"]).0);
}

on_both_stores! {
    async fn an_import_is_in_force_on_running_nodes_and_repeating_it_changes_nothing(gateway: Gateway) {
        let upstream = Upstream::start().await;
        gateway.secrets.add("shop-secret-of-a-client");
        let file = File::with(&configuration(&upstream, &CLIENTS));
        gateway.create("/consumers", json!({"username": "of-the-database"})).await;
        let path = file.path().display().to_string();
        let told = |created, updated, same| {
            (true, format!("{path}: {created} entities created, {updated} updated, {same} as they were.\n"))
        };
        assert_eq!(import(&gateway, &file), told(7, 0, 0));
        crate::nodes::within(Duration::from_secs(20), "the import", async || {
            gateway.send(gateway.request(Method::GET, "/api/things")).await.status == 401
        })
        .await;
        let token = issued(&gateway, "shop").await;
        assert_eq!(call(&gateway, &token).await, 200);
        // Secrets that are hashed anew count as changes; nothing else does.
        assert_eq!(import(&gateway, &file), told(0, 1, 6));
        assert_eq!(call(&gateway, &token).await, 200);
        gateway.admin_get("/consumers/of-the-database").await.expect(200);
        // The Admin API goes on writing what was imported.
        gateway.change("/services/api", json!({"retries": 1})).await;
        assert_eq!(import(&gateway, &file), told(0, 2, 5));
    }

    async fn an_import_that_contradicts_the_database_leaves_nothing_behind(gateway: Gateway) {
        let upstream = Upstream::start().await;
        // Another client has the id.
        let consumer = json!({"username": "other"});
        gateway.create("/consumers", consumer).await;
        let taken = json!({"name": "taken", "client_id": "bank", "redirect_uris": ["http://a.test/"]});
        gateway.create("/consumers/other/oauth2", taken).await;
        let before = lists(&gateway).await;
        let file = File::with(&configuration(&upstream, &CLIENTS));
        let (imported, output) = import(&gateway, &file);
        let told = "tollgate: UNIQUE violation detected on '{client_id=\"bank\"}'\n";
        assert_eq!((imported, output.as_str()), (false, told));
        assert_eq!(lists(&gateway).await, before);
    }

    async fn tokens_that_another_gateway_has_issued_are_imported_with_their_clients(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let mut file: Value = serde_json::from_str(&configuration(&upstream, &CLIENTS)).unwrap();
        let clear = "a-token-of-another-gateway";
        gateway.secrets.add(clear);
        file["oauth2_tokens"] = json!([{
            "credential": "shop", "access_token": clear, "refresh_token": "its-refresh-token", "expires_in": 7200,
            "scope": "email", "service": "api",
        }]);
        file["oauth2_authorization_codes"] = json!([{"credential": "shop", "code": "c"}]);
        let file = File::with(&file.to_string());
        for _ in 0..2 {
            let (imported, output) = import(&gateway, &file);
            assert!(imported, "{output}");
        }
        crate::nodes::within(Duration::from_secs(20), "the token", async || call(&gateway, clear).await == 200).await;
        assert!(!gateway.at_rest().contains(clear), "a clear token is stored");
        assert_eq!(gateway.admin_get("/oauth2_tokens").await.json()["data"].as_array().unwrap().len(), 1);
    }
}

/// All lists that files contain.
async fn lists(gateway: &Gateway) -> BTreeMap<String, Value> {
    let endpoints = gateway.admin_get("/endpoints").await.json();
    let mut lists = BTreeMap::new();
    for path in endpoints["data"].as_array().unwrap().iter().filter_map(Value::as_str) {
        let others = ["/", "/cache", "/config", "/endpoints", "/metrics", "/status", "/tags", "/timers"];
        let is_list = path.matches('/').count() == 1 && !others.contains(&path);
        if is_list && !["/oauth2_tokens", "/oauth2_signing_keys"].contains(&path) {
            lists.insert(path.to_owned(), gateway.admin_get(&format!("{path}?size=1000")).await.expect(200).json());
        }
    }
    lists
}

/// One entity or more of every kind, through the Admin API.
async fn every_kind(gateway: &Gateway, upstream: &Upstream) {
    let (certificate, key) = self_signed("api.test");
    let authority = gateway.create("/ca_certificates", json!({"cert": self_signed_authority(), "tags": ["ca"]})).await;
    let body = json!({"cert": certificate, "key": key, "snis": ["api.test", "*.b.test"], "tags": ["c"]});
    let certificate = gateway.create("/certificates", body).await;
    let service = json!({
        "name": "tls", "url": "https://tls.test/x", "tls_verify": true, "client_certificate": {"id": certificate["id"]},
        "ca_certificates": [authority["id"]], "tags": ["t", "3.0", "null"],
    });
    gateway.create("/services", service).await;
    gateway.create("/services", json!({"name": "api", "url": upstream.url(), "retries": 0, "enabled": true})).await;
    let route = json!({
        "name": "api", "paths": ["/api", "~/r/(?<id>\\d+)$"], "headers": {"x-v": ["on", "1.0", "~*x"]},
        "methods": ["GET"], "https_redirect_status_code": 301, "regex_priority": 7, "strip_path": false,
    });
    gateway.create("/services/api/routes", route).await;
    gateway.create("/services/api/routes", json!({"paths": ["/api2"], "protocols": ["http"]})).await;
    gateway.create("/consumers", json!({"username": "yes", "custom_id": "0123", "tags": ["é"]})).await;
    gateway.create("/consumers", json!({"custom_id": "only: this # one"})).await;
    for body in [
        json!({"name": "a", "client_id": "hashed", "client_secret": "clear-secret-1", "hash_secret": true, "redirect_uris": ["http://a.test/"]}),
        json!({"name": "b", "redirect_uris": null, "tags": []}),
        json!({"name": "c", "client_type": "public", "redirect_uris": ["http://a.test/", "http://b.test/?x=1"]}),
    ] {
        gateway.create("/consumers/yes/oauth2", body).await;
    }
    gateway.create("/consumers/yes/key-auth", json!({"key": "a key"})).await;
    gateway.create("/consumers/yes/acls", json!({"group": "off"})).await;
    gateway.create("/consumers/yes/jwt", json!({"algorithm": "HS512"})).await;
    gateway.create("/consumers/yes/basic-auth", json!({"username": "u", "password": "clear-secret-2"})).await;
    let oauth2 = json!({"scopes": ["email"], "enable_client_credentials": true, "mandatory_scope": true});
    for (path, body) in [
        ("/services/api/plugins", json!({"name": "oauth2", "config": oauth2, "instance_name": "guard"})),
        ("/routes/api/plugins", json!({"name": "acl", "config": {"allow": ["off"]}, "tags": ["p"]})),
        ("/plugins", json!({"name": "rate-limiting", "config": {"minute": 7, "policy": "local"}, "enabled": false})),
        ("/consumers/yes/plugins", json!({"name": "request-termination", "config": {"status_code": 503}})),
        ("/plugins", json!({"name": "correlation-id"})),
        (
            "/plugins",
            json!({"name": "jwt", "config": {"claims_to_verify": ["exp"]}, "protocols": ["https"], "enabled": false}),
        ),
    ] {
        gateway.create(path, body).await;
    }
}

fn self_signed(name: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file).display().to_string();
    let (certificate, key) = (at("c.pem"), at("k.pem"));
    let subject = format!("/CN={name}");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3"])
        .args(["-subj", &subject, "-out", &certificate, "-keyout", &key])
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    (fs::read_to_string(certificate).unwrap(), fs::read_to_string(key).unwrap())
}

fn self_signed_authority() -> String {
    self_signed("authority.test").0
}

async fn export_and_import_is_the_identity(store: Store) {
    let upstream = Upstream::start().await;
    let (one, other) = (Gateway::on(store, &[]).await, Gateway::on(store, &[]).await);
    every_kind(&one, &upstream).await;
    let exported = File::with("");
    let path = exported.path().display().to_string();
    assert_eq!(one.tool(&["config", "export", "--output", &path]), (true, format!("Wrote {path}.\n")));
    assert_eq!(fs::metadata(exported.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(exported.path()).unwrap();
    assert_eq!(one.tool(&["config", "export"]), (true, text.clone()));
    assert!(!text.contains("clear-secret"), "{text}");
    let (valid, output) = config(&["validate", &path]);
    assert!(valid, "{output}");
    let (imported, output) = import(&other, &exported);
    assert!(imported && output.contains(" 0 updated, 0 as they were."), "{output}");
    assert_eq!(lists(&other).await, lists(&one).await);
    assert_eq!(other.tool(&["config", "export"]), (true, text.clone()));
    // On top of what it came from, it changes nothing.
    let (imported, output) = import(&one, &exported);
    assert!(imported && output.contains(": 0 entities created, 0 updated, "), "{output}");
    // Secrets work as before.
    crate::nodes::within(Duration::from_secs(20), "the import", async || token(&other).await.status == 200).await;
    assert_eq!(token(&one).await.status, 200);
}

async fn token(gateway: &Gateway) -> Reply {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "hashed"),
        ("client_secret", "clear-secret-1"),
        ("scope", "email"),
    ];
    gateway.send(gateway.request(Method::POST, "/api2/oauth2/token").form(&form)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn export_and_import_is_the_identity_on_sqlite() {
    export_and_import_is_the_identity(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn export_and_import_is_the_identity_on_postgres() {
    export_and_import_is_the_identity(Store::Postgres).await;
}

async fn an_import_that_is_killed_is_done_or_not_begun(store: Store) {
    const ENTITIES: usize = 1200;
    const ROUNDS: u64 = 24;
    let gateway = Gateway::on(store, &[]).await;
    let count = async || {
        let (mut count, mut path) = (0, "/consumers?size=1000".to_owned());
        loop {
            let page = gateway.admin_get(&path).await.expect(200).json();
            count += page["data"].as_array().unwrap().len();
            let Some(next) = page["next"].as_str() else { return count };
            path = format!("{next}&size=1000");
        }
    };
    let import = |round: u64| {
        let consumers: String = (0..ENTITIES).map(|number| format!("- username: r{round}-{number}\n")).collect();
        let file = File::with(&format!("_format_version: '3.0'\nconsumers:\n{consumers}"));
        let mut import = Command::new(program("tollgate"));
        import.args(["config", "import"]).arg(file.path()).env("TOLLGATE_DATABASE_URL", gateway.database_url());
        import.env("TOLLGATE_DATA_DIRECTORY", gateway.directory()).stdout(Stdio::null()).stderr(Stdio::null());
        (import.spawn().unwrap(), file)
    };
    let begun = Instant::now();
    assert!(import(0).0.wait().unwrap().success());
    let mut expected = count().await;
    assert_eq!(expected, ENTITIES);
    // The moment at which it is done is between these: each kill halves the distance.
    let (mut early, mut late) = (Duration::ZERO, begun.elapsed() * 2);
    let (mut undone, mut done) = (0, 0);
    for round in 1..=ROUNDS {
        let (mut import, _file) = import(round);
        let delay = (early + late) / 2;
        tokio::time::sleep(delay).await;
        let _ = import.kill();
        let ended = import.wait().unwrap();
        let found = count().await;
        assert!(found == expected || found == expected + ENTITIES, "{found} of {expected} and {ENTITIES}");
        let is_done = found > expected;
        assert!(!ended.success() || is_done);
        expected = found;
        let closest = late - early < Duration::from_millis(4);
        if is_done {
            (done, late) = (done + 1, delay);
            early = if closest { early / 2 } else { early };
        } else {
            (undone, early) = (undone + 1, delay);
            late = if closest { late * 2 } else { late };
        }
        if round >= 6 && done > 0 && undone > 0 {
            return;
        }
    }
    panic!("of {ROUNDS} imports that were killed, {done} were done and {undone} were not");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_is_done_or_not_begun_on_sqlite() {
    an_import_that_is_killed_is_done_or_not_begun(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_is_done_or_not_begun_on_postgres() {
    an_import_that_is_killed_is_done_or_not_begun(Store::Postgres).await;
}
