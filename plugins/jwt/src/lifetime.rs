//! When a token is valid: its times, which are facts, and what an instance demands of them, which is decided on
//! every request.

use serde_json::{Map, Value};

/// The times in a token's claims, in Unix seconds. `None`: there is no number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// `exp`.
    pub exp: Option<f64>,
    /// `nbf`.
    pub nbf: Option<f64>,
}

/// Whether a claim is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It is, and a token must have it.
    Yes,
    /// It is not.
    No,
}

/// What an instance demands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lifetime {
    /// Whether `exp` is checked.
    pub exp: Checked,
    /// Whether `nbf` is checked.
    pub nbf: Checked,
    /// How many seconds in the future `exp` may be.
    pub at_most: Option<f64>,
}

/// What is wrong with a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is absent, or not a number.
    NotANumber,
    /// `exp` has passed.
    Expired,
    /// `nbf` is in the future.
    NotYet,
    /// `exp` is too far in the future.
    TooLong,
}

impl Fault {
    /// The text for the client.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotANumber => "must be a number",
            Self::Expired => "token expired",
            Self::NotYet => "token not valid yet",
            Self::TooLong => "exceeds maximum allowed expiration",
        }
    }

    /// The reason code in the access log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotANumber => "jwt_time_missing",
            Self::Expired => "jwt_expired",
            Self::NotYet => "jwt_not_yet_valid",
            Self::TooLong => "jwt_lifetime_too_long",
        }
    }
}

/// What is wrong with a token's times: at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// With `exp`.
    pub exp: Option<Fault>,
    /// With `nbf`.
    pub nbf: Option<Fault>,
}

impl Faults {
    /// The body of the response: the texts by claim.
    pub fn body(self) -> Value {
        let faults = [("exp", self.exp), ("nbf", self.nbf)];
        let texts = faults.into_iter().filter_map(|(claim, fault)| Some((claim.to_owned(), fault?.text().into())));
        Value::Object(texts.collect::<Map<_, _>>())
    }

    /// The reason code in the access log.
    pub fn reason(self) -> &'static str {
        self.exp.or(self.nbf).map_or("jwt_time_missing", Fault::reason)
    }
}

impl Lifetime {
    /// Checks a token at this Unix second.
    ///
    /// # Errors
    /// A claim that is checked is absent, or the token is not valid at this time.
    pub fn check(&self, times: Times, now: i64) -> Result<(), Faults> {
        // Exact for any time of this clock.
        #[expect(clippy::cast_precision_loss, reason = "a clock's seconds are far below 2^53")]
        let now = now as f64;
        let faults = Faults {
            exp: fault(self.exp, times.exp, |exp| (exp <= now).then_some(Fault::Expired)),
            nbf: fault(self.nbf, times.nbf, |nbf| (nbf > now).then_some(Fault::NotYet)),
        };
        if faults.exp.is_some() || faults.nbf.is_some() {
            return Err(faults);
        }
        match self.at_most {
            Some(limit) if times.exp.is_none_or(|exp| exp - now > limit) => {
                Err(Faults { exp: Some(Fault::TooLong), nbf: None })
            }
            _ => Ok(()),
        }
    }
}

fn fault(checked: Checked, time: Option<f64>, check: impl FnOnce(f64) -> Option<Fault>) -> Option<Fault> {
    match (checked, time) {
        (Checked::No, _) => None,
        (Checked::Yes, None) => Some(Fault::NotANumber),
        (Checked::Yes, Some(time)) => check(time),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_000;
    const BOTH: Lifetime = Lifetime { exp: Checked::Yes, nbf: Checked::Yes, at_most: None };

    #[test]
    fn times_are_checked_as_configured() {
        let none = Lifetime { exp: Checked::No, nbf: Checked::No, at_most: None };
        let limited = Lifetime { at_most: Some(60.0), nbf: Checked::No, ..BOTH };
        let rows = [
            (none, None, None, json!(null)),
            (none, Some(1.0), Some(2_000.0), json!(null)),
            (BOTH, None, None, json!({"exp": "must be a number", "nbf": "must be a number"})),
            (BOTH, Some(1_001.0), None, json!({"nbf": "must be a number"})),
            (BOTH, Some(1_001.0), Some(1_000.0), json!(null)),
            (BOTH, Some(1_000.0), Some(1_000.0), json!({"exp": "token expired"})),
            (BOTH, Some(1_000.5), Some(1_000.0), json!(null)),
            (BOTH, Some(999.5), Some(1_000.5), json!({"exp": "token expired", "nbf": "token not valid yet"})),
            (BOTH, Some(1e300), Some(-1e300), json!(null)),
            (limited, Some(1_060.0), None, json!(null)),
            (limited, Some(1_061.0), None, json!({"exp": "exceeds maximum allowed expiration"})),
            (limited, Some(1_000.0), None, json!({"exp": "token expired"})),
            (limited, None, None, json!({"exp": "must be a number"})),
            (
                Lifetime { exp: Checked::No, ..limited },
                None,
                None,
                json!({"exp": "exceeds maximum allowed expiration"}),
            ),
        ];
        for (row, (lifetime, exp, nbf, expected)) in rows.into_iter().enumerate() {
            let checked = lifetime.check(Times { exp, nbf }, NOW);
            assert_eq!(checked.map_or_else(Faults::body, |()| Value::Null), expected, "row {row}");
        }
    }

    #[test]
    fn the_reason_is_that_of_exp_if_both_are_wrong() {
        let faults = Faults { exp: Some(Fault::Expired), nbf: Some(Fault::NotYet) };
        assert_eq!(faults.reason(), "jwt_expired");
        assert_eq!(Faults { exp: None, ..faults }.reason(), "jwt_not_yet_valid");
    }
}
