//! Rules about several fields of a record, as data: the messages and the output of `/schemas` come from the
//! same description (gateway.md §4.1).

use serde_json::{Map, Value, json};

use crate::schema::phase::Phase;
use crate::schema::{Rule, Violations};

/// A rule that needs code. It is called with a record in which all defaults are filled in and every field is
/// valid by itself, and adds what it finds to the violations.
pub type RecordCheck = fn(&Map<String, Value>, &mut Violations);

/// One case of [`EntityCheck::ConditionalAtLeastOneOf`].
#[derive(Debug, Clone)]
pub struct Branch {
    /// The case applies when the list contains any of these.
    pub contains: &'static [&'static str],
    /// The fields, at least one of which must be set.
    pub fields: &'static [&'static str],
    /// The message otherwise; `{fields}` is replaced by the quoted names.
    pub message: &'static str,
}

/// Values that [`EntityCheck::Forbids`] refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// Any value but null.
    Anything,
    /// Only `true`.
    True,
}

/// A rule about several fields of a record or of nested records, such as `config.allow`. A field is set if it
/// is neither null nor empty.
#[derive(Debug, Clone)]
pub enum EntityCheck {
    /// At least one is set.
    AtLeastOneOf(&'static [&'static str]),
    /// Exactly one is set.
    ExactlyOneOf(&'static [&'static str]),
    /// At most one is set.
    OnlyOneOf(&'static [&'static str]),
    /// All are set, or none is.
    AllOrNone(&'static [&'static str]),
    /// Fields that are set have distinct values.
    Distinct(&'static [&'static str]),
    /// If one field satisfies a rule, another field must satisfy a rule too.
    Conditional {
        /// The deciding field.
        if_field: &'static str,
        /// The rule that it must satisfy.
        if_match: Rule,
        /// The dependent field.
        then_field: &'static str,
        /// The rule that the dependent field must then satisfy.
        then_match: Rule,
        /// The message for the whole record; `None`: the usual message.
        message: Option<&'static str>,
    },
    /// If one field satisfies a rule, another one is required, and reported like any required field.
    Requires {
        /// The deciding field.
        if_field: &'static str,
        /// The rule that it must satisfy.
        if_match: Rule,
        /// The field that is then required.
        field: &'static str,
    },
    /// At least one of several fields must be set; which ones depends on the contents of a list. The first
    /// matching branch decides.
    ConditionalAtLeastOneOf {
        /// The deciding list.
        if_field: &'static str,
        /// The branches.
        branches: Vec<Branch>,
    },
    /// If a list contains any of some strings, a field must not have a value.
    Forbids {
        /// The deciding list.
        if_field: &'static str,
        /// The strings.
        contains: &'static [&'static str],
        /// The field.
        field: &'static str,
        /// The refused values.
        value: Forbidden,
        /// The message for the field.
        message: &'static str,
    },
    /// Any rule about these fields. It is checked when each of them is valid by itself; in an update, when one of them
    /// is given or changed.
    OfFields {
        /// The fields.
        fields: &'static [&'static str],
        /// The rule.
        check: RecordCheck,
    },
    /// Any other rule.
    Custom {
        /// What `/schemas` shows under `entity_checks`.
        published: Value,
        /// The rule.
        check: RecordCheck,
    },
}

impl EntityCheck {
    /// Checks the record, adding violations to `found`, which holds the violations of single fields.
    pub(super) fn run(&self, record: &Map<String, Value>, phase: Phase, found: &mut Violations) {
        let set = |names: &[&str]| names.iter().filter(|name| is_set(value_at(record, name))).count();
        match self {
            Self::AtLeastOneOf(names) if set(names) == 0 => {
                found.entity(format!(
                    "{}{}",
                    phase.prefix(),
                    text("at least one of these fields must be non-empty", names)
                ));
            }
            Self::ExactlyOneOf(names) if set(names) != 1 => {
                found.entity(text("exactly one of these fields must be non-empty", names));
            }
            Self::OnlyOneOf(names) if set(names) > 1 => {
                found.entity(text("only one or none of these fields must be set", names));
            }
            Self::AllOrNone(names) if !matches!(set(names), 0) && set(names) != names.len() => {
                found.entity(all_or_none(names));
            }
            Self::Distinct(names) if !are_distinct(record, names) => {
                found.entity(text("values of these fields must be distinct", names));
            }
            Self::Conditional { if_field, if_match, then_field, then_match, message } => {
                let condition = value_at(record, if_field).unwrap_or(&Value::Null);
                let applies = !condition.is_null() && !found.has(if_field) && if_match.verdict(condition).is_ok();
                if let (true, Err(fault)) =
                    (applies, then_match.verdict(value_at(record, then_field).unwrap_or(&Value::Null)))
                {
                    found.field_unless_known(then_field, fault);
                    let usual = || format!("failed conditional validation given value of field '{if_field}'");
                    found.entity(message.map_or_else(usual, str::to_owned));
                }
            }
            Self::Requires { if_field, if_match, field } if !found.has(if_field) => {
                let applies = value_at(record, if_field).is_some_and(|value| if_match.verdict(value).is_ok());
                let given = value_at(record, field).unwrap_or(&Value::Null);
                if let (true, Err(fault)) = (applies, Rule::Present.verdict(given)) {
                    found.field_unless_known(field, fault);
                }
            }
            Self::ConditionalAtLeastOneOf { if_field, branches } if !found.has(if_field) => {
                let case = branches.iter().find(|branch| contains_any(value_at(record, if_field), branch.contains));
                if let Some(branch) = case.filter(|branch| set(branch.fields) == 0) {
                    found.entity(branch.message.replace("{fields}", &quoted(branch.fields)));
                }
            }
            Self::Forbids { if_field, contains, field, value, message } if !found.has(if_field) => {
                let given = value_at(record, field).unwrap_or(&Value::Null);
                let broken = match value {
                    Forbidden::Anything => !given.is_null(),
                    Forbidden::True => *given == Value::Bool(true),
                };
                if broken && contains_any(value_at(record, if_field), contains) {
                    found.field(field, *message);
                }
            }
            Self::OfFields { fields, check } if !fields.iter().any(|name| found.has(name)) => check(record, found),
            Self::Custom { check, .. } if found.is_empty() => check(record, found),
            _ => {}
        }
    }

    /// Whether the rule is about fields of which one is `judged`; every other rule is always checked.
    pub(super) fn concerns(&self, judged: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::OfFields { fields, .. } => fields.iter().any(|name| judged(name)),
            _ => true,
        }
    }

    /// The rule as `/schemas` shows it; `None` for a rule that holds only for some entities of a kind.
    pub(super) fn published(&self) -> Option<Value> {
        Some(match self {
            Self::AtLeastOneOf(names) => json!({"at_least_one_of": names}),
            Self::ExactlyOneOf(names) => json!({"only_one_of": names}),
            Self::OnlyOneOf(names) => json!({"mutually_exclusive": names}),
            Self::AllOrNone(names) => json!({"mutually_required": names}),
            Self::Distinct(names) => json!({"distinct": names}),
            Self::Conditional { if_field, if_match, then_field, then_match, message } => {
                let mut shown = json!({
                    "if_field": if_field,
                    "if_match": published_match(if_match),
                    "then_field": then_field,
                    "then_match": published_match(then_match),
                });
                if let (Some(message), Some(shown)) = (message, shown.as_object_mut()) {
                    shown.insert("then_err".to_owned(), json!(message));
                }
                json!({ "conditional": shown })
            }
            Self::Requires { if_field, if_match, field } => json!({"conditional": {
                "if_field": if_field,
                "if_match": published_match(if_match),
                "then_field": field,
                "then_match": published_match(&Rule::Present),
            }}),
            Self::ConditionalAtLeastOneOf { .. } | Self::Forbids { .. } => return None,
            Self::OfFields { fields, .. } => json!({"custom_entity_check": {"field_sources": fields}}),
            Self::Custom { published, .. } => published.clone(),
        })
    }
}

/// The message for fields that must be set together.
pub(super) fn all_or_none(names: &[&str]) -> String {
    text("all or none of these fields must be set", names)
}

fn text(sentence: &str, names: &[&str]) -> String {
    format!("{sentence}: {}", quoted(names))
}

fn quoted(names: &[&str]) -> String {
    format!("'{}'", names.join("', '"))
}

fn published_match(rule: &Rule) -> Value {
    Value::Object(rule.published().into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Whether a value is neither null nor empty.
pub(super) fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(elements)) => !elements.is_empty(),
        Some(Value::Object(entries)) => !entries.is_empty(),
        Some(_) => true,
    }
}

fn contains_any(list: Option<&Value>, wanted: &[&str]) -> bool {
    let mut strings = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    strings.any(|element| wanted.contains(&element))
}

fn are_distinct(record: &Map<String, Value>, names: &[&str]) -> bool {
    let values: Vec<&Value> =
        names.iter().filter_map(|name| value_at(record, name)).filter(|value| is_set(Some(value))).collect();
    values.iter().enumerate().all(|(position, value)| !values.iter().take(position).any(|earlier| earlier == value))
}

/// The value of a field, or of a field of a nested record.
fn value_at<'v>(record: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    match path.split_once('.') {
        None => record.get(path),
        Some((field, rest)) => value_at(record.get(field)?.as_object()?, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(check: &EntityCheck, record: &Value, phase: Phase) -> Value {
        let mut found = Violations::new();
        if let Some(record) = record.as_object() {
            check.run(record, phase, &mut found);
        }
        Value::Object(found.fields)
    }

    #[test]
    fn fields_of_a_nested_record_are_named_by_their_path() {
        let check = EntityCheck::ExactlyOneOf(&["config.allow", "config.deny"]);
        let text = json!({"@entity": ["exactly one of these fields must be non-empty: 'config.allow', 'config.deny'"]});
        for (config, faults) in [
            (json!({"allow": ["a"], "deny": null}), json!({})),
            (json!({"allow": ["a"], "deny": ["b"]}), text.clone()),
            (json!({"allow": [], "deny": null}), text.clone()),
            (Value::Null, text),
        ] {
            assert_eq!(messages(&check, &json!({"config": config}), Phase::Insert), faults, "{config}");
        }
    }

    #[test]
    fn each_check_has_its_message() {
        let names: &[&str] = &["a", "b"];
        let table = [
            (
                EntityCheck::AtLeastOneOf(names),
                json!({"a": ""}),
                "at least one of these fields must be non-empty: 'a', 'b'",
            ),
            (
                EntityCheck::ExactlyOneOf(names),
                json!({"a": 1, "b": 2}),
                "exactly one of these fields must be non-empty: 'a', 'b'",
            ),
            (
                EntityCheck::OnlyOneOf(names),
                json!({"a": 1, "b": 2}),
                "only one or none of these fields must be set: 'a', 'b'",
            ),
            (EntityCheck::AllOrNone(names), json!({"a": 1}), "all or none of these fields must be set: 'a', 'b'"),
            (
                EntityCheck::Distinct(names),
                json!({"a": 1, "b": 1}),
                "values of these fields must be distinct: 'a', 'b'",
            ),
        ];
        for (check, record, text) in table {
            assert_eq!(messages(&check, &record, Phase::Insert), json!({"@entity": [text]}), "{check:?}");
        }
    }

    #[test]
    fn at_least_one_of_mentions_an_update() {
        let found = messages(&EntityCheck::AtLeastOneOf(&["a"]), &json!({}), Phase::Update);
        assert_eq!(found, json!({"@entity": ["when updating, at least one of these fields must be non-empty: 'a'"]}));
    }

    #[test]
    fn a_conditional_names_the_condition_and_the_field() {
        let check = EntityCheck::Conditional {
            if_field: "mandatory_scope",
            if_match: Rule::Equals(json!(true)),
            then_field: "scopes",
            then_match: Rule::Present,
            message: None,
        };
        let found = messages(&check, &json!({"mandatory_scope": true, "scopes": null}), Phase::Insert);
        let text = "failed conditional validation given value of field 'mandatory_scope'";
        assert_eq!(found, json!({"@entity": [text], "scopes": "required field missing"}));
        assert_eq!(messages(&check, &json!({"mandatory_scope": true, "scopes": []}), Phase::Insert), json!({}));
        assert_eq!(messages(&check, &json!({"mandatory_scope": false}), Phase::Insert), json!({}));
    }

    #[test]
    fn a_field_that_another_one_requires_is_reported_like_any_required_field() {
        let check =
            EntityCheck::Requires { if_field: "method", if_match: Rule::Equals(json!("secret")), field: "secret" };
        for (record, faults) in [
            (json!({"method": "secret"}), json!({"secret": "required field missing"})),
            (json!({"method": "secret", "secret": null}), json!({"secret": "required field missing"})),
            (json!({"method": "secret", "secret": "s"}), json!({})),
            (json!({"method": "key"}), json!({})),
            (json!({"method": null}), json!({})),
            (json!({}), json!({})),
        ] {
            assert_eq!(messages(&check, &record, Phase::Insert), faults, "{record}");
        }
        let published = json!({"conditional": {
            "if_field": "method", "if_match": {"eq": "secret"}, "then_field": "secret", "then_match": {"required": true},
        }});
        assert_eq!(check.published(), Some(published));
    }
}
