//! The types of the registered claims (RFC 7519 §4.1, RFC 7662 §2.2, RFC 9068 §2.2).

use serde_json::Value;

use tollgate_jose::claims::Claims;

/// Checks the types of the registered claims that are present. Null counts as absent.
///
/// # Errors
/// A claim has another type: its name, and the type that it should have.
pub fn check_types(claims: &Claims) -> Result<(), WrongType> {
    for (name, value) in claims.iter() {
        if let Some((claim, Type { expected, fits })) = type_of(name)
            && !value.is_null()
            && !fits(value)
        {
            return Err(WrongType { claim, expected });
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

/// What a registered claim may be.
#[derive(Clone, Copy)]
struct Type {
    expected: &'static str,
    fits: fn(&Value) -> bool,
}

const TEXT: Type = Type { expected: "a string", fits: Value::is_string };
const NUMBER: Type = Type { expected: "a number", fits: Value::is_number };
const TEXTS: Type = Type { expected: "a string or an array of strings", fits: is_text_or_texts };

/// The claim of this name, if it is a registered one.
fn type_of(name: &str) -> Option<(&'static str, Type)> {
    Some(match name {
        "iss" => ("iss", TEXT),
        "sub" => ("sub", TEXT),
        "jti" => ("jti", TEXT),
        "client_id" => ("client_id", TEXT),
        "username" => ("username", TEXT),
        "token_type" => ("token_type", TEXT),
        "exp" => ("exp", NUMBER),
        "iat" => ("iat", NUMBER),
        "nbf" => ("nbf", NUMBER),
        "scope" => ("scope", TEXTS),
        "aud" => ("aud", TEXTS),
        _ => return None,
    })
}

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
