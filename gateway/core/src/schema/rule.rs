//! Rules about one value beyond its type, with the texts of gateway.md §4.1.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::header_text;

/// The result of checking a value: `Err` holds the message for the client.
pub type Check = fn(&Value) -> Result<(), String>;

/// A restriction of a field's values. Only [`Rule::Present`], [`Rule::Null`] and [`Rule::Equals`] apply to
/// null.
#[derive(Debug, Clone)]
pub enum Rule {
    /// One of these strings: `expected one of: a, b`.
    OneOf(Vec<&'static str>),
    /// None of these strings: `must not be one of: a, b`.
    NotOneOf(Vec<&'static str>),
    /// One of these numbers.
    OneOfNumbers(Vec<i64>),
    /// A number in this closed range: `value should be between A and B`.
    Between(f64, f64),
    /// A number above this one: `value must be greater than N`.
    GreaterThan(f64),
    /// Only null: `value must be null`.
    Null,
    /// Only this value: `value must be V`.
    Equals(Value),
    /// Anything but null: `required field missing`.
    Present,
    /// Starts with: `should start with: /`.
    StartsWith(&'static str),
    /// At least this many characters, elements or entries: `length must be at least N`.
    LengthMin(usize),
    /// Exactly this many characters, elements or entries: `length must be N`.
    LengthEquals(usize),
    /// A UUID in its long form: `expected a valid UUID`.
    Uuid,
    /// A time in Unix seconds: `expected a valid timestamp`.
    Timestamp,
    /// A list that contains this string: `expected to contain: X`.
    Contains(&'static str),
    /// A list that contains none of these strings.
    ElementsNotOneOf(Vec<&'static str>),
    /// A list whose elements are all from one of these sets: `these sets are mutually exclusive: …`.
    ExclusiveSets(Vec<Vec<&'static str>>),
    /// Text that does not change when it is sent as a header value: recipients strip white space from both
    /// ends, control characters are not allowed, and a longer value than the node's bound ([`header_text`]) might be
    /// refused. It applies to written values, not to a name that
    /// identifies a stored entity.
    HeaderText,
    /// Any other rule, with its name.
    Custom(&'static str, Check),
}

impl Rule {
    /// Checks the value; `Err` is the message for the client.
    pub fn verdict(&self, value: &Value) -> Result<(), String> {
        match self {
            Self::Null if !value.is_null() => Err("value must be null".to_owned()),
            Self::Equals(wanted) if value != wanted => Err(format!("value must be {}", bare(wanted))),
            Self::Present if value.is_null() => Err("required field missing".to_owned()),
            Self::Null | Self::Equals(_) | Self::Present => Ok(()),
            _ if value.is_null() => Ok(()),
            Self::OneOf(options) => {
                ensure(is_one_of(value, options), || format!("expected one of: {}", options.join(", ")))
            }
            Self::NotOneOf(options) => {
                ensure(!is_one_of(value, options), || format!("must not be one of: {}", options.join(", ")))
            }
            Self::OneOfNumbers(options) => {
                ensure(value.as_i64().is_some_and(|number| options.contains(&number)), || {
                    let options: Vec<String> = options.iter().map(i64::to_string).collect();
                    format!("expected one of: {}", options.join(", "))
                })
            }
            Self::Between(low, high) => ensure(number(value).is_some_and(|n| (*low..=*high).contains(&n)), || {
                format!("value should be between {low} and {high}")
            }),
            Self::GreaterThan(limit) => {
                ensure(number(value).is_some_and(|n| n > *limit), || format!("value must be greater than {limit}"))
            }
            Self::StartsWith(start) => ensure(value.as_str().is_some_and(|text| text.starts_with(start)), || {
                format!("should start with: {start}")
            }),
            Self::LengthMin(least) => ensure(length(value) >= *least, || format!("length must be at least {least}")),
            Self::LengthEquals(wanted) => ensure(length(value) == *wanted, || format!("length must be {wanted}")),
            Self::Uuid => ensure(value.as_str().is_some_and(|text| parse_uuid(text).is_some()), || {
                "expected a valid UUID".to_owned()
            }),
            Self::Timestamp => {
                ensure(number(value).is_some_and(|n| n > 0.0), || "expected a valid timestamp".to_owned())
            }
            Self::Contains(wanted) => {
                ensure(strings(value).any(|element| element == *wanted), || format!("expected to contain: {wanted}"))
            }
            Self::ElementsNotOneOf(options) => {
                ensure(!strings(value).any(|element| options.contains(&element)), || {
                    format!("must not be one of: {}", options.join(", "))
                })
            }
            Self::ExclusiveSets(sets) => exclusive_sets(sets, value),
            Self::HeaderText => header_text::check(value.as_str().unwrap_or_default()),
            Self::Custom(_, check) => check(value),
        }
    }

    /// Whether the rule is checked before the empty string is refused: its message says more.
    pub(super) fn precedes_length(&self) -> bool {
        matches!(self, Self::OneOf(_) | Self::NotOneOf(_) | Self::Null | Self::Equals(_) | Self::Uuid)
    }

    /// The attribute in `/schemas` that shows the rule, with its value; `None` for rules that need code.
    pub(super) fn published(&self) -> Option<(&'static str, Value)> {
        Some(match self {
            Self::OneOf(options) => ("one_of", json!(options)),
            Self::NotOneOf(options) => ("not_one_of", json!(options)),
            Self::OneOfNumbers(options) => ("one_of", json!(options)),
            Self::Between(low, high) => ("between", json!([published_number(*low), published_number(*high)])),
            Self::GreaterThan(limit) => ("gt", published_number(*limit)),
            Self::Null => ("eq", Value::Null),
            Self::Equals(wanted) => ("eq", wanted.clone()),
            Self::Present => ("required", json!(true)),
            Self::StartsWith(start) => ("starts_with", json!(start)),
            Self::LengthMin(least) => ("len_min", json!(least)),
            Self::LengthEquals(wanted) => ("len_eq", json!(wanted)),
            Self::Uuid => ("uuid", json!(true)),
            Self::Timestamp => ("timestamp", json!(true)),
            Self::Contains(wanted) => ("contains", json!(wanted)),
            Self::ElementsNotOneOf(options) => ("elements", json!({"type": "string", "not_one_of": options})),
            Self::ExclusiveSets(sets) => ("mutually_exclusive_subsets", json!(sets)),
            Self::HeaderText | Self::Custom(..) => return None,
        })
    }
}

/// Reads the long form of a UUID, the only one that is accepted.
pub(super) fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

fn ensure(kept: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if kept { Ok(()) } else { Err(message()) }
}

fn is_one_of(value: &Value, options: &[&'static str]) -> bool {
    value.as_str().is_some_and(|text| options.contains(&text))
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.len(),
        Value::Object(entries) => entries.len(),
        _ => 0,
    }
}

fn exclusive_sets(sets: &[Vec<&'static str>], value: &Value) -> Result<(), String> {
    let is_met = |set: &&Vec<&'static str>| strings(value).any(|element| set.contains(&element));
    let met: Vec<String> = sets.iter().filter(is_met).map(|set| format!("('{}')", set.join("', '"))).collect();
    ensure(met.len() < 2, || format!("these sets are mutually exclusive: {}", met.join(", ")))
}

fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whole limits are published as integers.
#[expect(clippy::cast_possible_truncation, reason = "only whole numbers far inside the range of i64 are cast")]
fn published_number(limit: f64) -> Value {
    if limit.fract() == 0.0 && limit.abs() < 1e15 { json!(limit as i64) } else { json!(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_its_message() {
        let sets = Rule::ExclusiveSets(vec![vec!["http", "https"], vec!["tcp"], vec!["grpc", "grpcs"]]);
        let table = [
            (Rule::OneOf(vec!["a", "b"]), json!("c"), "expected one of: a, b"),
            (Rule::NotOneOf(vec!["a", "b"]), json!("a"), "must not be one of: a, b"),
            (Rule::OneOfNumbers(vec![426, 301]), json!(200), "expected one of: 426, 301"),
            (Rule::Between(0.0, 65535.0), json!(65536), "value should be between 0 and 65535"),
            (Rule::GreaterThan(0.0), json!(0), "value must be greater than 0"),
            (Rule::Null, json!({"id": "x"}), "value must be null"),
            (Rule::Equals(json!(true)), json!(false), "value must be true"),
            (Rule::Present, Value::Null, "required field missing"),
            (Rule::StartsWith("/"), json!("x"), "should start with: /"),
            (Rule::LengthMin(1), json!([]), "length must be at least 1"),
            (Rule::LengthEquals(0), json!(["a"]), "length must be 0"),
            (Rule::Uuid, json!("x"), "expected a valid UUID"),
            (Rule::Uuid, json!("6f9619ff8b86d011b42d00cf4fc964ff"), "expected a valid UUID"),
            (Rule::Timestamp, json!(-1), "expected a valid timestamp"),
            (Rule::Contains("x"), json!(["y"]), "expected to contain: x"),
            (Rule::HeaderText, json!(" a"), "must not begin or end with white space"),
            (Rule::HeaderText, json!("a\u{a0}"), "must not begin or end with white space"),
            (Rule::HeaderText, json!("a\t"), "must not contain control characters"),
            (Rule::HeaderText, json!("a\r\nb"), "must not contain control characters"),
            (Rule::HeaderText, json!("a".repeat(4097)), "must not be longer than 4096 bytes"),
            (sets, json!(["https", "grpc"]), "these sets are mutually exclusive: ('http', 'https'), ('grpc', 'grpcs')"),
        ];
        for (rule, value, text) in table {
            assert_eq!(rule.verdict(&value), Err(text.to_owned()), "{rule:?}");
        }
    }

    #[test]
    fn null_satisfies_every_rule_that_is_not_about_null() {
        for rule in [Rule::OneOf(vec!["a"]), Rule::Between(0.0, 1.0), Rule::Uuid, Rule::LengthMin(3), Rule::Null] {
            assert_eq!(rule.verdict(&Value::Null), Ok(()), "{rule:?}");
        }
    }
}
