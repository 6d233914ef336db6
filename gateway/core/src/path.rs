//! The normal form of a request path, in which routes are written and requests are matched (gateway.md §6,
//! RFC 3986 §6.2.2).
//!
//! 1. Reserved characters (`!*'();:@&=+$,/?%#[]`) keep their escapes, in upper case: they are significant to
//!    an upstream. So do control characters. All other escapes are decoded.
//! 2. Slashes are merged.
//! 3. Dot segments are removed (RFC 3986 §5.2.4).
//!
//! Invariant: normalising a normal path does not change it, so a request can match any route written in
//! normal form. Characters that a request line cannot contain are encoded again when the path is sent
//! upstream (in the router).

use std::borrow::Cow;

use thiserror::Error;

use crate::byte_set::ByteSet;

/// Most bytes that need no closer look: a path of them alone is in its normal form unless it has two slashes in a row.
const ORDINARY: ByteSet = ByteSet::alphanumeric().with(b"/-_~!$&'()*+,;=:@");

/// A path that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It does not begin with `/`.
    #[error("the path must begin with a slash")]
    NotAbsolute,
    /// A `%` is not followed by two hexadecimal digits.
    #[error("invalid percent-encoding in the path")]
    Escape,
    /// It contains a control character, or an encoded NUL.
    #[error("the path contains a control character")]
    Control,
}

/// A path in its normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normal<'p> {
    /// The path.
    pub path: Cow<'p, str>,
    /// Whether others may find dot segments in it.
    pub dots: Dots,
}

/// Whether a path in normal form, which has no dot segments, may have some for a server that reads it in
/// another way: with `%2F` or a backslash as a separator, without what follows a semicolon, or decoded once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dots {
    /// However it is read, it has none.
    None,
    /// It contains two dots in a row, or an encoded percent sign.
    Possible,
}

/// The path in its normal form: unreserved characters decoded, dot segments removed, slashes merged.
///
/// Bytes that are not UTF-8 once decoded stay encoded, in upper case. `..` segments beyond the root are
/// dropped. The function is idempotent.
///
/// # Errors
/// See [`Malformed`].
pub fn normalise(raw: &str) -> Result<Cow<'_, str>, Malformed> {
    read(raw).map(|normal| normal.path)
}

/// The path in its normal form ([`normalise`]), and whether others may find dot segments in it.
///
/// # Errors
/// See [`Malformed`].
pub fn read(raw: &str) -> Result<Normal<'_>, Malformed> {
    if !raw.starts_with('/') {
        return Err(Malformed::NotAbsolute);
    }
    let in_a_row = |pair: &[u8; 2]| (pair[0] == b'/') & (pair[1] == b'/');
    let merged = raw.as_bytes().array_windows().fold(false, |any, pair| any | in_a_row(pair));
    if ORDINARY.has_all(raw.as_bytes()) && !merged {
        return Ok(Normal { path: Cow::Borrowed(raw), dots: Dots::None });
    }
    let mut encoded = false;
    let mut segments = false;
    let mut dots = false;
    let mut previous = 0;
    for byte in raw.bytes() {
        if byte.is_ascii_control() {
            return Err(Malformed::Control);
        }
        encoded |= byte == b'%';
        segments |= previous == b'/' && (byte == b'/' || byte == b'.');
        dots |= previous == b'.' && byte == b'.';
        previous = byte;
    }
    let path = match (encoded, segments) {
        (false, false) => Cow::Borrowed(raw),
        (false, true) => Cow::Owned(resolve_segments(raw)),
        // A decoded dot may have completed a dot segment.
        (true, _) => {
            let path = resolve_segments(&decode(raw)?);
            dots = path.contains("..") || path.contains("%25");
            Cow::Owned(path)
        }
    };
    Ok(Normal { path, dots: if dots { Dots::Possible } else { Dots::None } })
}

/// Decodes all but reserved characters.
fn decode(raw: &str) -> Result<String, Malformed> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let value = hex(bytes.next())? << 4 | hex(bytes.next())?;
        match value {
            0 => return Err(Malformed::Control),
            // Decoded, they could not be read again.
            value if is_reserved(value) || value.is_ascii_control() => push_encoded(&mut decoded, value),
            value => decoded.push(value),
        }
    }
    Ok(String::from_utf8(decoded).unwrap_or_else(|error| encode_non_utf8(error.as_bytes())))
}

fn hex(digit: Option<u8>) -> Result<u8, Malformed> {
    let value = digit.and_then(|digit| char::from(digit).to_digit(16)).and_then(|value| u8::try_from(value).ok());
    value.ok_or(Malformed::Escape)
}

fn is_reserved(byte: u8) -> bool {
    b"!*'();:@&=+$,/?%#[]".contains(&byte)
}

/// Writes a byte as `%XX`, in upper case.
pub fn push_encoded(out: &mut Vec<u8>, byte: u8) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
    out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
}

fn encode_non_utf8(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let mut encoded = Vec::new();
        chunk.invalid().iter().for_each(|byte| push_encoded(&mut encoded, *byte));
        text.extend(encoded.into_iter().map(char::from));
    }
    text
}

/// Removes `.`, `..` and empty segments; a path that ended in one ends in a slash.
fn resolve_segments(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut ends_in_slash = false;
    for segment in path.split('/') {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            segment => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if ends_in_slash {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_take_the_normal_form() {
        let rows = [
            ("/", "/"),
            ("/a%2fb", "/a%2Fb"),
            ("/a/", "/a/"),
            ("//", "/"),
            ("/%41", "/A"),
            ("/a/../b", "/b"),
            ("/a//b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/..", "/"),
            ("/../..", "/"),
            ("/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/%2e./b", "/b"),
            ("/a/%2e%2e%2fb", "/a/..%2Fb"),
            ("/.well-known/x", "/.well-known/x"),
            ("//a///b//", "/a/b/"),
            ("/a.b/.c/..d/...", "/a.b/.c/..d/..."),
            ("/%7Ea%20b%22", "/~a b\""),
            ("/%c3%a4", "/ä"),
            ("/%ff%c3", "/%FF%C3"),
            ("/%2541", "/%2541"),
            ("/a%0d%0ab%7f", "/a%0D%0Ab%7F"),
            ("/a%2f..%2fb", "/a%2F..%2Fb"),
            (
                "/%21%2a%27%28%29%3b%3a%40%26%3d%2b%24%2c%3f%25%23%5b%5d",
                "/%21%2A%27%28%29%3B%3A%40%26%3D%2B%24%2C%3F%25%23%5B%5D",
            ),
        ];
        for (raw, expected) in rows {
            assert_eq!(normalise(raw).unwrap(), expected, "{raw}");
        }
    }

    #[test]
    fn a_path_in_normal_form_is_not_copied() {
        assert!(matches!(normalise("/api/v1.2/users/~x"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn paths_that_others_may_read_with_dot_segments_are_told() {
        let rows = [
            ("/api/v1.2/.well-known/x;v=1", Dots::None),
            ("/group%2Fproject", Dots::None),
            ("/a/%2e/b", Dots::None),
            ("/a/%2e%2e/b", Dots::None),
            ("/a..b", Dots::Possible),
            ("/a/..;/b", Dots::Possible),
            ("/a/..%2fb", Dots::Possible),
            ("/a/%2e%2e%5cb", Dots::Possible),
            ("/a/%252e%252e/b", Dots::Possible),
            ("/a/%25%32e./b", Dots::Possible),
        ];
        for (raw, expected) in rows {
            assert_eq!(read(raw).unwrap().dots, expected, "{raw}");
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        let rows = [
            ("", Malformed::NotAbsolute),
            ("*", Malformed::NotAbsolute),
            ("a/b", Malformed::NotAbsolute),
            ("/%", Malformed::Escape),
            ("/%4", Malformed::Escape),
            ("/%zz", Malformed::Escape),
            ("/%+1", Malformed::Escape),
            ("/%4%31", Malformed::Escape),
            ("/%00", Malformed::Control),
            ("/a\nb", Malformed::Control),
        ];
        for (raw, expected) in rows {
            assert_eq!(normalise(raw), Err(expected), "{raw:?}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_path_has_no_dot_or_empty_segments_and_is_its_own_normal_form(
            raw in "/([a.~/]|%2[eEfF]|%41|%[01cf][0-9]|%7[fF]|%25|ä| ){0,24}"
        ) {
            prop_assume!(!raw.contains("%00"));
            let normal = normalise(&raw).unwrap().into_owned();
            prop_assert!(normal.starts_with('/'));
            prop_assert!(!normal.contains("//"));
            prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
            prop_assert_eq!(normalise(&normal).unwrap(), normal.as_str());
        }
    }
}
