//! The configuration of an instance.

use http::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_plugin::authentication;
use tollgate_plugin::cache::ServeCached;
use tollgate_plugin::presented::CredentialHeader;
use tollgate_plugin::protection::Preflight;
use tollgate_plugin::{Field, Rule, Schema, config_rules};

use crate::presented::{Name, Places};

/// The schema of `config`.
pub fn schema() -> Schema {
    let key_name = Field::string("").rule(Rule::Custom("header_name", config_rules::header_name));
    Schema::new(vec![
        Field::array("key_names", key_name).default(json!(["apikey"])).required(),
        Field::boolean("hide_credentials", false),
        Field::string("anonymous"),
        Field::boolean("key_in_header", true),
        Field::boolean("key_in_query", true),
        Field::boolean("key_in_body", false),
        Field::boolean("run_on_preflight", true),
        Field::string("realm").optional().rule(Rule::Custom("realm", config_rules::realm)),
        ServeCached::field(),
    ])
    .describe(&[
        ("key_names", "The names under which a key is looked for, in this order."),
        ("hide_credentials", "Whether keys are removed from the request that goes upstream."),
        ("anonymous", "The consumer, by id or username, of requests without a valid key."),
        ("key_in_header", "Whether a key may be in a header."),
        ("key_in_query", "Whether a key may be in the query."),
        ("key_in_body", "Whether a key may be in a form, JSON or multipart body."),
        ("run_on_preflight", "Whether `OPTIONS` requests need a key."),
        ("realm", "The `realm` of the challenge in refusals."),
    ])
}

/// `Key`, or `Key realm="R"`; `None` if the realm is not valid in a header.
fn challenge(realm: Option<&str>) -> Option<HeaderValue> {
    HeaderValue::from_bytes(authentication::challenge("Key", realm).as_bytes()).ok()
}

/// Whether keys are forwarded to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// The upstream sees them.
    Forward,
    /// They are removed (`hide_credentials`).
    Hide,
}

/// An instance's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The places where keys are looked for.
    pub places: Places,
    /// Whether the upstream sees keys.
    pub keys: Keys,
    /// The consumer of requests without a valid key.
    pub anonymous: Option<String>,
    /// Whether `OPTIONS` requests need a key.
    pub preflight: Preflight,
    /// How long cached keys are accepted while the store is away.
    pub serve_cached: ServeCached,
    /// The `WWW-Authenticate` of refusals.
    pub challenge: HeaderValue,
}

/// Why a stored configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Fields are missing or have the wrong type.
    #[error("stored configuration does not match its schema")]
    Fields(#[from] serde_json::Error),
    /// A key name is not a valid header name.
    #[error("{0:?} is not a valid header name")]
    Name(String),
    /// The realm has control characters.
    #[error("realm is not valid in a WWW-Authenticate header")]
    Realm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    key_names: Vec<String>,
    hide_credentials: bool,
    anonymous: Option<String>,
    key_in_header: bool,
    key_in_query: bool,
    key_in_body: bool,
    run_on_preflight: bool,
    realm: Option<String>,
    serve_cached_for: Option<u32>,
}

impl TryFrom<&Value> for Config {
    type Error = Unreadable;

    fn try_from(stored: &Value) -> Result<Self, Unreadable> {
        let stored = Stored::deserialize(stored)?;
        let name = |name: String| match CredentialHeader::parse(&name) {
            Some(header) => Ok(Name { argument: name.into(), header }),
            None => Err(Unreadable::Name(name)),
        };
        Ok(Self {
            places: Places {
                names: stored.key_names.into_iter().map(name).collect::<Result<_, _>>()?,
                in_header: stored.key_in_header,
                in_query: stored.key_in_query,
                in_body: stored.key_in_body,
            },
            keys: if stored.hide_credentials { Keys::Hide } else { Keys::Forward },
            anonymous: stored.anonymous,
            preflight: if stored.run_on_preflight { Preflight::Judged } else { Preflight::Passed },
            serve_cached: ServeCached::of(stored.serve_cached_for),
            challenge: challenge(stored.realm.as_deref()).ok_or(Unreadable::Realm)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_names_the_realm() {
        assert_eq!(challenge(None).unwrap(), "Key");
        assert_eq!(challenge(Some("my realm")).unwrap(), "Key realm=\"my realm\"");
    }
}
