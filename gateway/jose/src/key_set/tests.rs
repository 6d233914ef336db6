use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::SigningKey;

fn parse(document: &Value) -> KeySet {
    KeySet::parse(document.to_string().as_bytes()).unwrap()
}

fn ids(keys: &[Arc<PublishedKey>]) -> Vec<Option<&str>> {
    keys.iter().map(|key| key.id.as_deref()).collect()
}

#[test]
fn keys_are_found_by_id_and_algorithm() {
    let (first, second) = (SigningKey::generate(Algorithm::ES256), SigningKey::generate(Algorithm::ES256));
    let rsa = SigningKey::rsa(2048);
    let anonymous = Value::Object(rsa.jwk());
    let set = parse(&json!({"keys": [first.jwk_of("a"), second.jwk_of("a"), rsa.jwk_of("r"), anonymous]}));
    let found = |id, algorithm| set.candidates(id, algorithm).iter().map(|key| key.id.clone()).collect::<Vec<_>>();
    let id = |id: &str| Some(id.to_owned());
    assert_eq!(found(Some("a"), Algorithm::ES256), [id("a"), id("a")], "two keys of one id");
    assert_eq!(found(Some("a"), Algorithm::RS256), []);
    assert_eq!(found(Some("r"), Algorithm::PS512), [id("r")]);
    assert_eq!(found(Some("x"), Algorithm::RS256), [], "a key without an id is not found by one");
    assert_eq!(found(None, Algorithm::RS256), [id("r"), None]);
    assert_eq!(found(None, Algorithm::EdDSA), []);
    assert!(set.keys().iter().all(|key| key.is_current()));
}

#[test]
fn a_token_without_an_id_does_not_cost_many_checks() {
    let keys = |count| {
        let key = || SigningKey::generate(Algorithm::EdDSA).jwk_of("k");
        parse(&json!({"keys": (0..count).map(|_| key()).collect::<Vec<_>>()}))
    };
    assert_eq!(keys(MAX_CANDIDATES).candidates(None, Algorithm::EdDSA).len(), MAX_CANDIDATES);
    let many = keys(MAX_CANDIDATES + 1);
    assert!(many.candidates(None, Algorithm::EdDSA).is_empty());
    assert!(many.candidates(Some("k"), Algorithm::EdDSA).is_empty());
}

#[test]
fn keys_that_cannot_be_used_are_left_out_and_counted() {
    let key = SigningKey::generate(Algorithm::ES256);
    let with = |member: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk.insert(member.to_owned(), value);
        Value::Object(jwk)
    };
    let set = parse(&json!({"other": 1, "keys": [
        with("use", json!("enc")), with("kty", json!("XYZ")), with("crv", json!("P-999")), with("alg", json!("ECDH-ES")),
        with("d", json!("AQAB")), json!({"kty": "oct", "k": "AQAB"}), with("kid", json!(7)), json!("key"), with("x", json!("")),
        key.jwk_of("good"),
    ]}));
    assert_eq!(ids(set.keys()), [Some("good")]);
    let expected = [
        ("invalid", 3),
        ("not_for_signatures", 1),
        ("private", 1),
        ("symmetric", 1),
        ("unknown_algorithm", 1),
        ("unknown_type", 2),
    ];
    assert_eq!(set.skipped(), &BTreeMap::from(expected));
}

#[test]
fn an_empty_set_is_one_and_another_document_is_not() {
    assert!(parse(&json!({"keys": []})).keys().is_empty());
    for (document, expected) in [
        ("{}", MalformedKeySet::NoKeys),
        (r#"{"keys":{}}"#, MalformedKeySet::NoKeys),
        (r#"{"keys":null}"#, MalformedKeySet::NoKeys),
        ("[]", MalformedKeySet::Document(MalformedClaims::NotAnObject)),
        ("<html>", MalformedKeySet::Document(MalformedClaims::NotJson)),
        (r#"{"keys":[],"keys":[]}"#, MalformedKeySet::Document(MalformedClaims::RepeatedMember)),
        (r#"{"keys":[{"kty":"EC","kty":"RSA"}]}"#, MalformedKeySet::Document(MalformedClaims::RepeatedMember)),
    ] {
        assert_eq!(KeySet::parse(document.as_bytes()).unwrap_err(), expected, "{document}");
    }
    let many = json!({"keys": vec![json!({}); MAX_KEYS + 1]});
    assert_eq!(KeySet::parse(many.to_string().as_bytes()).unwrap_err(), MalformedKeySet::TooMany);
}

#[test]
fn a_key_is_the_same_only_with_the_same_id_algorithm_and_value() {
    let (key, other) = (SigningKey::rsa(2048), SigningKey::rsa(2048));
    let with = |jwk: Value, member: &str, value: Value| {
        let mut jwk = crate::testing::members(jwk);
        jwk.insert(member.to_owned(), value);
        Value::Object(jwk)
    };
    let identity = |jwk: Value| parse(&json!({"keys": [jwk]})).keys()[0].identity();
    let first = identity(key.jwk_of("a"));
    assert_eq!(first, identity(with(key.jwk_of("a"), "x5t", json!("other"))), "what is ignored does not matter");
    let others =
        [key.jwk_of("b"), Value::Object(key.jwk()), other.jwk_of("a"), with(key.jwk_of("a"), "alg", json!("RS256"))];
    for jwk in others {
        assert_ne!(first, identity(jwk.clone()), "{jwk}");
    }
}

proptest! {
    #[test]
    fn no_document_is_too_strange(text in "\\{\"keys\":\\[[{}\\[\\]\":,ktyRSAECn1 ]{0,40}\\]\\}|\\PC{0,40}") {
        let _ = KeySet::parse(text.as_bytes());
    }
}
