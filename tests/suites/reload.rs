//! Settings that are read again while the gateway runs: what changes, what needs a restart, and what is wrong with them.

use std::fs;

use serde_json::{Value, json};
use tollgate_tests::node::Ended;
use tollgate_tests::{KeepAlive, Node, Reply, raw};

const FILE: &str = "settings.yaml";
const RUN: [&str; 3] = ["run", "--config", FILE];

fn write(node: &Node, text: &str) {
    fs::write(node.directory().join(FILE), text).unwrap();
}

fn reload(node: &Node) -> Ended {
    node.tool(&["reload", "--config", FILE])
}

async fn get(address: std::net::SocketAddr, path: &str) -> Value {
    Reply::read(reqwest::get(format!("http://{address}{path}")).await.unwrap()).await.expect(200).json()
}

async fn metric(node: &Node, name: &str) -> String {
    let [.., (_, status)] = node.listeners;
    let page = reqwest::get(format!("http://{status}/metrics")).await.unwrap().text().await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_change_does_and_what_needs_a_restart_is_named() {
    let node = Node::on_sqlite();
    write(&node, "limits: {connections_per_address: 0}\n");
    let _process = node.start(&RUN).await;
    let [(_, http), _, (_, admin), (_, status)] = node.listeners;
    let unchanged = Ended { code: Some(0), output: "No setting has changed.\n".to_owned() };
    assert_eq!(reload(&node), unchanged);

    let text =
        "limits: {connections_per_address: 1, http2_streams: 7}\ntrusted_ips: [10.0.0.0/8]\nproxy: {threads: 3}\n";
    write(&node, text);
    let expected = "Changed: limits.connections_per_address, trusted_ips.\n\
        Not in force before a restart or `tollgate upgrade`: proxy.threads, limits.http2_streams.\n";
    assert_eq!(reload(&node), Ended { code: Some(0), output: expected.to_owned() });
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut only = KeepAlive::to(http);
    assert_eq!(only.exchange(request).await.status, 404);
    let closed = raw::exchange(&http.to_string(), request).await;
    assert!(closed.is_none(), "a second connection of an address: {closed:?}");
    assert_eq!(get(admin, "/").await["configuration"]["trusted_ips"], json!(["10.0.0.0/8"]));
    let standing = json!({"valid": true, "faults": [], "needs_restart": ["proxy.threads", "limits.http2_streams"]});
    assert_eq!(get(admin, "/status").await["settings"], standing);
    let numbers = json!({"valid": true, "faults": 0, "needs_restart": 2});
    assert_eq!(get(status, "/status").await["settings"], numbers);
    assert_eq!(metric(&node, "tollgate_settings_need_restart").await, "2");

    // What was named stays named; what changed has changed.
    let expected = "Not in force before a restart or `tollgate upgrade`: proxy.threads, limits.http2_streams.\n";
    assert_eq!(reload(&node), Ended { code: Some(0), output: expected.to_owned() });
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_with_faults_change_nothing_and_are_told_everywhere() {
    let node = Node::on_sqlite();
    write(&node, "trusted_ips: [10.0.0.0/8]\n");
    let _process = node.start(&RUN).await;
    let [_, _, (_, admin), (_, status)] = node.listeners;
    write(&node, "trusted_ips: [ten]\nlog: {level: loud}\n");
    let faults = [
        "settings.yaml:1:1: trusted_ips: \"ten\" is neither an IP address nor a CIDR block such as 10.0.0.0/8",
        "settings.yaml:2:7: log.level: expected error, warn, info, debug or trace",
    ];
    let expected: String = faults.iter().map(|fault| format!("tollgate: {fault}\n")).collect();
    assert_eq!(reload(&node), Ended { code: Some(1), output: expected });
    assert_eq!(get(admin, "/").await["configuration"]["trusted_ips"], json!(["10.0.0.0/8"]));
    let standing = json!({"valid": false, "faults": faults, "needs_restart": []});
    assert_eq!(get(admin, "/status").await["settings"], standing);
    assert_eq!(get(status, "/status").await["settings"], json!({"valid": false, "faults": 2, "needs_restart": 0}));
    assert_eq!(metric(&node, "tollgate_settings_valid").await, "0");
    assert_eq!(metric(&node, "tollgate_settings_reloads_total{result=\"refused\"}").await, "1");
    let log = node.output();
    assert!(faults.iter().all(|fault| log.contains(fault)), "{log}");

    write(&node, "trusted_ips: [192.0.2.0/24]\n");
    assert_eq!(reload(&node).output, "Changed: trusted_ips.\n");
    assert_eq!(metric(&node, "tollgate_settings_valid").await, "1");
    assert_eq!(get(admin, "/").await["configuration"]["trusted_ips"], json!(["192.0.2.0/24"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_go_with_what_needs_a_restart_are_refused() {
    let node = Node::on_sqlite();
    let [(_, http), ..] = node.listeners;
    let settings =
        |flags: &str, trusted: &str| format!("proxy: {{http_listen: '{http}{flags}'}}\ntrusted_ips: [{trusted}]\n");
    write(&node, &settings(" proxy_protocol", "127.0.0.1"));
    let _process = node.start_without("TOLLGATE_PROXY_HTTP_LISTEN", &RUN).await;
    // In themselves they are valid; the listener that is open would believe nobody.
    write(&node, &settings("", ""));
    let refused = reload(&node);
    assert_eq!(refused.code, Some(1), "{}", refused.output);
    let told = "proxy.http_listen: proxy_protocol needs trusted_ips";
    assert!(refused.output.contains(told), "{}", refused.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_files_that_settings_name_are_in_the_response() {
    let node = Node::on_sqlite();
    write(&node, "database: off\ndeclarative_config: gateway.yml\ndeclarative_config_watch: false\n");
    fs::write(node.directory().join("gateway.yml"), "_format_version: '3.0'\n").unwrap();
    let _process = node.start(&RUN).await;
    assert_eq!(reload(&node).code, Some(0));
    fs::write(node.directory().join("gateway.yml"), "_format_version: '3.0'\nservises: []\n").unwrap();
    let told = reload(&node);
    assert_eq!(told.code, Some(1), "{}", told.output);
    assert!(told.output.contains("tollgate: gateway.yml:2:1: "), "{}", told.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_gateway_there_is_nothing_to_reload_or_quit() {
    let node = Node::on_sqlite();
    for command in ["reload", "quit", "upgrade"] {
        let ended = node.tool(&[command]);
        assert_eq!(ended.code, Some(1), "{command}: {}", ended.output);
        let start = "tollgate: no gateway runs with the data directory ";
        assert!(ended.output.starts_with(start), "{command}: {}", ended.output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_socket_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let node = Node::on_sqlite();
    let _process = node.start(&["run"]).await;
    let mode = fs::metadata(node.directory().join("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
