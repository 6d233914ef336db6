//! A third party that is stopped, or slow.

use std::time::Instant;

use futures::future::join_all;
use serde_json::json;
use tollgate_tests::authorization_server::{Format, Product};
use tollgate_tests::scenario::Api;
use tollgate_tests::{AuthorizationServer, Forwarder, Gateway, Upstream};
use url::Url;

use super::{Duration, assert_cannot_tell, get, introspection, jwt_access_token, protect, until_status};

/// Seconds.
const TTL: u64 = 3;

async fn tokens_of_a_stopped_server(product: Product, format: Format) {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let mut server = AuthorizationServer::start(product, "http://127.0.0.1:1/callback").await;
    protect(&gateway, "asked", &upstream, &[introspection(&server, json!({"ttl": TTL}))]).await;
    protect(&gateway, "checked", &upstream, &[jwt_access_token(&server, json!({}))]).await;
    let (known, unknown) = (server.token(format).await, server.token(format).await);
    let (seen, new) = (server.token(Format::Rs256).await, server.token(Format::Rs256).await);
    get(&gateway, "checked", &seen).await.expect(200);
    let asked_at = Instant::now();
    get(&gateway, "asked", &known).await.expect(200);

    server.stop();
    assert_cannot_tell(&get(&gateway, "asked", &unknown).await);
    // The keys are known, so that nobody has to be asked about a signature.
    for token in [&seen, &new] {
        get(&gateway, "checked", token).await.expect(200);
    }
    let ended = loop {
        let reply = get(&gateway, "asked", &known).await;
        if reply.status != 200 {
            break reply;
        }
        assert!(asked_at.elapsed() < Duration::from_secs(TTL + 2), "{product:?}: accepted beyond its ttl");
        tokio::time::sleep(Duration::from_millis(25)).await;
    };
    assert_cannot_tell(&ended);
    assert!(asked_at.elapsed() >= Duration::from_secs(TTL), "{product:?}: ended after {:?}", asked_at.elapsed());

    server.restart().await;
    // oidc-provider has forgotten its tokens.
    let expected = if product == Product::OidcProvider { 401 } else { 200 };
    for token in [&known, &unknown] {
        until_status(expected, &gateway, "asked", token).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_tokens_outlast_a_stopped_oidc_provider_within_their_ttl() {
    tokens_of_a_stopped_server(Product::OidcProvider, Format::Opaque).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_tokens_outlast_a_stopped_glewlwyd_within_their_ttl() {
    tokens_of_a_stopped_server(Product::Glewlwyd, Format::Rs256).await;
}

/// `count` requests one after the other, and the longest time that one took.
async fn longest_of(count: usize, gateway: &Gateway, name: &str) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..count {
        let start = Instant::now();
        // Over HTTP/1.1, on a connection of its own.
        let request = gateway.client.get(gateway.plain_url(&format!("/{name}/things")));
        gateway.send(request).await.expect(200);
        longest = longest.max(start.elapsed());
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_delays_unknown_tokens_by_the_timeout_and_nothing_else() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let server = AuthorizationServer::start(Product::OidcProvider, "http://127.0.0.1:1/callback").await;
    let slow = Forwarder::to(server.authority()).await;
    let mut url = Url::parse(server.endpoint("introspection_endpoint")).unwrap();
    url.set_port(Some(slow.address.port())).unwrap();
    let plugin = introspection(&server, json!({"introspection_url": url, "timeout": 2000}));
    protect(&gateway, "asked", &upstream, &[plugin]).await;
    Api::open(&gateway, "open", &upstream).await;
    let known = server.token(Format::Opaque).await;
    get(&gateway, "asked", &known).await.expect(200);

    slow.block();
    let tokens: Vec<String> = (0..100).map(|nth| format!("unknown-{nth}-0123456789")).collect();
    let ask = tokens.iter().map(async |token| {
        let start = Instant::now();
        let reply = get(&gateway, "asked", token).await;
        (reply, start.elapsed())
    });
    let (unknown, open) = tokio::join!(join_all(ask), longest_of(200, &gateway, "open"));
    for (reply, took) in unknown {
        assert_cannot_tell(&reply);
        assert!(took < TIMEOUT + Duration::from_secs(1), "refused only after {took:?}");
    }
    assert!(open < TIMEOUT / 2, "a route without the plugin responds after {open:?}");
    get(&gateway, "asked", &known).await.expect(200);

    slow.unblock();
    until_status(401, &gateway, "asked", &tokens[0]).await;
}
