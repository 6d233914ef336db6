//! Consumers: whom credentials belong to (contract gateway.md §5).

use crate::entity::{Kind, Nature, field};
use crate::schema::{EntityCheck, Field, Schema};

const NAME: &str = "consumers";

/// The kind `consumers`.
pub fn kind() -> Kind {
    let fields = vec![
        field::id(),
        field::created_at(),
        field::updated_at(),
        Field::string("username").unique(),
        Field::string("custom_id").unique(),
        field::tags(),
    ];
    Kind {
        name: NAME,
        segment: NAME,
        nested_segment: NAME,
        second_key: Some("username"),
        unique_together: &[],
        nature: Nature::Identity,
        ttl: false,
        admin: true,
        schema: Schema::new(fields).entity_check(EntityCheck::AtLeastOneOf(&["custom_id", "username"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::random::SystemRandom;
    use crate::schema::{Makers, Violations};
    use serde_json::{Value, json};

    fn message(input: &Value) -> Option<String> {
        let makers = Makers { clock: &ManualClock::at(1000), random: &SystemRandom };
        let input = input.as_object().cloned().unwrap_or_default();
        kind().schema.process_insert(input, &makers).err().as_ref().map(Violations::message)
    }

    #[test]
    fn a_consumer_has_a_username_or_a_custom_id() {
        let text = "at least one of these fields must be non-empty: 'custom_id', 'username'";
        assert_eq!(message(&json!({})), Some(format!("schema violation ({text})")));
        assert_eq!(message(&json!({"username": "bob"})), None);
        assert_eq!(message(&json!({"custom_id": "1"})), None);
        assert_eq!(
            message(&json!({"username": null, "color": 1})),
            Some(format!("2 schema violations ({text}; color: unknown field)"))
        );
    }
}
