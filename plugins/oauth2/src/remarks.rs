//! What an operator should know of an instance: what it permits beyond current recommendations (RFC 9700, OAuth 2.1).

use tollgate_plugin::Remark;

use crate::config::sender::Requirement;
use crate::config::{Config, Pkce};
use crate::issuer_identifier::{self, Party};
use crate::profile::{Name, Permission, Profile};

/// The remarks about an instance.
pub fn of(config: &Config) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let permitted = permitted(config);
    let counts = if config.counted.is_some() { " (log_only: what bcp would refuse is counted)" } else { "" };
    if config.profile_name == Name::Kong || config.counted.is_some() || !permitted.is_empty() {
        let (name, list) =
            (config.profile_name, if permitted.is_empty() { "nothing".into() } else { permitted.join(", ") });
        remarks.push(Remark::Notice(format!("profile {name}{counts} permits {list}")));
    }
    if config.profile_name == Name::Bcp {
        remarks.extend(contradictions(config).map(|field| {
            Remark::Fault(format!(
                "{field} is true, which profile bcp refuses (RFC 9700): disable it, or use profile kong"
            ))
        }));
        remarks.extend(unlimited(config).map(|field| {
            Remark::Warning(format!("{field} is 0, so that tokens never expire: give it a number of seconds"))
        }));
    }
    remarks.extend(unnamed(config).map(|(field, paths)| {
        Remark::Warning(format!(
            "{field} is not set, so that {paths} accept DPoP proofs made for any server whose name comes in Host: set it, \
            or hosts on the routes"
        ))
    }));
    remarks
}

/// The fields that would say at which addresses clients know the instance, for their proofs.
fn unnamed(config: &Config) -> impl Iterator<Item = (&'static str, &'static str)> {
    let is_unnamed =
        |party| config.sender.dpop != Requirement::Off && !issuer_identifier::has_origin(&config.endpoints, party);
    let fields =
        [(Party::AuthorizationServer, ("issuer", "the endpoints")), (Party::Resource, ("resources", "the routes"))];
    fields.into_iter().filter(move |(party, _)| is_unnamed(*party)).map(|(_, names)| names)
}

fn contradictions(config: &Config) -> impl Iterator<Item = &'static str> {
    let grants = [
        (config.enable_implicit_grant, "enable_implicit_grant"),
        (config.enable_password_grant, "enable_password_grant"),
    ];
    grants.into_iter().filter(|(enabled, _)| *enabled).map(|(_, field)| field)
}

fn unlimited(config: &Config) -> impl Iterator<Item = &'static str> {
    let lifetimes = [(config.token_expiration, "token_expiration"), (config.refresh_token_ttl, "refresh_token_ttl")];
    lifetimes.into_iter().filter(|(lifetime, _)| lifetime.is_none()).map(|(_, field)| field)
}

/// The fields that permit more than profile `bcp` does, with what they say.
fn permitted(config: &Config) -> Vec<String> {
    let (found, bcp) = (&config.profile, Profile::of(Name::Bcp));
    let flag = |is_refused: bool, name: &str, value: &str| (!is_refused).then(|| format!("{name}: {value}"));
    let accepted = |permission, name| flag(permission == Permission::Refused, name, "true");
    let mut fields = vec![
        flag(found.redirect_binding == bcp.redirect_binding, "redirect_uri_binding", "false"),
        accepted(found.public_client_credentials, "public_client_credentials"),
        flag(found.replay == bcp.replay, "replay", "ignore"),
        accepted(found.verifier_without_challenge, "verifier_without_challenge"),
        flag(config.pkce == Pkce::Strict, "pkce", if config.pkce == Pkce::None { "none" } else { "lax" }),
        accepted(found.token_in_query, "token_in_query"),
        accepted(found.token_in_body, "token_in_body"),
        accepted(found.client_secret_in_query, "client_secret_in_query"),
        flag(found.multiple_authentications == bcp.multiple_authentications, "multiple_authentications", "first"),
        accepted(found.bearer_over_http, "bearer_over_http"),
        flag(found.multiple_tokens == bcp.multiple_tokens, "multiple_tokens", "first"),
        flag(found.bad_redirect == bcp.bad_redirect, "bad_redirect_uri", "redirect"),
        flag(found.refresh_scope == bcp.refresh_scope, "narrow_refresh_scope", "false"),
        flag(found.scope_syntax == bcp.scope_syntax, "scope_syntax", "lenient"),
        flag(config.hide_credentials, "hide_credentials", "false"),
    ];
    if config.profile_name == Name::Kong {
        fields.extend(contradictions(config).map(|field| Some(format!("{field}: true"))));
        fields.extend(unlimited(config).map(|field| Some(format!("{field}: 0"))));
    }
    fields.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::tests::config;

    fn remarks(patch: &Value) -> Vec<Remark> {
        of(&config(patch))
    }

    /// Only the code grant, and what a plugin on `bcp` has stored by default.
    fn sound(patch: &Value) -> Vec<Remark> {
        let mut fields = json!({
            "profile": "bcp", "pkce": "strict", "hide_credentials": true, "enable_implicit_grant": false,
            "enable_password_grant": false,
        });
        fields.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        remarks(&fields)
    }

    #[test]
    fn a_plugin_on_kong_is_listed_with_what_it_permits() {
        let expected = "profile kong permits redirect_uri_binding: false, public_client_credentials: true, \
            replay: ignore, verifier_without_challenge: true, pkce: lax, token_in_query: true, token_in_body: true, \
            client_secret_in_query: true, multiple_authentications: first, bearer_over_http: true, \
            multiple_tokens: first, bad_redirect_uri: redirect, narrow_refresh_scope: false, scope_syntax: lenient, \
            hide_credentials: false, enable_implicit_grant: true, enable_password_grant: true";
        assert_eq!(remarks(&json!({})), [Remark::Notice(expected.to_owned())]);
        assert_eq!(sound(&json!({})), []);
        let one = "profile bcp permits token_in_query: true";
        assert_eq!(sound(&json!({"token_in_query": true})), [Remark::Notice(one.to_owned())]);
        let Remark::Notice(counted) = &sound(&json!({"log_only": true}))[0] else { panic!("no notice") };
        assert!(counted.starts_with("profile bcp (log_only: what bcp would refuse is counted) permits "), "{counted}");
    }

    #[test]
    fn proofs_without_names_for_their_receiver_are_a_warning() {
        let warning = |field: &str, paths: &str| {
            Remark::Warning(format!(
                "{field} is not set, so that {paths} accept DPoP proofs made for any server whose name comes in Host: \
                set it, or hosts on the routes"
            ))
        };
        let (endpoints, routes) = (warning("issuer", "the endpoints"), warning("resources", "the routes"));
        assert_eq!(sound(&json!({"dpop": "optional"})), [endpoints.clone(), routes.clone()]);
        assert_eq!(
            sound(&json!({"dpop": "required", "resources": ["urn:orders"]})),
            [endpoints.clone(), routes.clone()]
        );
        assert_eq!(sound(&json!({"dpop": "required", "resources": ["https://api.test/orders"]})), [endpoints]);
        assert_eq!(sound(&json!({"dpop": "required", "issuer": "https://api.test/orders"})), [routes]);
        assert_eq!(sound(&json!({"mtls_bound_tokens": "required"})), []);
    }

    #[test]
    fn a_grant_that_bcp_refuses_is_a_fault_and_a_token_without_end_a_warning() {
        for field in ["enable_implicit_grant", "enable_password_grant"] {
            let text =
                format!("{field} is true, which profile bcp refuses (RFC 9700): disable it, or use profile kong");
            assert_eq!(sound(&json!({field: true})), [Remark::Fault(text)]);
        }
        for field in ["token_expiration", "refresh_token_ttl"] {
            let text = format!("{field} is 0, so that tokens never expire: give it a number of seconds");
            assert_eq!(sound(&json!({field: 0})), [Remark::Warning(text)]);
        }
    }
}
