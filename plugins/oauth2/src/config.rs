//! The plugin's configuration: its schema as data, and the checked form that requests use
//! (oauth2.md §1).

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Number, Value};
use tollgate_core::schema::{Auto, EntityCheck, Field, Rule, Schema};
use tollgate_core::secret::Secret;
use tollgate_plugin::cache::ServeCached;
use tollgate_plugin::presented::CredentialHeader;

use crate::profile::Profile;

const DEFAULT_HEADER: &str = "authorization";
const GRANTS: [&str; 4] =
    ["enable_authorization_code", "enable_implicit_grant", "enable_client_credentials", "enable_password_grant"];

/// The schema of the `config` record.
pub fn schema() -> Schema {
    Schema::new(vec![
        Field::strings("scopes"),
        Field::boolean("mandatory_scope", false),
        Field::string("provision_key").auto(Auto::RandomString).unique().sensitive().required(),
        Field::number("token_expiration").default(7200).required(),
        Field::boolean("enable_authorization_code", false),
        Field::boolean("enable_implicit_grant", false),
        Field::boolean("enable_client_credentials", false),
        Field::boolean("enable_password_grant", false),
        Field::boolean("hide_credentials", false),
        Field::boolean("accept_http_if_already_terminated", false),
        Field::string("anonymous"),
        Field::boolean("global_credentials", false),
        Field::string("auth_header_name").default(DEFAULT_HEADER),
        Field::number("refresh_token_ttl").default(1_209_600).between(0, 100_000_000).required(),
        Field::boolean("reuse_refresh_token", false),
        Field::number("refresh_grace").default(0).between(0, 3600).required(),
        Field::string("pkce").default("lax").optional().one_of(&["none", "lax", "strict"]),
        Field::string("realm").optional(),
        ServeCached::field(),
    ])
    .describe(&DESCRIPTIONS)
    .entity_check(EntityCheck::Conditional {
        if_field: "mandatory_scope",
        if_match: Rule::Equals(Value::Bool(true)),
        then_field: "scopes",
        then_match: Rule::Present,
        message: None,
    })
    .overall(some_grant)
}

/// The field descriptions in `/schemas/plugins/oauth2`.
const DESCRIPTIONS: [(&str, &str); 18] = [
    ("scopes", "The scopes that clients may request. Required when `mandatory_scope` is true."),
    ("mandatory_scope", "Whether a client has to request a scope."),
    ("provision_key", "The key with which the login page authenticates; generated when not given."),
    ("token_expiration", "Lifetime of access tokens in seconds; 0 means unlimited."),
    ("enable_authorization_code", "Whether authorization codes are issued (RFC 6749 section 4.1)."),
    ("enable_implicit_grant", "Whether tokens are issued at the authorization endpoint (RFC 6749 section 4.2)."),
    ("enable_client_credentials", "Whether clients get tokens for themselves (RFC 6749 section 4.4)."),
    ("enable_password_grant", "Whether clients get tokens for users they have authenticated (RFC 6749 section 4.3)."),
    ("hide_credentials", "Whether the access token is removed from the request that goes upstream."),
    ("accept_http_if_already_terminated", "Whether a trusted peer's `X-Forwarded-Proto: https` counts as HTTPS."),
    ("anonymous", "The consumer, by id or username, of requests without a valid token."),
    ("global_credentials", "Whether tokens are valid for every service whose plugin also has this set."),
    ("auth_header_name", "The header that carries the access token, and a client's Basic credentials."),
    ("refresh_token_ttl", "Lifetime of refresh tokens in seconds; 0 means unlimited."),
    ("reuse_refresh_token", "Whether a refresh keeps the refresh token."),
    ("refresh_grace", "For how many seconds a repeated refresh gets the same tokens again; 0 means never."),
    ("pkce", "Which clients must use PKCE (RFC 7636): none, public ones (`lax`), all (`strict`)."),
    ("realm", "The `realm` of the challenges in `WWW-Authenticate`."),
];

/// At least one grant is enabled.
fn some_grant(config: &Value) -> Result<(), String> {
    let enabled = |grant: &&str| config.get(grant) == Some(&Value::Bool(true));
    if GRANTS.iter().any(enabled) {
        return Ok(());
    }
    Err(format!("at least one of these fields must be true: {}", GRANTS.join(", ")))
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
    /// What is permitted beyond the current recommendations; not configurable yet.
    pub profile: Profile,
}

/// A stored configuration that does not match its schema.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the configuration of an oauth2 plugin")]
pub struct Unreadable(#[from] serde_json::Error);

/// The record as stored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    scopes: Option<Vec<String>>,
    mandatory_scope: bool,
    provision_key: String,
    token_expiration: Number,
    enable_authorization_code: bool,
    enable_implicit_grant: bool,
    enable_client_credentials: bool,
    enable_password_grant: bool,
    hide_credentials: bool,
    accept_http_if_already_terminated: bool,
    anonymous: Option<String>,
    global_credentials: bool,
    auth_header_name: Option<String>,
    refresh_token_ttl: Number,
    reuse_refresh_token: bool,
    /// Absent in configurations of earlier versions.
    #[serde(default = "no_seconds")]
    refresh_grace: Number,
    pkce: Option<Pkce>,
    realm: Option<String>,
    serve_cached_for: Option<u32>,
}

impl TryFrom<&Value> for Config {
    type Error = Unreadable;

    fn try_from(stored: &Value) -> Result<Self, Unreadable> {
        let stored = Stored::deserialize(stored)?;
        Ok(Self {
            scopes: stored.scopes,
            mandatory_scope: stored.mandatory_scope,
            provision_key: Secret::new(stored.provision_key),
            token_expiration: seconds(&stored.token_expiration),
            enable_authorization_code: stored.enable_authorization_code,
            enable_implicit_grant: stored.enable_implicit_grant,
            enable_client_credentials: stored.enable_client_credentials,
            enable_password_grant: stored.enable_password_grant,
            hide_credentials: stored.hide_credentials,
            accept_http_if_already_terminated: stored.accept_http_if_already_terminated,
            anonymous: stored.anonymous,
            global_credentials: stored.global_credentials,
            auth_header: CredentialHeader::parse(stored.auth_header_name.as_deref().unwrap_or(DEFAULT_HEADER)),
            refresh_token_ttl: seconds(&stored.refresh_token_ttl),
            reuse_refresh_token: stored.reuse_refresh_token,
            refresh_grace: seconds(&stored.refresh_grace),
            pkce: stored.pkce.unwrap_or_default(),
            realm: stored.realm,
            serve_cached: ServeCached::of(stored.serve_cached_for),
            profile: Profile::compat(),
        })
    }
}

fn no_seconds() -> Number {
    0.into()
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

    /// A configuration with the defaults, all grants enabled, changed by `patch`.
    pub(crate) fn config(patch: &Value) -> Config {
        let mut stored = json!({
            "scopes": null, "mandatory_scope": false, "provision_key": "provision123", "token_expiration": 7200,
            "enable_authorization_code": true, "enable_implicit_grant": true, "enable_client_credentials": true,
            "enable_password_grant": true, "hide_credentials": false, "accept_http_if_already_terminated": false,
            "anonymous": null, "global_credentials": false, "auth_header_name": "authorization",
            "refresh_token_ttl": 1_209_600, "reuse_refresh_token": false, "refresh_grace": 0, "pkce": "lax", "realm": null,
            "serve_cached_for": null,
        });
        for (field, value) in patch.as_object().into_iter().flatten() {
            stored[field] = value.clone();
        }
        Config::try_from(&stored).unwrap()
    }

    #[test]
    fn the_schema_has_the_fields_of_the_checked_form() {
        let schema = schema();
        assert_eq!(schema.fields.len(), 19, "Kong's 17, serve_cached_for and refresh_grace");
        let stored: serde_json::Map<_, _> = schema
            .fields
            .iter()
            .map(|field| (field.name.to_owned(), field.default.clone().unwrap_or(json!(null))))
            .collect();
        let mut stored = Value::Object(stored);
        stored["provision_key"] = json!("key");
        let config = Config::try_from(&stored).unwrap();
        assert_eq!(config.token_expiration, Some(Duration::from_secs(7200)));
        assert_eq!(config.refresh_token_ttl, Some(Duration::from_secs(1_209_600)));
        assert_eq!((config.refresh_grace, config.pkce), (None, Pkce::Lax));
        stored.as_object_mut().unwrap().remove("refresh_grace");
        assert_eq!(Config::try_from(&stored).unwrap().refresh_grace, None);
        assert_eq!(config.profile, Profile::compat());
        stored["extra"] = json!(1);
        assert!(Config::try_from(&stored).is_err());
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

        let plugin = Schema::new(vec![Field::record("config", schema()).required()]);
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
            (json!({"wot": 1}), json!({"wot": "unknown field"})),
        ] {
            let document = json!({"config": config});
            let found = plugin.process_insert(Document::try_from(document).unwrap(), &makers).unwrap_err();
            assert_eq!(found.fields["config"], fault, "{config}");
        }
        let document = json!({"config": {"enable_password_grant": true, "token_expiration": -0.5}});
        let accepted = plugin.process_insert(Document::try_from(document).unwrap(), &makers).unwrap();
        let config = Config::try_from(&accepted["config"]).unwrap();
        assert_eq!((config.provision_key.expose().len(), config.token_expiration), (32, None));
    }

    #[test]
    fn at_least_one_grant_is_enabled() {
        let message = "at least one of these fields must be true: enable_authorization_code, \
                       enable_implicit_grant, enable_client_credentials, enable_password_grant";
        assert_eq!(some_grant(&json!({"enable_implicit_grant": false})), Err(message.to_owned()));
        assert_eq!(some_grant(&json!({"enable_implicit_grant": true})), Ok(()));
    }

    #[test]
    fn debug_output_hides_the_provision_key() {
        assert!(!format!("{:?}", config(&json!({}))).contains("provision123"));
    }
}
