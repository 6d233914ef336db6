//! The configuration of an instance.

use std::net::IpAddr;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tollgate_plugin::{EntityCheck, Field, Rule, Schema, Violations};

use crate::networks::{Networks, network};

/// The schema of `config`.
pub(crate) fn schema() -> Schema {
    let networks = |name| Field::array(name, Field::string("").rule(Rule::Custom("ip_or_cidr", ip_or_cidr)));
    Schema::new(vec![
        networks("allow").describe("Addresses and networks of clients that may use the API; others may not."),
        networks("deny").describe("Addresses and networks of clients that may not use the API."),
        Field::number("status").optional().describe("The status of refusals; null is 403."),
        Field::string("message").optional().describe("The message of refusals; null names the client's address."),
    ])
}

/// Without any list, all clients may pass: nobody means that.
pub(crate) fn checks() -> Vec<EntityCheck> {
    vec![EntityCheck::AtLeastOneOf(&["config.allow", "config.deny"])]
}

fn ip_or_cidr(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match network(text) {
        Some(_) => Ok(()),
        None => Err(format!("invalid ip or cidr range: '{text}'")),
    }
}

/// A refusal must read as one.
pub(crate) fn objections(config: &Value) -> Violations {
    match config.get("status").filter(|status| !status.is_null()) {
        Some(status) if refusal(status).is_none() => {
            Violations::of_field("status", "expected the status of an error, from 400 to 599")
        }
        _ => Violations::new(),
    }
}

fn refusal(status: &Value) -> Option<StatusCode> {
    let whole = status.as_u64().or_else(|| whole(status.as_f64()?));
    let code = whole.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..=599).contains(code))?;
    StatusCode::from_u16(code).ok()
}

/// JSON may write a whole number as `429.0`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only whole numbers in range are cast")]
fn whole(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..1000.0).contains(&number)).then_some(number as u64)
}

/// An instance's configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// `None`: all.
    allow: Option<Networks>,
    deny: Networks,
    pub(crate) status: StatusCode,
    pub(crate) message: Option<String>,
}

impl Config {
    /// Whether the client may pass.
    pub(crate) fn admits(&self, client: IpAddr) -> bool {
        !self.deny.contain(client) && self.allow.as_ref().is_none_or(|allow| allow.contain(client))
    }
}

/// Why a stored configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("stored configuration does not match its schema")]
    Fields(#[from] serde_json::Error),
    #[error("{0:?} is neither an address nor a network")]
    Network(String),
    #[error("status must be from 400 to 599")]
    Status,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
    status: Option<Value>,
    message: Option<String>,
}

impl TryFrom<&Value> for Config {
    type Error = Unreadable;

    fn try_from(stored: &Value) -> Result<Self, Unreadable> {
        let stored = Stored::deserialize(stored)?;
        // An empty list counts as absent.
        let allow = stored.allow.filter(|allow| !allow.is_empty()).map(parse).transpose()?;
        let status = match stored.status {
            None => StatusCode::FORBIDDEN,
            Some(status) => refusal(&status).ok_or(Unreadable::Status)?,
        };
        Ok(Self { allow, deny: parse(stored.deny.unwrap_or_default())?, status, message: stored.message })
    }
}

fn parse(texts: Vec<String>) -> Result<Networks, Unreadable> {
    let networks = texts.into_iter().map(|text| network(&text).ok_or(Unreadable::Network(text)));
    Ok(Networks::new(networks.collect::<Result<Vec<_>, _>>()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_core::clock::ManualClock;
    use tollgate_core::random::SystemRandom;
    use tollgate_core::schema::Makers;

    use super::*;

    fn stored(config: Value) -> Result<Value, Value> {
        let makers = Makers { clock: &ManualClock::at(1), random: &SystemRandom };
        let processed = schema().process_insert(config.try_into().unwrap(), &makers);
        processed.map(Value::from).map_err(|violations| Value::Object(violations.fields))
    }

    #[test]
    fn faults_are_reported_in_the_documented_words() {
        let expected = json!({"allow": ["::1"], "deny": null, "status": null, "message": null});
        assert_eq!(stored(json!({"allow": ["::1"]})), Ok(expected));
        let fault = "invalid ip or cidr range: 'hello'";
        for (config, faults) in [
            (json!({"allow": ["127.0.0.1", "hello"]}), json!({"allow": [null, fault]})),
            (json!({"deny": "hello"}), json!({"deny": "expected an array"})),
            (json!({"deny": ["10.0.0.0/33"]}), json!({"deny": ["invalid ip or cidr range: '10.0.0.0/33'"]})),
            (json!({"allow": ["::1"], "status": "a"}), json!({"status": "expected a number"})),
            (json!({"whitelist": []}), json!({"whitelist": "unknown field"})),
        ] {
            assert_eq!(stored(config.clone()), Err(faults), "{config}");
        }
    }

    #[test]
    fn a_refusal_is_an_error() {
        for status in [json!(200), json!(399), json!(600), json!(429.5), json!(-1)] {
            assert!(!objections(&json!({ "status": status })).is_empty(), "{status}");
            let config = json!({"allow": ["::1"], "deny": null, "status": status, "message": null});
            assert!(matches!(Config::try_from(&config), Err(Unreadable::Status)), "{status}");
        }
        for status in [Value::Null, json!(400), json!(429.0)] {
            assert!(objections(&json!({ "status": status })).is_empty(), "{status}");
        }
    }

    #[test]
    fn who_is_denied_may_not_pass_even_if_allowed() {
        let client = |text: &str| text.parse::<IpAddr>().unwrap();
        for (allow, deny, passes) in [
            (json!(null), json!(["10.0.0.0/8"]), [false, false, true]),
            (json!([]), json!(["10.0.0.1"]), [false, true, true]),
            (json!(["10.0.0.0/8"]), json!(null), [true, true, false]),
            (json!(["10.0.0.0/8"]), json!(["10.0.0.1"]), [false, true, false]),
        ] {
            let config = json!({"allow": allow, "deny": deny, "status": null, "message": null});
            let config = Config::try_from(&config).unwrap();
            let found = ["10.0.0.1", "10.0.0.2", "192.0.2.1"].map(|text| config.admits(client(text)));
            assert_eq!(found, passes, "{allow} {deny}");
        }
    }
}
