//! The keys that were fetched, and when they are fetched again.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

use super::fetch::{self, FetchError, Fetched};
use super::{Fetching, NoKey};
use tollgate_jose::{Algorithm, KeySet, PublishedKey};

/// The shortest `max-age` of an authority that is followed.
const SHORTEST_AGE: Duration = Duration::from_secs(60);

/// The pause after the first failure; each further one doubles it, up to the shortest time between refreshes.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A refresh under way; ends when the state has its outcome.
pub(super) type Refresh = Shared<BoxFuture<'static, ()>>;

/// What is known of an authority's keys. Times are milliseconds since the epoch.
#[derive(Default, Clone)]
pub(super) struct State {
    /// The last good set, until it is too old.
    set: Option<Set>,
    /// Why the last attempt failed.
    failure: Option<Arc<FetchError>>,
    failures: u32,
    /// Of the last attempt; `None` before the first.
    attempted: Option<i64>,
    /// How long after that an unknown key may cause the next.
    pause: i64,
    /// How long after that the next is due.
    due_in: i64,
    /// No more keys are wanted.
    ended: bool,
}

#[derive(Clone)]
struct Set {
    keys: Arc<KeySet>,
    fetched: i64,
}

/// Why keys are fetched.
#[derive(Clone, Copy)]
enum Reason {
    /// They are needed now.
    Wanted,
    /// Those there are have become old.
    Due,
}

impl State {
    fn allows(&self, reason: Reason, now: i64) -> bool {
        if self.ended {
            return false;
        }
        let Some(attempted) = self.attempted else { return matches!(reason, Reason::Wanted) };
        let pause = match reason {
            Reason::Wanted => self.pause,
            Reason::Due => self.due_in,
        };
        // A clock that was set back must not stop the refreshes.
        let passed = now.saturating_sub(attempted);
        !(0..pause).contains(&passed)
    }
}

impl Fetching {
    pub(super) async fn find(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<Arc<PublishedKey>>, NoKey> {
        if let Ok(keys) = self.known(id, algorithm) {
            return Ok(keys);
        }
        self.refetch().await;
        self.known(id, algorithm)
    }

    /// Fetches the keys, unless that was done just now; whether it was done.
    pub(super) async fn refetch(self: &Arc<Self>) -> bool {
        match self.begin(Reason::Wanted) {
            Some(refresh) => {
                refresh.await;
                true
            }
            None => false,
        }
    }

    pub(super) async fn refresh_if_due(self: &Arc<Self>) {
        if let Some(refresh) = self.begin(Reason::Due) {
            refresh.await;
        }
        self.end_old_keys();
    }

    /// Ends what was verified with the keys, and fetches no others.
    pub(super) fn end(&self) {
        let mut refresh = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        *refresh = None;
        let state = self.state.swap(Arc::new(State { ended: true, ..State::default() }));
        withdraw_other_than(&KeySet::default(), &state);
    }

    /// The keys for a token, of those that are known.
    fn known(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Vec<Arc<PublishedKey>>, NoKey> {
        let state = self.state.load();
        let Some(set) = state.set.as_ref().filter(|set| !self.is_too_old(set)) else {
            let failure = state.failure.clone();
            return Err(NoKey::CannotTell(failure.unwrap_or_else(|| Arc::new(FetchError::Stopped))));
        };
        let keys = set.keys.candidates(id, algorithm);
        match (keys.is_empty(), &state.failure) {
            (false, _) => Ok(keys),
            (true, None) => Err(NoKey::NoSuchKey),
            // The authority may have it by now.
            (true, Some(failure)) => Err(NoKey::CannotTell(Arc::clone(failure))),
        }
    }

    /// Joins the refresh under way, or begins one if its time has come.
    fn begin(self: &Arc<Self>, reason: Reason) -> Option<Refresh> {
        let mut under_way = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refresh) = under_way.as_ref().filter(|refresh| refresh.peek().is_none()) {
            return Some(refresh.clone());
        }
        if !self.state.load().allows(reason, self.clock.now_millis()) {
            return None;
        }
        let fetching = Arc::clone(self);
        // A task of its own: it goes on when the request that needs it is gone, so that requests that go away
        // early do not keep keys from being fetched.
        let task = self.runtime.spawn(async move {
            let fetched = fetch::key_set(&fetching.remote).await;
            fetching.apply(fetched);
        });
        let refresh: Refresh = task.map(|_| ()).boxed().shared();
        *under_way = Some(refresh.clone());
        Some(refresh)
    }

    fn apply(&self, fetched: Result<Fetched, FetchError>) {
        let now = self.clock.now_millis();
        self.replace(|previous| {
            Some(match fetched {
                Ok(fetched) => self.succeeded(previous, fetched, now),
                Err(error) => self.failed(previous, error, now),
            })
        });
    }

    fn succeeded(&self, previous: &State, fetched: Fetched, now: i64) -> State {
        let times = self.remote.times;
        let age = fetched.max_age.map_or(times.refresh, |age| age.max(SHORTEST_AGE).min(times.refresh));
        let mut keys = fetched.keys;
        if let Some(known) = &previous.set {
            keys.adopt(&known.keys);
        }
        self.metrics.fetched(keys.keys().len(), now.div_euclid(1000));
        self.log_set(previous, &keys);
        State {
            set: Some(Set { keys: Arc::new(keys), fetched: now }),
            attempted: Some(now),
            pause: millis(times.min_refresh),
            due_in: millis(age),
            ..State::default()
        }
    }

    fn failed(&self, previous: &State, error: FetchError, now: i64) -> State {
        self.metrics.failed(error.outcome());
        let is_known = previous.failure.as_ref().is_some_and(|known| known.to_string() == error.to_string());
        if !is_known {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, authority = self.remote.name, "cannot fetch keys of authority");
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << previous.failures.min(16));
        let pause = millis(doubled.min(self.remote.times.min_refresh));
        State {
            set: previous.set.clone(),
            failure: Some(Arc::new(error)),
            failures: previous.failures.saturating_add(1),
            attempted: Some(now),
            pause,
            due_in: pause,
            ended: false,
        }
    }

    /// Puts the state that `next` makes in the place of the present one, and ends the keys that are gone.
    fn replace(&self, next: impl FnOnce(&State) -> Option<State>) {
        let _turn = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = self.state.load_full();
        if previous.ended {
            return;
        }
        let Some(next) = next(&previous) else { return };
        let keys = next.set.as_ref().map(|set| Arc::clone(&set.keys)).unwrap_or_default();
        self.state.store(Arc::new(next));
        // Now that nobody finds them.
        withdraw_other_than(&keys, &previous);
    }

    fn end_old_keys(&self) {
        self.replace(|previous| {
            let set = previous.set.as_ref().filter(|set| self.is_too_old(set))?;
            let minutes = self.clock.now_millis().saturating_sub(set.fetched) / 60_000;
            let authority = self.remote.name.as_str();
            tracing::error!(authority, minutes, "keys of authority are too old; its tokens cannot be verified");
            self.metrics.expired();
            Some(State { set: None, ..previous.clone() })
        });
    }

    fn is_too_old(&self, set: &Set) -> bool {
        let longest = self.remote.times.max_stale.max(self.remote.times.refresh);
        self.clock.now_millis().saturating_sub(set.fetched) > millis(longest)
    }

    /// Logs what is new.
    fn log_set(&self, previous: &State, keys: &KeySet) {
        let (authority, usable) = (self.remote.name.as_str(), keys.keys().len());
        let known = previous.set.as_ref();
        let is_known = known.is_some_and(|set| set.keys.is_same_as(keys));
        if !is_known || previous.failure.is_some() {
            tracing::info!(authority, usable, skipped = ?keys.skipped(), "fetched keys of authority");
        }
        let private = |keys: &KeySet| keys.skipped().contains_key("private");
        if private(keys) && !known.is_some_and(|set| private(&set.keys)) {
            tracing::warn!(authority, "authority publishes private keys, which are not used; have them replaced");
        }
    }
}

/// Ends what was verified with the keys of a state that are not in this set.
fn withdraw_other_than(keys: &KeySet, state: &State) {
    for key in state.set.iter().flat_map(|set| set.keys.keys()) {
        if !keys.keys().iter().any(|kept| Arc::ptr_eq(kept, key)) {
            key.withdraw();
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
