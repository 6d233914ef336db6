//! The fields of the contract (oauth2.md §1), and those that belong to them: `refresh_grace`, `serve_cached_for`.

use super::grants;
use serde::Deserialize;
use serde_json::{Number, Value};
use tollgate_core::schema::{Auto, EntityCheck, Field, Rule, Schema};
use tollgate_core::secret::Secret;
use tollgate_plugin::cache::ServeCached;
use tollgate_plugin::config_rules;

use super::Pkce;

pub(super) const DEFAULT_HEADER: &str = "authorization";
const GRANTS: [&str; 4] =
    ["enable_authorization_code", "enable_implicit_grant", "enable_client_credentials", "enable_password_grant"];

pub(super) fn fields() -> Vec<Field> {
    vec![
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
        Field::string("realm").optional().rule(Rule::Custom("realm", config_rules::realm)),
        ServeCached::field(),
    ]
}

/// The rules about several of the fields.
pub(super) fn rules(schema: Schema) -> Schema {
    schema
        .entity_check(EntityCheck::Conditional {
            if_field: "mandatory_scope",
            if_match: Rule::Equals(Value::Bool(true)),
            then_field: "scopes",
            then_match: Rule::Present,
            message: None,
        })
        .overall(|config| some_grant(config).and_then(|()| grants::consistent(config)))
}

/// The field descriptions in `/schemas/plugins/oauth2`.
pub(super) const DESCRIPTIONS: [(&str, &str); 18] = [
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
    let device = || config["endpoints"].as_array().is_some_and(|all| all.contains(&Value::from("device")));
    if GRANTS.iter().any(enabled) || device() {
        return Ok(());
    }
    Err(format!("at least one of these fields must be true: {}", GRANTS.join(", ")))
}

/// The fields as stored.
#[derive(Deserialize)]
pub(super) struct Stored {
    pub(super) scopes: Option<Vec<String>>,
    pub(super) mandatory_scope: bool,
    pub(super) provision_key: Secret,
    pub(super) token_expiration: Number,
    pub(super) enable_authorization_code: bool,
    pub(super) enable_implicit_grant: bool,
    pub(super) enable_client_credentials: bool,
    pub(super) enable_password_grant: bool,
    pub(super) hide_credentials: bool,
    pub(super) accept_http_if_already_terminated: bool,
    pub(super) anonymous: Option<String>,
    pub(super) global_credentials: bool,
    pub(super) auth_header_name: Option<String>,
    pub(super) refresh_token_ttl: Number,
    pub(super) reuse_refresh_token: bool,
    /// Absent in configurations of earlier versions.
    #[serde(default = "no_seconds")]
    pub(super) refresh_grace: Number,
    pub(super) pkce: Option<Pkce>,
    pub(super) realm: Option<String>,
    pub(super) serve_cached_for: Option<u32>,
}

fn no_seconds() -> Number {
    0.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn at_least_one_grant_is_enabled() {
        let message = "at least one of these fields must be true: enable_authorization_code, \
                       enable_implicit_grant, enable_client_credentials, enable_password_grant";
        assert_eq!(some_grant(&json!({"enable_implicit_grant": false})), Err(message.to_owned()));
        assert_eq!(some_grant(&json!({"enable_implicit_grant": true})), Ok(()));
    }
}
