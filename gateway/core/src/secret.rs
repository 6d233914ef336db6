//! Values that must never be shown: redacted in `Debug`, no `Display`, compared in constant time,
//! wiped on drop.

use std::fmt;

use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// A clear secret (token, code, client secret, provision key).
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a clear value.
    pub fn new(clear: impl Into<String>) -> Self {
        Self(Zeroizing::new(clear.into()))
    }

    /// The clear value, for the one place that needs it. The name is distinctive so that uses are easy to
    /// find.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares with a presented value in constant time.
    pub fn matches(&self, presented: &str) -> bool {
        self.0.as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

/// Taken over without another copy.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// What it holds is wiped.
impl ZeroizeOnDrop for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose())
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_is_redacted() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn its_memory_is_wiped_on_drop() {
        fn wiped<W: ZeroizeOnDrop>(_: &W) {}
        let secret = Secret::new("hunter2");
        // The field, which is all that it has.
        let Secret(held) = &secret;
        wiped(held);
        wiped(&secret);
        let read: Secret = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(read, secret);
    }

    #[test]
    fn equal_values_match_and_others_do_not() {
        let secret = Secret::new("abc");
        assert!(secret.matches("abc"));
        assert!(!secret.matches("abd"));
        assert!(!secret.matches("ab"));
    }
}
