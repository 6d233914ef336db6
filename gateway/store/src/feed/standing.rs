//! What this node knows of the changes in the store, and so what its caches are worth.
//!
//! - Current: it has read every change that was committed longer ago than the bound, and knows the outcome of its own
//!   writes.
//! - Outage: the store is away. What is cached was true when the feed was last heard; how much longer it is served is
//!   decided by those who serve it. Nothing that was heard is unapplied. An outage lasts until the feed has caught up.
//! - Untrusted: the store is there, or a change was heard but not applied: what is cached may be known to be wrong.
//!
//! A write whose outcome is unknown was not acknowledged, so an outage may hide it; but caches are current only once
//! the outcome is known.

use std::time::{Duration, Instant};

/// What a node's caches are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// They are exact.
    Current,
    /// They are as exact as they were when the feed was last heard.
    Outage,
    /// Nothing in them may be used.
    Untrusted,
}

/// How it went when the database was last asked for changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    /// It responded.
    Heard,
    /// It cannot be asked.
    Lost,
    /// It responded with something that cannot be used: it is there.
    Unusable,
}

/// What a standing is determined from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    /// How long changes may stay unread.
    pub(super) bound: Duration,
    /// When all changes were last read; `None` if there are no other nodes.
    pub(super) last_read: Option<Instant>,
    /// When the database last responded to the feed, and what came of the last attempt.
    pub(super) heard: (Instant, Hearing),
    /// Whether the store's breaker is open.
    pub(super) away: bool,
    /// Since when a listener cannot apply changes.
    pub(super) failing_since: Option<Instant>,
    /// Whether the outcome of a write is unknown.
    pub(super) outcome_unknown: bool,
}

impl Signs {
    /// The standing at this time, after another one.
    pub(super) fn standing(&self, before: Standing, now: Instant) -> Standing {
        let late = |since: Instant| now.saturating_duration_since(since) > self.bound;
        if self.failing_since.is_some_and(late) {
            return Standing::Untrusted;
        }
        let behind = self.last_read.is_some_and(late);
        let unheard = match self.heard {
            (_, Hearing::Lost) => true,
            (at, Hearing::Heard) => self.away || late(at) || before == Standing::Outage,
            (_, Hearing::Unusable) => self.away,
        };
        match (behind, self.outcome_unknown) {
            (false, false) => Standing::Current,
            (true, _) if unheard => Standing::Outage,
            (false, true) if self.away => Standing::Outage,
            _ => Standing::Untrusted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Backend, TestDatabase};

    const BOUND: Duration = Duration::from_secs(1);

    /// Everything is well at this time.
    fn well(now: Instant) -> Signs {
        Signs {
            bound: BOUND,
            last_read: Some(now),
            heard: (now, Hearing::Heard),
            away: false,
            failing_since: None,
            outcome_unknown: false,
        }
    }

    /// The standing after this number of milliseconds without a sign of life, and what else is known.
    fn after(millis: u64, before: Standing, change: impl FnOnce(&mut Signs)) -> Standing {
        let then = Instant::now();
        let mut signs = well(then);
        change(&mut signs);
        signs.standing(before, then + Duration::from_millis(millis))
    }

    use Standing::{Current, Outage, Untrusted};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_read_is_no_older_than_what_was_heard() {
        let database = TestDatabase::create_with(Backend::Sqlite, &[]).await;
        let store = database.open().await;
        let feed = store.feed();
        let is_in_order = |_: &u32| {
            let reading = feed.reading_begins();
            feed.mark_heard();
            let heard = feed.lock_heard().0;
            feed.reading_ends(reading);
            feed.last_read() >= heard
        };
        // The store's own task reads as well, in between.
        assert!((0..100).filter(is_in_order).count() > 90);
    }

    #[test]
    fn a_feed_that_is_not_heard_for_longer_than_the_bound_is_an_outage() {
        assert_eq!(after(1000, Current, |_| ()), Current);
        assert_eq!(after(1001, Current, |_| ()), Outage);
        assert_eq!(after(999, Current, |signs| signs.heard.1 = Hearing::Lost), Current, "it may be back in time");
        assert_eq!(after(999, Current, |signs| signs.away = true), Current);
    }

    #[test]
    fn a_feed_that_is_heard_but_has_not_read_everything_is_not_trusted() {
        let now = Instant::now() + BOUND * 10;
        let signs = Signs { last_read: Some(now - BOUND * 2), ..well(now) };
        assert_eq!(signs.standing(Current, now), Untrusted);
        assert_eq!(signs.standing(Untrusted, now), Untrusted);
        // After an outage it catches up: as long as that takes, what was cached is no worse than before.
        assert_eq!(signs.standing(Outage, now), Outage);
        assert_eq!(Signs { last_read: Some(now), ..signs }.standing(Outage, now), Current);
    }

    #[test]
    fn a_feed_whose_responses_cannot_be_used_is_not_trusted() {
        for before in [Current, Outage, Untrusted] {
            assert_eq!(after(2000, before, |signs| signs.heard.1 = Hearing::Unusable), Untrusted);
        }
        let away = |signs: &mut Signs| (signs.heard.1, signs.away) = (Hearing::Unusable, true);
        assert_eq!(after(2000, Current, away), Outage);
    }

    #[test]
    fn an_unknown_outcome_is_hidden_by_an_outage_only() {
        let unknown = |signs: &mut Signs| signs.outcome_unknown = true;
        assert_eq!(after(0, Current, unknown), Untrusted);
        assert_eq!(after(0, Outage, unknown), Untrusted, "the store is back, and the outcome can be determined");
        assert_eq!(after(0, Current, |signs| (signs.outcome_unknown, signs.away) = (true, true)), Outage);
        assert_eq!(
            after(0, Current, |signs| (signs.outcome_unknown, signs.heard.1) = (true, Hearing::Lost)),
            Untrusted
        );
        assert_eq!(after(2000, Current, unknown), Outage);
    }

    #[test]
    fn what_was_heard_and_not_applied_is_never_hidden() {
        for before in [Current, Outage, Untrusted] {
            let failing = |signs: &mut Signs| {
                signs.failing_since = Some(signs.heard.0);
                signs.away = true;
            };
            assert_eq!(after(1001, before, failing), Untrusted);
        }
    }

    #[test]
    fn without_other_nodes_silence_means_nothing() {
        assert_eq!(after(60_000, Current, |signs| signs.last_read = None), Current);
    }
}
