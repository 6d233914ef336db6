//! The configuration of an instance.

use serde::Deserialize;
use serde_json::Value;
use tollgate_plugin::{Field, Rule, Schema};

/// The schema of `config`.
pub(crate) fn schema() -> Schema {
    let units = ["megabytes", "kilobytes", "bytes"];
    Schema::new(vec![
        Field::integer("allowed_payload_size").default(DEFAULT).rule(Rule::Custom("not_negative", not_negative)),
        Field::string("size_unit").default("megabytes").required().one_of(&units),
        Field::boolean("require_content_length", false),
    ])
    .describe(&[
        ("allowed_payload_size", "The largest body."),
        ("size_unit", "The unit of `allowed_payload_size`."),
        ("require_content_length", "Whether a body must be chunked or declare its length."),
    ])
}

/// The largest body if none is given, in the unit.
const DEFAULT: u64 = 128;

fn not_negative(value: &Value) -> Result<(), String> {
    if value.as_u64().is_some() { Ok(()) } else { Err("must not be negative".to_owned()) }
}

/// Whether a body must declare its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Required,
    Optional,
}

/// An instance's configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// The largest body.
    pub(crate) bytes: u64,
    pub(crate) length: Length,
}

/// The stored configuration does not match its schema.
#[derive(Debug, thiserror::Error)]
#[error("stored configuration does not match its schema")]
pub(crate) struct Unreadable(#[from] serde_json::Error);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    allowed_payload_size: Option<u64>,
    size_unit: Unit,
    require_content_length: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Megabytes,
    Kilobytes,
    Bytes,
}

impl TryFrom<&Value> for Config {
    type Error = Unreadable;

    fn try_from(stored: &Value) -> Result<Self, Unreadable> {
        let stored = Stored::deserialize(stored)?;
        let unit = match stored.size_unit {
            Unit::Megabytes => 1 << 20,
            Unit::Kilobytes => 1 << 10,
            Unit::Bytes => 1,
        };
        let bytes = stored.allowed_payload_size.unwrap_or(DEFAULT).saturating_mul(unit);
        let length = if stored.require_content_length { Length::Required } else { Length::Optional };
        Ok(Self { bytes, length })
    }
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
        let defaults = json!({"allowed_payload_size": 128, "size_unit": "megabytes", "require_content_length": false});
        assert_eq!(stored(json!({})), Ok(defaults));
        for (config, faults) in [
            (json!({"allowed_payload_size": "a"}), json!({"allowed_payload_size": "expected an integer"})),
            (json!({"allowed_payload_size": -1}), json!({"allowed_payload_size": "must not be negative"})),
            (json!({"size_unit": "bits"}), json!({"size_unit": "expected one of: megabytes, kilobytes, bytes"})),
            (json!({"size": 1}), json!({"size": "unknown field"})),
        ] {
            assert_eq!(stored(config.clone()), Err(faults), "{config}");
        }
    }

    #[test]
    fn a_size_has_its_unit() {
        for (unit, bytes) in [("megabytes", 2 << 20), ("kilobytes", 2 << 10), ("bytes", 2)] {
            let config = json!({"allowed_payload_size": 2, "size_unit": unit, "require_content_length": false});
            assert_eq!(Config::try_from(&config).unwrap().bytes, bytes);
        }
        let config =
            json!({"allowed_payload_size": u64::MAX, "size_unit": "kilobytes", "require_content_length": false});
        assert_eq!(Config::try_from(&config).unwrap().bytes, u64::MAX);
    }
}
