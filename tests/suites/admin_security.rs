//! Who may use the Admin API and the status listener, what the audit log says of it, and where services may point.

mod audit;
mod browser;
mod connections;
mod tls;
mod upstreams;

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::{Gateway, Node, Reply, Store};

const PATIENCE: Duration = Duration::from_secs(20);

/// A request to the Admin API or, with a whole address, to another listener.
async fn call(gateway: &Gateway, method: Method, path: &str, headers: &[(&str, &str)], form: &str) -> Reply {
    let url = gateway.addresses.admin.join(path).unwrap();
    let request = gateway.client.request(method, url).header("content-type", "application/x-www-form-urlencoded");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    gateway.send(request.body(form.to_owned())).await
}

async fn services(gateway: &Gateway) -> Value {
    gateway.admin_get("/services").await.expect(200).json()["data"].clone()
}

/// The lines of a log that a gateway writes to this file, once there are as many.
async fn lines(gateway: &Gateway, file: &str, count: usize) -> Vec<Value> {
    let path = gateway.directory().join(file);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let whole: Vec<_> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
        if whole.len() >= count {
            return whole.iter().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
        }
        assert!(Instant::now() < deadline, "{file} has {} of {count} lines:\n{text}", whole.len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn an_admin_token_counts_until_it_is_revoked(mut gateway: Gateway) {
    let unnamed = call(&gateway, Method::GET, "/services", &[], "").await;
    assert_eq!(unnamed.status, 401);
    assert_eq!(unnamed.header("www-authenticate").as_deref(), Some("Bearer realm=\"Admin API\""));
    assert!(unnamed.body.contains("tollgate admin-token create"), "{}", unnamed.body);
    assert_eq!(gateway.tool(&["admin-token", "list"]), (true, "There are no admin tokens.\n".to_owned()));

    let writer = gateway.make_admin_token();
    let (made, reader) = gateway.tool(&["admin-token", "create", "reader"]);
    assert!(made, "{reader}");
    let reader = reader.trim().to_owned();
    gateway.secrets.add(&reader);
    let again = gateway.tool(&["admin-token", "create", "reader"]);
    let taken = "tollgate: cannot make an admin token named \"reader\": the name is taken; revoke that token first, or choose \
                 another name\n";
    assert_eq!(again, (false, taken.to_owned()));
    let list = gateway.tool(&["admin-token", "list"]).1;
    let mut rows: Vec<_> = list.lines().map(|row| row.split_whitespace().collect::<Vec<_>>()).collect();
    rows.sort_unstable();
    assert_eq!(rows.iter().map(|row| (row[0], row[2])).collect::<Vec<_>>(), [("read", "reader"), ("write", "tests")]);

    let bearer = format!("Bearer {reader}");
    for (headers, method, expected) in [
        ([("authorization", bearer.as_str())], Method::GET, 200),
        ([("kong-admin-token", reader.as_str())], Method::GET, 200),
        ([("kong-admin-token", reader.as_str())], Method::POST, 403),
        ([("kong-admin-token", writer.as_str())], Method::POST, 201),
        ([("kong-admin-token", "tga_0123456789012345678901234567890123456789")], Method::GET, 401),
    ] {
        let reply = call(&gateway, method.clone(), "/services", &headers, "host=h").await;
        assert_eq!(reply.status, expected, "{method} {headers:?}: {}", reply.body);
    }
    let at_rest = gateway.at_rest();
    assert!(!at_rest.contains(&writer) && !at_rest.contains(&reader), "a token is stored in clear text");

    assert_eq!(gateway.tool(&["admin-token", "revoke", "tests"]), (true, "Revoked tests.\n".to_owned()));
    let revoked = gateway.admin_get("/services").await;
    assert_eq!(revoked.status, 401);
    let unknown = gateway.tool(&["admin-token", "revoke", "tests"]);
    assert!(!unknown.0 && unknown.1.contains("no admin token is named \"tests\""), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_token_counts_until_it_is_revoked_on_sqlite() {
    an_admin_token_counts_until_it_is_revoked(Gateway::on(Store::Sqlite, &[("TOLLGATE_ADMIN_AUTH", "tokens")]).await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_token_counts_until_it_is_revoked_on_postgres() {
    an_admin_token_counts_until_it_is_revoked(Gateway::on(Store::Postgres, &[("TOLLGATE_ADMIN_AUTH", "tokens")]).await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_listener_that_others_can_reach_does_not_start_without_callers_that_it_knows() {
    let node = Node::on_sqlite();
    let listen = "admin.listen=0.0.0.0:18001";
    let text = "tollgate: --set: admin.listen: 0.0.0.0:18001 can be reached from other machines, and whoever reaches the \
                Admin API controls the gateway: set admin.auth to tokens (and run `tollgate admin-token create`) or \
                admin.tls.client_ca, or listen on 127.0.0.1\n";
    for command in ["check", "run"] {
        let ended = node.run(&[command, "--set", listen]).await;
        assert_eq!((ended.code, ended.output.as_str()), (Some(1), text), "{command}");
    }
    let protected = node.run(&["check", "--set", listen, "--set", "admin.auth=tokens"]).await;
    assert_eq!((protected.code, protected.output.as_str()), (Some(0), "The settings are valid.\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_web_pages_change_nothing_and_those_of_tools_go_on_working() {
    let gateway = Gateway::on_sqlite().await;
    let port = gateway.addresses.admin.port().unwrap();
    let own = format!("http://127.0.0.1:{port}");
    let rebound = format!("evil.test:{port}");
    for headers in [
        vec![("origin", "http://evil.test")],
        vec![("origin", "null")],
        vec![("origin", "http://127.0.0.1:1")],
        vec![("sec-fetch-site", "cross-site")],
        vec![("host", rebound.as_str())],
        vec![("host", rebound.as_str()), ("origin", own.as_str())],
    ] {
        for method in [Method::POST, Method::GET, Method::OPTIONS] {
            let reply = call(&gateway, method.clone(), "/services", &headers, "host=h").await;
            assert_eq!(reply.status, 403, "{method} {headers:?}: {}", reply.body);
            assert_eq!(reply.header("access-control-allow-origin"), None, "{method} {headers:?}");
        }
    }
    assert_eq!(services(&gateway).await, json!([]));
    let tool = call(&gateway, Method::POST, "/services", &[], "host=h").await.expect(201);
    assert_eq!(tool.header("access-control-allow-origin").as_deref(), Some("*"));
    call(&gateway, Method::POST, "/services", &[("origin", &own)], "host=h").await.expect(201);
    call(&gateway, Method::GET, "/services", &[("host", "localhost")], "").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_web_page_drains_a_node_or_reads_its_status_under_its_own_name() {
    let gateway = Gateway::on_sqlite().await;
    let ready = gateway.addresses.status.join("/status/ready").unwrap().to_string();
    let metrics = gateway.addresses.status.join("/metrics").unwrap().to_string();
    for headers in
        [vec![("origin", "http://evil.test")], vec![("sec-fetch-site", "cross-site")], vec![("host", "e.test")]]
    {
        let reply = call(&gateway, Method::POST, &ready, &headers, "status=draining").await;
        assert_eq!(reply.status, 403, "{headers:?}: {}", reply.body);
    }
    call(&gateway, Method::GET, &metrics, &[("host", "e.test")], "").await.expect(403);
    call(&gateway, Method::GET, &metrics, &[("host", "localhost")], "").await.expect(200);
    call(&gateway, Method::GET, &ready, &[], "").await.expect(200);
    call(&gateway, Method::POST, &ready, &[], "status=draining").await.expect(204);
    assert_eq!(call(&gateway, Method::GET, &ready, &[], "").await.expect(503).json(), json!({"message": "draining"}));
    call(&gateway, Method::POST, &ready, &[], "status=ready").await.expect(204);
    assert_eq!(call(&gateway, Method::GET, &ready, &[], "").await.expect(200).json(), json!({"message": "ready"}));
    let neither = call(&gateway, Method::POST, &ready, &[], "status=away").await.expect(400);
    assert_eq!(neither.json(), json!({"message": "status must be draining, or ready to end it"}));
    call(&gateway, Method::POST, &ready, &[], "status=draining").await.expect(204);
    call(&gateway, Method::GET, &ready, &[], "").await.expect(503);
    let output = gateway.output();
    let told = |what: &str| output.lines().filter(|line| line.contains(what) && line.contains("127.0.0.1")).count();
    assert_eq!(told(" draining: told to report that this node is not ready"), 2, "{output}");
    assert_eq!(told("no longer draining: told to report that this node is ready"), 1, "{output}");
}
