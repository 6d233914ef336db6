//! The configuration of an instance.

use http::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_plugin::authentication;
use tollgate_plugin::cache::ServeCached;
use tollgate_plugin::presented::CredentialHeader;
use tollgate_plugin::protection::Preflight;
use tollgate_plugin::{EntityCheck, Field, Rule, Schema, config_rules};

use crate::lifetime::{Checked, Lifetime};
use crate::presented::Places;
use crate::secret::Encoding;

/// The claim that names the credential, unless another is configured.
const DEFAULT_KEY_CLAIM: &str = "iss";

/// The schema of `config`.
pub fn schema() -> Schema {
    let header_name = Field::string("").rule(Rule::Custom("header_name", header_name));
    Schema::new(vec![
        Field::set("uri_param_names", Field::string("")).default(json!(["jwt"])),
        Field::set("cookie_names", Field::string("")).default(json!([])),
        Field::string("key_claim_name").default(DEFAULT_KEY_CLAIM),
        Field::boolean("secret_is_base64", false),
        Field::set("claims_to_verify", Field::string("").one_of(&["exp", "nbf"])),
        Field::string("anonymous"),
        Field::boolean("run_on_preflight", true),
        Field::number("maximum_expiration").default(0).between(0, 31_536_000),
        Field::set("header_names", header_name).default(json!(["authorization"])),
        Field::string("realm").optional().rule(Rule::Custom("realm", config_rules::realm)),
        ServeCached::field(),
    ])
    .describe(&[
        ("uri_param_names", "The query arguments in which a token is looked for."),
        ("cookie_names", "The cookies in which a token is looked for."),
        ("key_claim_name", "The claim, or else header member, whose value is the key of the credential."),
        ("secret_is_base64", "Whether secrets of credentials are stored in base64."),
        ("claims_to_verify", "The claims that a token must have and that are checked: `exp`, `nbf`."),
        ("anonymous", "The consumer, by id or username, of requests without a valid token."),
        ("run_on_preflight", "Whether `OPTIONS` requests need a token."),
        ("maximum_expiration", "How many seconds in the future `exp` may be; 0: any number."),
        ("header_names", "The headers in which a token is looked for, after the scheme `Bearer`."),
        ("realm", "The `realm` of the challenge in refusals."),
    ])
}

/// The rule about several fields of `config`.
pub(crate) fn checks() -> Vec<EntityCheck> {
    let published = json!({"conditional": {
        "if_field": "config.maximum_expiration", "if_match": {"gt": 0},
        "then_field": "config.claims_to_verify", "then_match": {"contains": "exp"},
    }});
    let check = EntityCheck::Custom {
        published,
        check: |plugin, found| {
            if limits_an_unchecked_expiry(plugin.get("config").unwrap_or(&Value::Null)) {
                let fault = json!({"claims_to_verify": "expected to contain: exp"});
                found.fields.insert("config".to_owned(), fault);
                found.entity("failed conditional validation given value of field 'config.maximum_expiration'");
            }
        },
    };
    vec![check]
}

/// Whether the lifetime of tokens is limited by an `exp` that is not checked: expired ones would pass.
fn limits_an_unchecked_expiry(config: &Value) -> bool {
    let limit = config.get("maximum_expiration").and_then(Value::as_f64).unwrap_or_default();
    let checked = config.get("claims_to_verify").and_then(Value::as_array);
    limit > 0.0 && !checked.is_some_and(|checked| checked.contains(&json!("exp")))
}

/// More than any header's name has, and less than a header's name can have.
const LONGEST_NAME: usize = 256;

fn header_name(value: &Value) -> Result<(), String> {
    let name = value.as_str().unwrap_or_default();
    if name.len() > LONGEST_NAME {
        return Err(format!("length must be at most {LONGEST_NAME}"));
    }
    if name.is_empty() || CredentialHeader::parse(name).is_some() {
        return Ok(());
    }
    Err(format!("invalid header name '{name}'"))
}

/// The `WWW-Authenticate` of refusals (RFC 6750 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenges {
    /// Without a token: `Bearer`, or `Bearer realm="R"`.
    pub absent: HeaderValue,
    /// With an invalid one: `error="invalid_token"` is added.
    pub invalid: HeaderValue,
}

impl Challenges {
    /// `None` if the realm is not valid in a header.
    fn with(realm: Option<&str>) -> Option<Self> {
        let absent = authentication::challenge("Bearer", realm);
        let separator = if realm.is_some() { "," } else { "" };
        let invalid = format!("{absent}{separator} error=\"invalid_token\"");
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).ok();
        Some(Self { absent: value(&absent)?, invalid: value(&invalid)? })
    }
}

/// An instance's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The places where tokens are looked for.
    pub places: Places,
    /// The claim, or else header member, that names the credential.
    pub key_claim: Box<str>,
    /// How secrets of credentials are stored.
    pub encoding: Encoding,
    /// What is demanded of a token's times.
    pub lifetime: Lifetime,
    /// The consumer of requests without a valid token.
    pub anonymous: Option<String>,
    /// Whether `OPTIONS` requests need a token.
    pub preflight: Preflight,
    /// How long cached tokens are accepted while the store is away.
    pub serve_cached: ServeCached,
    /// The `WWW-Authenticate` of refusals.
    pub challenges: Challenges,
}

/// Why a stored configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Fields are missing or have the wrong type.
    #[error("stored configuration does not match its schema")]
    Fields(#[from] serde_json::Error),
    /// A header's name is not valid.
    #[error("{0:?} is not a valid header name")]
    Name(String),
    /// The realm has control characters.
    #[error("realm is not valid in a WWW-Authenticate header")]
    Realm,
    /// Expired tokens would pass.
    #[error("maximum_expiration is set, and claims_to_verify does not contain exp")]
    UncheckedExpiry,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    uri_param_names: Option<Vec<Box<str>>>,
    cookie_names: Option<Vec<Box<str>>>,
    key_claim_name: Option<Box<str>>,
    secret_is_base64: bool,
    claims_to_verify: Option<Vec<String>>,
    anonymous: Option<String>,
    run_on_preflight: bool,
    maximum_expiration: Option<f64>,
    header_names: Option<Vec<String>>,
    realm: Option<String>,
    serve_cached_for: Option<u32>,
}

impl TryFrom<&Value> for Config {
    type Error = Unreadable;

    fn try_from(stored: &Value) -> Result<Self, Unreadable> {
        if limits_an_unchecked_expiry(stored) {
            return Err(Unreadable::UncheckedExpiry);
        }
        let stored = Stored::deserialize(stored)?;
        let header = |name: String| CredentialHeader::parse(&name).ok_or(Unreadable::Name(name));
        let checked = stored.claims_to_verify.unwrap_or_default();
        let check = |claim: &str| {
            if checked.iter().any(|name| name == claim) { Checked::Yes } else { Checked::No }
        };
        Ok(Self {
            places: Places {
                arguments: stored.uri_param_names.unwrap_or_default(),
                cookies: stored.cookie_names.unwrap_or_default(),
                headers: stored.header_names.unwrap_or_default().into_iter().map(header).collect::<Result<_, _>>()?,
            },
            key_claim: stored.key_claim_name.unwrap_or_else(|| DEFAULT_KEY_CLAIM.into()),
            encoding: if stored.secret_is_base64 { Encoding::Base64 } else { Encoding::Plain },
            lifetime: Lifetime {
                exp: check("exp"),
                nbf: check("nbf"),
                at_most: stored.maximum_expiration.filter(|limit| *limit > 0.0),
            },
            anonymous: stored.anonymous,
            preflight: if stored.run_on_preflight { Preflight::Judged } else { Preflight::Passed },
            serve_cached: ServeCached::of(stored.serve_cached_for),
            challenges: Challenges::with(stored.realm.as_deref()).ok_or(Unreadable::Realm)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_valid_in_requests() {
        for name in ["authorization", "X-API_Key", "0", "a.b", ""] {
            assert_eq!(header_name(&json!(name)), Ok(()), "{name}");
        }
        for name in ["hello\\world", "a b", "a:", "é"] {
            assert_eq!(header_name(&json!(name)), Err(format!("invalid header name '{name}'")));
        }
    }

    #[test]
    fn challenges_name_the_realm_and_the_error() {
        let texts = |realm| {
            let challenges = Challenges::with(realm).unwrap();
            [challenges.absent, challenges.invalid].map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(texts(None), ["Bearer", "Bearer error=\"invalid_token\""]);
        assert_eq!(texts(Some("r")), ["Bearer realm=\"r\"", "Bearer realm=\"r\", error=\"invalid_token\""]);
    }

    #[test]
    fn a_limited_lifetime_needs_a_checked_expiry() {
        for (limit, checked, refused) in [
            (json!(60), json!(null), true),
            (json!(60), json!(["nbf"]), true),
            (json!(0.5), json!([]), true),
            (json!(60), json!(["nbf", "exp"]), false),
            (json!(0), json!(["nbf"]), false),
            (json!(null), json!(null), false),
        ] {
            let config = json!({"maximum_expiration": limit, "claims_to_verify": checked});
            assert_eq!(limits_an_unchecked_expiry(&config), refused, "{config}");
        }
    }
}
