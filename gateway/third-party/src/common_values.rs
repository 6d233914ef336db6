//! Common values: what many tokens of an authority say alike (issuer, scopes, client, tenant), kept once.
//!
//! A token refers to such a value by a number of two bytes. Values are only added, so that a number means the same for
//! as long as the authority is known, and a request reads them without a lock. Their number is bounded, for each claim
//! and so for an authority; further values are kept with each token.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The most values of one claim.
const MOST: usize = 1024;
/// The lengths for which it pays.
const LENGTHS: std::ops::RangeInclusive<usize> = 3..=64;
/// A claim whose values were new so often after all places were taken is looked up no more: nearly every token has its
/// own.
const FUTILE: usize = 4 * MOST;

/// The number of a value among those of its claim.
pub(crate) type Number = u16;

/// The common values of the claims at some positions. `Debug` shows none of them.
pub(crate) struct CommonValues(Box<[OnceLock<OfClaim>]>);

impl fmt::Debug for CommonValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommonValues").finish_non_exhaustive()
    }
}

/// Those of one claim.
struct OfClaim {
    numbers: Mutex<HashMap<Arc<[u8]>, Number>>,
    values: Box<[OnceLock<Arc<[u8]>>]>,
    /// How often a value was unknown since all places are taken, less how often one was known.
    futile: AtomicUsize,
}

impl CommonValues {
    /// For so many claims.
    pub(crate) fn of(claims: usize) -> Self {
        Self((0..claims).map(|_| OnceLock::new()).collect())
    }

    /// The number of a value of the claim at this position, which gets one if there is room.
    pub(crate) fn number(&self, position: u8, value: &[u8]) -> Option<Number> {
        if !LENGTHS.contains(&value.len()) {
            return None;
        }
        self.0.get(usize::from(position))?.get_or_init(OfClaim::new).number(value)
    }

    /// The value with this number.
    pub(crate) fn value(&self, position: u8, number: Number) -> Option<&[u8]> {
        let of_claim = self.0.get(usize::from(position))?.get()?;
        of_claim.values.get(usize::from(number))?.get().map(|value| &**value)
    }
}

impl OfClaim {
    fn new() -> Self {
        let values = (0..MOST).map(|_| OnceLock::new()).collect();
        Self { numbers: Mutex::default(), values, futile: AtomicUsize::new(0) }
    }

    fn number(&self, value: &[u8]) -> Option<Number> {
        if self.futile.load(Ordering::Relaxed) >= FUTILE {
            return None;
        }
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.get(value) {
            let _ = self.futile.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
            return Some(*number);
        }
        let Some(place) = self.values.get(numbers.len()) else {
            self.futile.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let (number, value) = (Number::try_from(numbers.len()).ok()?, Arc::<[u8]>::from(value));
        place.set(Arc::clone(&value)).ok()?;
        numbers.insert(value, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_of_a_claim_have_one_number() {
        let values = CommonValues::of(2);
        assert_eq!([b"one", b"two", b"one"].map(|value| values.number(0, value)), [Some(0), Some(1), Some(0)]);
        assert_eq!(values.number(1, b"two"), Some(0));
        assert_eq!((values.value(0, 1), values.value(1, 0)), (Some(&b"two"[..]), Some(&b"two"[..])));
        assert_eq!((values.value(0, 2), values.value(1, 1), values.value(2, 0)), (None, None, None));
        assert_eq!(values.number(2, b"one"), None);
    }

    #[test]
    fn very_short_and_long_values_have_none() {
        let values = CommonValues::of(1);
        assert_eq!((values.number(0, b"ab"), values.number(0, &[b'a'; 65])), (None, None));
        assert_eq!(values.number(0, &[b'a'; 64]), Some(0));
    }

    #[test]
    fn the_number_of_values_is_bounded_and_known_ones_stay() {
        let values = CommonValues::of(1);
        let text = |number: usize| format!("value {number}");
        let number = |place: usize| values.number(0, text(place).as_bytes());
        assert!((0..MOST).all(|place| number(place) == Number::try_from(place).ok()));
        assert_eq!(number(MOST), None);
        assert_eq!(number(7), Some(7));
        // Those that are unknown do not add up while others are known.
        for place in 0..2 * FUTILE {
            assert_eq!((number(MOST + place), number(7)), (None, Some(7)));
        }
        (0..=FUTILE).for_each(|place| assert_eq!(number(MOST + place), None));
        assert_eq!(number(7), None);
        assert_eq!(values.value(0, 7), Some(text(7).as_bytes()));
    }
}
