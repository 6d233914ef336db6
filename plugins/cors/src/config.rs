//! The configuration of an instance.

use http::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_plugin::{Field, Rule, Schema};

use crate::origin::{InvalidOrigin, Origins};

const METHODS: [&str; 9] = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT"];

/// The schema of `config`.
pub(crate) fn schema() -> Schema {
    Schema::new(vec![
        Field::array("origins", Field::string("").rule(Rule::Custom("origin", origin))),
        Field::strings("headers"),
        Field::strings("exposed_headers"),
        Field::array("methods", Field::string("").one_of(&METHODS)).default(json!(METHODS)),
        Field::number("max_age"),
        Field::boolean("credentials", false),
        Field::boolean("preflight_continue", false),
        Field::boolean("private_network", false),
        Field::boolean("allow_origin_absent", true),
    ])
}

fn origin(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match Origins::parse(&[text.to_owned()]) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("'{text}' is not a valid regex")),
    }
}

/// An instance's configuration, as header values.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) origins: Origins,
    /// `None`: the headers that the preflight requests.
    pub(crate) headers: Option<HeaderValue>,
    pub(crate) exposed_headers: Option<HeaderValue>,
    pub(crate) methods: HeaderValue,
    pub(crate) max_age: Option<HeaderValue>,
    pub(crate) credentials: Credentials,
    pub(crate) preflight: Preflight,
    pub(crate) private_network: PrivateNetwork,
    pub(crate) without_origin: WithoutOrigin,
}

/// Whether pages may read responses to requests with the user's cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credentials {
    Allowed,
    Omitted,
}

/// Who responds to a preflight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preflight {
    Gateway,
    Upstream,
}

/// Whether public pages may reach an upstream in a private network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrivateNetwork {
    Allowed,
    Unmentioned,
}

/// Whether responses to requests without an `Origin` get headers too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithoutOrigin {
    Answered,
    LeftAlone,
}

/// Why a stored configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the stored configuration does not match its schema")]
    Fields(#[from] serde_json::Error),
    #[error(transparent)]
    Origin(#[from] InvalidOrigin),
    #[error("{0} has characters that are invalid in a header")]
    Header(&'static str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    origins: Option<Vec<String>>,
    headers: Option<Vec<String>>,
    exposed_headers: Option<Vec<String>>,
    methods: Option<Vec<String>>,
    max_age: Option<serde_json::Number>,
    credentials: bool,
    preflight_continue: bool,
    private_network: bool,
    allow_origin_absent: bool,
}

impl TryFrom<&Value> for Config {
    type Error = Unreadable;

    fn try_from(stored: &Value) -> Result<Self, Unreadable> {
        let stored = Stored::deserialize(stored)?;
        let methods = stored.methods.unwrap_or_else(|| METHODS.map(str::to_owned).to_vec());
        let max_age = stored.max_age.map(|seconds| header("max_age", &seconds.to_string())).transpose()?;
        Ok(Self {
            origins: Origins::parse(&stored.origins.unwrap_or_default())?,
            headers: list("headers", stored.headers)?,
            exposed_headers: list("exposed_headers", stored.exposed_headers)?,
            methods: header("methods", &methods.join(","))?,
            max_age,
            credentials: if stored.credentials { Credentials::Allowed } else { Credentials::Omitted },
            preflight: if stored.preflight_continue { Preflight::Upstream } else { Preflight::Gateway },
            private_network: match stored.private_network {
                true => PrivateNetwork::Allowed,
                false => PrivateNetwork::Unmentioned,
            },
            without_origin: match stored.allow_origin_absent {
                true => WithoutOrigin::Answered,
                false => WithoutOrigin::LeftAlone,
            },
        })
    }
}

/// An empty list means the same as null.
fn list(field: &'static str, names: Option<Vec<String>>) -> Result<Option<HeaderValue>, Unreadable> {
    let names = names.filter(|names| !names.is_empty());
    names.map(|names| header(field, &names.join(","))).transpose()
}

fn header(field: &'static str, text: &str) -> Result<HeaderValue, Unreadable> {
    HeaderValue::try_from(text).map_err(|_| Unreadable::Header(field))
}
