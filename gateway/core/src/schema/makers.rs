//! The sources of values that the gateway makes itself: ids, times and random strings.

use serde_json::Value;

use crate::clock::Clock;
use crate::random::Random;
use crate::schema::Auto;

/// How long an automatic string is (oauth2.md §2).
const RANDOM_STRING_LENGTH: usize = 32;

/// Time and randomness for the values that are made when none are given.
#[derive(Clone, Copy)]
pub struct Makers<'a> {
    /// Tells `created_at` and `updated_at`.
    pub clock: &'a dyn Clock,
    /// Makes ids, keys and secrets.
    pub random: &'a dyn Random,
}

impl Makers<'_> {
    /// A new value of that sort.
    pub fn make(&self, auto: Auto) -> Value {
        match auto {
            Auto::Uuid => Value::String(self.random.uuid().to_string()),
            Auto::CreatedAt | Auto::UpdatedAt => Value::from(self.clock.now()),
            Auto::RandomString => Value::String(self.random.alphanumeric(RANDOM_STRING_LENGTH)),
        }
    }
}
