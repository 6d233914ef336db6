//! The metadata documents: of the authorization server (RFC 8414), and of the resource behind it (RFC 9728).
//!
//! They say what the instance is configured to do, and nothing about clients or tokens.

use http::StatusCode;
use serde_json::{Map, Value, json};
use tollgate_core::reply::Reply;
use tollgate_core::request::Request;

use super::response::{self, State};
use super::{Endpoint, https, sender_metadata};
use crate::config::Config;
use crate::config::endpoints::Name;
use crate::error::Refusal;
use crate::issuer_identifier;
use crate::profile::{IssuerInResponse, Permission, Profile};

/// The only list that a document always has. Others MUST be left out where they are empty (RFC 8414 §3.2, RFC 9728
/// §3.2).
const REQUIRED: &str = "response_types_supported";

/// The members of a document; absent ones are left out.
type Members = Vec<(&'static str, Option<Value>)>;

/// How clients authenticate (RFC 6749 §2.3.1); `none` is for public ones.
const CONFIDENTIAL: [&str; 2] = ["client_secret_basic", "client_secret_post"];
const ANY_CLIENT: [&str; 3] = ["client_secret_basic", "client_secret_post", "none"];

/// The document of the authorization server (RFC 8414 §2).
pub(super) fn authorization_server(config: &Config, request: &Request<'_>) -> Reply {
    respond(Endpoint::Metadata, config, request, |issuer| {
        let senders = sender_metadata::authorization_server(&config.sender);
        [endpoints(config, issuer), grants(config), clients(config), senders].concat()
    })
}

/// The document of the resource (RFC 9728 §2).
pub(super) fn resource(config: &Config, request: &Request<'_>) -> Reply {
    respond(Endpoint::ResourceMetadata, config, request, |issuer| {
        let resource = issuer_identifier::resource(&config.endpoints, request);
        let mut members = vec![
            ("resource", resource.map(Value::from)),
            ("authorization_servers", Some(json!([issuer]))),
            ("scopes_supported", config.scopes.as_ref().map(|scopes| json!(scopes))),
            ("bearer_methods_supported", Some(bearer_methods(&config.profile))),
        ];
        members.extend(sender_metadata::resource(&config.sender));
        members
    })
}

fn respond(endpoint: Endpoint, config: &Config, request: &Request<'_>, members: impl Fn(&str) -> Members) -> Reply {
    let issuer = https::require(config, request)
        .and_then(|()| issuer_identifier::of(&config.endpoints, request).ok_or(Refusal::NoHost));
    match issuer {
        Ok(issuer) => {
            let known = members(&issuer).into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            let known = known.filter(|(name, value)| name == REQUIRED || value != &json!([]));
            response::framed(StatusCode::OK, "metadata", known.collect::<Map<_, _>>())
        }
        Err(refusal) => response::failed(endpoint, &refusal.into(), &State::default()),
    }
}

fn endpoints(config: &Config, issuer: &str) -> Members {
    let at = |path: &str| Some(Value::from(format!("{issuer}/oauth2/{path}")));
    let named = |name: Name, path: &str| config.endpoints.names.has(name).then(|| at(path)).flatten();
    let page = config.endpoints.authorization_endpoint.as_deref().map(Value::from);
    vec![
        ("issuer", Some(issuer.into())),
        ("authorization_endpoint", page.or_else(|| at("authorize"))),
        ("token_endpoint", at("token")),
        ("introspection_endpoint", named(Name::Introspect, "introspect")),
        ("revocation_endpoint", named(Name::Revoke, "revoke")),
        ("pushed_authorization_request_endpoint", named(Name::Par, "par")),
        // RFC 9126 §5.
        ("require_pushed_authorization_requests", config.grants.par_required.then_some(json!(true))),
        ("device_authorization_endpoint", named(Name::Device, "device_authorization")),
        ("registration_endpoint", named(Name::Register, "register")),
        ("jwks_uri", named(Name::Jwks, "jwks")),
    ]
}

fn grants(config: &Config) -> Members {
    let has_device = config.endpoints.names.has(Name::Device);
    let refreshes = config.enable_authorization_code || config.enable_password_grant || has_device;
    let grant_types = listed(&[
        ("authorization_code", config.enable_authorization_code),
        ("implicit", config.enable_implicit_grant),
        ("client_credentials", config.enable_client_credentials),
        ("password", config.enable_password_grant),
        ("refresh_token", refreshes),
        ("urn:ietf:params:oauth:grant-type:device_code", has_device),
    ]);
    let names_issuer = config.profile.issuer_in_response == IssuerInResponse::Present;
    let (code, token) = (config.enable_authorization_code, config.enable_implicit_grant);
    vec![
        ("scopes_supported", config.scopes.as_ref().map(|scopes| json!(scopes))),
        ("response_types_supported", Some(listed(&[("code", code), ("token", token)]))),
        ("response_modes_supported", Some(listed(&[("query", code), ("fragment", token)]))),
        ("grant_types_supported", Some(grant_types)),
        ("code_challenge_methods_supported", Some(json!(["S256"]))),
        // RFC 9207 §3.
        ("authorization_response_iss_parameter_supported", names_issuer.then_some(json!(true))),
    ]
}

fn clients(config: &Config) -> Members {
    let more = sender_metadata::methods(&config.sender, config.endpoints.issuer.as_deref());
    let [any, confidential] = [&ANY_CLIENT[..], &CONFIDENTIAL].map(|methods| json!([methods, &more].concat()));
    let algorithms = config.endpoints.issuer.as_ref().map(|_| sender_metadata::assertion_algorithms());
    let named = |name: Name, methods: Value| config.endpoints.names.has(name).then_some(methods);
    vec![
        ("token_endpoint_auth_methods_supported", Some(any.clone())),
        ("introspection_endpoint_auth_methods_supported", named(Name::Introspect, confidential)),
        ("revocation_endpoint_auth_methods_supported", named(Name::Revoke, any)),
        // Required where the methods include assertions (RFC 8414 §2).
        ("token_endpoint_auth_signing_alg_values_supported", algorithms.clone()),
        (
            "introspection_endpoint_auth_signing_alg_values_supported",
            algorithms.clone().and_then(|algorithms| named(Name::Introspect, algorithms)),
        ),
        (
            "revocation_endpoint_auth_signing_alg_values_supported",
            algorithms.and_then(|algorithms| named(Name::Revoke, algorithms)),
        ),
    ]
}

/// Where a request may carry its token (RFC 6750 §2).
fn bearer_methods(profile: &Profile) -> Value {
    let permitted = |permission| permission == Permission::Permitted;
    let (body, query) = (permitted(profile.token_in_body), permitted(profile.token_in_query));
    listed(&[("header", true), ("body", body), ("query", query)])
}

fn listed(rows: &[(&str, bool)]) -> Value {
    rows.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name).collect()
}
