//! Further ways to a token, and what a token is: pushed authorization requests (RFC 9126), the device grant (RFC 8628).

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tollgate_core::schema::{Field, Rule, Schema};
use tollgate_core::secret::Secret;
use url::Url;

pub(super) fn fields() -> Vec<Field> {
    vec![
        Field::boolean("par_required", false)
            .describe("Whether the authorization endpoint accepts pushed requests alone (RFC 9126)."),
        Field::integer("par_lifetime")
            .default(60)
            .between(5, 600)
            .required()
            .describe("For how many seconds a pushed request can be used, once."),
        Field::integer("device_code_lifetime")
            .default(600)
            .between(60, 3600)
            .required()
            .describe("For how many seconds a device's code can be used (RFC 8628)."),
        Field::integer("device_poll_interval")
            .default(5)
            .between(1, 60)
            .required()
            .describe("How many seconds a device waits between two polls."),
        Field::string("device_verification_uri")
            .optional()
            .rule(Rule::Custom("page", page))
            .describe("The page where users type the code that a device shows. Required for the endpoint `device`."),
        Field::string("token_format").optional().one_of(&["opaque", "jwt"]).describe(
            "What access tokens are: `opaque`, the default, or `jwt`: signed, with claims that resource servers can read (RFC 9068).",
        ),
        Field::string("registration").optional().one_of(&["open", "token"]).describe(
            "Who may register a client (RFC 7591): anybody (`open`), within the quotas, or who has an initial access token (`token`). Required for the endpoint `register`.",
        ),
        Field::string("registration_consumer").optional().describe(
            "The consumer, by id or username, that registered clients act as. Required for the endpoint `register`.",
        ),
        Field::record("registration_quota", quota()).describe("How many clients may register."),
        Field::array("initial_access_tokens", Field::string("").rule(Rule::Custom("token", initial_access_token)))
            .sensitive()
            .describe("With any of these a client may register, if `registration` is `token`."),
    ]
}

fn quota() -> Schema {
    let Quota { per_address, total, unused_for } = Quota::default();
    Schema::new(vec![
        Field::integer("per_address")
            .default(per_address)
            .between(1, 10_000)
            .required()
            .describe("Within a day from one address, or one /64 network of IPv6."),
        Field::integer("total").default(total).between(1, 100_000).required().describe("At this plugin instance."),
        Field::integer("unused_for")
            .default(unused_for)
            .between(60, 31_536_000)
            .required()
            .describe("For how many seconds a client stays that has no token."),
    ])
}

/// Short ones could be guessed.
fn initial_access_token(value: &Value) -> Result<(), String> {
    let length = value.as_str().unwrap_or_default().len();
    if length >= 16 { Ok(()) } else { Err("expected at least 16 characters".to_owned()) }
}

/// The rules about several fields.
pub(super) fn consistent(config: &Value) -> Result<(), String> {
    let is = |field: &str, value: Value| config.get(field) == Some(&value);
    let names = |endpoint: &str| config["endpoints"].as_array().is_some_and(|all| all.contains(&Value::from(endpoint)));
    let expires = config["token_expiration"].as_f64().is_some_and(|seconds| seconds > 0.0);
    if is("token_format", "jwt".into()) && !expires {
        return Err("token_expiration must be greater than 0 if token_format is jwt".to_owned());
    }
    if is("par_required", true.into()) && !names("par") {
        return Err("par_required needs par in endpoints".to_owned());
    }
    if names("device") && config["device_verification_uri"].is_null() {
        return Err("device in endpoints needs device_verification_uri".to_owned());
    }
    if names("register") && (config["registration"].is_null() || config["registration_consumer"].is_null()) {
        return Err("register in endpoints needs registration and registration_consumer".to_owned());
    }
    let tokens = config["initial_access_tokens"].as_array().is_some_and(|tokens| !tokens.is_empty());
    if is("registration", "token".into()) && !tokens {
        return Err("registration by token needs initial_access_tokens".to_owned());
    }
    Ok(())
}

/// What access tokens are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenFormat {
    /// Random characters.
    Opaque,
    /// A signed JWT (RFC 9068).
    Jwt,
}

/// Who may register a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// Anybody, within the quotas.
    Open,
    /// Who has an initial access token.
    Token,
}

/// How many clients may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Quota {
    /// Within a day from one network.
    pub per_address: u32,
    /// At the plugin instance.
    pub total: u32,
    /// For how many seconds a client stays that has no token.
    pub unused_for: u32,
}

impl Default for Quota {
    fn default() -> Self {
        Self { per_address: 10, total: 1000, unused_for: 2_592_000 }
    }
}

/// An address that a user can open.
fn page(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.fragment().is_none());
    url.map(drop).ok_or_else(|| format!("expected an http or https URL without fragment, not '{text}'"))
}

/// The fields as stored and as requests use them. All are absent in configurations of earlier versions.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Grants {
    /// Whether authorization requests have to be pushed.
    pub par_required: bool,
    /// How long a pushed request can be used, in seconds.
    pub par_lifetime: u32,
    /// How long a device code can be used, in seconds.
    pub device_code_lifetime: u32,
    /// How long a device waits between two polls, in seconds.
    pub device_poll_interval: u32,
    /// The page where users type a device's code.
    pub device_verification_uri: Option<String>,
    /// What access tokens are; `None`: opaque.
    pub token_format: Option<TokenFormat>,
    /// Who may register a client; `None`: nobody.
    pub registration: Option<RegistrationMode>,
    /// The consumer that registered clients act as.
    pub registration_consumer: Option<String>,
    /// How many may register; `None`: the defaults.
    pub registration_quota: Option<Quota>,
    /// With any of these a client may register.
    #[serde(deserialize_with = "secrets")]
    pub initial_access_tokens: Vec<Secret>,
}

fn secrets<'de, D: Deserializer<'de>>(stored: D) -> Result<Vec<Secret>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(stored)?.into_iter().flatten().map(Secret::new).collect())
}

impl Default for Grants {
    fn default() -> Self {
        Self {
            par_required: false,
            par_lifetime: 60,
            device_code_lifetime: 600,
            device_poll_interval: 5,
            device_verification_uri: None,
            token_format: None,
            registration: None,
            registration_consumer: None,
            registration_quota: None,
            initial_access_tokens: Vec::new(),
        }
    }
}
