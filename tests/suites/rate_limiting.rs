//! Limits of requests: what is counted together, what clients hear, and that no more pass than the limit.

use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::Api;
use tollgate_tests::{Findings, Gateway, Reply, Upstream};

async fn limited(gateway: &Gateway, name: &str, upstream: &Upstream, config: Value) -> String {
    Api::open(gateway, name, upstream).await;
    let plugin = json!({"name": "rate-limiting", "config": config});
    let plugin = gateway.create(&format!("/services/{name}/plugins"), plugin).await;
    format!("/plugins/{}", plugin["id"].as_str().unwrap())
}

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request = gateway.request(Method::GET, path);
    gateway.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

/// The values of these headers.
fn told<const N: usize>(reply: &Reply, names: [&str; N]) -> [Option<String>; N] {
    names.map(|name| reply.header(name))
}

const MONTH: [&str; 2] = ["x-ratelimit-limit-month", "x-ratelimit-remaining-month"];
const CLOSEST: [&str; 2] = ["ratelimit-limit", "ratelimit-remaining"];

fn values<const N: usize>(values: [&str; N]) -> [Option<String>; N] {
    values.map(|value| Some(value.to_owned()))
}

/// Hardly any test runs while a year ends.
const CONFIG: &str = r#"{"year": 3, "limit_by": "ip"}"#;

on_both_stores! {
    async fn concurrent_clients_get_exactly_the_limit(gateway: Gateway) {
        let upstream = Upstream::start().await;
        for policy in ["local", "cluster"] {
            let config = json!({"year": 20, "limit_by": "ip", "policy": policy});
            limited(&gateway, policy, &upstream, config).await;
            let path = format!("/{policy}/x");
            let replies = join_all((0..60).map(|_| get(&gateway, &path, &[]))).await;
            let count = |status: u16| replies.iter().filter(|reply| reply.status == status).count();
            assert_eq!((count(200), count(429)), (20, 40), "{policy}");
            let mut left: Vec<u32> = replies.iter().filter(|reply| reply.status == 200)
                .map(|reply| reply.header("ratelimit-remaining").unwrap().parse().unwrap()).collect();
            left.sort_unstable();
            assert_eq!(left, (0..20).collect::<Vec<u32>>(), "{policy}: each place is given once");
        }
        assert_eq!(upstream.requests(), 40);
        assert_eq!(gateway.metric("tollgate_rate_limiting_refused_total", &[]).await, 80.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_cluster_share_a_limit() {
    let one = Gateway::on_postgres().await;
    let other = one.another_node().await;
    let upstream = Upstream::start().await;
    limited(&one, "a", &upstream, json!({"year": 20, "limit_by": "ip", "policy": "cluster"})).await;
    // The other node has the plugin.
    let begun = std::time::Instant::now();
    while get(&other, "/a/x", &[]).await.header("ratelimit-limit").is_none() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    }
    let requests = (0..40).map(|number| get(if number % 2 == 0 { &one } else { &other }, "/a/x", &[]));
    let replies = join_all(requests).await;
    let passed = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(passed, 19, "and the one that found the plugin");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_hear_their_limits_and_when_to_come_back() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    limited(&gateway, "a", &upstream, json!({"month": 2, "year": 9, "limit_by": "ip"})).await;
    let first = get(&gateway, "/a/x", &[]).await.expect(200);
    let second = get(&gateway, "/a/x", &[]).await.expect(200);
    let refused = get(&gateway, "/a/x", &[]).await.expect(429);
    let of_year = ["x-ratelimit-limit-year", "x-ratelimit-remaining-year"];
    for (reply, left, left_of_year) in [(&first, "1", "8"), (&second, "0", "7"), (&refused, "0", "7")] {
        assert_eq!(told(reply, MONTH), values(["2", left]));
        assert_eq!(told(reply, CLOSEST), values(["2", left]));
        assert_eq!(told(reply, of_year), values(["9", left_of_year]), "a refused request is not counted");
        let reset: u64 = reply.header("ratelimit-reset").unwrap().parse().unwrap();
        assert!((1..=31 * 86_400).contains(&reset), "{reset}");
    }
    assert_eq!(refused.json()["message"], "API rate limit exceeded");
    assert_eq!(first.header("retry-after"), None);
    assert_eq!(refused.header("retry-after"), refused.header("ratelimit-reset"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_as_configured_and_headers_can_be_hidden() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let config = json!({
        "year": 1, "limit_by": "ip", "hide_client_headers": true, "error_code": 403, "error_message": "enough",
    });
    limited(&gateway, "a", &upstream, config).await;
    let passed = get(&gateway, "/a/x", &[]).await.expect(200);
    let refused = get(&gateway, "/a/x", &[]).await.expect(403);
    assert_eq!(refused.json()["message"], "enough");
    for reply in [passed, refused] {
        let limits = reply.headers.keys().filter(|name| name.as_str().contains("ratelimit") || *name == "retry-after");
        assert_eq!(limits.count(), 0, "{:?}", reply.headers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_together_is_as_configured() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    for consumer in ["ann", "bob"] {
        gateway.create("/consumers", json!({"username": consumer})).await;
        for number in [1, 2] {
            let key = json!({"key": format!("{consumer}{number}")});
            gateway.create(&format!("/consumers/{consumer}/key-auth"), key).await;
        }
    }
    let mut findings = Findings::new();
    type Asked = (&'static str, &'static [(&'static str, &'static str)], u16);
    let (ann, ann2, bob) = (&[("apikey", "ann1")], &[("apikey", "ann2")], &[("apikey", "bob1")]);
    let rows: [(&str, Value, Vec<Asked>); 7] = [
        ("consumer", json!({}), vec![("/x", ann, 200), ("/x", ann2, 429), ("/x", bob, 200), ("/y", bob, 429)]),
        ("credential", json!({}), vec![("/x", ann, 200), ("/x", ann2, 200), ("/x", ann, 429)]),
        ("ip", json!({}), vec![("/x", ann, 200), ("/y", bob, 429)]),
        ("service", json!({}), vec![("/x", ann, 200), ("/y", bob, 429)]),
        ("header", json!({"header_name": "apikey"}), vec![("/x", ann, 200), ("/x", ann2, 200), ("/y", ann, 429)]),
        // Other paths are counted by address.
        (
            "path",
            json!({"path": "/path/x"}),
            vec![("/x", ann, 200), ("/x?a", bob, 429), ("/y", ann, 200), ("/z", bob, 429)],
        ),
        // Without a consumer, by address.
        ("open", json!({"limit_by": "consumer"}), vec![("/x", &[], 200), ("/y", &[], 429)]),
    ];
    for (by, config, asked) in rows {
        let config = tollgate_tests::scenario::laid_over(json!({"year": 1, "limit_by": by}), config);
        limited(&gateway, by, &upstream, config).await;
        if by != "open" {
            gateway.create(&format!("/services/{by}/plugins"), json!({"name": "key-auth"})).await;
        }
        for (number, (path, headers, status)) in asked.into_iter().enumerate() {
            let reply = get(&gateway, &format!("/{by}{path}"), headers).await;
            findings.compare(&format!("{by} {number}: {path}"), &status, &reply.status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumers_own_instance_replaces_the_services() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let consumer = gateway.create("/consumers", json!({"username": "bob"})).await;
    gateway.create("/consumers/bob/key-auth", json!({"key": "k"})).await;
    limited(&gateway, "a", &upstream, serde_json::from_str(CONFIG).unwrap()).await;
    gateway.create("/services/a/plugins", json!({"name": "key-auth"})).await;
    let own = json!({"name": "rate-limiting", "config": {"year": 7}, "consumer": {"id": consumer["id"]}});
    gateway.create("/plugins", own).await;
    let reply = get(&gateway, "/a/x", &[("apikey", "k")]).await.expect(200);
    assert_eq!(told(&reply, CLOSEST), values(["7", "6"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_limit_counts_what_has_passed() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let plugin = limited(&gateway, "a", &upstream, serde_json::from_str(CONFIG).unwrap()).await;
    for _ in 0..3 {
        get(&gateway, "/a/x", &[]).await.expect(200);
    }
    get(&gateway, "/a/x", &[]).await.expect(429);
    gateway.change(&plugin, json!({"config": {"year": 4}})).await;
    let reply = get(&gateway, "/a/x", &[]).await.expect(200);
    assert_eq!(told(&reply, CLOSEST), values(["4", "0"]));
    get(&gateway, "/a/x", &[]).await.expect(429);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_is_rejected() {
    let gateway = Gateway::on_sqlite().await;
    let redis =
        "this gateway does not count in Redis: use 'local', or 'cluster' to count in the store that all nodes share";
    for (config, fault) in [
        (json!({"minute": 1, "policy": "redis", "redis": {"host": "r"}}), json!({ "policy": redis })),
        (
            json!({"minute": 2, "hour": 1}),
            json!("The limit for hour(1.0) cannot be lower than the limit for minute(2.0)"),
        ),
        (json!({"minute": 0}), json!({"minute": "value must be greater than 0"})),
    ] {
        let plugin = json!({"name": "rate-limiting", "config": config});
        let reply = gateway.admin(Method::POST, "/plugins", plugin).await.expect(400);
        assert_eq!(reply.json()["fields"]["config"], fault, "{config}");
    }
}
