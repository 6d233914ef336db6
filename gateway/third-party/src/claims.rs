//! The members of a JSON object that decides on access: a JOSE header, a token's claims, an introspection
//! response, a document of an authority.
//!
//! Of two members with the same name parsers keep either; what this gateway and another reader would
//! understand differently is refused, at any depth. Only white space may surround the object.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deeper values are refused: nothing that is read here needs them.
const MAX_DEPTH: usize = 32;

/// The members of an object, each name once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims(Map<String, Value>);

/// Why bytes are not such an object. Contains none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedClaims {
    /// Not JSON.
    #[error("not valid JSON")]
    NotJson,
    /// JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// An object, here or inside, has two members of one name.
    #[error("a member is repeated")]
    RepeatedMember,
    /// Nested deeper than anything that is read here.
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
}

impl Claims {
    /// Reads an object.
    ///
    /// # Errors
    /// See [`MalformedClaims`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedClaims> {
        match value(bytes)? {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(MalformedClaims::NotAnObject),
        }
    }

    /// The value of a member.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The value of a member that is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// All members.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// Reads any value as strictly as an object. Not `serde_json::from_str`: in that, a member with a name of the parser's
/// own stands for the value that its text spells, so that an object would pass for a string.
///
/// # Errors
/// See [`MalformedClaims`].
pub(crate) fn value(bytes: &[u8]) -> Result<Value, MalformedClaims> {
    let mut fault = None;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = deserializer.deserialize_any(Strict { depth: 0, fault: &mut fault });
    let value = read.and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|_| fault.unwrap_or(MalformedClaims::NotJson))
}

/// Members that something else has checked, such as a plugin's configuration.
impl From<Map<String, Value>> for Claims {
    fn from(members: Map<String, Value>) -> Self {
        Self(members)
    }
}

/// Reads a value at this depth; what is wrong other than the syntax goes to `fault`.
struct Strict<'f> {
    depth: usize,
    fault: &'f mut Option<MalformedClaims>,
}

impl Strict<'_> {
    fn inner(&mut self) -> Strict<'_> {
        Strict { depth: self.depth + 1, fault: self.fault }
    }

    fn refuse<T, E: serde::de::Error>(&mut self, fault: MalformedClaims) -> Result<T, E> {
        *self.fault = Some(fault);
        Err(E::custom(fault))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is none"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<Value, A::Error> {
        if self.depth >= MAX_DEPTH {
            return self.refuse(MalformedClaims::TooDeep);
        }
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(self.inner())? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Value, A::Error> {
        if self.depth >= MAX_DEPTH {
            return self.refuse(MalformedClaims::TooDeep);
        }
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            let value = object.next_value_seed(self.inner())?;
            if members.insert(name, value).is_some() {
                return self.refuse(MalformedClaims::RepeatedMember);
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_read_with_all_types_of_values() {
        let text = r#" {"a":"x","b":[1,-2,1.5,true,null],"c":{"a":"\u0061"}} "#;
        let claims = Claims::parse(text.as_bytes()).unwrap();
        let expected = json!({"a": "x", "b": [1, -2, 1.5, true, null], "c": {"a": "a"}});
        assert_eq!(Some(claims.as_map()), expected.as_object());
        assert_eq!((claims.text("a"), claims.text("b"), claims.get("d")), (Some("x"), None, None));
        assert_eq!(claims.get("c"), Some(&json!({"a": "a"})));
    }

    #[test]
    fn a_repeated_member_is_refused_at_any_depth() {
        for text in
            [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":1}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"a":[{"b":1,"c":2,"b":3}]}"#]
        {
            assert_eq!(Claims::parse(text.as_bytes()), Err(MalformedClaims::RepeatedMember), "{text}");
        }
        assert!(Claims::parse(br#"{"a":{"a":1},"b":[{"a":1},{"a":1}]}"#).is_ok(), "other objects have their own names");
    }

    #[test]
    fn only_one_object_is_read() {
        for text in ["[]", "1", "null", "\"{}\"", "[{}]"] {
            assert_eq!(Claims::parse(text.as_bytes()), Err(MalformedClaims::NotAnObject), "{text}");
        }
        for text in
            ["", "{", "{}x", "{}{}", "{a:1}", "{\"a\":1,}", "{\"a\":1e999}", "{\"a\":\"\\ud800\"}", "\u{feff}{}"]
        {
            assert_eq!(Claims::parse(text.as_bytes()), Err(MalformedClaims::NotJson), "{text}");
        }
        assert_eq!(Claims::parse(b"{\"a\":\"\xff\"}"), Err(MalformedClaims::NotJson));
        assert_eq!(Claims::parse(b"{}"), Ok(Claims::default()));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(Claims::parse(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        for levels in [MAX_DEPTH, 1000, 100_000] {
            assert_eq!(Claims::parse(nested(levels).as_bytes()), Err(MalformedClaims::TooDeep), "{levels}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_parser_reads(text in "\\{[ {}\\[\\]\":,a1.e\\\\nul-]{0,24}\\}") {
            if let Ok(claims) = Claims::parse(text.as_bytes()) {
                prop_assert_eq!(claims.0, serde_json::from_str::<Map<String, Value>>(&text).unwrap());
            }
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Claims::parse(&bytes);
        }
    }
}
