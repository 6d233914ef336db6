//! Tokens that are malformed, forged, or of a credential that verifies nothing.

use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::Private;
use openssl::rsa::Rsa;

use super::*;

#[tokio::test]
async fn every_refusal_has_its_text() {
    let world = World::new();
    let protection = world.protection(json!({"claims_to_verify": ["exp"]}));
    let with_header = |header: &str, claims: &str| signed(header, claims, |input| hmac(b"right", input));
    let header = r#"{"alg":"HS256"}"#;
    let with_claims = |claims: &str| with_header(header, claims);
    let good = of_bob();
    let (input, signature) = good.rsplit_once('.').unwrap();
    let long = with_claims(&format!(r#"{{"iss":"bob","a":"{}"}}"#, "a".repeat(16 * 1024)));
    let rows = [
        ("opaque".to_owned(), "Bad token; invalid JSON"),
        (input.to_owned(), "Bad token; invalid JSON"),
        (format!("x{good}"), "Bad token; invalid JSON"),
        (format!("{good}.x"), "Bad token; invalid signature"),
        (format!("{input}="), "Bad token; invalid JSON"),
        (format!("{good}="), "Bad token; invalid signature"),
        (format!("{input}.{signature}!"), "Bad token; invalid signature"),
        (format!("{good}, Bearer {good}"), "Bad token; invalid JSON"),
        (with_header("{", "{}"), "Bad token; invalid JSON"),
        (with_header("[]", "{}"), "Bad token; invalid JSON"),
        (with_header(r#"{"alg":"HS256","alg":"none"}"#, "{}"), "Bad token; invalid JSON"),
        (with_claims(r#"{"iss":"bob","iss":"bob"}"#), "Bad token; invalid JSON"),
        (with_claims("{"), "Bad token; invalid JSON"),
        (with_header(r#"{"alg":"none"}"#, r#"{"iss":"bob"}"#), "Bad token; invalid alg"),
        (with_header(r#"{"alg":"hs256"}"#, r#"{"iss":"bob"}"#), "Bad token; invalid alg"),
        (with_header(r#"{"alg":["HS256"]}"#, r#"{"iss":"bob"}"#), "Bad token; invalid alg"),
        (with_header("{}", r#"{"iss":"bob"}"#), "Bad token; invalid alg"),
        (with_claims("[]"), "Bad token; invalid claims"),
        (with_claims("null"), "Bad token; invalid claims"),
        (with_header(r#"{"alg":"HS256","crit":["b64"]}"#, "{}"), "Bad token; unsupported critical header"),
        (long, "Bad token; too long"),
        (with_claims("{}"), "No mandatory 'iss' in claims"),
        (with_claims(r#"{"iss":""}"#), "Invalid 'iss' in claims"),
        (with_claims(r#"{"iss":7}"#), "Invalid 'iss' in claims"),
        (with_claims(r#"{"iss":null}"#), "Invalid 'iss' in claims"),
        (with_claims(r#"{"iss":"Bob"}"#), "No credentials found for given 'iss'"),
        (with_claims(r#"{"iss":"bob\u0000"}"#), "No credentials found for given 'iss'"),
        (with_header(r#"{"alg":"HS384"}"#, r#"{"iss":"bob"}"#), "Invalid algorithm"),
        (with_header(r#"{"alg":"RS256"}"#, r#"{"iss":"bob"}"#), "Invalid algorithm"),
        (format!("{input}."), "Invalid signature"),
        (format!("{input}.{}", encode("short")), "Invalid signature"),
    ];
    for (token, text) in rows {
        let outcome = present(&protection, &token).await;
        let expected = (json!({"message": text}), "Bearer error=\"invalid_token\"");
        assert_eq!(outcome.refusal(), expected, "{token}");
        assert_eq!(present(&protection, &token).await.refusal(), expected, "again: {token}");
    }
    let missing = (json!({"exp": "must be a number"}), "Bearer error=\"invalid_token\"");
    assert_eq!(present(&protection, &good).await.refusal(), missing);
    let nothing = ask(&protection, Method::GET, &[]).await;
    assert_eq!(nothing.refusal(), (json!({"message": "Unauthorized"}), "Bearer"));
    let two = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    let several = (json!({"message": "Multiple tokens provided"}), "Bearer error=\"invalid_token\"");
    assert_eq!(ask(&protection, Method::GET, &two).await.refusal(), several);
}

#[tokio::test]
async fn a_credential_without_a_usable_key_verifies_nothing() {
    let world = World::new();
    let (plain, encoded) = (world.protection(json!({})), world.protection(json!({"secret_is_base64": true})));
    let unusable = json!({"message": "Invalid key/secret"});
    for secret in [json!(null), json!("="), json!("no base64!")] {
        world.change(json!({"secret": secret})).await;
        // HMAC pads keys with zeros: the same as no key.
        let empty = token(&json!({"iss": "bob"}), "\0");
        assert_eq!(present(&encoded, &empty).await.refusal().0, unusable, "{secret}");
    }
    world.change(json!({"secret": null})).await;
    assert_eq!(present(&plain, &of_bob()).await.refusal().0, unusable);
    for pem in [json!(null), json!("no PEM"), json!(rsa().1)] {
        world.change(json!({"algorithm": "ES256", "rsa_public_key": pem})).await;
        let token = signed(r#"{"alg":"ES256"}"#, r#"{"iss":"bob"}"#, |_| vec![0; 64]);
        assert_eq!(present(&plain, &token).await.refusal().0, unusable, "{pem}");
    }
}

/// A key, and its public key in PEM.
fn rsa() -> (PKey<Private>, String) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let pem = String::from_utf8(key.public_key_to_pem().unwrap()).unwrap();
    (key, pem)
}

#[tokio::test]
async fn a_public_key_is_not_a_secret() {
    let world = World::new();
    let protection = world.protection(json!({}));
    let (key, pem) = rsa();
    world.put(json!({"algorithm": "RS256", "rsa_public_key": pem}));
    let sign = |input: &[u8]| Signer::new(MessageDigest::sha256(), &key).unwrap().sign_oneshot_to_vec(input).unwrap();
    let right = signed(r#"{"alg":"RS256"}"#, r#"{"iss":"bob"}"#, sign);
    assert_eq!(present(&protection, &right).await.result(), "passed");
    for (header, result) in [
        (r#"{"alg":"HS256"}"#, "jwt_algorithm_wrong"),
        (r#"{"alg":"RS256"}"#, "jwt_signature_wrong"),
        (r#"{"alg":"PS256"}"#, "jwt_algorithm_wrong"),
    ] {
        let forged = signed(header, r#"{"iss":"bob"}"#, |input| hmac(pem.as_bytes(), input));
        assert_eq!(present(&protection, &forged).await.result(), result, "{header}");
        let forged = signed(header, r#"{"iss":"bob"}"#, |input| hmac(pem.trim().as_bytes(), input));
        assert_eq!(present(&protection, &forged).await.result(), result, "{header}");
    }
    // The header says RSA, the credential HMAC with a secret that everyone may know.
    world.change(json!({"secret": pem, "rsa_public_key": pem})).await;
    assert_eq!(present(&protection, &right).await.result(), "jwt_algorithm_wrong");
}

#[tokio::test]
async fn an_ecdsa_signature_has_its_two_numbers_at_full_length() {
    let world = World::new();
    let protection = world.protection(json!({}));
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = EcKey::generate(&group).unwrap();
    let pem = String::from_utf8(key.public_key_to_pem().unwrap()).unwrap();
    world.put(json!({"algorithm": "ES256", "rsa_public_key": pem}));
    let numbers = |input: &[u8]| EcdsaSig::sign(&openssl::sha::sha256(input), &key).unwrap();
    let raw = |input: &[u8]| {
        let signature = numbers(input);
        [signature.r().to_vec_padded(32).unwrap(), signature.s().to_vec_padded(32).unwrap()].concat()
    };
    let der = |input: &[u8]| numbers(input).to_der().unwrap();
    let zeros = |_: &[u8]| vec![0; 64];
    let longer = |input: &[u8]| [raw(input), vec![0]].concat();
    let (header, claims) = (r#"{"alg":"ES256"}"#, r#"{"iss":"bob"}"#);
    assert_eq!(present(&protection, &signed(header, claims, raw)).await.result(), "passed");
    for wrong in [signed(header, claims, der), signed(header, claims, zeros), signed(header, claims, longer)] {
        assert_eq!(present(&protection, &wrong).await.result(), "jwt_signature_wrong", "{wrong}");
    }
}

#[tokio::test]
async fn a_signature_has_one_spelling() {
    let world = World::new();
    let protection = world.protection(json!({}));
    let token = of_bob();
    assert_eq!(present(&protection, &token).await.result(), "passed");
    // 32 bytes end in four bits and two that are ignored by lenient readers.
    let last = token.chars().last().unwrap();
    let others = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']).filter(|other| *other != last);
    for other in others {
        let changed = format!("{}{other}", &token[..token.len() - 1]);
        assert_ne!(present(&protection, &changed).await.result(), "passed", "{changed}");
    }
}
