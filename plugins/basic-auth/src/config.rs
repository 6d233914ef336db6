//! The configuration of an instance.

use http::HeaderValue;
use serde::Deserialize;
use serde_json::Value;
use tollgate_plugin::authentication;
use tollgate_plugin::cache::ServeCached;
use tollgate_plugin::{Field, Rule, Schema, config_rules};

/// The schema of `config`.
pub(crate) fn schema() -> Schema {
    Schema::new(vec![
        Field::string("anonymous"),
        Field::boolean("hide_credentials", false),
        Field::string("realm").default("service").required().rule(Rule::Custom("realm", config_rules::realm)),
        ServeCached::field(),
    ])
    .describe(&[
        ("anonymous", "The consumer, by id or username, of requests without valid credentials."),
        ("hide_credentials", "Whether the header with the password is removed from the request that goes upstream."),
        ("realm", "The `realm` of the challenge in refusals."),
    ])
}

/// `Basic realm="R"`; `None` if the realm is not valid in a header.
fn challenge(realm: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(authentication::challenge("Basic", Some(realm)).as_bytes()).ok()
}

/// Whether passwords are forwarded to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passwords {
    Forward,
    Hide,
}

/// An instance's configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) anonymous: Option<String>,
    pub(crate) passwords: Passwords,
    pub(crate) challenge: HeaderValue,
    pub(crate) serve_cached: ServeCached,
}

/// Why a stored configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("stored configuration does not match its schema")]
    Fields(#[from] serde_json::Error),
    #[error("realm is not valid in a WWW-Authenticate header")]
    Realm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    anonymous: Option<String>,
    hide_credentials: bool,
    realm: String,
    serve_cached_for: Option<u32>,
}

impl TryFrom<&Value> for Config {
    type Error = Unreadable;

    fn try_from(stored: &Value) -> Result<Self, Unreadable> {
        let stored = Stored::deserialize(stored)?;
        Ok(Self {
            anonymous: stored.anonymous,
            passwords: if stored.hide_credentials { Passwords::Hide } else { Passwords::Forward },
            challenge: challenge(&stored.realm).ok_or(Unreadable::Realm)?,
            serve_cached: ServeCached::of(stored.serve_cached_for),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_core::clock::ManualClock;
    use tollgate_core::random::SystemRandom;
    use tollgate_core::schema::Makers;

    use super::*;

    #[test]
    fn faults_are_reported_in_the_documented_words() {
        let makers = Makers { clock: &ManualClock::at(1), random: &SystemRandom };
        let stored = |config: Value| {
            let processed = schema().process_insert(config.try_into().unwrap(), &makers);
            processed.map(Value::from).map_err(|violations| Value::Object(violations.fields))
        };
        let defaults =
            json!({"anonymous": null, "hide_credentials": false, "realm": "service", "serve_cached_for": null});
        assert_eq!(stored(json!({})), Ok(defaults.clone()));
        assert_eq!(Config::try_from(&defaults).unwrap().challenge, "Basic realm=\"service\"");
        for (config, faults) in [
            (json!({"realm": null}), json!({"realm": "required field missing"})),
            (json!({"realm": "a\nb"}), json!({"realm": "must not contain control characters"})),
            (json!({"hide_credentials": 1}), json!({"hide_credentials": "expected a boolean"})),
            (json!({"key": 1}), json!({"key": "unknown field"})),
        ] {
            assert_eq!(stored(config.clone()), Err(faults), "{config}");
        }
    }
}
