//! decK against the Admin API (gateway.md §10.3): the program as Debian packages it, and what newer versions read.

use std::fs;
use std::process::Command;

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::{Findings, Gateway};

mod by_id;

const FILE: &str = r#"
_format_version: "1.1"
services:
- name: shoes
  host: shoes.internal
  tags: [team-a, shop]
  routes:
  - name: shoes
    paths: [/shoes]
    tags: [team-a, shop]
  plugins:
  - name: oauth2
    tags: [team-a, shop]
    config:
      enable_client_credentials: true
      scopes: [read, write]
upstreams:
- name: shoes.internal
  tags: [team-a, shop]
  targets:
  - target: 127.0.0.1:9999
    tags: [team-a, shop]
consumers:
- username: alice
  tags: [team-a, shop]
  oauth2_credentials:
  - name: app
    client_id: app-of-alice
    client_secret: secret-of-alice
    redirect_uris: [https://a.test/cb]
    tags: [team-a, shop]
  keyauth_credentials:
  - key: key-of-alice
    tags: [team-a, shop]
  acls:
  - group: staff
    tags: [team-a, shop]
"#;

/// Runs `deck`, in the gateway's folder. Fails if it does.
fn deck(gateway: &Gateway, arguments: &[&str]) -> String {
    let admin = gateway.addresses.admin.to_string();
    let mut command = Command::new("deck");
    command.args(["--kong-addr", &admin]).args(arguments);
    command.current_dir(gateway.directory()).env("HOME", gateway.directory()).env("DECK_ANALYTICS", "off");
    let output = command.output().expect("deck: install the packages that `./dev test` names");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "deck {arguments:?}: {text}");
    text
}

fn counts(output: &str) -> Vec<&str> {
    output.lines().skip_while(|line| *line != "Summary:").skip(1).map(str::trim).take(3).collect()
}

on_both_stores! {
    async fn deck_writes_what_it_reads_and_finds_no_difference(gateway: Gateway) {
        assert!(deck(&gateway, &["ping"]).contains("Kong version:  3.10.0"));
        let file = gateway.directory().join("kong.yaml");
        fs::write(&file, FILE).unwrap();
        let made = deck(&gateway, &["sync", "-s", "kong.yaml"]);
        assert_eq!(counts(&made), ["Created: 9", "Updated: 0", "Deleted: 0"], "{made}");
        deck(&gateway, &["dump", "-o", "dumped.yaml"]);
        // What another team has is not touched.
        gateway.create("/consumers", json!({"username": "bob", "tags": ["team-b", "shop"]})).await;
        let of_team = ["--select-tag", "team-a", "--select-tag", "shop"];
        deck(&gateway, &[&["dump", "-o", "team.yaml"], &of_team[..]].concat());
        for file in ["dumped.yaml", "team.yaml"] {
            let text = fs::read_to_string(gateway.directory().join(file)).unwrap();
            for part in ["secret-of-alice", "key-of-alice", "group: staff", "127.0.0.1:9999", "- write"] {
                assert!(text.contains(part), "{file}, {part}: {text}");
            }
            assert!(!text.contains("bob"), "{file}: {text}");
        }
        let same = deck(&gateway, &["diff", "-s", "team.yaml", "--non-zero-exit-code"]);
        assert_eq!(counts(&same), ["Created: 0", "Updated: 0", "Deleted: 0"], "{same}");

        let text = fs::read_to_string(gateway.directory().join("team.yaml")).unwrap();
        let changed = text.replace("token_expiration: 7200", "token_expiration: 60").replace("group: staff", "group: boss");
        fs::write(&file, changed).unwrap();
        let synced = deck(&gateway, &["sync", "-s", "kong.yaml"]);
        assert_eq!(counts(&synced), ["Created: 1", "Updated: 1", "Deleted: 1"], "{synced}");
        let same = deck(&gateway, &["diff", "-s", "kong.yaml", "--non-zero-exit-code"]);
        assert_eq!(counts(&same), ["Created: 0", "Updated: 0", "Deleted: 0"], "{same}");
        let groups = gateway.admin_get("/consumers/alice/acls").await.expect(200).json();
        assert_eq!(groups["data"][0]["group"], json!("boss"));
        gateway.admin_get("/consumers/bob").await.expect(200);
        let ended = deck(&gateway, &["reset", "--force"]);
        assert!(!ended.contains("Error"), "{ended}");
        for kind in ["services", "routes", "plugins", "consumers", "oauth2", "upstreams"] {
            assert_eq!(gateway.admin_get(&format!("/{kind}")).await.expect(200).json()["data"], json!([]), "{kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deck_reads_lists_of_more_than_a_page() {
    let gateway = Gateway::on_sqlite().await;
    for number in 0..1001 {
        gateway.create("/consumers", json!({"username": format!("user-{number:04}")})).await;
    }
    deck(&gateway, &["dump", "-o", "dumped.yaml"]);
    let text = fs::read_to_string(gateway.directory().join("dumped.yaml")).unwrap();
    assert_eq!(text.matches("username: user-").count(), 1001);
}

/// What decK 1.5x reads for `gateway dump`, `diff` and `sync`, and the statuses with which it goes on: the packages
/// `dump` and `schema` of its go-database-reconciler.
#[tokio::test(flavor = "multi_thread")]
async fn newer_versions_of_deck_go_on_with_every_response() {
    let gateway = Gateway::on_sqlite().await;
    let root = gateway.admin_get("/").await.expect(200).json();
    // From 3.4 on, consumer groups are read without their overrides; from 3.0 on, paths are written as `~/regex`.
    assert_eq!(root["version"], json!("3.10.0"));
    let mut findings = Findings::new();
    let required = [
        "consumers",
        "key-auths",
        "jwts",
        "basic-auths",
        "oauth2",
        "acls",
        "services",
        "routes",
        "plugins",
        "certificates",
        "ca_certificates",
        "snis",
        "upstreams",
    ];
    for list in required {
        let page = gateway.admin_get(&format!("/{list}?size=1000&tags=team-a%2Cshop")).await;
        let body = page.json();
        // A page without `offset` is the last.
        let expected = (200, json!([]), None);
        findings.compare(list, &expected, &(page.status, body["data"].clone(), body.get("offset").cloned()));
    }
    // Not there, or turned off: taken for empty.
    let absent = [
        "hmac-auths",
        "mtls-auths",
        "filter-chains",
        "vaults",
        "partials",
        "keys",
        "key-sets",
        "consumer_groups",
        "cloned-plugins",
        "custom-plugins",
        "licenses",
    ];
    for list in absent {
        let page = gateway.admin_get(&format!("/{list}?size=1000")).await;
        findings.compare(list, &(404, json!({"message": "Not found"})), &(page.status, page.json()));
    }
    for kind in ["services", "routes", "upstreams", "targets", "consumers", "plugins/oauth2", "plugins/key-auth"] {
        let schema = gateway.admin_get(&format!("/schemas/{kind}")).await;
        let has_fields = schema.json()["fields"].as_array().is_some_and(|fields| !fields.is_empty());
        findings.compare(kind, &(200, true), &(schema.status, has_fields));
    }
    // Entities that are not there have no schema.
    findings.compare("consumer groups", &404, &gateway.admin_get("/schemas/consumer_groups").await.status);
    // A workspace is none of the gateway's: it says so, and is not asked to create one.
    let workspace = gateway.admin(Method::GET, "/workspaces/team", Value::Null).await;
    findings.compare("workspaces", &(404, json!({"message": "Not found"})), &(workspace.status, workspace.json()));
}
