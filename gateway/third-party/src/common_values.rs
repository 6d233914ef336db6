//! Common values: what many tokens of an authority say alike (issuer, scopes, client, tenant), kept once.
//!
//! A token refers to such a value by a number of two bytes. The value is kept as the line of the header that carries it. Values are only added, so that a number means the same for
//! as long as the authority is known, and a request reads them without a lock. Their number is bounded, for each claim
//! and so for an authority; further values are kept with each token.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tollgate_plugin::{BlockLine, BlockName};

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

/// A value that tokens share.
#[derive(Debug, Clone)]
pub(crate) enum CommonValue {
    /// As the header's line.
    Line(BlockLine),
    /// One that no header carries.
    Other(Box<[u8]>),
}

impl CommonValue {
    /// `header`: of its claim.
    fn new(value: &[u8], header: Option<&BlockName>) -> Self {
        let line = header.and_then(|name| BlockLine::new(name, value));
        line.map_or_else(|| Self::Other(value.into()), Self::Line)
    }

    /// The value.
    pub(crate) fn value(&self) -> &[u8] {
        match self {
            Self::Line(line) => line.value(),
            Self::Other(value) => value,
        }
    }
}

/// A value, found by what it is.
#[derive(Clone)]
struct Shared(Arc<CommonValue>);

impl Borrow<[u8]> for Shared {
    fn borrow(&self) -> &[u8] {
        self.0.value()
    }
}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.value().hash(state);
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        self.0.value() == other.0.value()
    }
}

impl Eq for Shared {}

/// Those of one claim.
struct OfClaim {
    numbers: Mutex<HashMap<Shared, Number, ahash::RandomState>>,
    values: Box<[OnceLock<Shared>]>,
    /// How often a value was unknown since all places are taken, less how often one was known.
    futile: AtomicUsize,
    /// The number that was found last: of many claims the next token has the same value.
    last: AtomicUsize,
}

impl CommonValues {
    /// For so many claims.
    pub(crate) fn of(claims: usize) -> Self {
        Self((0..claims).map(|_| OnceLock::new()).collect())
    }

    /// The number of a value of the claim at this position, which gets one if there is room. `header`: the claim's.
    pub(crate) fn number(&self, position: u8, value: &[u8], header: Option<&BlockName>) -> Option<Number> {
        if !LENGTHS.contains(&value.len()) {
            return None;
        }
        self.0.get(usize::from(position))?.get_or_init(OfClaim::new).number(value, header)
    }

    /// The value with this number.
    pub(crate) fn value(&self, position: u8, number: Number) -> Option<&CommonValue> {
        let of_claim = self.0.get(usize::from(position))?.get()?;
        of_claim.values.get(usize::from(number))?.get().map(|Shared(value)| &**value)
    }
}

impl OfClaim {
    fn new() -> Self {
        let values = (0..MOST).map(|_| OnceLock::new()).collect();
        Self { numbers: Mutex::default(), values, futile: AtomicUsize::new(0), last: AtomicUsize::new(0) }
    }

    fn number(&self, value: &[u8], header: Option<&BlockName>) -> Option<Number> {
        let futile = self.futile.load(Ordering::Relaxed);
        if futile >= FUTILE {
            return None;
        }
        let last = self.last.load(Ordering::Relaxed);
        if futile == 0 && self.values.get(last).and_then(OnceLock::get).is_some_and(|known| known.0.value() == value) {
            return Number::try_from(last).ok();
        }
        let number = self.look_up(value, header)?;
        self.last.store(usize::from(number), Ordering::Relaxed);
        Some(number)
    }

    fn look_up(&self, value: &[u8], header: Option<&BlockName>) -> Option<Number> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.get(value) {
            let _ = self.futile.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
            return Some(*number);
        }
        let Some(place) = self.values.get(numbers.len()) else {
            self.futile.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let (number, value) =
            (Number::try_from(numbers.len()).ok()?, Shared(Arc::new(CommonValue::new(value, header))));
        place.set(value.clone()).ok()?;
        numbers.insert(value, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl CommonValues {
        fn numbered(&self, position: u8, value: &[u8]) -> Option<Number> {
            self.number(position, value, BlockName::parse("X-Value").as_ref())
        }

        fn text(&self, position: u8, number: Number) -> Option<&[u8]> {
            self.value(position, number).map(CommonValue::value)
        }
    }

    #[test]
    fn equal_values_of_a_claim_have_one_number() {
        let values = CommonValues::of(2);
        assert_eq!([b"one", b"two", b"one"].map(|value| values.numbered(0, value)), [Some(0), Some(1), Some(0)]);
        assert_eq!(values.numbered(1, b"two"), Some(0));
        assert_eq!((values.text(0, 1), values.text(1, 0)), (Some(&b"two"[..]), Some(&b"two"[..])));
        assert_eq!((values.text(0, 2), values.text(1, 1), values.text(2, 0)), (None, None, None));
        assert_eq!(values.numbered(2, b"one"), None);
    }

    #[test]
    fn a_value_that_a_header_carries_is_its_line() {
        let values = CommonValues::of(1);
        for (number, (value, header, is_line)) in
            [("one", Some("X-Value"), true), ("t\nwo", Some("X-Value"), false), ("three", None, false)]
                .iter()
                .enumerate()
        {
            let header = header.and_then(BlockName::parse);
            let number = Number::try_from(number).unwrap();
            assert_eq!(values.number(0, value.as_bytes(), header.as_ref()), Some(number));
            let kept = values.value(0, number).unwrap();
            assert_eq!((kept.value(), matches!(kept, CommonValue::Line(_))), (value.as_bytes(), *is_line));
        }
    }

    #[test]
    fn very_short_and_long_values_have_none() {
        let values = CommonValues::of(1);
        assert_eq!((values.numbered(0, b"ab"), values.numbered(0, &[b'a'; 65])), (None, None));
        assert_eq!(values.numbered(0, &[b'a'; 64]), Some(0));
    }

    #[test]
    fn the_number_of_values_is_bounded_and_known_ones_stay() {
        let values = CommonValues::of(1);
        let text = |number: usize| format!("value {number}");
        let number = |place: usize| values.numbered(0, text(place).as_bytes());
        assert!((0..MOST).all(|place| number(place) == Number::try_from(place).ok()));
        assert_eq!(number(MOST), None);
        assert_eq!(number(7), Some(7));
        // Those that are unknown do not add up while others are known.
        for place in 0..2 * FUTILE {
            assert_eq!((number(MOST + place), number(7)), (None, Some(7)));
        }
        (0..=FUTILE).for_each(|place| assert_eq!(number(MOST + place), None));
        assert_eq!(number(7), None);
        assert_eq!(values.text(0, 7), Some(text(7).as_bytes()));
    }
}
