//! What a client begins for a user, a pushed request or a device code, is redeemed with the key or certificate with which
//! it was begun (RFC 9449 §10.1, RFC 8705 §3).

use tollgate_tests::tls::Identity;

use super::certificates::{asking, send};
use super::*;

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A gateway with an API that has both endpoints, and a public client.
struct World {
    gateway: Gateway,
    api: Api,
    client: Application,
    _upstream: Upstream,
    _authority: tempfile::NamedTempFile,
}

impl World {
    async fn start(store: Store, config: Value) -> Self {
        let (gateway, file) = asking(store, &Identity::issue(&[("CN", "authority")], None), "optional").await;
        let upstream = Upstream::start().await;
        let usual = json!({
            "endpoints": ["par", "device"], "device_verification_uri": "https://login.test/device", "pkce": "none",
        });
        let api = Api::protected(&gateway, "api", &upstream, laid_over(usual, config)).await;
        let client = Application::register(&gateway, "app", json!({"client_type": "public"})).await;
        Self { gateway, api, client, _upstream: upstream, _authority: file }
    }

    /// Sends a form, with a proof of a key and on a connection with a certificate, where they are given.
    async fn send(&self, path: &str, (key, identity): Means<'_>, form: &[(&str, &str)]) -> Reply {
        let form = [form, &[("client_id", self.client.id())]].concat();
        let proof = key.map(|key| key.proof("POST", &format!("https://localhost{path}"), None));
        let headers: Vec<_> = proof.iter().map(|proof| ("DPoP", proof.as_str())).collect();
        send(&self.gateway, identity, &format!("POST {path}"), &headers, &form).await
    }

    async fn begin(&self, way: &str, means: Means<'_>) -> Reply {
        match way {
            "par" => self.send("/api/oauth2/par", means, &[("response_type", "code"), ("scope", "email")]).await,
            _ => self.send("/api/oauth2/device_authorization", means, &[("scope", "email")]).await,
        }
    }

    /// The user agrees: what the token endpoint is then sent.
    async fn agreed(&self, way: &str, begun: &Value) -> Vec<(&'static str, String)> {
        let text = |name: &str| begun[name].as_str().unwrap().to_owned();
        let page = [("provision_key", self.api.provision_key()), ("authenticated_userid", "kate")];
        if way == "par" {
            let request_uri = text("request_uri");
            let form = [&page[..], &[("request_uri", &request_uri)]].concat();
            let redirect = self.send("/api/oauth2/authorize", (None, None), &form).await.expect(200).json();
            let code = redirect["redirect_uri"].as_str().unwrap().split("code=").nth(1).unwrap().to_owned();
            return vec![("grant_type", "authorization_code".to_owned()), ("code", code)];
        }
        let user_code = text("user_code");
        let form = [&page[..], &[("user_code", &user_code), ("action", "approve")]].concat();
        self.send("/api/oauth2/device", (None, None), &form).await.expect(200);
        vec![("grant_type", DEVICE_CODE.to_owned()), ("device_code", text("device_code"))]
    }

    async fn redeem(&self, redemption: &[(&str, String)], means: Means<'_>) -> Reply {
        let form: Vec<_> = redemption.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.send("/api/oauth2/token", means, &form).await
    }
}

/// The key that a request proves, and the certificate of its connection.
type Means<'a> = (Option<&'a ProofKey>, Option<&'a Identity>);

async fn bound_from_the_beginning(store: Store, config: Value) {
    let world = World::start(store, config.clone()).await;
    let (key, other_key) = (ProofKey::new(), ProofKey::new());
    let subject = [("CN", "app")];
    let (own, other) = (Identity::issue(&subject, None), Identity::issue(&subject, None));
    let by_key = config.get("dpop").is_some();
    let (right, wrong): (Means<'_>, Means<'_>) = if by_key {
        ((Some(&key), None), (Some(&other_key), None))
    } else {
        ((None, Some(&own)), (None, Some(&other)))
    };
    let missing = if by_key { "invalid_dpop_proof" } else { "invalid_request" };
    for way in ["par", "device"] {
        assert_eq!(error(&world.begin(way, (None, None)).await), (400, json!(missing)), "{way} {config}");
        let begun = world.begin(way, right).await;
        assert!(matches!(begun.status, 200 | 201), "{way} {config}: {}", begun.body);
        let redemption = world.agreed(way, &begun.json()).await;
        assert_eq!(error(&world.redeem(&redemption, (None, None)).await), (400, json!(missing)), "{way} {config}");
        assert_eq!(error(&world.redeem(&redemption, wrong).await), (400, json!("invalid_grant")), "{way} {config}");
        world.redeem(&redemption, right).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_begun_with_a_key_is_redeemed_with_it_on_both_stores_rfc9449_10_1() {
    for store in [Store::Sqlite, Store::Postgres] {
        bound_from_the_beginning(store, json!({"dpop": "required"})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_begun_with_a_certificate_is_redeemed_with_it_on_both_stores_rfc8705_3() {
    for store in [Store::Sqlite, Store::Postgres] {
        bound_from_the_beginning(store, json!({"mtls_bound_tokens": "required"})).await;
    }
}
