//! The `basicauth_credentials` kind: a consumer's username and password.

use std::fmt;
use std::fmt::Write;

use openssl::sha::sha1;
use subtle::ConstantTimeEq;
use tollgate_plugin::{Field, Kind, OnDelete, Rule, Salted, Schema, field};
use uuid::Uuid;
use zeroize::Zeroizing;

/// The kind's name.
pub(crate) const NAME: &str = "basicauth_credentials";

/// The kind as data.
pub(crate) fn kind() -> Kind {
    Kind::new(NAME, schema()).segment("basic-auths").nested_segment("basic-auth").second_key("username")
}

fn schema() -> Schema {
    Schema::new(vec![
        field::id(),
        field::created_at(),
        Field::foreign("consumer", "consumers", OnDelete::Cascade).required(),
        // Sent upstream in a header.
        Field::string("username").required().unique().rule(Rule::HeaderText),
        Field::string("password").required().sensitive(),
        field::tags(),
    ])
    .describe(&[
        ("consumer", "The consumer of requests with these credentials."),
        ("username", "The name that clients present."),
        ("password", "The password that clients present; stored as a hash."),
    ])
    .salted(Salted { field: "password", salt: "consumer", salt_id: "consumer.id", on_write: hashed })
}

fn hashed(password: &str, consumer: &str) -> String {
    let mut text = String::with_capacity(2 * LENGTH);
    for byte in PasswordHash::salted(password.as_bytes(), consumer).0 {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

const LENGTH: usize = 20;

/// The hash of a password.
#[derive(Clone, Copy)]
pub(crate) struct PasswordHash([u8; LENGTH]);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl PasswordHash {
    /// Of a password of this consumer.
    pub(crate) fn of(password: &[u8], consumer: Uuid) -> Self {
        Self::salted(password, &consumer.to_string())
    }

    fn salted(password: &[u8], consumer: &str) -> Self {
        Self(sha1(&Zeroizing::new([password, consumer.as_bytes()].concat())))
    }

    /// The hash of a stored credential; `None`: no password has it.
    pub(crate) fn parse(stored: &str) -> Option<Self> {
        let digits = (stored.len() == 2 * LENGTH && stored.is_ascii()).then_some(stored)?;
        let mut hash = [0; LENGTH];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(hash))
    }

    /// Whether both are of the same password.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tollgate_core::clock::ManualClock;
    use tollgate_core::random::SystemRandom;
    use tollgate_core::schema::Makers;

    use super::*;

    const BOB: &str = "0d7f1a9a-4f6a-4d1c-8f6f-9f6d6c7f2a2b";

    /// `printf '%s' kong0d7f1a9a-4f6a-4d1c-8f6f-9f6d6c7f2a2b | sha1sum`
    const KONG: &str = "554e9336affca399f6cc7086d149fa9c203bed4a";

    #[test]
    fn a_password_is_stored_as_its_hash_with_the_consumer_as_salt() {
        let makers = Makers { clock: &ManualClock::at(1), random: &SystemRandom };
        let insert = |document: Value| {
            let processed = kind().schema.process_insert(document.try_into().unwrap(), &makers);
            processed.map(Value::from).map_err(|violations| Value::Object(violations.fields))
        };
        let consumer = json!({ "id": BOB });
        let mut made = insert(json!({"consumer": consumer, "username": "bob", "password": "kong"})).unwrap();
        made["id"] = Value::Null;
        let expected = json!({
            "id": null, "created_at": 1, "consumer": consumer, "username": "bob", "password": KONG, "tags": null,
        });
        assert_eq!(made, expected);
        let missing = "required field missing";
        for (document, faults) in [
            (json!({}), json!({"consumer": missing, "username": missing, "password": missing})),
            (
                json!({"consumer": consumer, "username": "a\r\nb", "password": "p"}),
                json!({"username": "must not contain control characters"}),
            ),
            (json!({"consumer": consumer, "username": "a", "password": 1}), json!({"password": "expected a string"})),
            (
                json!({"consumer": consumer, "username": "a", "password": ""}),
                json!({"password": "length must be at least 1"}),
            ),
        ] {
            assert_eq!(insert(document.clone()), Err(faults), "{document}");
        }
    }

    #[test]
    fn only_the_password_matches_its_hash() {
        let (stored, bob) = (PasswordHash::parse(KONG).unwrap(), Uuid::parse_str(BOB).unwrap());
        assert!(stored.matches(&PasswordHash::of(b"kong", bob)));
        assert!(PasswordHash::parse(&KONG.to_uppercase()).unwrap().matches(&stored));
        assert!(!stored.matches(&PasswordHash::of(b" kong", bob)));
        assert!(!stored.matches(&PasswordHash::of(b"kong", Uuid::nil())));
        for nothing in ["", "kong", &KONG[1..], &format!("{KONG}0"), &KONG.replace('a', "g"), &"é".repeat(20)] {
            assert!(PasswordHash::parse(nothing).is_none_or(|hash| hash.matches(&stored)), "{nothing}");
        }
        assert!(PasswordHash::parse(&"é".repeat(20)).is_none());
        assert_eq!(format!("{stored:?}"), "PasswordHash(…)");
    }
}
