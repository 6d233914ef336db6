//! The types of the registered claims (RFC 7519 §4.1, RFC 7662 §2.2, RFC 9068 §2.2).

use serde_json::Value;

use tollgate_jose::claims::Claims;

/// Checks the types of the registered claims that are present. Null counts as absent.
///
/// # Errors
/// A claim has another type: its name, and the type that it should have.
pub fn check_types(claims: &Claims) -> Result<(), WrongType> {
    for (names, expected, fits) in TYPES {
        for name in *names {
            if claims.get(name).is_some_and(|value| !value.is_null() && !fits(value)) {
                return Err(WrongType { claim: name, expected });
            }
        }
    }
    Ok(())
}

/// A time in Unix seconds: a number (RFC 7519 §2, NumericDate). Fractions are rounded down. `None`: it is not there.
///
/// # Errors
/// It is something else.
pub fn time(claims: &Claims, claim: &'static str) -> Result<Option<i64>, WrongType> {
    let Some(value) = claims.get(claim).filter(|value| !value.is_null()) else { return Ok(None) };
    let seconds = value.as_i64().or_else(|| {
        let seconds = value.as_f64()?.floor();
        // Beyond any date; `as` saturates.
        #[expect(clippy::cast_possible_truncation, reason = "saturates, which is what is meant")]
        seconds.is_finite().then_some(seconds as i64)
    });
    seconds.map(Some).ok_or(WrongType { claim, expected: "a number" })
}

/// A registered claim has the wrong type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{claim} is not {expected}")]
pub struct WrongType {
    /// The claim.
    pub claim: &'static str,
    /// What it should be.
    pub expected: &'static str,
}

type Fits = fn(&Value) -> bool;

const TYPES: &[(&[&str], &str, Fits)] = &[
    (&["client_id", "username", "token_type", "sub", "iss", "jti"], "a string", Value::is_string),
    (&["exp", "iat", "nbf"], "a number", Value::is_number),
    (&["scope", "aud"], "a string or an array of strings", is_text_or_texts),
];

fn is_text_or_texts(value: &Value) -> bool {
    match value {
        Value::String(_) => true,
        Value::Array(elements) => elements.iter().all(Value::is_string),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: Value) -> Result<(), String> {
        let claims = Claims::parse(value.to_string().as_bytes()).unwrap();
        check_types(&claims).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn registered_claims_have_their_types() {
        let fine =
            json!({"scope": "a b", "aud": ["x", "y"], "exp": 1.5, "iat": 7, "nbf": null, "sub": "", "other": {}});
        assert_eq!(check(fine), Ok(()));
        for (name, value, message) in [
            ("exp", json!("7"), "exp is not a number"),
            ("iat", json!(true), "iat is not a number"),
            ("sub", json!(7), "sub is not a string"),
            ("username", json!(["a"]), "username is not a string"),
            ("aud", json!([1]), "aud is not a string or an array of strings"),
            ("scope", json!({"a": 1}), "scope is not a string or an array of strings"),
        ] {
            assert_eq!(check(json!({ name: value })), Err(message.to_owned()));
        }
    }
}
