//! Proofs that were presented, so that each is accepted once (RFC 9449 §11.1).
//!
//! This is the memory of one node: it is asked for every request with a proof, and costs no look-up in the store. Only
//! digests are kept, and each for as long as its proof would be accepted. Once there is no room for another one, none
//! is accepted until some have ended: what cannot be remembered could be presented again.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::WINDOW;

/// A lock for each sixteenth of the digests.
const PARTS: usize = 16;

/// The most seconds for which a proof has to be remembered: it may have been made ahead of now.
const KEPT: i64 = 2 * WINDOW + 1;

/// The proofs that were presented to this node.
pub struct Replays {
    parts: [Mutex<Part>; PARTS],
    /// The most digests of a generation of a part.
    most: usize,
}

/// Two generations: one is filled while the other, full or not, is kept for [`KEPT`] seconds more.
#[derive(Default)]
struct Part {
    newer: HashSet<[u8; 16]>,
    older: HashSet<[u8; 16]>,
    since: i64,
}

/// There is no room for another proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Replays {
    /// Remembers at most about this number of proofs.
    pub fn new(most: usize) -> Self {
        let most = (most / (2 * PARTS)).max(1);
        Self { parts: std::array::from_fn(|_| Mutex::default()), most }
    }

    /// Remembers a proof. Whether it is new.
    ///
    /// # Errors
    /// It cannot be remembered.
    pub fn remember(&self, id: &[u8; 32], now: i64) -> Result<bool, Full> {
        let [first, ..] = id;
        let Some(part) = self.parts.get(usize::from(*first) % PARTS) else { return Err(Full) };
        let mut half = [0; 16];
        half.iter_mut().zip(id).for_each(|(half, byte)| *half = *byte);
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        part.age(now);
        if part.newer.contains(&half) || part.older.contains(&half) {
            return Ok(false);
        }
        if part.newer.len() >= self.most {
            return Err(Full);
        }
        part.newer.insert(half);
        Ok(true)
    }
}

impl Part {
    fn age(&mut self, now: i64) {
        let age = now.saturating_sub(self.since);
        if age < KEPT {
            return;
        }
        self.older = std::mem::take(&mut self.newer);
        if age >= 2 * KEPT {
            self.older = HashSet::new();
        }
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> [u8; 32] {
        *blake3::hash(&number.to_be_bytes()).as_bytes()
    }

    #[test]
    fn a_proof_is_new_once_for_as_long_as_it_would_be_accepted_rfc9449_11_1() {
        for start in [0, 1, 60, 119, 120, 121, 1_800_000_000] {
            let replays = Replays::new(1000);
            assert_eq!(replays.remember(&id(0), start), Ok(true));
            for later in [0, 1, WINDOW, 2 * WINDOW] {
                assert_eq!(replays.remember(&id(0), start + later), Ok(false), "{start} {later}");
                assert_eq!(replays.remember(&id(u32::try_from(later).unwrap() + 1), start + later), Ok(true));
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_what_has_no_room_is_not_accepted() {
        let replays = Replays::new(64);
        let kept = (0..10_000).filter(|number| replays.remember(&id(*number), 1000) == Ok(true)).count();
        assert!((16..=32).contains(&kept), "{kept}");
        let lost = (0..10_000).find(|number| replays.remember(&id(*number), 1000) == Err(Full)).unwrap();
        assert_eq!(replays.remember(&id(lost), 1000 + KEPT), Ok(true), "room again");
        for part in &replays.parts {
            let part = part.lock().unwrap();
            assert!(part.newer.len() <= 2 && part.older.len() <= 2);
        }
    }
}
