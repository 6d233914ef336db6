//! Rules that fields of several plugins' `config` have, with the texts of gateway.md §4.1.

use http::HeaderValue;
use serde_json::Value;

/// More than any header's name has, and less than a header's name can have.
const LONGEST_NAME: usize = 256;

/// The name of a header: letters, digits, `_` and `-`.
///
/// # Errors
/// The message for the client.
pub fn header_name(value: &Value) -> Result<(), String> {
    let name = value.as_str().unwrap_or_default();
    if name.len() > LONGEST_NAME {
        return Err(format!("length must be at most {LONGEST_NAME}"));
    }
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Ok(());
    }
    Err(format!("bad header name '{name}', allowed characters are A-Z, a-z, 0-9, '_', and '-'"))
}

/// The `realm` of a challenge.
///
/// # Errors
/// The message for the client.
pub fn realm(value: &Value) -> Result<(), String> {
    match HeaderValue::from_bytes(value.as_str().unwrap_or_default().as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err("must not contain control characters".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_headers_have_letters_digits_dashes_and_underscores() {
        for name in ["apikey", "X-API_Key", "0"] {
            assert_eq!(header_name(&json!(name)), Ok(()), "{name}");
        }
        for name in ["hello\\world", "a b", "a:", "é", ""] {
            let text = format!("bad header name '{name}', allowed characters are A-Z, a-z, 0-9, '_', and '-'");
            assert_eq!(header_name(&json!(name)), Err(text));
        }
        assert_eq!(header_name(&json!("a".repeat(257))), Err("length must be at most 256".to_owned()));
    }

    #[test]
    fn a_realm_is_what_a_header_can_carry() {
        for text in ["", "api", r#"a "b" \\ c"#, "é"] {
            assert_eq!(realm(&json!(text)), Ok(()), "{text}");
        }
        for text in ["a\nb", "a\r", "\0", "\u{7f}"] {
            assert_eq!(realm(&json!(text)), Err("must not contain control characters".to_owned()), "{text:?}");
        }
    }
}
