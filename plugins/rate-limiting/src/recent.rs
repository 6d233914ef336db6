//! The windows of senders in memory: bounded, and forgotten by age of use.
//!
//! Each shard has two generations. A sender that is counted is in the younger one; when that is full, the older one
//! is dropped and takes its place. So what is forgotten has not been used for as many other senders as half the bound.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sender::Key;
use crate::usage::Windows;

/// Threads seldom meet in one of this many.
const SHARDS: usize = 64;

type Generation = HashMap<Key, Windows, ahash::RandomState>;

/// Senders by key.
pub(crate) struct Recent {
    shards: Vec<Mutex<Shard>>,
    /// Of one generation of a shard.
    most: usize,
}

#[derive(Default)]
struct Shard {
    young: Generation,
    old: Generation,
}

impl Recent {
    /// At most this many.
    pub(crate) fn new(most: usize) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), most: (most / SHARDS / 2).max(1) }
    }

    /// Changes the windows of a sender; those of a new one are empty.
    pub(crate) fn with<T>(&self, key: &Key, change: impl FnOnce(&mut Windows) -> T) -> Option<T> {
        let mut shard = self.shard(key)?;
        let Shard { young, old } = &mut *shard;
        if let Some(known) = young.get_mut(key) {
            return Some(change(known));
        }
        let mut windows = old.remove(key).unwrap_or_default();
        if young.len() >= self.most {
            std::mem::swap(young, old);
            young.clear();
        }
        let changed = change(&mut windows);
        young.insert(*key, windows);
        Some(changed)
    }

    /// The windows of a sender, if it is known.
    pub(crate) fn get(&self, key: &Key) -> Option<Windows> {
        let shard = self.shard(key)?;
        shard.young.get(key).or_else(|| shard.old.get(key)).copied()
    }

    /// The number of senders.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let lengths = self.shards.iter().map(|shard| {
            let shard = shard.lock().unwrap();
            shard.young.len() + shard.old.len()
        });
        lengths.sum()
    }

    fn shard(&self, key: &Key) -> Option<MutexGuard<'_, Shard>> {
        let [first, ..] = key;
        let shard = self.shards.get(usize::from(*first) % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::period::Period;
    use crate::usage::{Limits, Used};

    fn key(number: u32) -> Key {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    #[test]
    fn a_flood_of_senders_is_bounded_and_forgets_no_active_one() {
        let (recent, limits) = (Recent::new(1280), Limits::new(vec![(Period::Day, 1_000_000)]));
        for number in 0..20_000 {
            recent.with(&key(number), |windows| windows.count(&limits, 0));
            let used = recent.with(&key(0), |windows| windows.count(&limits, 0));
            // The first request of this sender counts twice in the first turn.
            assert_eq!(used, Some(Used([0, 0, 0, u64::from(number) + 1, 0, 0])));
        }
        assert!(recent.len() <= 1280 + 64, "{}", recent.len());
        assert!(recent.get(&key(1)).is_none());
        assert!(recent.get(&key(19_999)).is_some());
    }
}
