//! The one normal form of a request path, which routes are written in and requests are matched
//! in (contract gateway.md §6).
//!
//! Escapes of unreserved and other bytes are decoded, those of reserved ones kept in upper case,
//! slashes merged, and then dot segments removed (RFC 3986 §5.2.4, §6.2.2). It is done once: two
//! broken escapes may join into a whole one (`%4%31`), which is then not decoded again.

use std::borrow::Cow;

const RESERVED: &[u8] = b"!*'();:@&=+$,/?%#[]";

/// The path's normal form. Borrowed when the path has it already, as nearly all do.
pub fn normalise(path: &[u8]) -> Cow<'_, [u8]> {
    if is_plain(path) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(remove_dot_segments(&merge_slashes(&decode(path))))
}

/// Whether nothing in the path could change.
fn is_plain(path: &[u8]) -> bool {
    let pairs = path.iter().zip(path.iter().skip(1));
    !path.contains(&b'%') && !pairs.into_iter().any(|(first, second)| *first == b'/' && matches!(second, b'/' | b'.'))
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        match (byte, after) {
            (b'%', [high, low, behind @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let value = hex(*high) * 16 + hex(*low);
                if RESERVED.contains(&value) {
                    decoded.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
                } else {
                    decoded.push(value);
                }
                rest = behind;
            }
            _ => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    decoded
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase().wrapping_sub(b'a').wrapping_add(10),
    }
}

fn merge_slashes(path: &[u8]) -> Vec<u8> {
    let mut merged: Vec<u8> = Vec::with_capacity(path.len());
    for &byte in path {
        if byte != b'/' || merged.last() != Some(&b'/') {
            merged.push(byte);
        }
    }
    merged
}

fn remove_dot_segments(path: &[u8]) -> Vec<u8> {
    let Some(relative) = path.strip_prefix(b"/") else { return path.to_vec() };
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut ends_in_slash = false;
    for segment in relative.split(|byte| *byte == b'/') {
        ends_in_slash = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let mut clean = Vec::with_capacity(path.len());
    for segment in &kept {
        clean.push(b'/');
        clean.extend_from_slice(segment);
    }
    if ends_in_slash || kept.is_empty() {
        clean.push(b'/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_take_the_contracts_form() {
        let table = [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a%2fb", "/a%2Fb"),
            ("/%41", "/A"),
            ("/a/../b", "/b"),
            ("/a//b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/../..", "/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/%2e%2e%2fb", "/a/..%2Fb"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a%20b", "/a b"),
            ("/%zz%4", "/%zz%4"),
            ("/%C3%A9", "/é"),
            ("//", "/"),
            ("/a/", "/a/"),
        ];
        for (given, wanted) in table {
            assert_eq!(String::from_utf8_lossy(&normalise(given.as_bytes())), wanted, "{given}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_path_has_no_dot_segments_and_no_empty_ones(path in "(/|\\.|a|%2e|%2F|%41){0,12}") {
            let normal = normalise(format!("/{path}").as_bytes()).into_owned();
            prop_assert_eq!(normal.first(), Some(&b'/'));
            let text = String::from_utf8_lossy(&normal).into_owned();
            prop_assert!(!text.contains("//"));
            prop_assert!(text.split('/').all(|segment| segment != "." && segment != ".."));
            prop_assert_eq!(normalise(&normal).into_owned(), normal.clone());
        }
    }
}
