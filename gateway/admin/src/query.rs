//! Decodes the names and values of queries and forms, and holds the arguments of a query string.

use std::borrow::Cow;

use crate::response::Failure;

/// How many arguments a query or a form may have (gateway.md §1).
pub(crate) const MAX_ARGUMENTS: usize = 1000;

/// Names and values of `name=value&…`, decoded; invalid percent escapes are kept as they are.
pub(crate) fn pairs(encoded: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    encoded.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let mut parts = pair.splitn(2, |&byte| byte == b'=').map(decode);
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    })
}

fn decode(part: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = part.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent_encoding::percent_decode(&spaced).collect()
}

/// The arguments, in order.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(Vec<u8>, Vec<u8>)>);

impl Query {
    /// Reads a raw query.
    pub(crate) fn parse(raw: Option<&str>) -> Result<Self, Failure> {
        let arguments: Vec<_> = pairs(raw.unwrap_or_default().as_bytes()).take(MAX_ARGUMENTS + 1).collect();
        if arguments.len() > MAX_ARGUMENTS { Err(Failure::TooManyArguments) } else { Ok(Self(arguments)) }
    }

    /// The first argument with that name, for parsing: bytes that are not UTF-8 become U+FFFD, which is not
    /// valid in a number, offset or unit.
    pub(crate) fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.bytes(name).map(String::from_utf8_lossy)
    }

    /// The first argument with that name, for comparison with stored text; an error if it cannot equal any,
    /// since it is not UTF-8 or contains a NUL.
    pub(crate) fn stored(&self, name: &str) -> Option<Result<&str, Unstorable>> {
        let text = std::str::from_utf8(self.bytes(name)?).ok().filter(|text| !text.contains('\0'));
        Some(text.ok_or(Unstorable))
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| value.as_slice())
    }
}

/// The value cannot equal any stored text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unstorable;

/// Encodes a value for a query.
pub(crate) fn escape(value: &str) -> String {
    // Kong escapes a space as %20 here, where a form would write a plus.
    percent_encoding::utf8_percent_encode(value, &RESERVED).to_string()
}

/// All but the unreserved characters (RFC 3986 §2.3).
const RESERVED: percent_encoding::AsciiSet =
    percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_arguments_are_read_and_one_more_is_refused() {
        let thousand = vec!["a=1"; 1000].join("&");
        assert!(Query::parse(Some(&thousand)).is_ok());
        assert!(matches!(Query::parse(Some(&format!("{thousand}&b=2"))), Err(Failure::TooManyArguments)));
    }

    #[test]
    fn values_are_decoded_and_written_back() {
        let query = Query::parse(Some("tags=a%2Fb+c&size")).unwrap();
        assert_eq!(query.get("tags").as_deref(), Some("a/b c"));
        assert_eq!(query.get("size").as_deref(), Some(""));
        assert_eq!(query.get("offset"), None);
        assert_eq!(escape("a/b c~"), "a%2Fb%20c~");
    }

    #[test]
    fn values_that_cannot_equal_stored_text_are_detected() {
        let query = Query::parse(Some("a=%FF&b=%00&c=%EF%BF%BD&%ff=d&e=%zz")).unwrap();
        assert_eq!(
            ["a", "b", "c"].map(|name| query.stored(name)),
            [Some(Err(Unstorable)), Some(Err(Unstorable)), Some(Ok("\u{FFFD}")),]
        );
        assert_eq!((query.stored("\u{FFFD}"), query.get("\u{FFFD}")), (None, None));
        assert_eq!((query.get("a").as_deref(), query.get("e").as_deref()), (Some("\u{FFFD}"), Some("%zz")));
    }
}
