//! A request path as decoded segments. The path is split before segments are decoded, so an encoded slash
//! stays part of the name.

use percent_encoding::percent_decode_str;

/// The decoded segments; `None` if no resource can have that path: an empty segment in the middle, bytes that
/// are not UTF-8, or a NUL, which stored text cannot contain.
pub(crate) fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.split('/').map(segment).collect()
}

fn segment(encoded: &str) -> Option<String> {
    let decoded = percent_decode_str(encoded).decode_utf8().ok()?;
    (!decoded.is_empty() && !decoded.contains('\0')).then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<Vec<String>> {
        segments(path)
    }

    fn some(segments: &[&str]) -> Option<Vec<String>> {
        Some(segments.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_trailing_slash_makes_no_difference() {
        assert_eq!(of("/"), some(&[]));
        assert_eq!(of("/services"), some(&["services"]));
        assert_eq!(of("/services/"), some(&["services"]));
        assert_eq!(of("/services//"), None);
        assert_eq!(of("/services//routes"), None);
    }

    #[test]
    fn segments_are_decoded_after_they_are_split() {
        assert_eq!(of("/services/a%2Fb%20c"), some(&["services", "a/b c"]));
        assert_eq!(of("/services/caf%C3%A9"), some(&["services", "café"]));
        assert_eq!(of("/services/café"), some(&["services", "café"]));
    }

    #[test]
    fn paths_with_undecodable_segments_name_nothing() {
        assert_eq!(of("/services/%FF"), None);
        assert_eq!(of("/services/a%00b"), None);
    }
}
