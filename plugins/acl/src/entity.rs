//! The `acls` kind: which groups a consumer is in (docs/compatibility/gateway.md §5).

use tollgate_plugin::{Field, Kind, OnDelete, Rule, Schema, field};

/// The kind's name.
pub(crate) const NAME: &str = "acls";
/// The field that refers to the consumer.
pub(crate) const CONSUMER: &str = "consumer";
/// The field with the group's name.
pub(crate) const GROUP: &str = "group";

/// The kind as data. In paths below a consumer, the group may stand for the id.
pub(crate) fn kind() -> Kind {
    let schema = Schema::new(vec![
        field::id(),
        field::created_at(),
        Field::foreign(CONSUMER, "consumers", OnDelete::Cascade)
            .required()
            .describe("The consumer that is in the group."),
        // Sent upstream in a header.
        Field::string(GROUP).required().rule(Rule::HeaderText).describe("The group's name."),
        field::tags(),
    ]);
    Kind::new(NAME, schema).unique_together(&[CONSUMER, GROUP])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tollgate_core::clock::ManualClock;
    use tollgate_core::random::SystemRandom;
    use tollgate_core::schema::Makers;

    use super::*;

    #[test]
    fn faults_are_reported_in_the_documented_words() {
        let consumer = json!({"id": "0d7f1a9a-4f6a-4d1c-8f6f-9f6d6c7f2a2b"});
        let makers = Makers { clock: &ManualClock::at(1), random: &SystemRandom };
        let insert = |document: Value| {
            let processed = kind().schema.process_insert(document.try_into().unwrap(), &makers);
            processed.map(Value::from).map_err(|violations| Value::Object(violations.fields))
        };
        for (document, faults) in [
            (json!({}), json!({"consumer": "required field missing", "group": "required field missing"})),
            (json!({"consumer": consumer}), json!({"group": "required field missing"})),
            (json!({"consumer": consumer, "group": 123}), json!({"group": "expected a string"})),
            (json!({"consumer": consumer, "group": ""}), json!({"group": "length must be at least 1"})),
            (json!({"consumer": consumer, "group": "a\r\nb"}), json!({"group": "must not contain control characters"})),
            (json!({"consumer": consumer, "group": "a "}), json!({"group": "must not begin or end with white space"})),
            (json!({"consumer": consumer, "group": "a", "ttl": 1}), json!({"ttl": "unknown field"})),
        ] {
            assert_eq!(insert(document.clone()), Err(faults), "{document}");
        }
        let mut made = insert(json!({"consumer": consumer, "group": "a, b"})).unwrap();
        made["id"] = Value::Null;
        let expected = json!({"id": null, "created_at": 1, "consumer": consumer, "group": "a, b", "tags": null});
        assert_eq!(made, expected);
    }
}
