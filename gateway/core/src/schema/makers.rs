//! The sources of generated values: ids, times and random strings.

use serde_json::Value;

use crate::clock::Clock;
use crate::random::Random;
use crate::schema::Auto;

/// The length of a generated string (oauth2.md §2).
const RANDOM_STRING_LENGTH: usize = 32;

/// Time and randomness for generated values.
#[derive(Clone, Copy)]
pub struct Makers<'a> {
    /// The source of `created_at` and `updated_at`.
    pub clock: &'a dyn Clock,
    /// The source of ids, keys and secrets.
    pub random: &'a dyn Random,
}

impl Makers<'_> {
    /// Generates a value.
    pub fn make(&self, auto: Auto) -> Value {
        match auto {
            Auto::Uuid => Value::String(self.random.uuid().to_string()),
            Auto::CreatedAt | Auto::UpdatedAt => Value::from(self.clock.now()),
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact for many millennia")]
            Auto::CreatedAtMillis | Auto::UpdatedAtMillis => Value::from(self.clock.now_millis() as f64 / 1000.0),
            Auto::RandomString => Value::String(self.random.alphanumeric(RANDOM_STRING_LENGTH)),
        }
    }
}
