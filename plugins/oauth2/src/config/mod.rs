//! The plugin's configuration: its schema as data, and the checked form that requests use
//! (oauth2.md §1).
//!
//! Each concern has a file: its fields, how they are stored, and their checked form. A stored configuration may lack the
//! fields that came with later versions; it has none that are in no group.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Number, Value};
use tollgate_core::schema::{Field, Schema};
use tollgate_core::secret::Secret;
use tollgate_plugin::cache::ServeCached;
use tollgate_plugin::presented::CredentialHeader;

use crate::profile::{self, Match, Profile};

mod behaviours;
mod contract;
pub mod endpoints;
pub mod grants;
pub mod sender;

/// The fields of every concern, in the order in which they are published.
fn groups() -> [Vec<Field>; 5] {
    [contract::fields(), behaviours::fields(), endpoints::fields(), grants::fields(), sender::fields()]
}

/// The schema of the `config` record. `default`: the profile of instances that name none.
pub fn schema(default: profile::Name) -> Schema {
    let fields = groups().into_iter().flatten().collect();
    let schema = behaviours::defaults(Schema::new(fields).describe(&contract::DESCRIPTIONS), default);
    contract::rules(schema)
}

/// Which clients must use PKCE (RFC 7636).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pkce {
    /// No client.
    None,
    /// Public clients.
    #[default]
    Lax,
    /// All clients.
    Strict,
}

/// The configuration of one plugin instance.
#[derive(Debug, Clone)]
pub struct Config {
    /// The scopes that may be requested; `None`: requested scopes are dropped.
    pub scopes: Option<Vec<String>>,
    /// Whether a scope must be requested.
    pub mandatory_scope: bool,
    /// The key with which the login page authenticates.
    pub provision_key: Secret,
    /// The lifetime of an access token in whole seconds; `None`: it never expires.
    pub token_expiration: Option<Duration>,
    /// Whether `response_type=code` is accepted.
    pub enable_authorization_code: bool,
    /// Whether `response_type=token` is accepted.
    pub enable_implicit_grant: bool,
    /// Whether clients get tokens for themselves.
    pub enable_client_credentials: bool,
    /// Whether clients with the provision key get tokens for their users.
    pub enable_password_grant: bool,
    /// Whether the token is removed from the request that goes upstream.
    pub hide_credentials: bool,
    /// Whether `X-Forwarded-Proto: https` from a trusted peer counts as HTTPS.
    pub accept_http_if_already_terminated: bool,
    /// The consumer of unauthenticated requests, by id or username.
    pub anonymous: Option<String>,
    /// Whether tokens are global, that is, not bound to a service.
    pub global_credentials: bool,
    /// The header of tokens and of Basic credentials; `None` if the configured name is not a valid
    /// header name.
    pub auth_header: Option<CredentialHeader>,
    /// How long a token's row is kept, in whole seconds; `None`: for ever.
    pub refresh_token_ttl: Option<Duration>,
    /// Whether a refresh keeps the refresh token.
    pub reuse_refresh_token: bool,
    /// For how long a repeated refresh gets the same tokens again, in whole seconds; `None`: never.
    pub refresh_grace: Option<Duration>,
    /// Which clients must use PKCE.
    pub pkce: Pkce,
    /// The realm of challenges.
    pub realm: Option<String>,
    /// How long cached tokens are accepted while the store is away.
    pub serve_cached: ServeCached,
    /// What a login page says of each scope.
    pub scope_descriptions: Option<BTreeMap<String, String>>,
    /// The scopes that a token needs for the upstream.
    pub required_scopes: Vec<String>,
    /// Whether it needs one of them or all.
    pub required_scopes_match: Match,
    /// Its profile.
    pub profile_name: profile::Name,
    /// What is permitted beyond the current recommendations.
    pub profile: Profile,
    /// The same on profile `bcp`, if what that would refuse is only counted (`log_only`).
    pub counted: Option<Box<Self>>,
    /// The endpoints beside those for authorization and tokens.
    pub endpoints: endpoints::Endpoints,
    /// Further ways to a token, and what a token is.
    pub grants: grants::Grants,
    /// What binds a token to its sender.
    pub sender: sender::Sender,
}

/// A stored configuration that does not match its schema.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A value has another type.
    #[error("cannot read the configuration of an oauth2 plugin")]
    Value(#[from] serde_json::Error),
    /// There is no such field.
    #[error("cannot read the configuration of an oauth2 plugin: unknown field {0}")]
    Unknown(String),
}

impl Config {
    /// The checked form of a stored configuration. `default`: the profile of one that names none.
    ///
    /// # Errors
    /// It does not match the schema.
    pub fn read(stored: &Value, default: profile::Name) -> Result<Self, Unreadable> {
        refuse_unknown_fields(stored)?;
        let behaviours = behaviours::Stored::deserialize(stored)?;
        let scope_descriptions = behaviours.scope_descriptions.clone();
        let (required_scopes, required_scopes_match) =
            (behaviours.required_scopes.clone().unwrap_or_default(), behaviours.required_scopes_match);
        let endpoints = endpoints::Endpoints::deserialize(stored)?;
        let grants = grants::Grants::deserialize(stored)?;
        let sender = sender::Sender::deserialize(stored)?;
        let stored = contract::Stored::deserialize(stored)?;
        let counted = behaviours.counted(stored.pkce);
        let behaviours = behaviours.resolve(default, stored.pkce);
        let config = Self {
            scopes: stored.scopes,
            mandatory_scope: stored.mandatory_scope,
            provision_key: stored.provision_key,
            token_expiration: seconds(&stored.token_expiration),
            enable_authorization_code: stored.enable_authorization_code,
            enable_implicit_grant: stored.enable_implicit_grant,
            enable_client_credentials: stored.enable_client_credentials,
            enable_password_grant: stored.enable_password_grant,
            hide_credentials: stored.hide_credentials,
            accept_http_if_already_terminated: stored.accept_http_if_already_terminated,
            anonymous: stored.anonymous,
            global_credentials: stored.global_credentials,
            auth_header: CredentialHeader::parse(
                stored.auth_header_name.as_deref().unwrap_or(contract::DEFAULT_HEADER),
            ),
            refresh_token_ttl: seconds(&stored.refresh_token_ttl),
            reuse_refresh_token: stored.reuse_refresh_token,
            refresh_grace: seconds(&stored.refresh_grace),
            pkce: behaviours.pkce,
            realm: stored.realm,
            serve_cached: ServeCached::of(stored.serve_cached_for),
            scope_descriptions,
            required_scopes,
            required_scopes_match,
            profile_name: behaviours.name,
            profile: behaviours.profile,
            counted: None,
            endpoints,
            grants,
            sender,
        };
        let counted = counted
            .map(|behaviours| Box::new(Self { profile: behaviours.profile, pkce: behaviours.pkce, ..config.clone() }));
        Ok(Self { counted, ..config })
    }
}

/// The names of all fields.
static NAMES: LazyLock<HashSet<&str>> = LazyLock::new(|| groups().iter().flatten().map(|field| field.name).collect());

fn refuse_unknown_fields(stored: &Value) -> Result<(), Unreadable> {
    let mut names = stored.as_object().into_iter().flat_map(serde_json::Map::keys);
    let unknown = names.find(|name| !NAMES.contains(name.as_str()));
    unknown.map_or(Ok(()), |name| Err(Unreadable::Unknown(name.clone())))
}

/// The largest value that a stored `expires_in` can hold.
const MAX_SECONDS: f64 = 2_147_483_647.0;

/// Whole seconds; `None` for zero or less. Fractions are rounded up: a token valid for half a second
/// must not become valid for ever.
fn seconds(number: &Number) -> Option<Duration> {
    let seconds = number.as_f64().unwrap_or_default().ceil().min(MAX_SECONDS);
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A stored configuration with the defaults and all grants enabled.
    pub(crate) fn stored() -> Value {
        let default = |field: Field| (field.name.to_owned(), field.default.unwrap_or_default());
        let mut stored = Value::Object(schema(profile::Name::Kong).fields.into_iter().map(default).collect());
        stored["provision_key"] = json!("provision123");
        for grant in ["authorization_code", "implicit_grant", "client_credentials", "password_grant"] {
            stored[format!("enable_{grant}")] = json!(true);
        }
        stored
    }

    /// A configuration with the defaults, all grants enabled, changed by `patch`.
    pub(crate) fn config(patch: &Value) -> Config {
        let mut stored = stored();
        for (field, value) in patch.as_object().into_iter().flatten() {
            stored[field] = value.clone();
        }
        read(&stored).unwrap()
    }

    fn read(stored: &Value) -> Result<Config, Unreadable> {
        Config::read(stored, profile::Name::Kong)
    }

    #[test]
    fn the_schema_has_the_fields_of_the_checked_form() {
        let names: Vec<_> = contract::fields().iter().map(|field| field.name).collect();
        assert_eq!(names.len(), 19, "Kong's 17, serve_cached_for and refresh_grace");
        let mut stored = stored();
        let config = read(&stored).unwrap();
        assert_eq!(config.token_expiration, Some(Duration::from_secs(7200)));
        assert_eq!(config.refresh_token_ttl, Some(Duration::from_secs(1_209_600)));
        assert_eq!((config.refresh_grace, config.pkce), (None, Pkce::Lax));
        stored.as_object_mut().unwrap().remove("refresh_grace");
        assert_eq!(read(&stored).unwrap().refresh_grace, None);
        assert_eq!(config.profile, Profile::of(profile::Name::Kong));
        stored["extra"] = json!(1);
        assert!(read(&stored).is_err());
    }

    #[test]
    fn durations_are_whole_seconds_or_for_ever() {
        for (number, expected) in [
            (json!(-5), None),
            (json!(0), None),
            (json!(0.2), Some(1)),
            (json!(60), Some(60)),
            (json!(1e300), Some(2_147_483_647)),
        ] {
            let config = config(&json!({"token_expiration": number}));
            assert_eq!(config.token_expiration, expected.map(Duration::from_secs), "{number}");
        }
    }

    #[test]
    fn errors_are_reported_in_the_documented_words() {
        use tollgate_core::clock::ManualClock;
        use tollgate_core::random::SystemRandom;
        use tollgate_core::schema::{Document, Makers};

        let plugin = Schema::new(vec![Field::record("config", schema(profile::Name::Kong)).required()]);
        let makers = Makers { clock: &ManualClock::at(0), random: &SystemRandom };
        let grants = "at least one of these fields must be true: enable_authorization_code, \
                      enable_implicit_grant, enable_client_credentials, enable_password_grant";
        let conditional = "failed conditional validation given value of field 'mandatory_scope'";
        for (config, fault) in [
            (json!({}), json!(grants)),
            (json!({"mandatory_scope": true}), json!({"@entity": [conditional], "scopes": "required field missing"})),
            (json!({"mandatory_scope": true, "scopes": []}), json!(grants)),
            (
                json!({"refresh_token_ttl": 100_000_001}),
                json!({"refresh_token_ttl": "value should be between 0 and 100000000"}),
            ),
            (json!({"pkce": "all"}), json!({"pkce": "expected one of: none, lax, strict"})),
            (json!({"realm": ""}), json!({"realm": "length must be at least 1"})),
            (json!({"realm": "a\nb"}), json!({"realm": "must not contain control characters"})),
            (json!({"wot": 1}), json!({"wot": "unknown field"})),
        ] {
            let document = json!({"config": config});
            let found = plugin.process_insert(Document::try_from(document).unwrap(), &makers).unwrap_err();
            assert_eq!(found.fields["config"], fault, "{config}");
        }
        let document = json!({"config": {"enable_password_grant": true, "token_expiration": -0.5}});
        let accepted = plugin.process_insert(Document::try_from(document).unwrap(), &makers).unwrap();
        let config = read(&accepted["config"]).unwrap();
        assert_eq!((config.provision_key.expose().len(), config.token_expiration), (32, None));
    }

    #[test]
    fn debug_output_hides_the_provision_key() {
        assert!(!format!("{:?}", config(&json!({}))).contains("provision123"));
    }
}
