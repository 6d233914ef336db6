use openssl::asn1::Asn1Time;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer};
use openssl::x509::X509;
use serde_json::{Value, json};

use super::*;
use crate::testing::{SigningKey, encode, members};

/// The claims in the examples of RFC 7515.
const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn parse(token: &str) -> Jws {
    Jws::parse(token).unwrap()
}

fn from_jwk(jwk: Value) -> VerificationKey {
    VerificationKey::from_jwk(&members(jwk)).unwrap()
}

fn hmac_key(secret: &str, algorithm: Algorithm) -> VerificationKey {
    use base64::Engine as _;
    let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(secret).unwrap();
    VerificationKey::hmac(&secret, algorithm).unwrap()
}

fn key_of(signing: &SigningKey, algorithm: Algorithm) -> VerificationKey {
    if algorithm.family() == Family::Hmac {
        return VerificationKey::hmac(b"a secret of tests", algorithm).unwrap();
    }
    VerificationKey::from_pem(&signing.pem(), algorithm, RsaSize::Secure).unwrap()
}

#[test]
fn the_hmac_example_is_verified_rfc7515_a_1() {
    let token = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    assert_eq!(hmac_key(secret, Algorithm::HS256).verify(&parse(&token)), Ok(()));
    assert_eq!(hmac_key(secret, Algorithm::HS512).verify(&parse(&token)), Err(BadSignature));
    assert_eq!(hmac_key("AyM1", Algorithm::HS256).verify(&parse(&token)), Err(BadSignature));
}

#[test]
fn the_rsa_example_is_verified_rfc7515_a_2() {
    let token = format!(
        "eyJhbGciOiJSUzI1NiJ9.{JOE}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5\
         YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07\
         Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9F\
         s98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    let key = from_jwk(json!({
        "kty": "RSA",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2\
              lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTB\
              EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kz\
              k2PAcDTW9gb54h4FRWyuXpoQ",
        "e": "AQAB"
    }));
    assert_eq!(key.verify(&parse(&token)), Ok(()));
}

#[test]
fn the_p256_example_is_verified_rfc7515_a_3() {
    let token = format!(
        "eyJhbGciOiJFUzI1NiJ9.{JOE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    let key = from_jwk(json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
    }));
    assert_eq!(key.verify(&parse(&token)), Ok(()));
}

#[test]
fn the_p521_example_is_verified_rfc7515_a_4() {
    let token = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KG\
                 DKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";
    let key = from_jwk(json!({
        "kty": "EC", "crv": "P-521",
        "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
        "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"
    }));
    let jws = parse(token);
    assert_eq!((&*jws.payload, key.verify(&jws)), (&b"Payload"[..], Ok(())));
}

#[test]
fn the_ed25519_example_is_verified_rfc8037_a_4() {
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhi\
                 jcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(from_jwk(jwk).verify(&parse(token)), Ok(()));
}

#[test]
fn every_algorithm_verifies_what_its_key_has_signed_and_nothing_else() {
    for algorithm in Algorithm::ALL {
        let signing = SigningKey::generate(algorithm);
        let key = key_of(&signing, algorithm);
        let token = signing.sign(algorithm, &json!({}), &json!({"sub": "one"}));
        assert_eq!(key.verify(&parse(&token)), Ok(()), "{algorithm}");
        let other = signing.sign(algorithm, &json!({}), &json!({"sub": "two"}));
        let (signed, _) = other.rsplit_once('.').unwrap();
        let mixed = format!("{signed}.{}", token.rsplit('.').next().unwrap());
        assert_eq!(key.verify(&parse(&mixed)), Err(BadSignature), "{algorithm}: the claims of another token");
        if algorithm.family() != Family::Hmac {
            let stranger = key_of(&SigningKey::generate(algorithm), algorithm);
            assert_eq!(stranger.verify(&parse(&token)), Err(BadSignature), "{algorithm}: another key");
        }
        for length in [0, 1] {
            let token = format!("{signed}.{}", encode(vec![0; length]));
            assert_eq!(key.verify(&parse(&token)), Err(BadSignature), "{algorithm}: {length} bytes");
        }
    }
    let ed448 = SigningKey(PKey::generate_ed448().unwrap());
    let token = ed448.sign(Algorithm::EdDSA, &json!({}), &json!({}));
    assert_eq!(key_of(&ed448, Algorithm::EdDSA).verify(&parse(&token)), Ok(()));
}

#[test]
fn a_header_does_not_choose_how_a_key_is_used() {
    let rsa = SigningKey::rsa(2048);
    let key = key_of(&rsa, Algorithm::RS256);
    // The oldest trick: the public key as the secret of HMAC.
    let secret = SigningKey(PKey::hmac(&rsa.pem()).unwrap());
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(key.verify(&parse(&secret.sign(algorithm, &json!({}), &json!({})))), Err(BadSignature));
        let error = VerificationKey::from_pem(&rsa.pem(), algorithm, RsaSize::Any).unwrap_err();
        assert_eq!(error.to_string(), format!("not a key for {{{algorithm}}}"));
    }
    assert!(matches!(VerificationKey::hmac(&rsa.pem(), Algorithm::RS256), Err(InvalidKey::WrongType(_))));
    let signed = rsa.sign(Algorithm::RS256, &json!({}), &json!({}));
    let (_, rest) = signed.split_once('.').unwrap();
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"RS384"}"#, r#"{"alg":"PS256"}"#, r#"{"alg":"ES256"}"#] {
        let token = format!("{}.{rest}", encode(header));
        assert_eq!(key.verify(&parse(&token)), Err(BadSignature), "{header}");
    }
    let unsigned = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode("{}"));
    assert_eq!(key.verify(&parse(&unsigned)), Err(BadSignature));
    // Its own key, and not the algorithm that it is for.
    assert_eq!(key.verify(&parse(&rsa.sign(Algorithm::PS256, &json!({}), &json!({})))), Err(BadSignature));
}

#[test]
fn pss_salts_are_as_long_as_the_hash_rfc7518_3_5() {
    let rsa = SigningKey::rsa(2048);
    let key = key_of(&rsa, Algorithm::PS256);
    let signed = format!("{}.{}", encode(r#"{"alg":"PS256"}"#), encode("{}"));
    for (salt, expected) in [(32, Ok(())), (0, Err(BadSignature)), (20, Err(BadSignature)), (64, Err(BadSignature))] {
        let mut signer = Signer::new(MessageDigest::sha256(), &rsa.0).unwrap();
        signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        signer.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt)).unwrap();
        let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
        assert_eq!(key.verify(&parse(&format!("{signed}.{}", encode(signature)))), expected, "{salt}");
    }
}

#[test]
fn ecdsa_signatures_have_their_exact_length_rfc7518_3_4() {
    let ec = SigningKey::generate(Algorithm::ES256);
    let key = key_of(&ec, Algorithm::ES256);
    let signed = format!("{}.{}", encode(r#"{"alg":"ES256"}"#), encode("{}"));
    let der = Signer::new(MessageDigest::sha256(), &ec.0).unwrap().sign_oneshot_to_vec(signed.as_bytes()).unwrap();
    let verify = |signature: &[u8]| key.verify(&parse(&format!("{signed}.{}", encode(signature))));
    let numbers = EcdsaSig::from_der(&der).unwrap();
    let (r, s) = (numbers.r().to_vec_padded(32).unwrap(), numbers.s().to_vec_padded(32).unwrap());
    assert_eq!(verify(&[r.clone(), s.clone()].concat()), Ok(()));
    assert_eq!(verify(&der), Err(BadSignature), "DER");
    let zero = vec![0; 32];
    let padded = |number: &Vec<u8>| [vec![0], number.clone()].concat();
    for (r, s) in [(&zero, &zero), (&r, &zero), (&zero, &s), (&padded(&r), &padded(&s)), (&r, &padded(&s))] {
        assert_eq!(verify(&[r.clone(), s.clone()].concat()), Err(BadSignature));
    }
}

#[test]
fn any_changed_bit_of_a_token_is_noticed() {
    for algorithm in [Algorithm::HS256, Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA] {
        let signing = SigningKey::generate(algorithm);
        let key = key_of(&signing, algorithm);
        let token = signing.sign(algorithm, &json!({"kid": "k"}), &json!({"sub": "s"})).into_bytes();
        let mut parsed = 0;
        for (at, bit) in (0..token.len()).flat_map(|at| (0..7).map(move |bit| (at, bit))) {
            let mut changed = token.clone();
            changed[at] ^= 1 << bit;
            let changed = String::from_utf8(changed).unwrap();
            if let Ok(jws) = Jws::parse(&changed) {
                parsed += 1;
                assert_eq!(key.verify(&jws), Err(BadSignature), "{algorithm}: bit {bit} of {at}");
            }
        }
        assert!(parsed > 100, "{algorithm}");
    }
}

#[test]
fn a_failed_check_leaves_no_errors_for_the_next_tls_connection() {
    for algorithm in Algorithm::ALL {
        let signing = SigningKey::generate(algorithm);
        let key = key_of(&signing, algorithm);
        assert!(ErrorStack::get().errors().is_empty(), "{algorithm}: reading the key");
        let token = signing.sign(algorithm, &json!({}), &json!({}));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        for signature in ["", &"A".repeat(signature.len() / 4 * 4), &"_".repeat(signature.len() / 4 * 4)] {
            assert_eq!(key.verify(&parse(&format!("{signed}.{signature}"))), Err(BadSignature));
            assert!(ErrorStack::get().errors().is_empty(), "{algorithm}: {signature}");
        }
    }
}

fn certificate(key: &SigningKey) -> Vec<u8> {
    let mut builder = X509::builder().unwrap();
    builder.set_pubkey(&key.0).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(&key.0, MessageDigest::sha256()).unwrap();
    builder.build().to_pem().unwrap()
}

#[test]
fn a_public_key_is_read_from_each_form_of_pem() {
    let rsa = SigningKey::rsa(2048);
    let token = parse(&rsa.sign(Algorithm::RS256, &json!({}), &json!({})));
    let pkcs1 = rsa.0.rsa().unwrap().public_key_to_pem_pkcs1().unwrap();
    for pem in [rsa.pem(), pkcs1, certificate(&rsa)] {
        let key = VerificationKey::from_pem(&pem, Algorithm::RS256, RsaSize::Secure).unwrap();
        assert_eq!(key.verify(&token), Ok(()), "{}", String::from_utf8(pem).unwrap());
    }
    let read = |pem: &[u8]| VerificationKey::from_pem(pem, Algorithm::RS256, RsaSize::Secure).unwrap_err();
    assert!(matches!(read(&rsa.0.private_key_to_pem_pkcs8().unwrap()), InvalidKey::PrivateKey));
    assert!(matches!(read(b"secret"), InvalidKey::NotPem));
    assert!(matches!(read(b"-----BEGIN DH PARAMETERS-----\n"), InvalidKey::NotPem));
    assert!(matches!(read(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), InvalidKey::Unreadable(_)));
    assert!(ErrorStack::get().errors().is_empty());
}

#[test]
fn the_curve_of_a_key_fits_the_algorithm_rfc7518_3_4() {
    let curves = [
        (Nid::X9_62_PRIME256V1, Some(Algorithm::ES256)),
        (Nid::SECP384R1, Some(Algorithm::ES384)),
        (Nid::SECP521R1, Some(Algorithm::ES512)),
        (Nid::SECP256K1, None),
    ];
    for (curve, fits) in curves {
        let pem = SigningKey::ec(curve).pem();
        for algorithm in [Algorithm::ES256, Algorithm::ES384, Algorithm::ES512, Algorithm::RS256, Algorithm::EdDSA] {
            let key = VerificationKey::from_pem(&pem, algorithm, RsaSize::Any);
            assert_eq!(key.is_ok(), Some(algorithm) == fits, "{curve:?} {algorithm}");
        }
    }
}

#[test]
fn small_and_huge_rsa_keys_are_for_those_who_ask_for_them() {
    let small = SigningKey::rsa(1024);
    let pem = small.pem();
    let error = VerificationKey::from_pem(&pem, Algorithm::RS256, RsaSize::Secure).unwrap_err();
    assert_eq!(error.to_string(), "an RSA key of 1024 bits; at least 2048 are needed");
    let key = VerificationKey::from_pem(&pem, Algorithm::RS256, RsaSize::Any).unwrap();
    assert_eq!(key.verify(&parse(&small.sign(Algorithm::RS256, &json!({}), &json!({})))), Ok(()));
    let modulus = |bits: usize| encode(vec![0xff; bits / 8]);
    for (bits, exponent) in [(16384, &"AQAB".to_owned()), (2048, &modulus(2048)), (2048, &"AQAAAAAAAAAAAQ".to_owned())]
    {
        let jwk = members(json!({"kty": "RSA", "n": modulus(bits), "e": exponent}));
        let error = VerificationKey::from_jwk(&jwk).unwrap_err();
        assert!(matches!(error, crate::Unusable::Invalid(InvalidKey::RsaTooLarge)), "{error:?}");
    }
}

#[test]
fn nothing_of_a_key_is_shown() {
    let key = VerificationKey::hmac(b"hidden", Algorithm::HS256).unwrap();
    assert_eq!(format!("{key:?}"), "VerificationKey { algorithms: {HS256}, .. }");
}
