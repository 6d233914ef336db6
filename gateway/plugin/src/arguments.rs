//! Query and form arguments: reading them, and writing them back.
//!
//! - In redirects: every byte but `[A-Za-z0-9_]` as `%` and lower-case hex (oauth2.md §3.5; [`write()`]).
//! - To the upstream: sorted by key, every byte but the unreserved ones (RFC 3986 §2.3) as `%` and upper-case hex
//!   (oauth2.md §4.6; [`without`]).
//!
//! Arguments without `=` are distinct from empty ones, because they are written differently.

use std::borrow::Cow;
use std::fmt::Write;

use form_urlencoded::byte_serialize;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// The number of arguments searched for parameters and tokens (oauth2.md §3.2). All of them are
/// written back.
pub const MAX_READ: usize = 100;

/// All but the unreserved characters (RFC 3986 §2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One argument, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument<'a> {
    /// The key.
    pub key: Cow<'a, [u8]>,
    /// The value; `None` when there is no `=`.
    pub value: Option<Cow<'a, [u8]>>,
}

/// Parses `key=value&…`. Invalid percent-encoding is taken literally.
pub fn parse(encoded: &[u8]) -> impl Iterator<Item = Argument<'_>> {
    encoded.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let mut parts = pair.splitn(2, |&byte| byte == b'=');
        let key = decode(parts.next().unwrap_or_default());
        Argument { key, value: parts.next().map(decode) }
    })
}

/// Writes the arguments back sorted, without those whose key is removed. What an argument means is not changed: one
/// without `=` stays so, and an empty one too.
pub fn without(encoded: &[u8], is_removed: impl Fn(&[u8]) -> bool) -> String {
    let mut arguments: Vec<_> = parse(encoded).filter(|argument| !is_removed(&argument.key)).collect();
    // The sort is stable: values of one key keep their order.
    arguments.sort_by(|one, other| one.key.cmp(&other.key));
    let mut text = String::new();
    for Argument { key, value } in &arguments {
        if !text.is_empty() {
            text.push('&');
        }
        text.extend(percent_encode(key, RESERVED));
        if let Some(value) = value {
            text.push('=');
            text.extend(percent_encode(value, RESERVED));
        }
    }
    text
}

/// Like [`without`], but in the original order and in the URL Standard's form serialisation, with spaces as `%20`. An
/// argument without `=` becomes an empty one.
pub fn without_in_order(encoded: &[u8], is_removed: impl Fn(&[u8]) -> bool) -> String {
    let mut text = String::new();
    for argument in parse(encoded).filter(|argument| !is_removed(&argument.key)) {
        if !text.is_empty() {
            text.push('&');
        }
        let value = argument.value.unwrap_or_default();
        for (part, end) in [(&argument.key, "="), (&value, "")] {
            text.extend(byte_serialize(part).map(|piece| if piece == "+" { "%20" } else { piece }));
            text.push_str(end);
        }
    }
    text
}

/// Writes arguments in the given order.
pub fn write<'a>(arguments: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> String {
    let mut text = String::new();
    for (key, value) in arguments {
        if !text.is_empty() {
            text.push('&');
        }
        escape(key, &mut text);
        match value {
            None => text.push_str("=true"),
            Some([]) => {}
            Some(value) => {
                text.push('=');
                escape(value, &mut text);
            }
        }
    }
    text
}

fn escape(bytes: &[u8], text: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02x}");
        }
    }
}

fn decode(part: &[u8]) -> Cow<'_, [u8]> {
    let spaced: Cow<'_, [u8]> = if part.contains(&b'+') {
        Cow::Owned(part.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect())
    } else {
        Cow::Borrowed(part)
    };
    match spaced {
        Cow::Borrowed(part) => percent_encoding::percent_decode(part).into(),
        Cow::Owned(part) => Cow::Owned(percent_encoding::percent_decode(&part).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_token(key: &[u8]) -> bool {
        key == b"access_token"
    }

    #[test]
    fn remaining_arguments_are_sorted_and_escaped() {
        for (given, left) in [
            ("access_token=x", ""),
            ("b=2&access_token=x&a=1", "a=1&b=2"),
            ("q=a-b.c~d_+e%2Ff&access_token=x&access_token=y", "q=a-b.c~d_%20e%2Ff"),
            ("flag&empty=&access_token", "empty=&flag"),
            ("flag&access_token&flag=&%66lag=1", "flag&flag=&flag=1"),
            ("é=*%00&access_token", "%C3%A9=%2A%00"),
            ("k=2&k=1", "k=2&k=1"),
        ] {
            assert_eq!(without(given.as_bytes(), is_token), left, "{given}");
        }
        let many: Vec<String> = (100..350).map(|number| format!("a{number}=1")).collect();
        let given = format!("{}&access_token=x&{}", many[1..].join("&"), many[0]);
        assert_eq!(without(given.as_bytes(), is_token), many.join("&"));
    }

    #[test]
    fn remaining_arguments_keep_their_order() {
        for (given, left) in [
            ("access_token=x", ""),
            ("b=2&access_token=x&a=1", "b=2&a=1"),
            ("c=valu%651&b=2&access%5ftoken=x&a=%2b+%3B", "c=value1&b=2&a=%2B%20%3B"),
            ("flag&empty=&access_token&\u{e9}=*-._~", "flag=&empty=&%C3%A9=*-._%7E"),
        ] {
            assert_eq!(without_in_order(given.as_bytes(), is_token), left, "{given}");
        }
    }
}
