//! The configuration of an instance.

use http::{HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use tollgate_plugin::{EntityCheck, Field, Rule, Schema, Violations, config_rules};

use crate::period::{ALL, Period};
use crate::sender::LimitBy;
use crate::usage::Limits;

const LIMITS: &[&str] = &["config.second", "config.minute", "config.hour", "config.day", "config.month", "config.year"];

/// The counters of a node, or those of all nodes.
const POLICIES: [&str; 3] = ["local", "cluster", "redis"];

/// The schema of `config`.
pub(crate) fn schema() -> Schema {
    let limit = |period: Period| Field::number(period.field()).rule(Rule::GreaterThan(0.0));
    let header_name = Field::string("header_name").rule(Rule::Custom("header_name", config_rules::header_name));
    let mut fields: Vec<Field> = ALL.map(limit).into();
    fields.extend([
        Field::string("limit_by").default("consumer").one_of(&[
            "consumer",
            "credential",
            "ip",
            "service",
            "header",
            "path",
        ]),
        header_name,
        Field::string("path").rule(Rule::StartsWith("/")).rule(Rule::Custom("path", path)),
        Field::string("policy").default("local").one_of(&POLICIES).empty_allowed(),
        Field::boolean("fault_tolerant", true),
        Field::record("redis", redis()),
        Field::boolean("hide_client_headers", false),
        Field::number("error_code").default(429).rule(Rule::GreaterThan(0.0)),
        Field::string("error_message").default("API rate limit exceeded"),
        Field::number("sync_rate").default(-1).required(),
    ]);
    Schema::new(fields).describe(&DESCRIPTIONS).overall(consistent)
}

const DESCRIPTIONS: [(&str, &str); 16] = [
    ("second", "Requests per second."),
    ("minute", "Requests per minute."),
    ("hour", "Requests per hour."),
    ("day", "Requests per day."),
    ("month", "Requests per month."),
    ("year", "Requests per year."),
    ("limit_by", "What requests are counted by; requests without it are counted by the client's address."),
    ("header_name", "The header by whose value requests are counted."),
    ("path", "The path whose requests are counted together."),
    ("policy", "Where requests are counted: on this node, or in the store for all nodes; `redis` is not supported."),
    ("fault_tolerant", "Whether requests pass while the store cannot count them."),
    ("redis", "Accepted for compatibility, no effect."),
    ("hide_client_headers", "Whether responses say nothing about limits."),
    ("error_code", "The status of refusals."),
    ("error_message", "The message of refusals."),
    ("sync_rate", "Accepted for compatibility, no effect: counting is never put off."),
];

/// The fields of a store that is not supported: whoever configures one is told so, and not of unknown fields.
fn redis() -> Schema {
    Schema::new(vec![
        Field::string("host"),
        Field::integer("port").default(6379).between(0, 65535),
        Field::integer("timeout").default(2000).between(0, i32::MAX - 1),
        Field::string("username"),
        Field::string("password").sensitive().empty_allowed(),
        Field::integer("database").default(0),
        Field { required: false, ..Field::boolean("ssl", false) }.optional(),
        Field { required: false, ..Field::boolean("ssl_verify", false) }.optional(),
        Field::string("server_name").optional(),
    ])
}

fn path(value: &Value) -> Result<(), String> {
    match value.as_str().unwrap_or_default().contains("//") {
        true => Err("must not have empty segments".to_owned()),
        false => Ok(()),
    }
}

/// A longer period has no lower limit: it would make the shorter one's useless.
fn consistent(config: &Value) -> Result<(), String> {
    let limits = ALL.map(|period| (period.field(), config.get(period.field()).and_then(Value::as_f64)));
    let given: Vec<(&str, f64)> = limits.into_iter().filter_map(|(name, limit)| Some((name, limit?))).collect();
    for (at, (lower, least)) in given.iter().enumerate() {
        if let Some((upper, limit)) = given.iter().skip(at + 1).find(|(_, limit)| limit < least) {
            return Err(format!(
                "The limit for {upper}({limit:.1}) cannot be lower than the limit for {lower}({least:.1})"
            ));
        }
    }
    let policy = config.get("policy").and_then(Value::as_str);
    let sync_rate = config.get("sync_rate").and_then(Value::as_f64);
    match sync_rate {
        Some(rate) if policy != Some("redis") && rate != -1.0 => {
            Err("sync_rate can only be used with the redis policy".to_owned())
        }
        Some(rate) if rate != -1.0 && rate < 0.02 => {
            Err("sync_rate must be greater than 0.02, or -1 to disable".to_owned())
        }
        _ => Ok(()),
    }
}

/// Rules about several fields of an instance.
pub(crate) fn checks() -> Vec<EntityCheck> {
    let required = |if_field, value: &'static str, then_field| EntityCheck::Conditional {
        if_field,
        if_match: Rule::Equals(value.into()),
        then_field,
        then_match: Rule::Present,
        message: None,
    };
    vec![
        EntityCheck::AtLeastOneOf(LIMITS),
        required("config.policy", "redis", "config.redis.host"),
        required("config.policy", "redis", "config.redis.port"),
        required("config.policy", "redis", "config.redis.timeout"),
        required("config.limit_by", "header", "config.header_name"),
        required("config.limit_by", "path", "config.path"),
    ]
}

/// What the schema accepts, and this gateway does not do.
pub(crate) fn objections(config: &Value) -> Violations {
    let mut found = Violations::new();
    if config.get("policy").and_then(Value::as_str).is_some_and(|policy| policy != "local" && policy != "cluster") {
        let text = "this gateway does not count in Redis: use 'local', or 'cluster' to count in the store that all nodes share";
        found.field("policy", text);
    }
    if config.get("error_code").filter(|code| !code.is_null()).is_some_and(|code| refusal(code).is_none()) {
        found.field("error_code", "expected the status of an error, from 400 to 599");
    }
    found
}

fn refusal(code: &Value) -> Option<StatusCode> {
    let code = whole(code).and_then(|code| u16::try_from(code).ok())?;
    StatusCode::from_u16(code).ok().filter(|status| status.is_client_error() || status.is_server_error())
}

/// JSON may write a whole number as `429.0`.
fn whole(number: &Value) -> Option<u64> {
    number.as_u64().or_else(|| number.as_f64().filter(|number| number.fract() == 0.0).and_then(rounded_up))
}

/// How many requests a limit admits: a part of a request is one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what is too large becomes the largest")]
fn rounded_up(limit: f64) -> Option<u64> {
    (limit > 0.0).then(|| limit.ceil() as u64)
}

/// Where requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Local,
    Cluster,
}

/// What happens to requests that the store cannot count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uncounted {
    Pass,
    Refused,
}

/// Whether responses tell clients about limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    Told,
    Hidden,
}

/// An instance's configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) limits: Limits,
    pub(crate) limit_by: LimitBy,
    pub(crate) policy: Policy,
    pub(crate) uncounted: Uncounted,
    pub(crate) telling: Telling,
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

/// Why a stored configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("stored configuration does not match its schema")]
    Fields(#[from] serde_json::Error),
    #[error("there is no limit")]
    NoLimit,
    #[error("{0} must be set when it is what requests are counted by")]
    Missing(&'static str),
    #[error("header_name is not a header name")]
    Header(#[from] http::header::InvalidHeaderName),
    #[error("policy must be local or cluster")]
    Policy,
    #[error("error_code must be from 400 to 599")]
    Status,
}

#[derive(Deserialize)]
struct Stored {
    limit_by: Option<By>,
    header_name: Option<String>,
    path: Option<String>,
    policy: Option<String>,
    fault_tolerant: bool,
    hide_client_headers: bool,
    error_code: Option<Value>,
    error_message: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Consumer,
    Credential,
    Ip,
    Service,
    Header,
    Path,
}

impl TryFrom<&Value> for Config {
    type Error = Unreadable;

    fn try_from(stored: &Value) -> Result<Self, Unreadable> {
        let stored = Stored::deserialize(stored)?;
        let limits: Vec<_> = ALL.into_iter().filter_map(|period| Some((period, stored.limit(period)?))).collect();
        if limits.is_empty() {
            return Err(Unreadable::NoLimit);
        }
        let limit_by = match stored.limit_by.unwrap_or(By::Consumer) {
            By::Consumer => LimitBy::Consumer,
            By::Credential => LimitBy::Credential,
            By::Ip => LimitBy::Ip,
            By::Service => LimitBy::Service,
            By::Header => {
                let name = stored.header_name.ok_or(Unreadable::Missing("header_name"))?;
                LimitBy::Header(HeaderName::from_bytes(name.as_bytes())?)
            }
            By::Path => LimitBy::Path(stored.path.ok_or(Unreadable::Missing("path"))?),
        };
        let policy = match stored.policy.as_deref() {
            None | Some("local") => Policy::Local,
            Some("cluster") => Policy::Cluster,
            Some(_) => return Err(Unreadable::Policy),
        };
        let status = match &stored.error_code {
            None => StatusCode::TOO_MANY_REQUESTS,
            Some(code) => refusal(code).ok_or(Unreadable::Status)?,
        };
        Ok(Self {
            limits: Limits::new(limits),
            limit_by,
            policy,
            uncounted: if stored.fault_tolerant { Uncounted::Pass } else { Uncounted::Refused },
            telling: if stored.hide_client_headers { Telling::Hidden } else { Telling::Told },
            status,
            message: stored.error_message.unwrap_or_else(|| "API rate limit exceeded".to_owned()),
        })
    }
}

impl Stored {
    fn limit(&self, period: Period) -> Option<u64> {
        let limit = self.others.get(period.field())?;
        limit.as_u64().filter(|limit| *limit > 0).or_else(|| rounded_up(limit.as_f64()?))
    }
}

#[cfg(test)]
mod tests;
