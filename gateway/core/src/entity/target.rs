//! Targets: the hosts among which an upstream distributes its requests (gateway.md §2.3, §5).

use serde_json::{Map, Value};

use crate::entity::{Kind, field, host};
use crate::schema::{Field, OnDelete, Rule, Schema};

const NAME: &str = "targets";

/// The port of a target that names none.
pub const DEFAULT_PORT: u16 = 8000;

/// The weight of a target that has none.
pub const DEFAULT_WEIGHT: u16 = 100;

/// The kind `targets`.
pub fn kind() -> Kind {
    let target = Field::string("target").required().rule(Rule::Custom("target", target));
    let fields = vec![
        field::id(),
        field::created_at_millis(),
        field::updated_at_millis(),
        Field::foreign("upstream", super::upstream::NAME, OnDelete::Cascade)
            .required()
            .describe("The upstream that it belongs to."),
        target.describe("The host name or address, and the port; port 8000 if none is given."),
        Field::integer("weight")
            .default(DEFAULT_WEIGHT)
            .between(0, 65_535)
            .describe("Its share of the upstream's requests, in proportion to the other weights; 0 for none."),
        field::tags(),
    ];
    let schema = Schema::new(fields).adjust(normalise);
    Kind::new(NAME, schema).unique_together(&["target", "upstream"]).only_below_parent()
}

/// One spelling for one target. What is none is left for validation to refuse.
fn normalise(given: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = given.get_mut("target")
        && let Some(normal) = host::with_port(text, DEFAULT_PORT)
    {
        *text = normal;
    }
}

fn target(value: &Value) -> Result<(), String> {
    match host::with_port(value.as_str().unwrap_or_default(), DEFAULT_PORT) {
        Some(_) => Ok(()),
        None => Err("Invalid target; not a valid hostname or ip address".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::ManualClock;
    use crate::random::SystemRandom;
    use crate::schema::{Document, Makers};

    fn stored(target: &str) -> Result<Value, String> {
        let makers = Makers { clock: &ManualClock::at(1000), random: &SystemRandom };
        let upstream = json!({"id": "c0ffee00-0000-4000-8000-00000000000a"});
        let given = Document::try_from(json!({"target": target, "upstream": upstream})).unwrap();
        kind().schema.process_insert(given, &makers).map(Value::from).map_err(|found| found.message())
    }

    #[test]
    fn one_target_has_one_spelling() {
        let rows = [
            ("a.test", "a.test:8000"),
            ("a.test:80", "a.test:80"),
            ("a_b", "a_b:8000"),
            ("127.0.0.1", "127.0.0.1:8000"),
            ("127.0.0.1:9", "127.0.0.1:9"),
            ("::1", "[0000:0000:0000:0000:0000:0000:0000:0001]:8000"),
            ("[::1]", "[0000:0000:0000:0000:0000:0000:0000:0001]:8000"),
            ("[2001:DB8::a]:80", "[2001:0db8:0000:0000:0000:0000:0000:000a]:80"),
        ];
        for (given, expected) in rows {
            assert_eq!(stored(given).unwrap()["target"], expected, "{given}");
        }
        let stored = stored("a.test").unwrap();
        assert_eq!((&stored["created_at"], &stored["weight"]), (&json!(1000.0), &json!(100)));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let text = "schema violation (target: Invalid target; not a valid hostname or ip address)";
        for bad in
            ["some invalid host name", "a:b", "a:65536", "256.0.0.1", "[::1", "-a-", "http://a", "1.2.3", "a:1.0"]
        {
            assert_eq!(stored(bad), Err(text.to_owned()), "{bad}");
        }
    }
}
