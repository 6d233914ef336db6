//! How often a resource server may introspect tokens (RFC 7662 §4: nobody shall find out by trying which tokens are
//! valid).
//!
//! A second's introspections may come at once; the next ones follow at an even pace. Memory is fixed: resource servers
//! whose ids fall on the same place share its pace. Each node counts for itself.

use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_core::setting::{self, Setting};
use uuid::Uuid;

/// The setting.
pub const PER_SECOND: Setting = Setting::new(
    "limits.introspections_per_second",
    "1000",
    "Tokens that one resource server may introspect per second at this node, before 429; 0: no limit.",
)
.checked(|text| per_second(text).map(drop));

/// Reads [`PER_SECOND`].
///
/// # Errors
/// What is expected.
pub fn per_second(text: &str) -> Result<u32, String> {
    let number = setting::number(text)?;
    let number = u32::try_from(number).ok().filter(|number| *number <= 1_000_000);
    number.ok_or_else(|| "expected at most 1000000".to_owned())
}

/// A prime number.
const PLACES: usize = 1021;
const SECOND: u64 = 1_000_000;

/// The introspections of this node.
pub struct IntrospectionRate {
    /// When the place is idle, in microseconds.
    idle_at: Box<[AtomicU64]>,
    /// Microseconds between two; 0: there is no limit.
    each: u64,
}

impl IntrospectionRate {
    /// At most this many per second and resource server.
    pub fn new(per_second: u32) -> Self {
        let each = SECOND.checked_div(u64::from(per_second)).unwrap_or(0);
        Self { idle_at: (0..PLACES).map(|_| AtomicU64::new(0)).collect(), each }
    }

    /// Counts one of the credential's, unless there were too many.
    pub fn admits(&self, credential: Uuid, now_millis: i64) -> bool {
        if self.each == 0 {
            return true;
        }
        let now = u64::try_from(now_millis).unwrap_or(0).saturating_mul(1000);
        let place = usize::try_from(credential.as_u128() % PLACES as u128).unwrap_or(0);
        let Some(idle_at) = self.idle_at.get(place) else { return true };
        let take = |idle_at: u64| {
            // Not further ahead than a second, even if the clock was set back.
            let next = idle_at.clamp(now, now + SECOND) + self.each;
            (next <= now + SECOND).then_some(next)
        };
        idle_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_number_and_other_resource_servers_have_their_own() {
        let rate = IntrospectionRate::new(4);
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let at = |id, now| rate.admits(id, now);
        assert_eq!([0; 5].map(|_| at(one, 10_000)), [true, true, true, true, false]);
        assert!(at(other, 10_000));
        assert_eq!([10_249, 10_250, 10_250, 10_499, 10_500].map(|now| at(one, now)), [false, true, false, false, true]);
        assert_eq!([0; 5].map(|_| at(one, 60_000)), [true, true, true, true, false]);
        assert!(!at(one, 59_000), "the clock was set back");
        assert!(at(one, 60_250));
        assert!([0; 9].iter().all(|_| IntrospectionRate::new(0).admits(one, 0)));
    }

    #[test]
    fn the_setting_is_a_number_up_to_a_million() {
        assert_eq!((per_second("0"), per_second("1000000")), (Ok(0), Ok(1_000_000)));
        assert!(per_second("1000001").is_err() && per_second("x").is_err());
    }
}
