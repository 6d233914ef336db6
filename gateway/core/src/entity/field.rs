//! Fields shared by many kinds: identity, times, tags, names (gateway.md §5).

use serde_json::Value;

use crate::schema::{Auto, Field, Rule, Schema, Type};

/// The longest `ttl`, in seconds.
const MAX_TTL: i32 = 100_000_000;

/// The primary key.
pub fn id() -> Field {
    Field::string("id")
        .auto(Auto::Uuid)
        .rule(Rule::Uuid)
        .required()
        .describe("The entity's UUID; generated if none is given.")
}

/// When the entity was created, in Unix seconds.
pub fn created_at() -> Field {
    let field = Field::integer("created_at").auto(Auto::CreatedAt).rule(Rule::Timestamp);
    field.describe("When the entity was created, in Unix seconds.")
}

/// When the entity was last written, in Unix seconds.
pub fn updated_at() -> Field {
    let field = Field::integer("updated_at").auto(Auto::UpdatedAt).rule(Rule::Timestamp);
    field.describe("When the entity was last written, in Unix seconds.")
}

/// [`created_at`] to the millisecond.
pub fn created_at_millis() -> Field {
    Field { auto: Some(Auto::CreatedAtMillis), ty: Type::Number, ..created_at() }
}

/// [`updated_at`] to the millisecond.
pub fn updated_at_millis() -> Field {
    Field { auto: Some(Auto::UpdatedAtMillis), ty: Type::Number, ..updated_at() }
}

/// Labels by which lists are filtered.
pub fn tags() -> Field {
    let tag = Field::string("").rule(Rule::Custom("tag", tag)).required().describe("A label.");
    Field::set("tags", tag).describe("Labels by which lists can be filtered.")
}

/// A unique name that may appear in a path.
pub fn name(field: &'static str) -> Field {
    let name = Field::string(field).unique().rule(Rule::Custom("utf8_name", utf8_name));
    name.describe("A unique name; it can replace the id in paths and references.")
}

/// Seconds until a row expires, for kinds whose rows may expire.
pub fn ttl() -> Field {
    Field::integer("ttl").between(0, MAX_TTL).unlisted()
}

/// A time span in milliseconds, from 1.
pub fn timeout(field: &'static str) -> Field {
    Field::integer(field).between(1, i32::MAX - 1).default(60_000).describe("A time span in milliseconds.")
}

/// A TCP or UDP port.
pub fn port(field: &'static str) -> Field {
    Field::integer(field).between(0, 65_535).describe("A port, from 0 to 65535.")
}

/// Address ranges and ports at one end of a stream.
pub(super) fn stream_ends(field: &'static str) -> Field {
    let ends = Schema::new(vec![Field::string("ip").rule(Rule::Custom("ip_or_cidr", ip_or_cidr)), port("port")])
        .entity_check(crate::schema::EntityCheck::AtLeastOneOf(&["ip", "port"]));
    Field::set(field, Field::record("", ends))
}

/// A header name.
pub(super) fn header_name(value: &Value) -> Result<(), String> {
    plain_name("header", value)
}

/// A name of letters, digits, `_` and `-`.
pub(super) fn plain_name(what: &str, value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if fits {
        return Ok(());
    }
    Err(format!("bad {what} name '{text}', allowed characters are A-Z, a-z, 0-9, '_', and '-'"))
}

fn tag(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let fits =
        |character: char| !character.is_ascii() || (matches!(character, ' '..='~') && !matches!(character, ',' | '/'));
    if text.chars().all(fits) {
        return Ok(());
    }
    Err(format!("invalid tag '{text}': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"))
}

fn utf8_name(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let fits =
        |character: char| !character.is_ascii() || character.is_ascii_alphanumeric() || ".-_~".contains(character);
    if text.chars().all(fits) {
        return Ok(());
    }
    Err(format!("invalid value '{text}': the only accepted ascii characters are alphanumerics or ., -, _, and ~"))
}

fn ip_or_cidr(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let fits = text.parse::<std::net::IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok();
    if fits { Ok(()) } else { Err(format!("invalid ip or cidr range: '{text}'")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_and_tags_say_what_they_accept() {
        let name_text = "the only accepted ascii characters are alphanumerics or ., -, _, and ~";
        assert_eq!(name("name").validate_alone(&json!("a b")), Err(format!("invalid value 'a b': {name_text}")));
        assert_eq!(name("name").validate_alone(&json!("a.b-c_d~é")), Ok(()));
        let element = |text: &str| tags().validate_alone(&json!([text]));
        let text = r#"{"invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"}"#;
        assert_eq!(element("a,b"), Err(text.to_owned()));
        assert_eq!(element("a b é"), Ok(()));
        assert!(element("a/b").is_err());
        assert!(element("a\tb").is_err());
    }
}
