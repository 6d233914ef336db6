use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use prometheus::Registry;
use serde_json::{Map, json};
use tokio::runtime::Handle;
use tollgate_core::clock::ManualClock;
use tollgate_plugin::http_client::Client;
use tollgate_plugin::{Metrics, Secret};
use tollgate_third_party::key_source::{KeySourceMetrics, KeySources};

use super::*;
use crate::config::Config;
use crate::config::tests::{P256, stored};

const ISSUER: &str = "https://issuer.example/shop";
const NOW: i64 = 1_700_000_000;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("not an object: {other}"),
    }
}

/// `base` with the members of `over`; null removes one.
fn laid_over(base: Value, over: Value) -> Value {
    let mut members = members(base);
    members.extend(self::members(over));
    Value::Object(members.into_iter().filter(|(_, value)| !value.is_null()).collect())
}

struct World {
    key: PKey<Private>,
    clock: Arc<ManualClock>,
    verifier: JwtVerifier,
}

impl World {
    /// Of an issuer with this configuration, whose clock may differ by 5 seconds.
    fn new(fields: Value) -> Self {
        let key = PKey::generate_ed25519().unwrap();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": encode(key.raw_public_key().unwrap())});
        let p256: Value = serde_json::from_str(P256).unwrap();
        let entry = laid_over(json!({"issuer": ISSUER, "jwks": json!({"keys": [jwk, p256]}).to_string()}), fields);
        let config = stored(json!({"issuers": [entry], "clock_skew": 5})).unwrap();
        let config = Config::try_from(&config).unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let metrics = Metrics::new(Registry::new(), ["jwt"]);
        let metrics = KeySourceMetrics::register(&metrics, "jwt").unwrap();
        let sources = KeySources::with(clock.clone(), Handle::current(), metrics, std::time::Duration::from_secs(1));
        let client = Client::new(Handle::current(), &Registry::new()).unwrap();
        let keys = config.issuers[0].keys(&sources, &client).unwrap();
        let verifier = JwtVerifier::new(&config.issuers[0], config.clock_skew, keys, clock.clone());
        Self { key, clock, verifier }
    }

    fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = Signer::new_without_digest(&self.key).unwrap().sign_oneshot_to_vec(signed.as_bytes()).unwrap();
        format!("{signed}.{}", encode(signature))
    }

    /// Whether a good token is accepted with these changes.
    async fn accepts(&self, header: Value, claims: Value) -> bool {
        let header = laid_over(json!({"alg": "EdDSA", "kid": "k"}), header);
        let claims = laid_over(json!({"iss": ISSUER, "sub": "kate", "exp": NOW + 60}), claims);
        self.accepts_text(&header.to_string(), &claims.to_string()).await
    }

    async fn accepts_text(&self, header: &str, payload: &str) -> bool {
        let token = Arc::new(Secret::new(self.sign(header, payload)));
        match self.verifier.verify(&Query { token, request: None }).await.unwrap() {
            Said::Active(active) => {
                assert!(active.signed_by.is_some_and(|key| key.is_current()));
                true
            }
            Said::Inactive => false,
        }
    }
}

#[tokio::test]
async fn a_type_made_for_something_else_is_refused_rfc8725_3_11() {
    let (any, access) = (World::new(json!({})), World::new(json!({"require_typ": true})));
    for (typ, by_any, by_access) in [
        (Value::Null, true, false),
        (json!("JWT"), true, false),
        (json!("jwt"), true, false),
        (json!("application/JWT"), true, false),
        (json!("at+jwt"), true, true),
        (json!("AT+JWT"), true, true),
        (json!("application/at+jwt"), true, true),
        (json!("at+jwt "), false, false),
        (json!("application/application/at+jwt"), false, false),
        (json!("id+jwt"), false, false),
        (json!("logout+jwt"), false, false),
        (json!(""), false, false),
        (json!(["at+jwt"]), false, false),
        (json!(1), false, false),
    ] {
        let header = json!({"typ": typ});
        assert_eq!(any.accepts(header.clone(), json!({})).await, by_any, "{typ}");
        assert_eq!(access.accepts(header, json!({})).await, by_access, "{typ} where required");
    }
}

#[tokio::test]
async fn the_issuer_is_compared_character_by_character() {
    let world = World::new(json!({}));
    for issuer in [
        json!(null),
        json!("https://issuer.example/shop/"),
        json!("https://issuer.example/Shop"),
        json!("HTTPS://issuer.example/shop"),
        json!([ISSUER]),
        json!(""),
        json!(1),
    ] {
        assert!(!world.accepts(json!({}), json!({"iss": issuer})).await, "{issuer}");
    }
    assert!(world.accepts(json!({}), json!({})).await);
}

#[tokio::test]
async fn an_audience_is_required_if_any_is_configured() {
    let (any, one_of) = (World::new(json!({})), World::new(json!({"audience": ["a", "b"]})));
    for (aud, by_one_of) in [
        (json!(null), false),
        (json!("a"), true),
        (json!("b"), true),
        (json!("A"), false),
        (json!("a b"), false),
        (json!(["x", "b"]), true),
        (json!(["x"]), false),
        (json!([]), false),
    ] {
        let claims = json!({"aud": aud});
        assert!(any.accepts(json!({}), claims.clone()).await, "{aud} where any will do");
        assert_eq!(one_of.accepts(json!({}), claims).await, by_one_of, "{aud}");
    }
    assert!(!any.accepts(json!({}), json!({"aud": ["a", 1]})).await, "not an audience");
}

#[tokio::test]
async fn times_are_required_as_configured() {
    let limited = World::new(json!({}));
    let unlimited = World::new(json!({"allow_without_exp": true}));
    let short = World::new(json!({"maximum_lifetime": 60}));
    // exp and iat, relative to now; whether each accepts it.
    for (exp, iat, accepted) in [
        (Some(60), None, [true, true, false]),
        (Some(60), Some(0), [true, true, true]),
        (Some(61), Some(0), [true, true, false]),
        (Some(55), Some(-6), [true, true, false]),
        (None, Some(0), [false, true, false]),
        (None, None, [false, true, false]),
        (Some(60), Some(5), [true, true, true]),
        (Some(60), Some(6), [false, false, false]),
        // Whether it has expired is decided on every request, by the guard.
        (Some(-1000), Some(-1010), [true, true, true]),
    ] {
        let claims = json!({"exp": exp.map(|at| NOW + at), "iat": iat.map(|at| NOW + at)});
        let mut got = [false; 3];
        for (world, got) in [&limited, &unlimited, &short].into_iter().zip(&mut got) {
            *got = world.accepts(json!({}), claims.clone()).await;
        }
        assert_eq!(got, accepted, "exp {exp:?} iat {iat:?}");
    }
    for claims in [json!({"exp": "1900000000"}), json!({"iat": true}), json!({"nbf": "now"}), json!({"exp": [1]})] {
        assert!(!unlimited.accepts(json!({}), claims.clone()).await, "{claims}");
    }
    assert!(limited.accepts(json!({}), json!({"exp": 1.7e9 + 60.5, "iat": 1.7e9 - 0.5})).await, "fractions");
    assert!(!limited.accepts_text(r#"{"alg":"EdDSA"}"#, &format!(r#"{{"iss":"{ISSUER}","exp":null}}"#)).await);
    limited.clock.advance(-1);
    assert!(!limited.accepts(json!({}), json!({"iat": NOW + 5})).await);
}

#[tokio::test]
async fn nothing_but_the_configuration_says_which_key_and_algorithm_count() {
    let (any, other) = (World::new(json!({})), World::new(json!({})));
    let narrow = World::new(json!({"algorithms": ["EdDSA"]}));
    assert!(narrow.accepts(json!({}), json!({})).await);
    assert!(!World::new(json!({"algorithms": ["ES256"]})).accepts(json!({}), json!({})).await, "not wanted");
    let embedded = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(other.key.raw_public_key().unwrap())});
    for header in [
        json!({"jwk": embedded, "kid": null}),
        json!({"jwk": embedded}),
        json!({"jku": "http://127.0.0.1:1/keys"}),
        json!({"x5u": "http://127.0.0.1:1/cert"}),
        json!({"x5c": ["AA"]}),
        json!({"kid": null}),
    ] {
        assert!(any.accepts(header.clone(), json!({})).await, "{header}: ignored");
        let forged = laid_over(json!({"alg": "EdDSA", "kid": "k"}), header.clone());
        let claims = json!({"iss": ISSUER, "exp": NOW + 60});
        let forged = Arc::new(Secret::new(other.sign(&forged.to_string(), &claims.to_string())));
        let said = any.verifier.verify(&Query { token: forged, request: None }).await.unwrap();
        assert!(matches!(said, Said::Inactive), "{header}: with another key");
    }
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"alg": "ES256"}),
        json!({"alg": "eddsa"}),
        json!({"alg": null}),
        json!({"kid": "other"}),
        json!({"kid": ""}),
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"b64": false, "crit": ["b64"]}),
    ] {
        assert!(!any.accepts(header.clone(), json!({})).await, "{header}");
    }
}

#[tokio::test]
async fn only_signed_tokens_of_three_parts_are_looked_at() {
    let world = World::new(json!({}));
    let token = world.sign(r#"{"alg":"EdDSA"}"#, "{}");
    assert!(world.verifier.may_know(&token));
    for token in [
        "",
        "opaque",
        "eyJhbGciOiJub25lIn0.e30",
        "eyJ.a.b.c.d",
        "eyJ.a.b.c",
        "xyz.a.b",
        "eyJ.a.b=",
        &format!("{token}{}", "A".repeat(MAX_TOKEN)),
    ] {
        assert!(!world.verifier.may_know(token), "{token}");
    }
}
