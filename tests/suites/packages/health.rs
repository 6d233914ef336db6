//! `tollgate health`, the health check of containers.

use std::process::Command;

use http::Method;
use serde_json::json;
use tollgate_tests::{Gateway, Node, program};

/// Exit code, standard output and standard error of `tollgate health`.
fn health(status: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program("tollgate"));
    std::env::vars().filter(|(name, _)| name.starts_with("TOLLGATE_")).for_each(|(name, _)| {
        command.env_remove(name);
    });
    let output = command.arg("health").args(arguments).env("TOLLGATE_STATUS_LISTEN", status).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_whether_the_node_is_ready_or_alive() {
    let gateway = Gateway::on_sqlite().await;
    let url = &gateway.addresses.status;
    let status = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    assert_eq!(health(&status, &[]), (Some(0), "ready".to_owned(), String::new()));
    assert_eq!(health(&status, &["--alive"]), (Some(0), "alive".to_owned(), String::new()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let told = client.request(Method::POST, url.join("/status/ready").unwrap()).form(&json!({"status": "draining"}));
    assert_eq!(told.send().await.unwrap().status(), 204);
    let why = format!("tollgate: the node at {status} is not ready: draining");
    assert_eq!(health(&status, &[]), (Some(1), String::new(), why));
    assert_eq!(health(&status, &["--alive"]), (Some(0), "alive".to_owned(), String::new()));
}

#[test]
fn without_a_node_health_says_where_it_was_asked() {
    let node = Node::on_sqlite();
    let status = node.listeners[3].1.to_string();
    for arguments in [&[][..], &["--alive"]] {
        let (code, output, error) = health(&status, arguments);
        assert_eq!((code, output.as_str()), (Some(1), ""), "{error}");
        let begin = format!("tollgate: no response from the status listener at {status}: is the node running");
        assert!(error.starts_with(&begin), "{error}");
    }
}
