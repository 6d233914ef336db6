//! An issuer, as configured: which of its tokens are accepted, and where its keys are.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_jose::{Algorithm, Algorithms, Family, KeySet};
use tollgate_plugin::http_client::{Client, TlsError};
use tollgate_plugin::{Digest, Field, Rule, Schema, Violations};
use tollgate_third_party::key_source::{KeySource, KeySources, Location, Remote, Times};
use tollgate_third_party::{AuthorityUrl, Connection, connection};
use url::Url;

use crate::plugin::NAME;

/// A day, in seconds.
const DAY: f64 = 86_400.0;

/// The fields that decide which keys it has, and how they are fetched.
const KEY_FIELDS: [&str; 11] = [
    "issuer",
    "jwks_uri",
    "discovery",
    "jwks",
    "tls_verify",
    "tls_ca",
    "timeout",
    "keepalive",
    "key_refresh",
    "key_min_refresh",
    "key_max_stale",
];

/// The schema of an element of `issuers`.
pub fn schema() -> Schema {
    let algorithms: Vec<&'static str> = asymmetric().map(Algorithm::name).collect();
    let algorithm = Field::string("").one_of(&algorithms);
    let mut fields = vec![
        Field::string("issuer").required().rule(Rule::Custom("issuer", issuer)),
        connection::url("jwks_uri"),
        Field::boolean("discovery", false),
        connection::key_set("jwks"),
        Field::array("algorithms", algorithm).default(json!(algorithms)).required().rule(Rule::LengthMin(1)),
        Field::strings("audience").default(json!([])).required(),
        Field::boolean("require_typ", false),
        Field::boolean("allow_without_exp", false),
        Field::number("maximum_lifetime").rule(Rule::GreaterThan(0.0)),
        Field::number("key_refresh").default(300).required().rule(Rule::Between(1.0, DAY)),
        Field::number("key_min_refresh").default(10).required().rule(Rule::Between(1.0, 3_600.0)),
        Field::number("key_max_stale").default(3_600).required().rule(Rule::Between(0.0, 7.0 * DAY)),
    ];
    fields.extend(connection::fields());
    let schema = Schema::new(fields).describe(&[
        ("issuer", "The `iss` of its tokens, character by character."),
        ("jwks_uri", "The URL of its key set."),
        ("discovery", "Whether the URL of its key set is in the metadata under the issuer's own URL."),
        ("jwks", "Its key set itself, as JSON."),
        ("algorithms", "The algorithms with which its tokens may be signed."),
        ("audience", "If not empty, a token's `aud` must contain one of these."),
        ("require_typ", "Whether a token's `typ` must be `at+jwt` (RFC 9068)."),
        ("allow_without_exp", "Whether tokens without `exp` are accepted."),
        ("maximum_lifetime", "The most seconds from a token's `iat` to its `exp`; tokens without either are refused."),
        ("key_refresh", "Seconds after which its keys are fetched again; a withdrawn key is accepted for so long."),
        ("key_min_refresh", "Seconds in which tokens with unknown keys cause at most one fetch."),
        ("key_max_stale", "Seconds for which its keys are used while they cannot be fetched again."),
    ]);
    connection::with_checks(schema).overall(check)
}

/// With a public key as the secret, anybody could sign.
fn asymmetric() -> impl Iterator<Item = Algorithm> {
    Algorithm::ALL.into_iter().filter(|algorithm| algorithm.family() != Family::Hmac)
}

fn issuer(value: &Value) -> Result<(), String> {
    let issuer = value.as_str().unwrap_or_default();
    if issuer.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    let has_credentials = Url::parse(issuer).is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
    if has_credentials { Err("must not contain credentials".to_owned()) } else { Ok(()) }
}

/// Rules about several fields.
fn check(record: &Value) -> Result<(), String> {
    let is_given = |name: &str| record.get(name).is_some_and(|value| !value.is_null() && *value != json!(false));
    let sources = ["jwks_uri", "discovery", "jwks"].into_iter().filter(|name| is_given(name)).count();
    if sources != 1 {
        return Err("exactly one of 'jwks_uri', 'discovery' and 'jwks' must be set".to_owned());
    }
    let stored = Stored::deserialize(record).map_err(|error| error.to_string())?;
    if stored.discovery && !Location::Issuer(stored.issuer.clone()).is_valid() {
        return Err("with 'discovery', 'issuer' must be an http or https URL without query and fragment".to_owned());
    }
    let accepted = stored.accepted();
    let fits =
        |keys: &KeySet| keys.keys().iter().any(|key| accepted.iter().any(|one| key.key.algorithms().contains(one)));
    match stored.jwks.map(|text| KeySet::parse(text.as_bytes())) {
        Some(Ok(keys)) if !fits(&keys) => Err("none of the keys in 'jwks' is for one of 'algorithms'".to_owned()),
        _ => Ok(()),
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Stored {
    issuer: String,
    jwks_uri: Option<String>,
    discovery: bool,
    jwks: Option<String>,
    algorithms: Vec<String>,
    audience: Vec<Box<str>>,
    require_typ: bool,
    allow_without_exp: bool,
    maximum_lifetime: Option<f64>,
    #[serde(flatten)]
    connection: Connection,
    key_refresh: f64,
    key_min_refresh: f64,
    key_max_stale: f64,
}

impl Stored {
    fn accepted(&self) -> Algorithms {
        asymmetric().filter(|algorithm| self.algorithms.iter().any(|name| name == algorithm.name())).collect()
    }
}

/// Why a stored issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Fields are missing or have the wrong type.
    #[error("an issuer does not match its schema")]
    Fields(#[from] serde_json::Error),
    /// It has no key source.
    #[error("issuer {0} has no key source")]
    NoKeySource(Box<str>),
    /// Its static key set cannot be read.
    #[error("issuer {0} has a malformed key set")]
    KeySet(Box<str>, #[source] tollgate_jose::MalformedKeySet),
    /// TLS cannot be set up.
    #[error("TLS for issuer {0} cannot be set up")]
    Tls(Box<str>, #[source] TlsError),
}

/// An issuer.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its `iss`, by which logs and metrics call it.
    pub name: Box<str>,
    /// The algorithms of its tokens.
    pub algorithms: Algorithms,
    /// The audiences, one of which a token must have; if empty, any will do.
    pub audience: Vec<Box<str>>,
    /// Which types of tokens are accepted.
    pub typ: Typ,
    /// What is required of the times of its tokens.
    pub lifetime: Lifetime,
    /// As it is stored.
    pub stored: Value,
    source: Source,
}

/// Which `typ` a token may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typ {
    /// `at+jwt` (RFC 9068 §2.1).
    AccessToken,
    /// None, `JWT` or `at+jwt`. Others are made for something else, which an access token must not pass for, nor the
    /// reverse (RFC 8725 §3.11).
    Any,
}

/// What is required of a token's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Any; `exp` may be missing.
    Unlimited,
    /// It has an `exp`.
    Limited,
    /// From `iat` to `exp` it is at most so many seconds.
    AtMost(i64),
}

#[derive(Debug, Clone)]
enum Source {
    Fixed(String),
    Remote(Location, Connection, Times),
}

impl TryFrom<Value> for Issuer {
    type Error = Unusable;

    fn try_from(value: Value) -> Result<Self, Unusable> {
        let stored = Stored::deserialize(&value)?;
        #[expect(clippy::cast_possible_truncation, reason = "saturates, which is what is meant")]
        let lifetime = match stored.maximum_lifetime {
            Some(seconds) => Lifetime::AtMost(seconds as i64),
            None if stored.allow_without_exp => Lifetime::Unlimited,
            None => Lifetime::Limited,
        };
        Ok(Self {
            name: stored.issuer.as_str().into(),
            algorithms: stored.accepted(),
            audience: stored.audience.clone(),
            typ: if stored.require_typ { Typ::AccessToken } else { Typ::Any },
            lifetime,
            source: Source::of(stored)?,
            stored: value,
        })
    }
}

impl Source {
    fn of(stored: Stored) -> Result<Self, Unusable> {
        let times = Times {
            refresh: seconds(stored.key_refresh),
            min_refresh: seconds(stored.key_min_refresh),
            max_stale: seconds(stored.key_max_stale),
        };
        let location = match (stored.jwks, stored.jwks_uri) {
            (Some(jwks), _) => return Ok(Self::Fixed(jwks)),
            (None, Some(url)) => Location::KeySet(url),
            (None, None) if stored.discovery => Location::Issuer(stored.issuer),
            (None, None) => return Err(Unusable::NoKeySource(stored.issuer.into())),
        };
        Ok(Self::Remote(location, stored.connection, times))
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

impl Issuer {
    /// The URLs that this gateway never calls.
    pub fn refused_urls(&self, client: &Client) -> Violations {
        let mut found = Violations::new();
        if let Source::Remote(location, ..) = &self.source {
            let field = match location {
                Location::KeySet(_) => "jwks_uri",
                Location::Issuer(_) => "issuer",
            };
            if let Some(refused) = url_of(location).and_then(|url| url.refused(client)) {
                found.field(field, refused);
            }
        }
        found
    }

    /// Its keys.
    ///
    /// # Errors
    /// They are malformed, or cannot be fetched as configured.
    pub fn keys(&self, sources: &KeySources, client: &Client) -> Result<Arc<KeySource>, Unusable> {
        let configuration = Digest::of(&self.of_keys().to_string());
        match &self.source {
            Source::Fixed(text) => {
                let keys = KeySet::parse(text.as_bytes());
                let keys = keys.map_err(|error| Unusable::KeySet(self.name.clone(), error))?;
                Ok(sources.fixed(configuration, keys))
            }
            Source::Remote(location, connection, times) => {
                let tls = connection.tls().map_err(|error| Unusable::Tls(self.name.clone(), error))?;
                let profile = connection.profile(client, NAME, tls);
                Ok(sources.remote(configuration, || {
                    if let Some(url) = url_of(location) {
                        connection.warn(&self.name, &url);
                    }
                    Remote { name: self.name.to_string(), location: location.clone(), profile, times: *times }
                }))
            }
        }
    }

    /// What is configured of its keys: issuers with the same share them.
    fn of_keys(&self) -> Value {
        KEY_FIELDS.iter().map(|field| self.stored.get(field).cloned().unwrap_or_default()).collect()
    }
}

fn url_of(location: &Location) -> Option<AuthorityUrl> {
    let (Location::KeySet(url) | Location::Issuer(url)) = location;
    AuthorityUrl::parse(url).ok()
}
