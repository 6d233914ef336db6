//! The configuration of an instance.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;
use tollgate_plugin::cache::ServeCached;
use tollgate_plugin::{EntityCheck, Field, Schema};

/// The schema of `config`.
pub(crate) fn schema() -> Schema {
    Schema::new(vec![
        Field::strings("allow").describe("Groups whose members may use the API; others may not."),
        Field::strings("deny").describe("Groups whose members may not use the API; others may."),
        Field::boolean("hide_groups_header", false).describe("Whether X-Consumer-Groups is kept from the upstream."),
        Field::boolean("always_use_authenticated_groups", false)
            .describe("No effect: no authentication plugin reports groups."),
        ServeCached::field(),
    ])
}

const LISTS: &[&str] = &["config.allow", "config.deny"];

/// Exactly one of the lists. Without any, both rules are broken, and both are reported.
pub(crate) fn checks() -> Vec<EntityCheck> {
    vec![EntityCheck::ExactlyOneOf(LISTS), EntityCheck::AtLeastOneOf(LISTS)]
}

/// An instance's configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) rule: Rule,
    pub(crate) header: Header,
    /// How long cached groups are used while the store is away.
    pub(crate) serve_cached: ServeCached,
}

/// Which consumers may pass.
#[derive(Debug)]
pub(crate) enum Rule {
    /// Those in at least one of these groups.
    Allow(HashSet<String>),
    /// Those in none of these groups.
    Deny(HashSet<String>),
}

impl Rule {
    /// Whether a consumer in these groups may pass.
    pub(crate) fn admits<'g>(&self, mut groups: impl Iterator<Item = &'g str>) -> bool {
        match self {
            Self::Allow(listed) => groups.any(|group| listed.contains(group)),
            Self::Deny(listed) => !groups.any(|group| listed.contains(group)),
        }
    }
}

/// Whether the upstream receives the consumer's groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    Sent,
    Hidden,
}

/// The stored configuration does not match its schema.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("cannot read stored configuration")]
    Fields(#[from] serde_json::Error),
    #[error("stored configuration must have exactly one of `allow` and `deny`")]
    Lists,
}

#[derive(Deserialize)]
struct Stored {
    allow: Option<HashSet<String>>,
    deny: Option<HashSet<String>>,
    hide_groups_header: bool,
    serve_cached_for: Option<u32>,
}

impl TryFrom<&Value> for Config {
    type Error = Unreadable;

    fn try_from(stored: &Value) -> Result<Self, Unreadable> {
        let stored = Stored::deserialize(stored)?;
        // An empty list counts as absent.
        let [allow, deny] = [stored.allow, stored.deny].map(|list| list.filter(|list| !list.is_empty()));
        let rule = match (allow, deny) {
            (Some(allow), None) => Rule::Allow(allow),
            (None, Some(deny)) => Rule::Deny(deny),
            _ => return Err(Unreadable::Lists),
        };
        let header = if stored.hide_groups_header { Header::Hidden } else { Header::Sent };
        Ok(Self { rule, header, serve_cached: ServeCached::of(stored.serve_cached_for) })
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
    fn what_is_left_out_has_its_default() {
        let expected = json!({
            "allow": ["a"], "deny": null, "hide_groups_header": false, "always_use_authenticated_groups": false,
            "serve_cached_for": null,
        });
        assert_eq!(stored(json!({"allow": ["a"]})), Ok(expected));
    }

    #[test]
    fn faults_are_reported_in_the_documented_words() {
        for (config, faults) in [
            (json!({"allow": ["a", ""]}), json!({"allow": [null, "length must be at least 1"]})),
            (json!({"deny": "a"}), json!({"deny": "expected an array"})),
            (json!({"deny": ["a"], "hide_groups_header": 1}), json!({"hide_groups_header": "expected a boolean"})),
            (json!({"deny": ["a"], "whitelist": ["b"]}), json!({"whitelist": "unknown field"})),
        ] {
            assert_eq!(stored(config.clone()), Err(faults), "{config}");
        }
    }

    #[test]
    fn a_stored_configuration_that_breaks_its_schema_is_none() {
        let both = json!({"allow": ["a"], "deny": ["b"], "hide_groups_header": false});
        assert!(matches!(Config::try_from(&both), Err(Unreadable::Lists)));
        assert!(matches!(Config::try_from(&json!({"allow": ["a"]})), Err(Unreadable::Fields(_))));
    }
}
