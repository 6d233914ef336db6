//! The members of a JSON object that decides on access: a JOSE header, a token's claims, an introspection
//! response, a document of an authority.
//!
//! Of two members with the same name parsers keep either; what this gateway and another reader would
//! understand differently is refused, at any depth. Only white space may surround the object.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deeper values are refused: nothing that is read here needs them.
const MAX_DEPTH: usize = 32;

/// The members of an object, each name once.
///
/// Tokens have some ten or twenty, among which the fastest look-up compares each. More are kept in the order of their
/// names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims(Vec<Member>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    name: Name,
    value: Value,
}

/// The name of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    /// Of names of up to seven bytes, which most are, this is all that there is to compare.
    start: Start,
    /// Those that nearly all tokens have are not allocated.
    text: Cow<'static, str>,
}

impl Name {
    fn new(text: Cow<'static, str>) -> Self {
        Self { start: Start::of(&text), text }
    }

    fn is(&self, start: Start, text: &str) -> bool {
        self.start == start && (text.len() < START || *self.text == *text)
    }
}

/// The first bytes of a name, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start([u8; START]);

const START: usize = 8;

impl Start {
    fn of(text: &str) -> Self {
        let mut start = [0; START];
        start.iter_mut().zip(text.as_bytes()).for_each(|(to, from)| *to = *from);
        let [.., length] = &mut start;
        *length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        Self(start)
    }
}

/// One of the names of claims and header parameters that many tokens have.
fn frequent(name: &str) -> Option<&'static str> {
    macro_rules! one_of {
        ($($known:literal)*) => {
            match name {
                $($known => Some($known),)*
                _ => None,
            }
        };
    }
    one_of!("iss" "sub" "aud" "exp" "iat" "nbf" "jti" "scope" "client_id" "username" "token_type" "active" "email"
        "alg" "kid" "typ")
}

/// The most members that are compared one after another.
const FEW: usize = 32;

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
        let document = read(bytes, |deserializer, fault| deserializer.deserialize_any(Outermost { fault }))?;
        document.ok_or(MalformedClaims::NotAnObject)
    }

    /// The value of a member.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let found = if self.0.len() <= FEW {
            let start = Start::of(name);
            self.0.iter().find(|member| member.name.is(start, name))
        } else {
            self.0.binary_search_by(|member| (*member.name.text).cmp(name)).ok().and_then(|index| self.0.get(index))
        };
        found.map(|member| &member.value)
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|member| (&*member.name.text, &member.value))
    }

    /// The value of a member that is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// The object as a value.
    pub fn to_value(&self) -> Value {
        self.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }

    /// `None`: a name is repeated.
    fn of(mut members: Vec<Member>) -> Option<Self> {
        let repeated = if members.len() <= FEW {
            let is_repeated = |(index, Member { name: Name { start, text }, .. }): (usize, &Member)| {
                members.iter().take(index).any(|other| other.name.is(*start, text))
            };
            members.iter().enumerate().any(is_repeated)
        } else {
            members.sort_unstable_by(|one, other| one.name.text.cmp(&other.name.text));
            members.windows(2).any(|pair| matches!(pair, [one, other] if one.name == other.name))
        };
        (!repeated).then_some(Self(members))
    }
}

/// Members that something else has checked, such as a plugin's configuration.
impl From<Map<String, Value>> for Claims {
    fn from(members: Map<String, Value>) -> Self {
        // Its names differ.
        let member = |(name, value)| Member { name: Name::new(Cow::Owned(name)), value };
        Self::of(members.into_iter().map(member).collect()).unwrap_or_default()
    }
}

/// Reads any value as strictly as an object. Not `serde_json::from_str`: in that, a member with a name of the parser's
/// own stands for the value that its text spells, so that an object would pass for a string.
///
/// # Errors
/// See [`MalformedClaims`].
pub fn value(bytes: &[u8]) -> Result<Value, MalformedClaims> {
    read(bytes, |deserializer, fault| deserializer.deserialize_any(Strict { depth: 0, fault }))
}

type JsonDeserializer<'b> = serde_json::Deserializer<serde_json::de::StrRead<'b>>;

/// Reads with the function, and nothing but white space after that.
fn read<'b, T>(
    bytes: &'b [u8],
    read: impl FnOnce(&mut JsonDeserializer<'b>, &mut Option<MalformedClaims>) -> Result<T, serde_json::Error>,
) -> Result<T, MalformedClaims> {
    // At once, and not again for each text in it.
    let text = std::str::from_utf8(bytes).map_err(|_| MalformedClaims::NotJson)?;
    let mut fault = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = read(&mut deserializer, &mut fault);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|_| fault.unwrap_or(MalformedClaims::NotJson))
}

/// Reads the claims of a document; `None` if it is another value.
struct Outermost<'f> {
    fault: &'f mut Option<MalformedClaims>,
}

impl<'f> Outermost<'f> {
    fn strict(self) -> Strict<'f> {
        Strict { depth: 0, fault: self.fault }
    }
}

impl<'de> Visitor<'de> for Outermost<'_> {
    type Value = Option<Claims>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Self::Value, A::Error> {
        self.strict().visit_seq(sequence).map(|_| None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut strict = self.strict();
        let mut members = Vec::with_capacity(FEW);
        while let Some(name) = object.next_key_seed(NameOfMember)? {
            members.push(Member { name, value: object.next_value_seed(strict.inner())? });
        }
        match Claims::of(members) {
            Some(claims) => Ok(Some(claims)),
            None => strict.refuse(MalformedClaims::RepeatedMember),
        }
    }
}

/// Reads the name of a member.
struct NameOfMember;

impl<'de> DeserializeSeed<'de> for NameOfMember {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameOfMember {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(Name::new(frequent(name).map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed)))
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
        assert_eq!(claims.to_value(), expected);
        assert_eq!((claims.text("a"), claims.text("b"), claims.get("d")), (Some("x"), None, None));
        assert_eq!(claims.get("c"), Some(&json!({"a": "a"})));
    }

    #[test]
    fn names_are_told_apart_by_all_of_their_bytes() {
        let long = |length: usize, last: char| format!("{}{last}", "n".repeat(length - 1));
        for length in [1, 6, 7, 8, 9, 254, 255, 256, 300] {
            let names = [long(length, 'a'), long(length, 'b'), long(length + 1, 'a')];
            let claims: Map<String, Value> = names.iter().cloned().zip([1, 2, 3].map(Value::from)).collect();
            let read = Claims::parse(Value::from(claims.clone()).to_string().as_bytes()).unwrap();
            for (name, value) in &claims {
                assert_eq!(read.get(name), Some(value), "{name}");
            }
            assert_eq!(read.get(&long(length, 'c')), None);
            assert_eq!(read.to_value(), Value::from(claims));
            let twice = format!(r#"{{"{0}":1,"{0}":2}}"#, long(length, 'a'));
            assert_eq!(Claims::parse(twice.as_bytes()), Err(MalformedClaims::RepeatedMember), "{twice}");
        }
        // Without their lengths these would begin alike.
        let claims = Claims::parse(br#"{"a":1,"a\u0000":2}"#.as_slice()).unwrap();
        assert_eq!((claims.get("a"), claims.get("a\0")), (Some(&json!(1)), Some(&json!(2))));
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
                prop_assert_eq!(claims.to_value(), serde_json::from_str::<Value>(&text).unwrap());
            }
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Claims::parse(&bytes);
        }
    }
}
