//! Claim paths: how configuration names a claim.
//!
//! The name of a member, or a dotted path into nested objects: `realm_access.roles`. Names may contain dots
//! themselves (`https://api.example/roles`), so at each level the longest name is tried first.

use std::fmt;

use serde_json::{Map, Value};

use tollgate_jose::claims::Claims;

/// Longer paths are refused: no authority has such claims, and headers are named after them.
const LONGEST: usize = 128;

/// A claim, as named in configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimPath(Box<str>);

/// Why a text names no claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadClaimPath {
    /// It is empty, or has an empty step.
    #[error("expected the name of a claim, or a dotted path such as realm_access.roles")]
    Empty,
    /// It is too long.
    #[error("length must be at most {LONGEST}")]
    TooLong,
}

impl ClaimPath {
    /// Reads a configured path.
    ///
    /// # Errors
    /// See [`BadClaimPath`].
    pub fn parse(text: &str) -> Result<Self, BadClaimPath> {
        if text.is_empty() || text.starts_with('.') || text.ends_with('.') || text.contains("..") {
            return Err(BadClaimPath::Empty);
        }
        if text.len() > LONGEST {
            return Err(BadClaimPath::TooLong);
        }
        Ok(Self(text.into()))
    }

    /// A registered claim, whose name has no dots.
    pub(crate) fn registered(name: &'static str) -> Self {
        Self(name.into())
    }

    /// As configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The claim's value. Null counts as absent.
    pub fn of<'c>(&self, claims: &'c Claims) -> Option<&'c Value> {
        find(&self.0, |name| claims.get(name))
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path has at most [`LONGEST`] dots, and what is nested is as deep as a claims object may be.
fn find<'c>(path: &str, member: impl Fn(&str) -> Option<&'c Value>) -> Option<&'c Value> {
    if let Some(value) = member(path) {
        return (!value.is_null()).then_some(value);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| {
        let (name, rest) = (path.get(..dot)?, path.get(dot + 1..)?);
        find_in(rest, member(name)?.as_object()?)
    })
}

fn find_in<'c>(path: &str, object: &'c Map<String, Value>) -> Option<&'c Value> {
    find(path, |name| object.get(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(path: &str) -> Option<Value> {
        let claims = json!({
            "sub": "alice", "none": null, "https://api.example/roles": ["a"], "a.b": {"c": 1}, "a": {"b": {"c": 2, "d": 3}},
            "resource_access": {"my.api": {"roles": ["reader"]}},
        });
        let claims = Claims::parse(claims.to_string().as_bytes()).unwrap();
        ClaimPath::parse(path).unwrap().of(&claims).cloned()
    }

    #[test]
    fn a_path_names_a_member_or_one_of_a_nested_object() {
        for (path, value) in [
            ("sub", Some(json!("alice"))),
            ("https://api.example/roles", Some(json!(["a"]))),
            ("resource_access.my.api.roles", Some(json!(["reader"]))),
            ("a.b.c", Some(json!(1))),
            ("a.b.d", Some(json!(3))),
            ("none", None),
            ("sub.x", None),
            ("x", None),
        ] {
            assert_eq!(of(path), value, "{path}");
        }
    }

    #[test]
    fn a_path_without_names_is_refused() {
        for text in ["", ".", "a.", ".a", "a..b"] {
            assert_eq!(ClaimPath::parse(text), Err(BadClaimPath::Empty), "{text}");
        }
        assert_eq!(ClaimPath::parse(&"a".repeat(LONGEST + 1)), Err(BadClaimPath::TooLong));
    }
}
