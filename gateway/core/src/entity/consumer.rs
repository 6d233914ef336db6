//! Consumers: the owners of credentials (gateway.md §5).

use crate::entity::{Kind, field};
use crate::schema::{EntityCheck, Field, Rule, Schema};

const NAME: &str = "consumers";

/// The kind `consumers`.
pub fn kind() -> Kind {
    let fields = vec![
        field::id(),
        field::created_at(),
        field::updated_at(),
        identity("username").describe("The consumer's unique name. A consumer has a username, a custom id, or both."),
        identity("custom_id").describe("Your own unique id for the consumer, such as that of a user database."),
        field::tags(),
    ];
    Kind::new(NAME, Schema::new(fields).entity_check(EntityCheck::AtLeastOneOf(&["custom_id", "username"])))
        .second_key("username")
}

/// A name that is sent upstream in a header: the upstream must read the same text.
fn identity(name: &'static str) -> Field {
    Field::string(name).unique().rule(Rule::HeaderText)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::random::SystemRandom;
    use crate::schema::{Document, Makers, Violations};
    use serde_json::{Value, json};

    fn message(input: &Value) -> Option<String> {
        let makers = Makers { clock: &ManualClock::at(1000), random: &SystemRandom };
        let input = Document::try_from(input.clone()).unwrap();
        kind().schema.process_insert(input, &makers).err().as_ref().map(Violations::message)
    }

    #[test]
    fn a_consumer_has_a_username_or_a_custom_id() {
        let text = "at least one of these fields must be non-empty: 'custom_id', 'username'";
        assert_eq!(message(&json!({})), Some(format!("schema violation ({text})")));
        assert_eq!(message(&json!({"username": "bob"})), None);
        assert_eq!(message(&json!({"custom_id": "1"})), None);
        assert_eq!(message(&json!({"username": "bob smith", "custom_id": "é"})), None);
        let padded = "2 schema violations (custom_id: must not contain control characters; \
                      username: must not begin or end with white space)";
        assert_eq!(message(&json!({"username": " bob", "custom_id": "1\n"})), Some(padded.to_owned()));
        assert_eq!(
            message(&json!({"username": null, "color": 1})),
            Some(format!("2 schema violations ({text}; color: unknown field)"))
        );
    }
}
