use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::X509;
use tollgate_core::clock::ManualClock;
use tollgate_core::random::SystemRandom;
use tollgate_core::schema::Makers;
use tollgate_plugin::Document;

use super::*;

/// A public key.
pub(crate) const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

/// The configuration as it is stored, or what is wrong with it.
pub(crate) fn stored(config: Value) -> Result<Value, Value> {
    let makers = Makers { clock: &ManualClock::at(1), random: &SystemRandom };
    let stored = schema().process_insert(Document::try_from(config).unwrap(), &makers);
    stored.map(Value::from).map_err(|violations| Value::Object(violations.fields))
}

fn entry(fields: Value) -> Value {
    let mut entry = json!({"issuer": "https://issuer.example", "jwks_uri": "https://issuer.example/keys"});
    for (name, value) in fields.as_object().unwrap() {
        entry[name] = value.clone();
    }
    entry
}

/// What is wrong with an issuer that has these fields.
fn fault(fields: Value) -> Value {
    match stored(json!({"issuers": [entry(fields)]})) {
        Ok(_) => Value::Null,
        Err(faults) => faults["issuers"][0].clone(),
    }
}

/// A certificate in PEM.
fn certificate() -> String {
    let key = PKey::generate_ed25519().unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(&key, MessageDigest::null()).unwrap();
    String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
}

#[test]
fn an_issuer_has_exactly_one_source_of_keys() {
    let keys = format!(r#"{{"keys":[{P256}]}}"#);
    let one = json!("exactly one of 'jwks_uri', 'discovery' and 'jwks' must be set");
    for (fields, expected) in [
        (json!({}), Value::Null),
        (json!({"jwks_uri": null}), one.clone()),
        (json!({"jwks_uri": null, "discovery": false}), one.clone()),
        (json!({"jwks_uri": null, "discovery": true}), Value::Null),
        (json!({"jwks_uri": null, "jwks": keys}), Value::Null),
        (json!({"discovery": true}), one.clone()),
        (json!({"jwks": keys}), one),
    ] {
        assert_eq!(fault(fields.clone()), expected, "{fields}");
    }
}

#[test]
fn what_can_never_work_is_refused() {
    let algorithms = "expected one of: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA";
    let secret = "contains a private or symmetric key; configure public keys only";
    let der = "MCowBQYDK2VwAyEA11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let url = "expected an absolute http or https URL, such as https://issuer.example/path";
    let rsa = Rsa::generate(1024).unwrap().public_key_to_pem().unwrap();
    for (fields, field, message) in [
        (json!({"algorithms": []}), "algorithms", json!("length must be at least 1")),
        (json!({"algorithms": ["RS256", "none"]}), "algorithms", json!([null, algorithms])),
        (json!({"algorithms": ["HS256"]}), "algorithms", json!([algorithms])),
        (json!({"jwks_uri": "issuer.example/keys"}), "jwks_uri", json!(url)),
        (json!({"jwks_uri": "file:///keys"}), "jwks_uri", json!(url)),
        (json!({"jwks_uri": "https://"}), "jwks_uri", json!(url)),
        (json!({"jwks_uri": "https://a:b@c/keys"}), "jwks_uri", json!("must not contain credentials")),
        (json!({"jwks_uri": "https://c/keys#a"}), "jwks_uri", json!("must not contain a fragment")),
        (json!({"issuer": "https://a:b@c"}), "issuer", json!("must not contain credentials")),
        (json!({"issuer": "a\nb"}), "issuer", json!("must not contain control characters")),
        (json!({"issuer": null}), "issuer", json!("required field missing")),
        (json!({"jwks": "{"}), "jwks", json!("the key set is malformed: not valid JSON")),
        (json!({"jwks": "[]"}), "jwks", json!("the key set is malformed: not a JSON object")),
        (json!({"jwks": "{}"}), "jwks", json!("the key set has no array `keys`")),
        (json!({"jwks": r#"{"keys":[],"keys":[]}"#}), "jwks", json!("the key set is malformed: a member is repeated")),
        (json!({"jwks": r#"{"keys":[]}"#}), "jwks", json!("contains no key that can verify signatures")),
        (json!({"jwks": r#"{"keys":[{"kty":"x"}]}"#}), "jwks", json!("contains no key that can verify signatures")),
        (json!({"jwks": r#"{"keys":[{"kty":"oct","k":"AA"}]}"#}), "jwks", json!(secret)),
        (
            json!({"jwks": format!(r#"{{"keys":[{P256},{{"kty":"OKP","crv":"Ed25519","x":"{der}","d":"{der}"}}]}}"#)}),
            "jwks",
            json!(secret),
        ),
        (json!({"maximum_lifetime": 0}), "maximum_lifetime", json!("value must be greater than 0")),
        (json!({"timeout": 0}), "timeout", json!("value should be between 1 and 2147483646")),
        (json!({"key_refresh": 0}), "key_refresh", json!("value should be between 1 and 86400")),
        (json!({"jku": "x"}), "jku", json!("unknown field")),
    ] {
        assert_eq!(fault(fields.clone()), json!({ field: message }), "{fields}");
    }
    let pem = fault(json!({"tls_ca": String::from_utf8(rsa).unwrap()}));
    assert!(pem["tls_ca"].is_string(), "{pem}");
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let keys = format!(r#"{{"keys":[{P256}]}}"#);
    let certificate = certificate();
    assert_eq!(fault(json!({"tls_ca": certificate})), Value::Null);
    let unused = fault(json!({"tls_ca": certificate, "tls_verify": false}));
    assert_eq!(unused, json!({"tls_ca": "has no effect when tls_verify is false"}));
    for (fields, message) in [
        (
            json!({"jwks_uri": null, "jwks": keys, "algorithms": ["RS256", "ES384"]}),
            "none of the keys in 'jwks' is for one of 'algorithms'",
        ),
        (
            json!({"jwks_uri": null, "discovery": true, "issuer": "issuer.example"}),
            "with 'discovery', 'issuer' must be an http or https URL without query and fragment",
        ),
        (
            json!({"jwks_uri": null, "discovery": true, "issuer": "https://issuer.example?a"}),
            "with 'discovery', 'issuer' must be an http or https URL without query and fragment",
        ),
    ] {
        assert_eq!(fault(fields.clone()), json!(message), "{fields}");
    }
    let refused = stored(json!({"issuers": [entry(json!({})), entry(json!({"jwks_uri": "https://other.example"}))]}));
    assert_eq!(refused, Err(json!({"issuers": "the issuer 'https://issuer.example' has two entries"})));
    assert_eq!(stored(json!({"issuers": []})), Err(json!({"issuers": "length must be at least 1"})));
    assert_eq!(stored(json!({})), Err(json!({"issuers": "required field missing"})));
    let refused = stored(json!({"issuers": [entry(json!({}))], "clock_skew": 301, "consumer_claim": "a..b"}));
    let faults = json!({
        "clock_skew": "value should be between 0 and 300",
        "consumer_claim": "expected the name of a claim, or a dotted path such as realm_access.roles",
    });
    assert_eq!(refused, Err(faults));
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let stored = stored(json!({"issuers": [entry(json!({}))]})).unwrap();
    let issuer = json!({
        "issuer": "https://issuer.example", "jwks_uri": "https://issuer.example/keys", "discovery": false, "jwks": null,
        "algorithms": ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"],
        "audience": [], "require_typ": false, "allow_without_exp": false, "maximum_lifetime": null,
        "tls_verify": true, "tls_ca": null, "timeout": 10000, "keepalive": 60000,
        "key_refresh": 300, "key_min_refresh": 10, "key_max_stale": 3600,
    });
    assert_eq!(stored["issuers"], json!([issuer]));
    let own = ["clock_skew", "consumer_claim", "ttl"].map(|name| stored[name].clone());
    assert_eq!(own, [json!(10), Value::Null, Value::Null]);
}

#[test]
fn an_issuer_is_identified_by_all_that_decides_about_its_tokens() {
    let identity = |config: Value| {
        let config = Config::try_from(&stored(config).unwrap()).unwrap();
        config.identity(&config.issuers[0])
    };
    let one = identity(json!({"issuers": [entry(json!({}))]}));
    for config in [
        json!({"issuers": [entry(json!({"audience": ["a"]}))]}),
        json!({"issuers": [entry(json!({"require_typ": true}))]}),
        json!({"issuers": [entry(json!({"jwks_uri": "https://issuer.example/other"}))]}),
        json!({"issuers": [entry(json!({}))], "clock_skew": 0}),
        json!({"issuers": [entry(json!({}))], "consumer_claim": "sub"}),
    ] {
        assert_ne!(identity(config.clone()), one, "{config}");
    }
    let other = entry(json!({"issuer": "https://other.example"}));
    assert_eq!(identity(json!({"issuers": [entry(json!({})), other], "required_scopes": ["a"]})), one);
}

#[test]
fn more_claims_than_are_kept_of_a_token_are_refused() {
    let config = |count: usize| {
        let forwarded: Vec<String> = (1..count).map(|number| format!("c{number}")).collect();
        json!({"issuers": [entry(json!({}))], "custom_claims_forward": forwarded, "consumer_claim": "client_id",
            "required_claims": [{"claim": "c1"}], "scope_claim": "scp"})
    };
    let message = "at most 53 different claims, besides the registered ones, may be forwarded or required";
    assert!(stored(config(53)).is_ok());
    assert_eq!(stored(config(54)), Err(json!({"custom_claims_forward": message})));
}
