//! The position of a setting in a YAML text. The parser reports positions only with errors, so a second
//! pass fails on purpose at the key.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use tollgate_declarative::Position;

/// The position in the parser's error.
pub(super) fn of_error(error: &serde_yaml::Error) -> Option<Position> {
    error.location().map(|location| Position { line: location.line(), column: location.column() })
}

/// The position of the key at `path` (dotted), if it is there.
pub(super) fn of_key(text: &str, path: &str) -> Option<Position> {
    let path: Vec<&str> = path.split('.').collect();
    let error = Walk(&path).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    of_error(&error)
}

/// Walks down a path and fails at its last key.
struct Walk<'p>(&'p [&'p str]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((wanted, rest)) = self.0.split_first() else { return Ok(()) };
        loop {
            match map.next_key_seed(KeyIs { wanted, last: rest.is_empty() })? {
                None => return Ok(()),
                Some(true) => map.next_value_seed(Walk(rest))?,
                Some(false) => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
    }
}

/// Compares one key; fails there when it is the last of the path.
struct KeyIs<'p> {
    wanted: &'p str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        match (key == self.wanted, self.last) {
            (true, true) => Err(E::custom("found")),
            (found, _) => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_key_is_found_at_its_line_and_column() {
        let text = "proxy:\n  threads: 2\n  http_listen: x\nadmin:\n  listen: y\n";
        assert_eq!(of_key(text, "proxy.http_listen"), Some(Position { line: 3, column: 3 }));
        assert_eq!(of_key(text, "admin.listen"), Some(Position { line: 5, column: 3 }));
        assert_eq!(of_key(text, "admin"), Some(Position { line: 4, column: 1 }));
    }

    #[test]
    fn a_missing_key_has_no_position() {
        assert_eq!(of_key("a: 1\n", "b.c"), None);
    }
}
