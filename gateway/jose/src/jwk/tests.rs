use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::{SigningKey, encode, members};

fn refusal(jwk: Value) -> String {
    VerificationKey::from_jwk(&members(jwk)).unwrap_err().to_string()
}

/// The public key of `signing` with another member.
fn with(signing: &SigningKey, member: &str, value: Value) -> Value {
    let mut jwk = signing.jwk();
    jwk.insert(member.to_owned(), value);
    Value::Object(jwk)
}

#[test]
fn a_key_is_for_its_algorithm_or_for_all_that_fit_it() {
    let algorithms =
        |jwk: Value| VerificationKey::from_jwk(&members(jwk)).unwrap().algorithms().iter().collect::<Vec<_>>();
    use Algorithm::{ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let rsa = SigningKey::rsa(2048);
    assert_eq!(algorithms(Value::Object(rsa.jwk())), [RS256, RS384, RS512, PS256, PS384, PS512]);
    assert_eq!(algorithms(with(&rsa, "alg", json!("PS384"))), [PS384]);
    let ec = SigningKey::generate(ES384);
    assert_eq!(algorithms(Value::Object(ec.jwk())), [ES384]);
    let ed = SigningKey::generate(EdDSA);
    assert_eq!(algorithms(with(&ed, "alg", json!("EdDSA"))), [EdDSA]);
    let ed448 = SigningKey(openssl::pkey::PKey::generate_ed448().unwrap());
    assert_eq!(algorithms(Value::Object(ed448.jwk())), [EdDSA]);
}

#[test]
fn use_and_key_ops_are_honoured_rfc7517_4_2_and_4_3() {
    let key = SigningKey::generate(Algorithm::ES256);
    for (member, value) in
        [("use", json!("sig")), ("key_ops", json!(["verify"])), ("key_ops", json!(["sign", "verify"]))]
    {
        assert!(VerificationKey::from_jwk(&members(with(&key, member, value.clone()))).is_ok(), "{member} {value}");
    }
    for (member, value, expected) in [
        ("use", json!("enc"), "not for signatures"),
        ("key_ops", json!(["encrypt"]), "not for signatures"),
        ("key_ops", json!([]), "not for signatures"),
        ("use", json!(1), "without a valid member use"),
        ("key_ops", json!("verify"), "without a valid member key_ops"),
        ("alg", json!(["ES256"]), "without a valid member alg"),
        ("alg", json!("RSA-OAEP"), "for an unknown algorithm"),
        ("alg", json!("none"), "for an unknown algorithm"),
        ("alg", json!("ES384"), "not a valid key: not a key for {ES384}"),
        ("alg", json!("HS256"), "not a valid key: not a key for {HS256}"),
        ("alg", json!("RS256"), "not a valid key: not a key for {RS256}"),
    ] {
        assert_eq!(refusal(with(&key, member, value.clone())), expected, "{member} {value}");
    }
}

#[test]
fn secrets_are_not_published() {
    let rsa = SigningKey::rsa(2048);
    for member in PRIVATE {
        assert_eq!(refusal(with(&rsa, member, json!("AQAB"))), "a private key", "{member}");
    }
    assert_eq!(refusal(json!({"kty": "oct", "k": "c2VjcmV0"})), "a symmetric key");
    assert_eq!(refusal(with(&rsa, "k", json!("c2VjcmV0"))), "a symmetric key");
}

#[test]
fn a_key_without_valid_values_is_refused() {
    let (rsa, ec) = (SigningKey::rsa(2048), SigningKey::generate(Algorithm::ES256));
    let ed = SigningKey::generate(Algorithm::EdDSA);
    let x = ec.jwk().get("x").and_then(Value::as_str).unwrap().to_owned();
    for (jwk, expected) in [
        (json!({}), "without a valid member kty"),
        (json!({"kty": "XYZ"}), "of an unknown type or curve"),
        (with(&ec, "crv", json!("secp256k1")), "of an unknown type or curve"),
        (with(&ed, "crv", json!("X25519")), "of an unknown type or curve"),
        (json!({"kty": "RSA", "n": "AQAB"}), "without a valid member e"),
        (with(&rsa, "n", json!("not base64!")), "without a valid member n"),
        (with(&ec, "x", json!(format!("{x}AA"))), "without a valid member x"),
        (with(&ec, "x", json!(encode([1; 31]))), "without a valid member x"),
        (with(&ec, "crv", json!("P-384")), "without a valid member x"),
        (with(&ec, "y", json!(encode([1; 32]))), "not a valid key: OpenSSL cannot read the key"),
        (with(&ed, "x", json!("AQAB")), "not a valid key: OpenSSL cannot read the key"),
        (
            with(&rsa, "n", json!(encode([0xff; 128]))),
            "not a valid key: an RSA key of 1024 bits; at least 2048 are needed",
        ),
    ] {
        assert_eq!(refusal(jwk.clone()), expected, "{jwk}");
    }
    assert!(openssl::error::ErrorStack::get().errors().is_empty());
}

proptest! {
    #[test]
    fn no_values_are_too_strange(
        kind in "RSA|EC|OKP", curve in "P-256|P-521|Ed25519|Ed448", first in "[A-Za-z0-9_-]{0,90}", second in "[A-D_-]{0,8}",
    ) {
        let jwk = json!({"kty": kind, "crv": curve, "x": first, "y": second, "n": first, "e": second});
        let _ = VerificationKey::from_jwk(&members(jwk));
    }
}

#[test]
fn the_thumbprint_of_a_key_is_that_of_its_required_members_rfc7638_3_1() {
    let jwk = members(json!({
        "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3\
              oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6\
              qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    }));
    assert_eq!(thumbprint(&jwk).as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
    // RFC 8037 appendix A.3.
    let jwk = members(json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}));
    assert_eq!(thumbprint(&jwk).as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    for jwk in [json!({"kty": "oct", "k": "a"}), json!({"kty": "EC", "crv": "P-256", "x": "a"}), json!({"kty": 1})] {
        assert_eq!(thumbprint(&members(jwk)), None);
    }
}
