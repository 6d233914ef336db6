//! Rules for the paths of services and routes (gateway.md §5).

use serde_json::Value;

use crate::path::{Malformed, normalise};

/// Regular expressions are compiled with bounded memory, as in the router.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// A service's path: no empty segments, only path characters (RFC 3986 §3.3), complete escapes.
pub(super) fn service_path(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    no_empty_segments(text)?;
    let is_path_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte);
    if !text.bytes().all(is_path_byte) {
        return Err(invalid_characters(text));
    }
    match broken_escape(text) {
        None => Ok(()),
        Some(escape) => Err(invalid_escape(escape)),
    }
}

/// A route's path: a prefix in normal form, or `~` followed by a regular expression that begins with `/`.
pub(super) fn route_path(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    if !text.starts_with('/') && !text.starts_with("~/") {
        return Err("should start with: / (fixed path) or ~/ (regex path)".to_owned());
    }
    no_empty_segments(text)?;
    if let Some(pattern) = text.strip_prefix('~') {
        return compiles(pattern);
    }
    // No request has such a path, so the route would be unreachable.
    match normalise(text) {
        Ok(normal) if normal == text => Ok(()),
        Ok(normal) => Err(format!("non-normalized path, consider use '{normal}' instead")),
        Err(Malformed::Escape) => Err(invalid_escape(broken_escape(text).unwrap_or(text))),
        Err(Malformed::Control | Malformed::NotAbsolute) => Err(invalid_characters(text)),
    }
}

/// Whether the text is a regular expression that the router accepts.
pub(super) fn compiles(pattern: &str) -> Result<(), String> {
    let built = regex::RegexBuilder::new(pattern).size_limit(REGEX_SIZE_LIMIT).build();
    built.map(drop).map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
        format!("invalid regex: '{pattern}' ({reason})")
    })
}

fn no_empty_segments(text: &str) -> Result<(), String> {
    if text.contains("//") { Err("must not have empty segments".to_owned()) } else { Ok(()) }
}

fn invalid_characters(text: &str) -> String {
    format!("invalid path: '{text}' (characters outside of the reserved list of RFC 3986 found)")
}

fn invalid_escape(escape: &str) -> String {
    format!("invalid url-encoded value: '{escape}'")
}

/// The first `%` that is not followed by two hexadecimal digits, with the characters after it.
fn broken_escape(text: &str) -> Option<&str> {
    text.match_indices('%').find_map(|(position, _)| {
        let escape = text.get(position..)?;
        let digits = escape.bytes().skip(1).take(2).filter(u8::is_ascii_hexdigit).count();
        (digits < 2).then(|| escape.get(..3).unwrap_or(escape))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn service_paths_say_what_is_wrong() {
        assert_eq!(service_path(&json!("/v1/a%20b:c")), Ok(()));
        let characters = "(characters outside of the reserved list of RFC 3986 found)";
        let table = [
            ("/a//b", "must not have empty segments".to_owned()),
            ("/a b", format!("invalid path: '/a b' {characters}")),
            ("/a?b", format!("invalid path: '/a?b' {characters}")),
            ("/a%zzb", "invalid url-encoded value: '%zz'".to_owned()),
            ("/a%2", "invalid url-encoded value: '%2'".to_owned()),
        ];
        for (path, text) in table {
            assert_eq!(service_path(&json!(path)), Err(text), "{path}");
        }
    }

    #[test]
    fn route_paths_are_normal_prefixes_or_regular_expressions() {
        for good in ["/", "/api", "/a%2Fb", "/a b", "/%FF", "~/a/(?<id>[0-9]+)$", "~/a$"] {
            assert_eq!(route_path(&json!(good)), Ok(()), "{good}");
        }
        let table = [
            ("api", "should start with: / (fixed path) or ~/ (regex path)"),
            ("~api", "should start with: / (fixed path) or ~/ (regex path)"),
            ("/a//b", "must not have empty segments"),
            ("/a/../x", "non-normalized path, consider use '/x' instead"),
            ("/%41", "non-normalized path, consider use '/A' instead"),
            ("/%a", "invalid url-encoded value: '%a'"),
            ("/%00", "invalid path: '/%00' (characters outside of the reserved list of RFC 3986 found)"),
            ("~/(a", "invalid regex: '/(a' (unclosed group)"),
        ];
        for (path, text) in table {
            assert_eq!(route_path(&json!(path)), Err(text.to_owned()), "{path}");
        }
    }
}
