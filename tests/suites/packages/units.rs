//! The units of systemd, and the settings that packages contain.

use std::fs;
use std::path::Path;
use std::process::Command;

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::{Findings, Node, repository};

const UNITS: [&str; 2] = ["tollgate.service", "tollgate-migrate.service"];

/// The exposure that `systemd-analyze security` may find, times ten.
const MOST_EXPOSED: &str = "20";

fn analyze(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("systemd-analyze").args(arguments).output();
    let output = output.expect("systemd-analyze: install Debian's package systemd, as ./dev test does");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said) }
}

fn source(unit: &str) -> String {
    fs::read_to_string(repository().join("conf/packages/systemd").join(unit)).unwrap()
}

/// A root with what units refer to: programs that can be executed, and the system's own targets.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let make = |folder: &str| {
        let folder = root.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    };
    let (programs, units) = (make("usr/bin"), make("etc/systemd/system"));
    std::os::unix::fs::symlink("usr/bin", root.path().join("bin")).unwrap();
    for program in ["tollgate", "sh"] {
        fs::copy("/bin/true", programs.join(program)).unwrap();
    }
    for entry in fs::read_dir("/lib/systemd/system").expect("units of Debian's package systemd").flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".target") || name.ends_with(".slice") || name.ends_with(".socket") {
            fs::copy(entry.path(), units.join(name)).unwrap();
        }
    }
    UNITS.iter().for_each(|unit| fs::write(units.join(unit), source(unit)).unwrap());
    root
}

#[test]
fn units_are_valid() {
    let root = root();
    let folder = format!("--root={}", root.path().display());
    let mut findings = Findings::new();
    for unit in UNITS {
        findings.check(unit, analyze(&["verify", "--man=no", &folder, unit]));
    }
}

#[test]
fn units_expose_little() {
    let mut findings = Findings::new();
    for unit in UNITS {
        let path = repository().join("conf/packages/systemd").join(unit);
        let threshold = format!("--threshold={MOST_EXPOSED}");
        let arguments = ["security", "--no-pager", "--offline=yes", &threshold, path.to_str().unwrap()];
        findings.check(unit, analyze(&arguments));
    }
}

#[test]
fn a_stop_leaves_the_node_its_time_to_drain() {
    let unit = source("tollgate.service");
    let value = |name: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("the unit has no {name}")).to_owned()
    };
    assert_eq!(value("Type"), "notify");
    assert_eq!(value("WatchdogSec"), "30s");
    let settings = fs::read_to_string(repository().join("conf/tollgate.yaml")).unwrap();
    let settings: Value = serde_yaml::from_str(&settings).unwrap();
    let seconds = |text: &str| text.trim_end_matches('s').parse::<u32>().unwrap();
    let drain = seconds(settings["proxy"]["drain_timeout"].as_str().unwrap());
    assert!(seconds(&value("TimeoutStopSec")) > drain, "{drain}");
}

/// Starts a node with a settings file. Whether it hashes the secret of a new credential, and what it says to a
/// token in the query of a plugin that names no profile, tell the profiles apart.
async fn profile_of(file: &Path) -> (Value, String) {
    let node = Node::on_sqlite();
    let _running = node.start(&["run", "--config", file.to_str().unwrap()]).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |path: &str, body: Value| -> Value {
        let url = format!("http://{}{path}", node.listeners[2].1);
        let response = client.request(Method::POST, url).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 201, "{path}");
        response.json().await.unwrap()
    };
    post("/services", json!({"name": "api", "url": "http://127.0.0.1:1"})).await;
    post("/services/api/routes", json!({"name": "api", "paths": ["/api"]})).await;
    let config = json!({"enable_client_credentials": true, "scopes": ["read"]});
    post("/services/api/plugins", json!({"name": "oauth2", "config": config})).await;
    post("/consumers", json!({"username": "app"})).await;
    let credential = json!({"name": "app", "client_id": "app", "client_secret": "secret-of-app"});
    let credential = post("/consumers/app/oauth2", credential).await;
    let url = format!("http://{}/api?access_token=unknown", node.listeners[0].1);
    let refused: Value = client.get(url).send().await.unwrap().json().await.unwrap();
    (credential["hash_secret"].clone(), refused["error"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn packaged_nodes_begin_with_profile_bcp() {
    let conf = repository().join("conf");
    let (kong, bcp) = ((json!(false), "invalid_token"), (json!(true), "invalid_request"));
    for (settings, (hashed, refusal)) in
        [("tollgate.yaml", kong), ("packages/tollgate.yaml", bcp.clone()), ("packages/image/tollgate.yaml", bcp)]
    {
        assert_eq!(profile_of(&conf.join(settings)).await, (hashed, refusal.to_owned()), "{settings}");
    }
}

#[test]
fn shipped_examples_choose_profile_bcp() {
    let example = fs::read_to_string(repository().join("conf/plugins/oauth2.yaml")).unwrap();
    let example: Value = serde_yaml::from_str(&example).unwrap();
    assert_eq!(example["config"]["profile"], "bcp");
}
