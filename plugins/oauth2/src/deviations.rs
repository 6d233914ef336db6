//! What profile `bcp` would refuse, counted by behaviour and client (`log_only`).
//!
//! Clients are known by their credentials. Those that come first have figures of their own, all others share one, so
//! that neither the metric nor the log grows with the number of clients. A line in the log says the same, at most once
//! an hour for each figure.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntCounterVec;
use tollgate_core::clock::Clock;
use uuid::Uuid;

/// How many credentials have figures of their own.
const CREDENTIALS: usize = 200;
/// The label of all others, and of requests whose client is unknown.
const OTHERS: &str = "others";
/// Seconds between two lines that say the same.
const PAUSE: i64 = 3600;

/// Counts deviations from profile `bcp`; there is one per node.
pub struct Deviations {
    counter: IntCounterVec,
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    credentials: HashSet<Uuid>,
    /// When each figure was last in the log.
    logged: HashMap<(&'static str, Option<Uuid>), i64>,
}

impl Deviations {
    /// Counts in this metric, by `behaviour` and `credential`.
    pub fn new(counter: IntCounterVec, clock: Arc<dyn Clock>) -> Self {
        Self { counter, clock, seen: Mutex::default() }
    }

    /// A request was accepted that `bcp` would refuse: `behaviour` is the field that decides.
    pub fn note(&self, behaviour: &'static str, plugin: Uuid, credential: Option<Uuid>) {
        let (credential, is_due) = self.see(behaviour, credential);
        let label = credential.map_or_else(|| OTHERS.to_owned(), |id| id.to_string());
        self.counter.with_label_values(&[behaviour, &label]).inc();
        if is_due {
            tracing::warn!(
                behaviour,
                credential = label,
                %plugin,
                "accepted a request that profile bcp would refuse (log_only); said once an hour"
            );
        }
    }

    /// A figure.
    #[cfg(test)]
    pub(crate) fn figure(&self, behaviour: &str, credential: &str) -> u64 {
        self.counter.with_label_values(&[behaviour, credential]).get()
    }

    /// The credential if it has figures of its own, and whether the log should say so.
    fn see(&self, behaviour: &'static str, credential: Option<Uuid>) -> (Option<Uuid>, bool) {
        let now = self.clock.now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = seen.credentials.len() < CREDENTIALS;
        let own = credential.filter(|id| seen.credentials.contains(id) || (has_room && seen.credentials.insert(*id)));
        let last = seen.logged.get(&(behaviour, own)).copied();
        let is_due = last.is_none_or(|last| now.saturating_sub(last) >= PAUSE);
        if is_due {
            seen.logged.insert((behaviour, own), now);
        }
        (own, is_due)
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::clock::ManualClock;

    use super::*;

    #[test]
    fn figures_are_bounded_and_a_line_is_said_once_an_hour() {
        let counter = IntCounterVec::new(prometheus::Opts::new("a", "b"), &["behaviour", "credential"]).unwrap();
        let clock = Arc::new(ManualClock::at(0));
        let deviations = Deviations::new(counter.clone(), clock.clone());
        for id in 0..2 * CREDENTIALS as u128 {
            deviations.note("pkce", Uuid::nil(), Some(Uuid::from_u128(id)));
        }
        deviations.note("pkce", Uuid::nil(), None);
        let of = |label: &str| counter.with_label_values(&["pkce", label]).get();
        assert_eq!((of(&Uuid::nil().to_string()), of(OTHERS)), (1, CREDENTIALS as u64 + 1));
        assert_eq!(deviations.seen.lock().unwrap().logged.len(), CREDENTIALS + 1);
        let (known, other) = (Some(Uuid::nil()), Some(Uuid::from_u128(5000)));
        assert_eq!(deviations.see("pkce", known), (known, false));
        assert_eq!(deviations.see("pkce", other), (None, false));
        clock.advance(3600);
        assert_eq!(deviations.see("pkce", known), (known, true));
    }
}
