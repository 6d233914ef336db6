//! The arguments of a query string.

use crate::answer::Failure;

/// How many arguments a query or a form may have (contract gateway.md §1).
pub(crate) const MAX_ARGUMENTS: usize = 1000;

/// The arguments, in order.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a raw query. Bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn parse(raw: Option<&str>) -> Result<Self, Failure> {
        let pairs = form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned();
        let arguments: Vec<_> = pairs.take(MAX_ARGUMENTS + 1).collect();
        if arguments.len() > MAX_ARGUMENTS { Err(Failure::TooManyArguments) } else { Ok(Self(arguments)) }
    }

    /// The first argument of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A value as it is written into a query.
pub(crate) fn escape(value: &str) -> String {
    // Kong escapes a space as %20 here, where a form would write a plus.
    percent_encoding::utf8_percent_encode(value, &RESERVED).to_string()
}

/// Everything but the unreserved characters (RFC 3986 §2.3).
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
        assert_eq!(query.get("tags"), Some("a/b c"));
        assert_eq!(query.get("size"), Some(""));
        assert_eq!(query.get("offset"), None);
        assert_eq!(escape("a/b c~"), "a%2Fb%20c~");
    }
}
