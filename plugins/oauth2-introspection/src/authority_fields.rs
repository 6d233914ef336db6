//! The fields of an authority's configuration, and what is refused in them (introspection.md §1).

use http::HeaderName;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tollgate_plugin::{EntityCheck, Field, Rule, Schema, Violations};
use tollgate_third_party::{AuthorityUrl, BadUrl, connection};

use crate::authority::Authority;
use crate::client_assertion::{ALGORITHMS, SigningKey};

/// What the plugin itself writes, besides what the HTTP client writes.
const WRITTEN_HERE: [&str; 6] =
    ["authorization", "content-type", "content-length", "host", "connection", "transfer-encoding"];

/// The fields. Their schema needs [`with_checks`].
pub fn fields() -> Vec<Field> {
    let header_name = Field::string("").rule(Rule::Custom("header_name", header_name));
    let header_value = Field::string("").rule(Rule::HeaderText);
    let mut fields = vec![
        Field::string("introspection_url")
            .required()
            .rule(Rule::Custom("url", url))
            .describe("The introspection endpoint (RFC 7662)."),
        Field::string("authorization_value")
            .sensitive()
            .rule(Rule::HeaderText)
            .describe("The value of the `Authorization` header. Required, unless `auth_method` says otherwise."),
        Field::string("token_type_hint").describe("What the endpoint is told a token to be: `token_type_hint`."),
        Field::map("custom_introspection_headers", header_name, header_value)
            .default(json!({}))
            .required()
            .rule(Rule::Custom("headers", headers))
            .describe("Headers of every call."),
        Field::string("consumer_by")
            .default("username")
            .required()
            .one_of(&["username", "client_id"])
            .describe("The member of a response that names the consumer, by its username."),
        Field::string("issuer")
            .describe("The `iss` of its tokens if they are JWTs: JWTs of other issuers are not sent to it."),
        Field::string("auth_method")
            .default("authorization_value")
            .required()
            .one_of(&AUTH_METHODS)
            .describe("How the gateway authenticates: with `authorization_value`, or as an OAuth client."),
        Field::string("client_id").describe("The gateway's `client_id` at the authority."),
        Field::string("client_secret").sensitive().describe("Its secret."),
        Field::string("client_key")
            .sensitive()
            .rule(Rule::Custom("private_key", private_key))
            .describe("The private key of `private_key_jwt`, in PEM."),
        Field::string("client_key_id").describe("Its `kid`."),
        Field::string("client_key_algorithm")
            .one_of(&ALGORITHMS)
            .describe("The algorithm of assertions; by default `RS256`, or the one of the key's curve."),
        Field::string("client_assertion_audience")
            .describe("The `aud` of assertions; by default `issuer`, or else `introspection_url`."),
        connection::url("jwks_uri").describe(
            "The URL of the keys with which it signs its responses (RFC 9701); unsigned ones are then refused.",
        ),
        connection::key_set("jwks").describe("These keys themselves, as JSON."),
        Field::string("tls_client_certificate")
            .describe("The gateway's certificate in TLS, in PEM, followed by those of intermediate authorities."),
        Field::string("tls_client_key").sensitive().describe("Its private key, in PEM."),
    ];
    fields.extend(connection::fields());
    fields
}

/// The methods of client authentication.
const AUTH_METHODS: [&str; 5] =
    ["authorization_value", "client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth"];

/// Adds the rules about several of the fields.
pub fn with_checks(schema: Schema) -> Schema {
    let needed = |method: &'static str, field| EntityCheck::Requires {
        if_field: "auth_method",
        if_match: Rule::Equals(json!(method)),
        field,
    };
    let issuer_of = |keys| EntityCheck::Requires { if_field: keys, if_match: Rule::Present, field: "issuer" };
    let [value, basic, post, assertion, certificate] = AUTH_METHODS;
    connection::with_checks(schema)
        .entity_check(needed(value, "authorization_value"))
        .entity_check(needed(basic, "client_id"))
        .entity_check(needed(basic, "client_secret"))
        .entity_check(needed(post, "client_id"))
        .entity_check(needed(post, "client_secret"))
        .entity_check(needed(assertion, "client_id"))
        .entity_check(needed(assertion, "client_key"))
        .entity_check(needed(certificate, "client_id"))
        .entity_check(needed(certificate, "tls_client_certificate"))
        .entity_check(EntityCheck::OnlyOneOf(&["jwks_uri", "jwks"]))
        .entity_check(issuer_of("jwks_uri"))
        .entity_check(issuer_of("jwks"))
        .entity_check(EntityCheck::AllOrNone(&["tls_client_certificate", "tls_client_key"]))
        .check(json!({"custom": "client_keys"}), client_keys)
}

fn url(value: &Value) -> Result<(), String> {
    AuthorityUrl::parse(value.as_str().unwrap_or_default()).map(drop).map_err(|error| match error {
        BadUrl::Credentials => format!("{error}; use authorization_value, or client_id and client_secret"),
        BadUrl::NotAbsolute | BadUrl::Fragment => error.to_string(),
    })
}

fn header_name(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let name: HeaderName = text.parse().map_err(|_| format!("'{text}' is not a valid header name"))?;
    if WRITTEN_HERE.contains(&name.as_str()) {
        return Err(format!("the gateway itself writes '{text}'"));
    }
    Ok(())
}

/// Names of headers have no letter case.
fn headers(value: &Value) -> Result<(), String> {
    let mut seen = Vec::new();
    for name in value.as_object().into_iter().flat_map(Map::keys) {
        let lower = name.to_ascii_lowercase();
        if seen.contains(&lower) {
            return Err(format!("'{name}' is given twice"));
        }
        seen.push(lower);
    }
    Ok(())
}

fn private_key(value: &Value) -> Result<(), String> {
    SigningKey::parse(value.as_str().unwrap_or_default(), None).map(drop).map_err(|error| error.to_string())
}

/// Keys fit what they are used with.
fn client_keys(authority: &Map<String, Value>, found: &mut Violations) {
    let Ok(stored) = Authority::deserialize(&Value::Object(authority.clone())) else { return };
    if let Err(error) = stored.signing_key() {
        found.field("client_key", error.to_string());
    }
    if let Err(error) = stored.tls() {
        found.field("tls_client_key", error.to_string());
    }
}
