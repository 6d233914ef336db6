//! Which claims of an authority's tokens are kept in the cache, and how.
//!
//! A token's claims may be kilobytes; cached are only those that an instance of a plugin forwards or requires.
//! Instances add what they need when they are compiled. The list only grows, so a position in it means the same
//! claim for as long as the authority is known: facts that were cached before a claim was added lack it, and say
//! so.
//!
//! Encoded, each claim takes its value and four bytes: position, form, length (big-endian). The form says how a header
//! carries the value, which would otherwise be found out on every request. A value that many tokens have takes the four
//! bytes alone: its number among the [`CommonValues`] is in place of the length.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use serde_json::Value;
use tollgate_plugin::{BlockName, is_identity_value};

use crate::claim_header::block_name;
use crate::claim_path::ClaimPath;
use crate::common_values::{CommonValue, CommonValues};
use tollgate_jose::claims::{self, Claims};

/// The most claims that one instance may name, the registered ones included.
pub(crate) const MOST: usize = 64;

/// The most claims that instances may name one after another, before the authority is known anew.
const PLACES: usize = 200;

/// Bytes reserved for the claims of a token: nearly always enough.
const ROOM: usize = 512;

/// Longer values are not kept: they would not be accepted in a header, and no requirement is met by one.
const LONGEST_VALUE: usize = 8 * 1024;

/// The position of a claim in an authority's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u8);

impl Position {
    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// More claims are named than can be kept of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {PLACES} different claims are forwarded or required of the tokens of one authority")]
pub struct TooManyClaims;

/// The claims kept of an authority's tokens.
#[derive(Debug)]
pub struct KeptClaims {
    claims: RwLock<Vec<KeptClaim>>,
    common: CommonValues,
}

/// A claim that is kept.
#[derive(Debug)]
struct KeptClaim {
    path: ClaimPath,
    /// The header that it is forwarded in.
    header: Option<BlockName>,
}

impl KeptClaim {
    fn new(path: ClaimPath) -> Self {
        Self { header: block_name(&path), path }
    }
}

impl Default for KeptClaims {
    fn default() -> Self {
        Self::of([])
    }
}

impl KeptClaims {
    /// Keeps these from the beginning.
    pub(crate) fn of(paths: impl IntoIterator<Item = ClaimPath>) -> Self {
        let claims = paths.into_iter().map(KeptClaim::new).collect();
        Self { claims: RwLock::new(claims), common: CommonValues::of(PLACES) }
    }

    /// Whether there is room for all claims that one instance may name.
    pub(crate) fn has_room(&self) -> bool {
        let claims = self.claims.read().unwrap_or_else(PoisonError::into_inner);
        claims.len() + MOST <= PLACES
    }

    /// Adds a claim, unless it is kept already.
    ///
    /// # Errors
    /// There are too many.
    pub fn keep(&self, path: &ClaimPath) -> Result<Position, TooManyClaims> {
        let mut claims = self.claims.write().unwrap_or_else(PoisonError::into_inner);
        let index = match claims.iter().position(|known| known.path == *path) {
            Some(index) => index,
            None if claims.len() >= PLACES => return Err(TooManyClaims),
            None => {
                claims.push(KeptClaim::new(path.clone()));
                claims.len() - 1
            }
        };
        u8::try_from(index).map(Position).map_err(|_| TooManyClaims)
    }

    /// The name of a kept claim.
    pub(crate) fn name(&self, position: Position) -> String {
        let claims = self.claims.read().unwrap_or_else(PoisonError::into_inner);
        claims.get(position.index()).map(|claim| claim.path.to_string()).unwrap_or_default()
    }

    /// What is kept of these claims. `left_out` is told the claims that are too long.
    pub(crate) fn encode(&self, claims: &Claims, mut left_out: impl FnMut(&ClaimPath)) -> Encoded {
        let kept = self.claims.read().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::with_capacity(ROOM);
        for (position, claim) in (0_u8..).zip(kept.iter()) {
            let Some(value) = claim.path.of(claims) else { continue };
            if !self.encode_one(position, value, claim.header.as_ref(), &mut bytes) {
                left_out(&claim.path);
            }
        }
        Encoded { count: u8::try_from(kept.len()).unwrap_or(u8::MAX), bytes }
    }

    /// Appends a value; `false` if it is too long.
    fn encode_one(&self, position: u8, value: &Value, header: Option<&BlockName>, bytes: &mut Vec<u8>) -> bool {
        let (form, text) = formed(value);
        if let Some(number) = self.common.number(position, text.as_bytes(), header) {
            bytes.extend_from_slice(&[position, form as u8 | COMMON]);
            bytes.extend_from_slice(&number.to_be_bytes());
            return true;
        }
        let Some(length) = u16::try_from(text.len()).ok().filter(|_| text.len() <= LONGEST_VALUE) else { return false };
        bytes.extend_from_slice(&[position, form as u8]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
        true
    }

    /// The kept claims in encoded bytes, in the order of their positions.
    pub fn decode<'f>(&'f self, bytes: &'f [u8]) -> impl Iterator<Item = (Position, Kept<'f>)> {
        self.encoded(bytes).map_while(|(position, form, value)| {
            let text = std::str::from_utf8(value.bytes()).ok()?;
            let kept = match form {
                Form::Text | Form::OtherText => Kept::Text(text),
                Form::List => Kept::List(text),
                Form::Scalar | Form::Json => Kept::Json(text),
            };
            Some((position, kept))
        })
    }

    /// The same, as it is encoded.
    pub(crate) fn encoded<'f>(&'f self, mut bytes: &'f [u8]) -> impl Iterator<Item = (Position, Form, KeptValue<'f>)> {
        std::iter::from_fn(move || {
            let (&[position, form, high, low], rest) = bytes.split_first_chunk::<4>()?;
            let number = u16::from_be_bytes([high, low]);
            let value;
            (value, bytes) = match form & COMMON {
                0 => rest.split_at_checked(usize::from(number)).map(|(own, rest)| (KeptValue::Own(own), rest))?,
                _ => (KeptValue::Common(self.common.value(position, number)?), rest),
            };
            Some((Position(position), Form::parse(form & !COMMON)?, value))
        })
    }
}

/// A value, where it is kept.
#[derive(Clone, Copy)]
pub(crate) enum KeptValue<'f> {
    /// With its token.
    Own(&'f [u8]),
    /// Once for many tokens.
    Common(&'f CommonValue),
}

impl<'f> KeptValue<'f> {
    /// The value.
    pub(crate) fn bytes(self) -> &'f [u8] {
        match self {
            Self::Own(value) => value,
            Self::Common(value) => value.value(),
        }
    }
}

/// Kept claims.
pub(crate) struct Encoded {
    /// The number of claims that were looked for.
    pub(crate) count: u8,
    pub(crate) bytes: Vec<u8>,
}

/// How a value is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Form {
    /// A string that a header carries as it is.
    Text,
    /// A string that no header can carry.
    OtherText,
    /// A number or a boolean, which headers spell as JSON does.
    Scalar,
    /// An array of strings, joined by commas: none contains one or is empty, and a header carries them.
    List,
    /// Any other value, as JSON.
    Json,
}

/// The bit in the byte of the form that says that the value is a common one.
const COMMON: u8 = 0x80;

impl Form {
    fn parse(byte: u8) -> Option<Self> {
        [Self::Text, Self::OtherText, Self::Scalar, Self::List, Self::Json].into_iter().find(|form| *form as u8 == byte)
    }
}

/// A kept value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept<'f> {
    /// A string.
    Text(&'f str),
    /// An array of strings without commas, joined by commas.
    List(&'f str),
    /// Any other value, as JSON.
    Json(&'f str),
}

impl Kept<'_> {
    /// The value.
    pub fn value(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(*text),
            Self::List(text) => text.split(',').map(Value::from).collect(),
            Self::Json(text) => claims::value(text.as_bytes()).unwrap_or_default(),
        }
    }

    /// The strings of a claim that is a list of words: an array of strings, or a string with words separated by
    /// spaces (RFC 6749 §3.3). Other elements are no words.
    pub fn has_word(&self, wanted: &str) -> bool {
        match self {
            Self::Text(text) => text.split(' ').any(|word| word == wanted),
            Self::List(_) | Self::Json(_) => self.has_element(wanted),
        }
    }

    /// Whether a claim that is one string or an array of strings, such as `aud` (RFC 7519 §4.1.3), has this one.
    pub fn has_element(&self, wanted: &str) -> bool {
        match self {
            Self::Text(text) => *text == wanted,
            Self::List(text) => text.split(',').any(|element| element == wanted),
            Self::Json(_) => match self.value() {
                Value::Array(elements) => elements.iter().any(|element| element.as_str() == Some(wanted)),
                _ => false,
            },
        }
    }
}

fn formed(value: &Value) -> (Form, Cow<'_, str>) {
    match value {
        Value::String(text) if is_identity_value(text) => (Form::Text, Cow::from(text)),
        Value::String(text) => (Form::OtherText, Cow::from(text)),
        Value::Number(_) | Value::Bool(_) => (Form::Scalar, Cow::from(value.to_string())),
        Value::Array(elements) => match list(elements) {
            Some(text) => (Form::List, Cow::from(text)),
            None => (Form::Json, Cow::from(value.to_string())),
        },
        Value::Null | Value::Object(_) => (Form::Json, Cow::from(value.to_string())),
    }
}

/// The elements of an array, joined by commas, if they can be told apart then. An empty array would be one empty text.
fn list(elements: &[Value]) -> Option<String> {
    let is_plain = |text: &&str| !text.is_empty() && !text.contains(',') && is_identity_value(text);
    let texts: Option<Vec<&str>> = elements.iter().map(|element| element.as_str().filter(is_plain)).collect();
    texts.filter(|texts| !texts.is_empty()).map(|texts| texts.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: &Value) -> Claims {
        Claims::parse(value.to_string().as_bytes()).unwrap()
    }

    fn path(text: &str) -> ClaimPath {
        ClaimPath::parse(text).unwrap()
    }

    #[test]
    fn kept_claims_are_read_as_they_were() {
        let kept = KeptClaims::default();
        let positions: Vec<_> = ["sub", "exp", "a.b", "gone", "sub"].map(|text| kept.keep(&path(text)).unwrap()).into();
        assert_eq!(positions, [0, 1, 2, 3, 0].map(Position));
        let encoded = kept.encode(&claims(&json!({"sub": "é", "exp": 7, "a": {"b": [1, "x"]}, "other": 1})), |_| ());
        let read: Vec<_> = kept.decode(&encoded.bytes).collect();
        let expected = [(0, Kept::Text("é")), (1, Kept::Json("7")), (2, Kept::Json(r#"[1,"x"]"#))];
        assert_eq!(read, expected.map(|(position, value)| (Position(position), value)));
        assert_eq!(encoded.count, 4);
        assert_eq!(read[2].1.value(), json!([1, "x"]));
    }

    #[test]
    fn a_value_that_tokens_share_takes_four_bytes() {
        let kept = KeptClaims::default();
        for name in ["iss", "sub"] {
            kept.keep(&path(name)).unwrap();
        }
        let own = "x".repeat(100);
        let said = claims(&json!({"iss": "https://issuer.example", "sub": own}));
        let encoded = kept.encode(&said, |_| ());
        assert_eq!(encoded.bytes.len(), 4 + 4 + own.len());
        let read: Vec<_> = kept.decode(&encoded.bytes).map(|(_, kept)| kept).collect();
        assert_eq!(read, [Kept::Text("https://issuer.example"), Kept::Text(own.as_str())]);
    }

    #[test]
    fn a_value_that_is_too_long_is_left_out_and_told() {
        let kept = KeptClaims::default();
        for name in ["a", "b"] {
            kept.keep(&path(name)).unwrap();
        }
        let mut left_out = Vec::new();
        let claims = claims(&json!({"a": "x".repeat(LONGEST_VALUE + 1), "b": "y".repeat(LONGEST_VALUE)}));
        let encoded = kept.encode(&claims, |path| left_out.push(path.as_str().to_owned()));
        assert_eq!(left_out, ["a"]);
        assert_eq!(kept.decode(&encoded.bytes).count(), 1);
    }

    #[test]
    fn the_number_of_kept_claims_is_bounded() {
        let kept = KeptClaims::default();
        for number in 0..PLACES {
            kept.keep(&path(&format!("claim{number}"))).unwrap();
        }
        assert_eq!(kept.keep(&path("another")), Err(TooManyClaims));
        assert_eq!(kept.keep(&path("claim7")), Ok(Position(7)));
    }

    #[test]
    fn an_array_of_texts_is_a_list_if_its_elements_can_be_told_apart() {
        let form = |value: Value| {
            let (form, text) = formed(&value);
            (form, text.into_owned())
        };
        assert_eq!(form(json!(["a", "b c"])), (Form::List, "a,b c".to_owned()));
        for other in [json!([]), json!([""]), json!(["a,b"]), json!(["a", 1]), json!(["a\n"]), json!([["a"]])] {
            assert_eq!(form(other.clone()), (Form::Json, other.to_string()));
        }
        let list = Kept::List("a,b c");
        assert_eq!(list.value(), json!(["a", "b c"]));
        assert!(list.has_element("b c") && list.has_word("b c") && !list.has_element("a,b c"));
    }

    #[test]
    fn words_are_separated_by_spaces_and_elements_are_whole() {
        let scope = Kept::Text("read write");
        assert!(scope.has_word("write") && !scope.has_word("writ") && !scope.has_word("read write"));
        assert!(scope.has_element("read write") && !scope.has_element("read"));
        let list = Kept::Json(r#"["read","a b",7]"#);
        assert!(list.has_word("read") && list.has_element("a b") && !list.has_word("7"));
        assert!(!Kept::Json("7").has_element("7") && !Kept::Json(r#"{"read":1}"#).has_word("read"));
    }
}
