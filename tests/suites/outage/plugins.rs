//! Which plugins go on with what they have cached, and instances that do so for a shorter time.

use serde_json::{Value, json};
use tollgate_tests::scenario::Api;
use tollgate_tests::{Findings, Gateway, Upstream};

use super::{World, eventually};

/// A route `/{name}` with these plugins.
async fn protected(gateway: &Gateway, name: &str, upstream: &Upstream, plugins: &[(&str, Value)]) {
    Api::open(gateway, name, upstream).await;
    for (plugin, config) in plugins {
        let plugin = json!({"name": plugin, "config": config});
        gateway.create(&format!("/services/{name}/plugins"), plugin).await;
    }
}

/// HS256, of the credential with this key.
fn jwt(key: &str, secret: &str, number: u32) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed =
        format!("{}.{}", part(json!({"alg": "HS256", "typ": "JWT"})), part(json!({"iss": key, "jti": number})));
    let key = openssl::pkey::PKey::hmac(secret.as_bytes()).unwrap();
    let mut signer = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), &key).unwrap();
    let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_plugin_serves_what_it_has_cached_unless_its_instance_does_not() {
    let (world, way) = World::forwarded(&[]).await;
    let (gateway, upstream) = (&world.gateway, Upstream::start().await);
    let consumer = "shop";
    gateway.create(&format!("/consumers/{consumer}/key-auth"), json!({"key": "a-key"})).await;
    gateway.create(&format!("/consumers/{consumer}/jwt"), json!({"key": "k", "secret": "secret"})).await;
    gateway.create(&format!("/consumers/{consumer}/acls"), json!({"group": "g"})).await;
    let cached_jwt = format!("Bearer {}", jwt("k", "secret", 1));
    let never = |mut config: Value| {
        config["serve_cached_for"] = json!(0);
        config
    };
    let acl = || json!({"allow": ["g"]});
    let anonymous = || json!({"anonymous": consumer});
    // Each with what it serves while the store is away: by default, and never.
    let routes = [
        ("key", vec![("key-auth", json!({}))], 200),
        ("key-never", vec![("key-auth", never(json!({})))], 503),
        ("jwt", vec![("jwt", json!({}))], 200),
        ("jwt-never", vec![("jwt", never(json!({})))], 503),
        ("acl", vec![("key-auth", json!({})), ("acl", acl())], 200),
        ("acl-never", vec![("key-auth", json!({})), ("acl", never(acl()))], 503),
        ("anonymous", vec![("key-auth", anonymous())], 200),
        ("anonymous-never", vec![("key-auth", never(anonymous()))], 503),
    ];
    for (name, plugins, _) in &routes {
        protected(gateway, name, &upstream, plugins).await;
    }
    let get = async |name: &str| {
        let request = gateway.request(http::Method::GET, &format!("/{name}"));
        let request = match name.split('-').next().unwrap_or_default() {
            "jwt" => request.header("authorization", &cached_jwt),
            "anonymous" => request,
            _ => request.header("apikey", "a-key"),
        };
        gateway.send(request).await
    };
    let mut findings = Findings::new();
    for (name, ..) in &routes {
        findings.compare(name, &200, &get(name).await.status);
    }
    way.cut().await;
    eventually("an outage", async || world.unheard_for().await > 1.0).await;
    for (name, _, expected) in &routes {
        let reply = get(name).await;
        findings.compare(name, expected, &reply.status);
        if reply.status == 503 {
            world.refuses(name, reply);
        }
    }
    // A new token of a credential that is cached is verified with that.
    let present = async |name: &str, token: String| {
        gateway.send(gateway.request(http::Method::GET, &format!("/{name}")).bearer_auth(token)).await
    };
    findings.compare("a new JWT", &200, &present("jwt", jwt("k", "secret", 2)).await.status);
    findings.compare("a forged one", &401, &present("jwt", jwt("k", "another", 3)).await.status);
    world.refuses("a new JWT where nothing is served", present("jwt-never", jwt("k", "secret", 4)).await);
    world.refuses("a JWT of another credential", present("jwt", jwt("other", "secret", 5)).await);
    let last =
        gateway.output().lines().rfind(|line| line.contains("GET /jwt ") && line.contains(" 200 ")).map(str::to_owned);
    let served_stale = last.as_ref().is_some_and(|line| line.contains("served_stale="));
    findings.check("a new JWT", if served_stale { Ok(()) } else { Err(format!("{last:?}")) });
    let unknown = gateway.send(gateway.request(http::Method::GET, "/key").header("apikey", "unknown")).await;
    world.refuses("an unknown key", unknown);
}
