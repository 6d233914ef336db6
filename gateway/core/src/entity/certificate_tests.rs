use serde_json::json;

use super::*;
use crate::clock::ManualClock;
use crate::entity::ca_certificate;
use crate::random::SystemRandom;
use crate::schema::{Document, Makers};

/// Text in place of PEM: `TYPE NAME` is a certificate and `key TYPE NAME` its key.
struct Words;

impl Pem for Words {
    fn check_certificate(text: &str) -> Result<(), String> {
        if text == "bad" { Err("not PEM".to_owned()) } else { Ok(()) }
    }

    fn check_key(text: &str) -> Result<(), String> {
        if text.starts_with("key ") { Ok(()) } else { Err("not PEM".to_owned()) }
    }

    fn belong_together(certificate: &str, key: &str) -> bool {
        key == format!("key {certificate}")
    }

    fn have_same_type(one: &str, other: &str) -> bool {
        one.split(' ').next() == other.split(' ').next()
    }

    fn is_expired(certificate: &str) -> bool {
        certificate.contains("old")
    }

    fn is_authority(certificate: &str) -> bool {
        certificate.contains("authority")
    }

    fn digest(certificate: &str) -> Option<String> {
        Some(format!("digest of {certificate}"))
    }
}

fn insert(kind: &Kind, input: Value) -> Result<Document, String> {
    let makers = Makers { clock: &ManualClock::at(1000), random: &SystemRandom };
    let document = Document::try_from(input).unwrap();
    kind.schema.process_insert(document, &makers).map_err(|found| found.message())
}

fn update(kind: &Kind, stored: &Document, patch: Value) -> Result<Document, String> {
    let makers = Makers { clock: &ManualClock::at(2000), random: &SystemRandom };
    let patch = Document::try_from(patch).unwrap();
    kind.schema.process_update(stored, patch, &makers).map_err(|found| found.message())
}

#[test]
fn a_certificate_has_its_key_and_perhaps_an_alternative_of_another_type() {
    let kind = kind::<Words>();
    let rsa = json!({"cert": "rsa a", "key": "key rsa a"});
    let made = insert(&kind, rsa.clone()).unwrap();
    assert_eq!((made.get("snis"), made.get("cert_alt")), (Some(&Value::Null), Some(&Value::Null)));
    let same_type = "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), the \
                     provided certificates were both of the same type";
    let table = [
        (json!({}), "2 schema violations (cert: required field missing; key: required field missing)"),
        (
            json!({"cert": "bad", "key": "worse"}),
            "2 schema violations (cert: invalid certificate: not PEM; key: invalid key: not PEM)",
        ),
        (json!({"cert": "rsa a", "key": "key rsa b"}), "schema violation (certificate does not match key)"),
        (
            json!({"cert": "rsa a", "key": "key rsa a", "cert_alt": "ec a"}),
            "schema violation (all or none of these fields must be set: 'cert_alt', 'key_alt')",
        ),
        (
            json!({"cert": "rsa a", "key": "key rsa a", "cert_alt": "ec a", "key_alt": "key ec b"}),
            "schema violation (alternative certificate does not match key)",
        ),
        (
            json!({"cert": "rsa a", "key": "key rsa a", "cert_alt": "rsa b", "key_alt": "key rsa b"}),
            &format!("schema violation ({same_type})"),
        ),
        (
            json!({"cert": "rsa a", "key": "key rsa a", "snis": ["a.test", "b.test", "a.test"]}),
            "schema violation (snis: a.test is duplicated)",
        ),
        (
            json!({"cert": "rsa a", "key": "key rsa a", "snis": ["a.test", "10.0.0.1"]}),
            "schema violation (snis.2: must not be an IP)",
        ),
    ];
    for (input, text) in table {
        assert_eq!(insert(&kind, input.clone()), Err(text.to_owned()), "{input}");
    }
    assert_eq!(
        update(&kind, &made, json!({"cert": "rsa b"})),
        Err("schema violation (certificate does not match key)".to_owned())
    );
}

#[test]
fn one_server_name_may_be_given_without_a_list() {
    let made = insert(&kind::<Words>(), json!({"cert": "rsa a", "key": "key rsa a", "snis": "a.test"})).unwrap();
    assert_eq!(made.get("snis"), Some(&json!(["a.test"])));
}

#[test]
fn private_keys_are_marked_as_secrets() {
    let secret: Vec<&str> =
        kind::<Words>().schema.fields.iter().filter(|field| field.sensitive).map(|field| field.name).collect();
    assert_eq!(secret, ["key", "key_alt"]);
}

#[test]
fn an_authority_is_one_certificate_that_is_valid_and_may_sign_others() {
    let kind = ca_certificate::kind::<Words>();
    let made = insert(&kind, json!({"cert": "rsa authority", "cert_digest": "x"})).unwrap();
    assert_eq!(made.text("cert_digest"), Some("digest of rsa authority"));
    let tag = "-----BEGIN CERTIFICATE-----";
    let table = [
        (json!({}), "cert: required field missing"),
        (json!({"cert": format!("{tag}\n{tag}")}), "please submit only one certificate at a time"),
        (json!({"cert": "old authority"}), "certificate expired, \"Not After\" time is in the past"),
        (
            json!({"cert": "rsa a"}),
            "certificate does not appear to be a CA because it is missing the \"CA\" basic constraint",
        ),
    ];
    for (input, text) in table {
        assert_eq!(insert(&kind, input.clone()), Err(format!("schema violation ({text})")), "{input}");
    }
    let changed = update(&kind, &made, json!({"cert": "ec authority"})).unwrap();
    assert_eq!(changed.text("cert_digest"), Some("digest of ec authority"));
    // It has expired since: other fields can still be changed.
    let mut expired = made;
    expired.insert("cert".to_owned(), json!("old authority"));
    assert!(update(&kind, &expired, json!({"tags": ["t"]})).is_ok());
}
