//! The guards in use, one for all plugin instances that say the same.
//!
//! A thousand services are mostly protected alike. With a guard each, a request would find its own in
//! no cache of the processor; the one of all is always there.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::guard::{Guard, Rules};

/// By a hash of their rules; of two rules with one hash, one is not shared.
#[derive(Default)]
pub(crate) struct Guards(Mutex<HashMap<u64, Weak<Guard>>>);

impl Guards {
    /// The guard that follows these rules, which is made if there is none.
    pub(crate) fn following(&self, rules: Rules, make: impl FnOnce(Rules) -> Guard) -> Arc<Guard> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&rules);
        let mut guards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = guards.get(&hash).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| *known.rules() == rules) {
            return known;
        }
        if guards.len() == guards.capacity() {
            // Before the map grows, it forgets what nobody uses any more.
            guards.retain(|_, guard| guard.strong_count() > 0);
        }
        let guard = Arc::new(make(rules));
        guards.insert(hash, Arc::downgrade(&guard));
        guard
    }
}
