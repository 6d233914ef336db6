//! The configuration of an instance: its schema as data, and what is read from it (introspection.md §1).
//!
//! The fields of the first authority are fields of `config` itself, as in the plugin of the same name in Kong; further
//! ones are elements of `authorities`, with the same fields.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tollgate_plugin::http_client::{Tls, TlsError};
use tollgate_plugin::{EntityCheck, Field, Rule, Schema, Secret, Violations};
use tollgate_third_party::jose::{Algorithm, KeySet, MalformedKeySet};
use tollgate_third_party::{AuthorityUrl, BadUrl, Common, Connection, config, connection};

use crate::client_assertion::{ALGORITHMS, InvalidKey, SigningKey};

/// The longest time that a field may give, in seconds: ten years.
const LONGEST: f64 = 315_360_000.0;

/// What the plugin itself writes, besides what the HTTP client writes.
const WRITTEN_HERE: [&str; 6] =
    ["authorization", "content-type", "content-length", "host", "connection", "transfer-encoding"];

/// The schema of `config`.
pub fn schema() -> Schema {
    let mut fields = authority_fields();
    fields.extend([
        Field::number("ttl")
            .default(30)
            .required()
            .rule(Rule::Between(0.0, LONGEST))
            .describe("Seconds for which a response is used; 0: until the token's own `exp`."),
        Field::boolean("introspect_request", false)
            .describe("Whether endpoints are sent `X-Request-Path` and `X-Request-Http-Method`."),
    ]);
    fields.extend(config::fields());
    let further = with_checks(Schema::new(authority_fields()));
    fields.push(
        Field::array("authorities", Field::record("", further))
            .default(json!([]))
            .required()
            .describe("Further authorities, which are asked in this order about tokens that the first does not know."),
    );
    config::checks().into_iter().fold(with_checks(Schema::new(fields)), Schema::entity_check)
}

/// The fields of an authority.
fn authority_fields() -> Vec<Field> {
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

/// Rules about several fields of an authority.
fn with_checks(schema: Schema) -> Schema {
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

/// Why a stored configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Fields are missing or have the wrong type.
    #[error("stored configuration does not match its schema")]
    Fields(#[from] serde_json::Error),
    /// The URL cannot be called.
    #[error("introspection_url or jwks_uri cannot be called")]
    Url(#[from] BadUrl),
    /// No header can carry a value.
    #[error("authorization_value or a header is not valid in HTTP")]
    Header,
    /// What the method of client authentication needs is missing.
    #[error("a field that auth_method needs is missing")]
    Incomplete,
    /// The key cannot be used.
    #[error("client_key cannot be used")]
    Key(#[from] InvalidKey),
    /// The static key set cannot be read.
    #[error("jwks is malformed")]
    KeySet(#[from] MalformedKeySet),
    /// Signed responses need an issuer.
    #[error("issuer is missing, which signed responses need")]
    Issuer,
    /// Certificates cannot be used.
    #[error("TLS to the endpoint cannot be set up")]
    Tls(#[from] TlsError),
}

/// The values of an instance.
pub struct Config {
    /// What all plugins for tokens of other authorities have.
    pub common: Common,
    /// The authorities, each with its stored fields, which identify it.
    pub authorities: Vec<(Authority, Value)>,
    /// How long a response is used, in seconds; `None`: until the token's own `exp`.
    pub ttl: Option<f64>,
    /// Whether endpoints are told method and path of requests.
    pub introspect_request: bool,
}

#[derive(Deserialize)]
struct Own {
    ttl: f64,
    introspect_request: bool,
    authorities: Vec<Value>,
}

impl Config {
    /// Reads a stored configuration.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn read(stored: &Value) -> Result<Self, Unusable> {
        let own = Own::deserialize(stored)?;
        let names: Vec<&str> = authority_fields().iter().map(|field| field.name).collect();
        let authority = |stored: &Value| {
            let fields = names.iter().filter_map(|name| Some((String::from(*name), stored.get(*name)?.clone())));
            let fields = Value::Object(fields.collect());
            Ok::<_, Unusable>((Authority::deserialize(&fields)?, fields))
        };
        Ok(Self {
            common: Common::deserialize(stored)?,
            authorities: std::iter::once(stored).chain(&own.authorities).map(authority).collect::<Result<_, _>>()?,
            ttl: (own.ttl > 0.0).then_some(own.ttl),
            introspect_request: own.introspect_request,
        })
    }
}

/// Where the keys are that sign responses.
pub enum ResponseKeys {
    /// In the configuration.
    Fixed(KeySet),
    /// At a URL.
    At(AuthorityUrl),
}

/// The values of one authority. Contains secrets.
#[derive(Deserialize)]
pub struct Authority {
    introspection_url: String,
    /// See [`AUTH_METHODS`].
    pub auth_method: String,
    /// The value of the `Authorization` header.
    pub authorization_value: Option<String>,
    /// What the endpoint is told a token to be.
    pub token_type_hint: Option<String>,
    custom_introspection_headers: BTreeMap<String, String>,
    /// The member of a response that names the consumer.
    pub consumer_by: String,
    /// The `iss` of its JWTs.
    pub issuer: Option<String>,
    /// Our id.
    pub client_id: Option<String>,
    client_secret: Option<String>,
    client_key: Option<String>,
    /// The `kid` of our key.
    pub client_key_id: Option<String>,
    client_key_algorithm: Option<String>,
    client_assertion_audience: Option<String>,
    jwks_uri: Option<String>,
    jwks: Option<String>,
    /// How it is called.
    #[serde(flatten)]
    pub connection: Connection,
    tls_client_certificate: Option<String>,
    tls_client_key: Option<String>,
}

impl Authority {
    /// Where it is.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn url(&self) -> Result<AuthorityUrl, Unusable> {
        Ok(AuthorityUrl::parse(&self.introspection_url)?)
    }

    /// Headers of every call.
    ///
    /// # Errors
    /// A name or a value is not valid in HTTP.
    pub fn headers(&self) -> Result<HeaderMap, Unusable> {
        let header = |(name, value): (&String, &String)| {
            let name = name.parse::<HeaderName>().map_err(|_| Unusable::Header)?;
            let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| Unusable::Header)?;
            value.set_sensitive(true);
            Ok((name, value))
        };
        self.custom_introspection_headers.iter().map(header).collect()
    }

    /// Our secret.
    pub fn client_secret(&self) -> Option<Secret> {
        self.client_secret.as_deref().map(Secret::new)
    }

    /// The key of assertions.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn signing_key(&self) -> Result<Option<SigningKey>, InvalidKey> {
        let algorithm = self.client_key_algorithm.as_deref().and_then(Algorithm::parse);
        self.client_key.as_deref().map(|pem| SigningKey::parse(pem, algorithm)).transpose()
    }

    /// Who assertions are for.
    pub fn assertion_audience(&self) -> &str {
        let audience = self.client_assertion_audience.as_ref().or(self.issuer.as_ref());
        audience.unwrap_or(&self.introspection_url)
    }

    /// Where the keys are that sign its responses; `None`: they are not signed.
    ///
    /// # Errors
    /// The static key set cannot be read.
    pub fn response_keys(&self) -> Result<Option<ResponseKeys>, Unusable> {
        Ok(match (&self.jwks, &self.jwks_uri) {
            (Some(keys), _) => Some(ResponseKeys::Fixed(KeySet::parse(keys.as_bytes())?)),
            (None, Some(url)) => Some(ResponseKeys::At(AuthorityUrl::parse(url)?)),
            (None, None) => None,
        })
    }

    /// The URLs that are called, by field.
    pub fn urls(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let keys = self.jwks_uri.as_deref().map(|url| ("jwks_uri", url));
        std::iter::once(("introspection_url", self.introspection_url.as_str())).chain(keys)
    }

    /// Which certificates are accepted, and which one is presented.
    ///
    /// # Errors
    /// A certificate or a key cannot be read.
    pub fn tls(&self) -> Result<Tls, TlsError> {
        let tls = self.connection.tls()?;
        match (&self.tls_client_certificate, &self.tls_client_key) {
            (Some(certificate), Some(key)) => tls.with_client_certificate(certificate.as_bytes(), key.as_bytes()),
            _ => Ok(tls),
        }
    }
}
