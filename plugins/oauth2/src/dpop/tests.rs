use openssl::pkey::PKey;
use proptest::prelude::*;
use serde_json::json;
use tollgate_jose::testing::{SigningKey, encode, members};

use super::testing::{ProofKey, replace, token_hash};
use super::*;

const NOW: i64 = 1_800_000_000;
const URI: &str = "https://api.test/items";
const TOKEN: &str = "the access token";

fn checked(proof: &str, method: &str, token: Option<&str>, now: i64) -> Result<Proven, Fault> {
    let uri = TargetUri::parse(URI);
    let expected = Expected { method, uri: uri.as_ref(), access_token: token, now };
    check(proof, &expected, &KnownKeys::default())
}

fn claims(patch: &Value) -> Value {
    let mut claims = json!({"jti": "1", "htm": "GET", "htu": URI, "iat": NOW, "ath": token_hash(TOKEN)});
    replace(&mut claims, patch);
    claims
}

/// What follows from a proof with these changes.
fn found(header: &Value, patch: &Value) -> Result<(), Fault> {
    let key = ProofKey::new(Algorithm::ES256);
    checked(&key.sign(header, &claims(patch)), "GET", Some(TOKEN), NOW).map(drop)
}

#[test]
fn a_proof_names_its_key_and_is_told_from_others() {
    for algorithm in ALGORITHMS {
        let key = ProofKey::new(algorithm);
        let proven = checked(&key.prove(&claims(&json!({"nonce": "n"}))), "GET", Some(TOKEN), NOW).unwrap();
        assert_eq!(
            (proven.thumbprint.as_str(), proven.until),
            (key.thumbprint().as_str(), NOW + WINDOW),
            "{algorithm}"
        );
        assert_eq!(proven.nonce.as_deref(), Some("n"));
        let again = checked(&key.prove(&claims(&json!({"iat": NOW - 1}))), "GET", Some(TOKEN), NOW).unwrap();
        assert_eq!(again.id, proven.id, "the same id, however it is signed");
        let other = checked(&key.prove(&claims(&json!({"jti": "2"}))), "GET", Some(TOKEN), NOW).unwrap();
        let others = checked(&ProofKey::new(algorithm).prove(&claims(&json!({}))), "GET", Some(TOKEN), NOW).unwrap();
        assert!(other.id != proven.id && others.id != proven.id);
    }
}

#[test]
fn claims_are_checked_as_the_table_says_rfc9449_4_3() {
    let long = "a".repeat(MAX_ID_LENGTH + 1);
    for (patch, expected) in [
        (json!({}), Ok(())),
        (json!({"other": 1, "aud": "x"}), Ok(())),
        (json!({"jti": null}), Err(Fault::Malformed)),
        (json!({"jti": ""}), Err(Fault::Malformed)),
        (json!({"jti": 1}), Err(Fault::Malformed)),
        (json!({"jti": long}), Err(Fault::Malformed)),
        (json!({"jti": &long[1..]}), Ok(())),
        (json!({"htm": null}), Err(Fault::Malformed)),
        (json!({"htm": "get"}), Err(Fault::Method)),
        (json!({"htm": "POST"}), Err(Fault::Method)),
        (json!({"htu": null}), Err(Fault::Malformed)),
        (json!({"htu": "https://api.test/other"}), Err(Fault::Uri)),
        (json!({"htu": "https://api.test/items?page=2#end"}), Ok(())),
        (json!({"htu": ["https://api.test/items"]}), Err(Fault::Malformed)),
        (json!({"iat": null}), Err(Fault::Malformed)),
        (json!({"iat": "1800000000"}), Err(Fault::Malformed)),
        (json!({"iat": 1.8e9}), Ok(())),
        (json!({"iat": -1e300}), Err(Fault::Time)),
        (json!({"iat": NOW - WINDOW}), Ok(())),
        (json!({"iat": NOW - WINDOW - 1}), Err(Fault::Time)),
        (json!({"iat": NOW + WINDOW}), Ok(())),
        (json!({"iat": NOW + WINDOW + 1}), Err(Fault::Time)),
        (json!({"iat": i64::MIN}), Err(Fault::Time)),
        (json!({"ath": null}), Err(Fault::Token)),
        (json!({"ath": token_hash("another")}), Err(Fault::Token)),
        (json!({"ath": ""}), Err(Fault::Token)),
        (json!({"ath": 1}), Err(Fault::Malformed)),
        (json!({"nonce": 1}), Err(Fault::Malformed)),
    ] {
        assert_eq!(found(&json!({}), &patch), expected, "{patch}");
    }
    let key = ProofKey::new(Algorithm::ES256);
    let without_token = |proof: &str| checked(proof, "GET", None, NOW).map(drop);
    assert_eq!(without_token(&key.prove(&claims(&json!({"ath": null})))), Ok(()));
    assert_eq!(without_token(&key.prove(&claims(&json!({})))), Ok(()), "there is no token to compare with");
}

#[test]
fn the_header_is_checked_as_the_table_says_rfc9449_4_2() {
    let key = ProofKey::new(Algorithm::ES256);
    let with = |patch: Value| {
        let mut jwk = Value::Object(key.key.jwk());
        replace(&mut jwk, &patch);
        checked(&key.sign(&json!({"jwk": jwk}), &claims(&json!({}))), "GET", Some(TOKEN), NOW).map(drop)
    };
    assert_eq!(with(json!({})), Ok(()));
    assert_eq!(with(json!({"kid": "k", "use": "enc", "alg": "RS256"})), Ok(()), "what a key is for says its proof");
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        assert_eq!(with(json!({private: "AAAA"})), Err(Fault::Key), "{private}");
    }
    assert_eq!(with(json!({"crv": "P-384"})), Err(Fault::Key));
    assert_eq!(with(json!({"x": null})), Err(Fault::Key));
    assert_eq!(with(json!({"x": encode([1; 32])})), Err(Fault::Key), "no point of the curve");
    assert_eq!(with(json!({"kty": "oct"})), Err(Fault::Key));
    for (header, expected) in [
        (json!({"typ": null}), Err(Fault::Type)),
        (json!({"typ": "JWT"}), Err(Fault::Type)),
        (json!({"typ": "DPoP+jwt"}), Err(Fault::Type)),
        (json!({"jwk": null}), Err(Fault::Key)),
        (json!({"jwk": "x"}), Err(Fault::Key)),
        (json!({"jwk": SigningKey::generate(Algorithm::ES256).jwk()}), Err(Fault::Signature)),
        (json!({"jwk": SigningKey::generate(Algorithm::RS256).jwk()}), Err(Fault::Signature)),
        (json!({"crit": ["b64"], "b64": false}), Err(Fault::Malformed)),
    ] {
        assert_eq!(found(&header, &json!({})), expected, "{header}");
    }
}

#[test]
fn only_the_algorithms_of_proofs_are_accepted() {
    for algorithm in Algorithm::ALL {
        let found = checked(&ProofKey::new(algorithm).key_and_proof(), "GET", Some(TOKEN), NOW).map(drop);
        let expected = if ALGORITHMS.contains(&algorithm) { Ok(()) } else { Err(Fault::Algorithm) };
        assert_eq!(found, expected, "{algorithm}");
    }
    let key = ProofKey::new(Algorithm::ES256);
    for name in ["none", "None", "", "es256"] {
        let header = json!({"typ": "dpop+jwt", "jwk": key.key.jwk(), "alg": name});
        let unsigned = format!("{}.{}.", encode(header.to_string()), encode(claims(&json!({})).to_string()));
        assert_eq!(checked(&unsigned, "GET", Some(TOKEN), NOW), Err(Fault::Algorithm), "{name}");
    }
    // The public key as the secret of an HMAC.
    let mut header = json!({"typ": "dpop+jwt", "jwk": key.key.jwk()});
    let forged = SigningKey::generate(Algorithm::HS256).sign(Algorithm::HS256, &header, &claims(&json!({})));
    assert_eq!(checked(&forged, "GET", Some(TOKEN), NOW), Err(Fault::Algorithm));
    header["jwk"] = json!({"kty": "oct", "k": "AAAA"});
    let symmetric = key.key.sign(Algorithm::ES256, &header, &claims(&json!({})));
    assert_eq!(checked(&symmetric, "GET", Some(TOKEN), NOW), Err(Fault::Key));
    let small = ProofKey { key: SigningKey::rsa(1024), algorithm: Algorithm::RS256 };
    let slow = ProofKey { key: SigningKey(PKey::generate_ed448().unwrap()), algorithm: Algorithm::EdDSA };
    for key in [small, slow] {
        assert_eq!(checked(&key.prove(&claims(&json!({}))), "GET", Some(TOKEN), NOW), Err(Fault::Key));
    }
}

impl ProofKey {
    fn key_and_proof(&self) -> String {
        // Secrets have no public key.
        let is_secret = self.algorithm.family() == tollgate_jose::Family::Hmac;
        let jwk = if is_secret { members(json!({"kty": "oct", "k": "AAAA"})) } else { self.key.jwk() };
        self.sign(&json!({"jwk": jwk}), &claims(&json!({})))
    }
}

#[test]
fn what_is_changed_or_cut_is_refused() {
    let proof = ProofKey::new(Algorithm::ES256).prove(&claims(&json!({})));
    assert!(checked(&proof, "GET", Some(TOKEN), NOW).is_ok());
    let (signed, signature) = proof.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let other = encode(claims(&json!({"jti": "2"})).to_string());
    for (changed, expected) in [
        (String::new(), Fault::Malformed),
        (signed.to_owned(), Fault::Malformed),
        (format!("{signed}."), Fault::Signature),
        (format!("{header}.{other}.{signature}"), Fault::Signature),
        (format!("{header}.{payload}.{}", &signature[..signature.len() - 6]), Fault::Signature),
        (format!("{proof}.x"), Fault::Malformed),
        (format!("{header}.{}.{signature}", encode("[]")), Fault::Malformed),
        (format!("{header}.{}.{signature}", encode(r#"{"jti":"1","jti":"2"}"#)), Fault::Malformed),
        (format!("{proof}{}", "A".repeat(MAX_LENGTH)), Fault::Malformed),
    ] {
        assert_eq!(checked(&changed, "GET", Some(TOKEN), NOW), Err(expected), "{changed}");
    }
}

#[test]
fn a_known_key_verifies_the_same_proofs() {
    let (keys, key) = (KnownKeys::default(), ProofKey::new(Algorithm::ES256));
    let uri = TargetUri::parse(URI);
    let expected = Expected { method: "GET", uri: uri.as_ref(), access_token: None, now: NOW };
    let proof = |id: &str| key.prove(&claims(&json!({"jti": id})));
    assert!(check(&proof("1"), &expected, &keys).is_ok() && check(&proof("2"), &expected, &keys).is_ok());
    let (signed, _) = proof("3").rsplit_once('.').map(|(signed, rest)| (signed.to_owned(), rest.to_owned())).unwrap();
    assert_eq!(check(&format!("{signed}.AAAA"), &expected, &keys), Err(Fault::Signature));
    let mut private = Value::Object(key.key.jwk());
    private["d"] = json!("AAAA");
    assert_eq!(check(&key.sign(&json!({"jwk": private}), &claims(&json!({}))), &expected, &keys), Err(Fault::Key));
}

#[test]
fn a_request_has_one_proof_rfc9449_4_3_1() {
    for (values, expected) in [
        (&[][..], Err(Fault::Missing)),
        (&["a.b.c"], Ok("a.b.c")),
        (&["a.b.c", "d.e.f"], Err(Fault::Several)),
        (&["a.b.c", "a.b.c"], Err(Fault::Several)),
        (&["a.b.c, d.e.f"], Err(Fault::Several)),
        (&["é"], Err(Fault::Malformed)),
    ] {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(DPOP, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        assert_eq!(in_headers(&headers), expected, "{values:?}");
    }
}

proptest! {
    #[test]
    fn no_proof_is_too_strange(text in "\\PC{0,60}", header in "\\PC{0,60}", payload in "\\PC{0,60}") {
        let _ = checked(&text, "GET", None, NOW);
        let _ = checked(&format!("{}.{}.AAAA", encode(&header), encode(&payload)), "GET", None, NOW);
    }
}
