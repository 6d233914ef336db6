//! The configuration of an instance.

use http::HeaderName;
use serde::Deserialize;
use serde_json::Value;
use tollgate_plugin::{BlockName, Field, Rule, Schema, config_rules};

use crate::generator::Generator;

/// The schema of `config`.
pub(crate) fn schema() -> Schema {
    let generators = ["uuid", "uuid#counter", "tracker"];
    Schema::new(vec![
        Field::string("header_name").default("Kong-Request-ID").rule(Rule::Custom("header_name", header_name)),
        Field::string("generator").default("uuid#counter").required().one_of(&generators),
        Field::boolean("echo_downstream", false),
    ])
    .describe(&[
        ("header_name", "The header with the id."),
        ("generator", "How a request without an id gets one."),
        ("echo_downstream", "Whether responses have the header too."),
    ])
}

fn header_name(value: &Value) -> Result<(), String> {
    config_rules::header_name(value)?;
    match BlockName::parse(value.as_str().unwrap_or_default()) {
        Some(_) => Ok(()),
        None => Err("must not be a header that frames a message or manages a connection".to_owned()),
    }
}

/// Whether responses have the header too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    Downstream,
    Nowhere,
}

/// An instance's configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) header: HeaderName,
    pub(crate) generator: Generator,
    pub(crate) echo: Echo,
}

/// Why a stored configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("stored configuration does not match its schema")]
    Fields(#[from] serde_json::Error),
    #[error("{0:?} is not a header for ids")]
    Header(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    header_name: Option<String>,
    generator: Generator,
    echo_downstream: bool,
}

impl TryFrom<&Value> for Config {
    type Error = Unreadable;

    fn try_from(stored: &Value) -> Result<Self, Unreadable> {
        let stored = Stored::deserialize(stored)?;
        let name = stored.header_name.unwrap_or_else(|| "Kong-Request-ID".to_owned());
        let header = BlockName::parse(&name).map(|parsed| parsed.name().clone());
        let echo = if stored.echo_downstream { Echo::Downstream } else { Echo::Nowhere };
        Ok(Self { header: header.ok_or(Unreadable::Header(name))?, generator: stored.generator, echo })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_core::clock::ManualClock;
    use tollgate_core::random::SystemRandom;
    use tollgate_core::schema::Makers;

    use super::*;

    #[test]
    fn faults_are_reported_in_the_documented_words() {
        let makers = Makers { clock: &ManualClock::at(1), random: &SystemRandom };
        let stored = |config: Value| {
            let processed = schema().process_insert(config.try_into().unwrap(), &makers);
            processed.map(Value::from).map_err(|violations| Value::Object(violations.fields))
        };
        let defaults = json!({"header_name": "Kong-Request-ID", "generator": "uuid#counter", "echo_downstream": false});
        assert_eq!(stored(json!({})), Ok(defaults));
        let framing = "must not be a header that frames a message or manages a connection";
        let bad = "bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'";
        for (config, faults) in [
            (json!({"generator": "x"}), json!({"generator": "expected one of: uuid, uuid#counter, tracker"})),
            (json!({"generator": null}), json!({"generator": "required field missing"})),
            (json!({"header_name": "a b"}), json!({ "header_name": bad })),
            (json!({"header_name": "Content-Length"}), json!({ "header_name": framing })),
            (json!({"echo_downstream": 1}), json!({"echo_downstream": "expected a boolean"})),
        ] {
            assert_eq!(stored(config.clone()), Err(faults), "{config}");
        }
    }
}
