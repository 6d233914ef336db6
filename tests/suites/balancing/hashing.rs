//! Consistent hashing: what is hashed.

use super::*;

/// The target of a request, with this query and these headers.
async fn target_of(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = gateway.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    gateway.send(request).await.expect(200)
}

/// Requests that are alike go to one target, and others are spread.
async fn assert_sticks(
    gateway: &Gateway,
    what: &str,
    request: impl Fn(usize) -> (String, Vec<(&'static str, String)>),
) {
    let mut seen = std::collections::BTreeSet::new();
    for key in 0..64 {
        let (path, headers) = request(key);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let first = target_of(gateway, &path, &headers).await.body;
        for _ in 0..2 {
            assert_eq!(target_of(gateway, &path, &headers).await.body, first, "{what}: {key}");
        }
        seen.insert(first);
    }
    assert_eq!(seen.len(), 3, "{what}: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_alike_in_what_is_hashed_go_to_one_target() {
    let gateway = Gateway::on_sqlite().await;
    let targets = [Target::start("one").await, Target::start("two").await, Target::start("three").await];
    let targets = [&targets[0], &targets[1], &targets[2]];
    balanced(&gateway, "header", json!({"hash_on": "header", "hash_on_header": "X-Key"}), &targets).await;
    assert_sticks(&gateway, "header", |key| ("/header".to_owned(), vec![("x-key", format!("k{key}"))])).await;
    balanced(&gateway, "argument", json!({"hash_on": "query_arg", "hash_on_query_arg": "k"}), &targets).await;
    assert_sticks(&gateway, "argument", |key| (format!("/argument?k={key}"), vec![])).await;
    balanced(&gateway, "path", json!({"hash_on": "path"}), &targets).await;
    assert_sticks(&gateway, "path", |key| (format!("/path/{key}"), vec![])).await;
    let fallback = json!({"hash_on": "consumer", "hash_fallback": "header", "hash_fallback_header": "X-Other"});
    balanced(&gateway, "fallback", fallback, &targets).await;
    assert_sticks(&gateway, "fallback", |key| ("/fallback".to_owned(), vec![("x-other", format!("k{key}"))])).await;
    balanced(&gateway, "capture", json!({"hash_on": "uri_capture", "hash_on_uri_capture": "user"}), &targets).await;
    gateway.create("/services/capture/routes", json!({"paths": ["~/users/(?<user>[^/]+)"]})).await;
    assert_sticks(&gateway, "capture", |key| (format!("/users/u{key}/x"), vec![])).await;
    balanced(&gateway, "ip", json!({"hash_on": "ip"}), &targets).await;
    let seen = spread(&gateway, "/ip", 6).await;
    assert_eq!(seen.len(), 1, "all requests are from one address: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumers_requests_go_to_one_target() {
    let gateway = Gateway::on_sqlite().await;
    let targets = [Target::start("one").await, Target::start("two").await, Target::start("three").await];
    let hashed = json!({"hash_on": "consumer"});
    balanced(&gateway, "api", hashed, &[&targets[0], &targets[1], &targets[2]]).await;
    gateway.create("/services/api/plugins", json!({"name": "key-auth"})).await;
    for number in 0..12 {
        gateway.create("/consumers", json!({"username": format!("c{number}")})).await;
        let key = json!({"key": format!("key-of-consumer-{number}")});
        gateway.create(&format!("/consumers/c{number}/key-auth"), key).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..12 {
        let key = format!("key-of-consumer-{number}");
        let first = target_of(&gateway, "/api", &[("apikey", &key)]).await.body;
        assert_eq!(target_of(&gateway, "/api", &[("apikey", &key)]).await.body, first);
        seen.insert(first);
    }
    assert!(seen.len() > 1, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_cookie_gets_one_and_stays_where_it_was() {
    let gateway = Gateway::on_sqlite().await;
    let targets = [Target::start("one").await, Target::start("two").await, Target::start("three").await];
    let hashed = json!({"hash_on": "cookie", "hash_on_cookie": "stay", "hash_on_cookie_path": "/api"});
    balanced(&gateway, "api", hashed, &[&targets[0], &targets[1], &targets[2]]).await;
    for _ in 0..6 {
        let first = target_of(&gateway, "/api", &[]).await;
        let cookie = first.header("set-cookie").unwrap();
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/api; SameSite=Lax; HttpOnly");
        let again = target_of(&gateway, "/api", &[("cookie", &format!("a=b; {pair}"))]).await;
        assert_eq!((again.body, again.headers.get("set-cookie").is_none()), (first.body, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_joins_takes_its_share_of_keys_and_moves_no_other() {
    let gateway = Gateway::on_sqlite().await;
    let targets = [Target::start("one").await, Target::start("two").await, Target::start("three").await];
    let hashed = json!({"hash_on": "query_arg", "hash_on_query_arg": "k"});
    balanced(&gateway, "api", hashed, &[&targets[0], &targets[1], &targets[2]]).await;
    let placed = async || {
        let mut placed = Vec::new();
        for key in 0..200 {
            placed.push(target_of(&gateway, &format!("/api?k={key}"), &[]).await.body);
        }
        placed
    };
    let before = placed().await;
    let new = Target::start("four").await;
    gateway.create("/upstreams/api.upstream/targets", json!({"target": new.authority()})).await;
    let after = placed().await;
    let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    assert!(moved.iter().all(|(_, after)| *after == "four"), "keys move to the new target only");
    assert!((20..=80).contains(&moved.len()), "about a quarter of 200: {}", moved.len());
}
