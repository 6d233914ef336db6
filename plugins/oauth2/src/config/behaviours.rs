//! The profile, and a field for each of its behaviours: what none of them says is as the profile says.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_core::schema::{Field, Rule, Schema, Type};

use super::Pkce;
use crate::profile::{
    BadRedirect, EmptyParameters, IssuerInResponse, LoopbackPort, Match, MultipleAuthentications, MultipleTokens, Name,
    Permission, Profile, RedirectBinding, RefreshScope, Replay, ScopeInResponse, ScopeSyntax, UnknownGrant,
};

pub(super) fn fields() -> Vec<Field> {
    let flag = |name, description| Field::new(name, Type::Boolean).describe(description);
    let choice = |name, values: &[&'static str], description| Field::string(name).one_of(values).describe(description);
    vec![
        choice(
            "profile",
            &["kong", "bcp"],
            "The behaviours that no other field decides; null: oauth2_default_profile.",
        ),
        Field::boolean("log_only", false)
            .describe("Whether what `bcp` would refuse is only counted: requests are handled as on profile `kong`."),
        flag("redirect_uri_binding", "Whether a code is redeemed with the redirect URI it was requested with."),
        flag("public_client_credentials", "Whether public clients may use the client credentials grant."),
        choice(
            "replay",
            &["ignore", "revoke"],
            "Whether a second use of a code or refresh token ends its descendants.",
        ),
        flag("verifier_without_challenge", "Whether a code_verifier is ignored for a code without code_challenge."),
        flag("token_in_query", "Whether access tokens are accepted in the query."),
        flag("token_in_body", "Whether access tokens are accepted in the body."),
        flag("client_secret_in_query", "Whether client secrets are accepted in the query."),
        choice(
            "multiple_authentications",
            &["first", "refuse"],
            "What happens to a client that authenticates in two ways at once.",
        ),
        flag("bearer_over_http", "Whether access tokens are accepted over plain HTTP."),
        choice("multiple_tokens", &["first", "refuse"], "What happens to a token presented in two ways at once."),
        choice(
            "unknown_grant",
            &["invalid_request", "invalid_grant"],
            "The error for an unknown code or refresh token.",
        ),
        choice("bad_redirect_uri", &["redirect", "plain"], "How an unregistered redirect URI is reported."),
        choice("loopback_port", &["exact", "any"], "The ports of registered loopback redirect URIs that are accepted."),
        flag("private_use_redirect_uris", "Whether the browser is sent to registered URIs without a host."),
        flag("http_redirect_uris", "Whether the browser is sent to URIs that are http, beyond loopback addresses."),
        choice("empty_parameters", &["kept", "omitted"], "What a parameter without a value is."),
        flag("narrow_refresh_scope", "Whether a refresh may request a part of the granted scope."),
        choice(
            "scope_syntax",
            &["lenient", "strict"],
            "How a requested scope is read; strict: as in RFC 6749 section 3.3.",
        ),
        flag("scope_in_response", "Whether a token response names a scope that differs from the requested one."),
        flag("issuer_in_response", "Whether authorization responses name the issuer (RFC 9207)."),
        Field::map("scope_descriptions", Field::string(""), Field::string("").empty_allowed())
            .describe("What the endpoint consent says of each scope, for a login page."),
        Field::array("required_scopes", Field::string("").rule(Rule::Custom("scope", is_scope)))
            .describe("The scopes that a token needs for the upstream; others get 403 (RFC 6750 section 3.1)."),
        Field::string("required_scopes_match")
            .default("all")
            .one_of(&["any", "all"])
            .required()
            .describe("Whether a token needs one of the required scopes or all of them."),
    ]
}

/// A word as RFC 6749 §3.3 has it.
fn is_scope(value: &Value) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let is_word = value.as_str().is_some_and(|word| !word.is_empty() && word.bytes().all(is_plain));
    if is_word {
        Ok(())
    } else {
        Err("expected a scope: printable ASCII without spaces, quotes and backslashes".into())
    }
}

/// The defaults of the contract's fields that a profile changes.
pub(super) fn defaults(schema: Schema, default: Name) -> Schema {
    let of = |name| match name {
        Name::Kong => vec![("hide_credentials", json!(false)), ("pkce", json!("lax"))],
        Name::Bcp => vec![("hide_credentials", json!(true)), ("pkce", json!("strict"))],
    };
    let schema = of(default).into_iter().fold(schema, |schema, (field, value)| schema.default_of(field, value));
    let schema = schema.defaults_where("profile", json!("kong"), of(Name::Kong));
    schema.defaults_where("profile", json!("bcp"), of(Name::Bcp))
}

/// The fields as stored.
#[derive(Deserialize)]
pub(super) struct Stored {
    profile: Option<Name>,
    #[serde(default)]
    log_only: bool,
    redirect_uri_binding: Option<bool>,
    public_client_credentials: Option<bool>,
    replay: Option<Replay>,
    verifier_without_challenge: Option<bool>,
    token_in_query: Option<bool>,
    token_in_body: Option<bool>,
    client_secret_in_query: Option<bool>,
    multiple_authentications: Option<MultipleAuthentications>,
    bearer_over_http: Option<bool>,
    multiple_tokens: Option<MultipleTokens>,
    unknown_grant: Option<UnknownGrant>,
    bad_redirect_uri: Option<BadRedirect>,
    loopback_port: Option<LoopbackPort>,
    private_use_redirect_uris: Option<bool>,
    http_redirect_uris: Option<bool>,
    empty_parameters: Option<EmptyParameters>,
    narrow_refresh_scope: Option<bool>,
    scope_syntax: Option<ScopeSyntax>,
    scope_in_response: Option<bool>,
    issuer_in_response: Option<bool>,
    pub(super) scope_descriptions: Option<BTreeMap<String, String>>,
    pub(super) required_scopes: Option<Vec<String>>,
    #[serde(default)]
    pub(super) required_scopes_match: Match,
}

/// How an instance behaves.
pub(super) struct Behaviours {
    /// Its profile.
    pub(super) name: Name,
    /// What it does.
    pub(super) profile: Profile,
    /// Which clients must use PKCE.
    pub(super) pkce: Pkce,
}

impl Stored {
    /// The behaviours of the instance. `default`: the profile if it names none; `pkce`: the field of the contract.
    pub(super) fn resolve(&self, default: Name, pkce: Option<Pkce>) -> Behaviours {
        let name = self.profile.unwrap_or(default);
        let in_force = if self.log_only { Name::Kong } else { name };
        let default_pkce = if in_force == Name::Bcp { Pkce::Strict } else { Pkce::Lax };
        // A plugin on `bcp` has that profile's default stored.
        let is_default = self.log_only && name == Name::Bcp && pkce == Some(Pkce::Strict);
        let pkce = pkce.filter(|_| !is_default).unwrap_or(default_pkce);
        Behaviours { name, profile: self.of(in_force), pkce }
    }

    /// What profile `bcp` would do, if that is only counted. The default of profile `kong` would follow the profile.
    pub(super) fn counted(&self, pkce: Option<Pkce>) -> Option<Behaviours> {
        let pkce = pkce.filter(|pkce| *pkce != Pkce::Lax).unwrap_or(Pkce::Strict);
        self.log_only.then(|| Behaviours { name: Name::Bcp, profile: self.of(Name::Bcp), pkce })
    }

    /// The fields that are set, and the rest of this profile.
    fn of(&self, name: Name) -> Profile {
        let profile = Profile::of(name);
        let choose = |permitted: Option<bool>, default| match permitted {
            Some(true) => Permission::Permitted,
            Some(false) => Permission::Refused,
            None => default,
        };
        Profile {
            redirect_binding: chosen(
                self.redirect_uri_binding,
                (RedirectBinding::Bound, RedirectBinding::Free),
                profile.redirect_binding,
            ),
            public_client_credentials: choose(self.public_client_credentials, profile.public_client_credentials),
            replay: self.replay.unwrap_or(profile.replay),
            verifier_without_challenge: choose(self.verifier_without_challenge, profile.verifier_without_challenge),
            token_in_query: choose(self.token_in_query, profile.token_in_query),
            token_in_body: choose(self.token_in_body, profile.token_in_body),
            client_secret_in_query: choose(self.client_secret_in_query, profile.client_secret_in_query),
            multiple_authentications: self.multiple_authentications.unwrap_or(profile.multiple_authentications),
            bearer_over_http: choose(self.bearer_over_http, profile.bearer_over_http),
            multiple_tokens: self.multiple_tokens.unwrap_or(profile.multiple_tokens),
            unknown_grant: self.unknown_grant.unwrap_or(profile.unknown_grant),
            bad_redirect: self.bad_redirect_uri.unwrap_or(profile.bad_redirect),
            loopback_port: self.loopback_port.unwrap_or(profile.loopback_port),
            private_use_redirect: choose(self.private_use_redirect_uris, profile.private_use_redirect),
            http_redirect: choose(self.http_redirect_uris, profile.http_redirect),
            empty_parameters: self.empty_parameters.unwrap_or(profile.empty_parameters),
            refresh_scope: chosen(
                self.narrow_refresh_scope,
                (RefreshScope::Narrows, RefreshScope::Ignored),
                profile.refresh_scope,
            ),
            scope_syntax: self.scope_syntax.unwrap_or(profile.scope_syntax),
            scope_in_response: chosen(
                self.scope_in_response,
                (ScopeInResponse::WhenDifferent, ScopeInResponse::Absent),
                profile.scope_in_response,
            ),
            issuer_in_response: chosen(
                self.issuer_in_response,
                (IssuerInResponse::Present, IssuerInResponse::Absent),
                profile.issuer_in_response,
            ),
        }
    }
}

/// What the field says, else what the profile does.
fn chosen<T>(field: Option<bool>, (yes, no): (T, T), default: T) -> T {
    match field {
        Some(true) => yes,
        Some(false) => no,
        None => default,
    }
}
