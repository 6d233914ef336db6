//! Request ids: 32 lower-case hexadecimal digits.
//!
//! Unique, not secret: one system call per thread, then a counter-based generator.

use std::cell::Cell;

use tollgate_core::random::{Random, SystemRandom};
use uuid::Uuid;

/// An id, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId([u8; 32]);

thread_local! {
    static STATE: Cell<[u64; 2]> = Cell::new(seed());
}

fn seed() -> [u64; 2] {
    let (first, second) = SystemRandom.uuid().as_u64_pair();
    let (third, _) = SystemRandom.uuid().as_u64_pair();
    // The version bits of a UUID are fixed; the third word covers them.
    [first ^ third.rotate_left(32), second ^ third]
}

impl RequestId {
    /// A new id.
    pub(crate) fn new() -> Self {
        let [first, second] = STATE.with(|state| {
            let next = state.get().map(|word| word.wrapping_add(0x9e37_79b9_7f4a_7c15));
            state.set(next);
            next.map(mix)
        });
        let uuid = Uuid::from_u64_pair(first, second);
        let mut text = [0; 32];
        uuid.simple().encode_lower(&mut text);
        Self(text)
    }

    /// Its digits.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// `SplitMix64`'s finaliser: a bijection, so that counters give distinct ids.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_32_lower_case_hexadecimal_digits_and_distinct() {
        let ids: HashSet<String> = (0..10_000).map(|_| RequestId::new().as_str().to_owned()).collect();
        assert_eq!(ids.len(), 10_000);
        let well_formed = |id: &String| id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        assert!(ids.iter().all(well_formed));
    }
}
