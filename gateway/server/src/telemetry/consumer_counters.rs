//! The counters of a route by consumer, where a plugin wants them.
//!
//! Invariant: a request is counted for one consumer or for none, so that no exported counter ever falls while this
//! stays switched on. Routes that do not want it pay an atomic load for each request.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tollgate_core::plugin::ConsumerNames;
use uuid::Uuid;

use super::route_counters::RouteCounters;
use super::route_metrics::{Observation, Source};

/// The most consumers of a route that are counted by themselves: each is a series per status.
const MOST: usize = 10_000;

/// What is counted of a consumer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Requests.
    pub(super) statuses: BTreeMap<(u16, Source), u64>,
    /// Bytes of bodies: from clients, to clients.
    pub(super) bytes: [u64; 2],
}

impl Counts {
    fn of(counters: &RouteCounters) -> Self {
        Self { statuses: counters.statuses(), bytes: counters.bytes() }
    }

    fn add(&mut self, seen: &Observation) {
        *self.statuses.entry((seen.status.as_u16(), seen.source)).or_default() += 1;
        for (sum, bytes) in self.bytes.iter_mut().zip([seen.bytes_in, seen.bytes_out]) {
            *sum += bytes;
        }
    }

    fn merge(&mut self, other: &Self) {
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (sum, bytes) in self.bytes.iter_mut().zip(other.bytes) {
            *sum += bytes;
        }
    }
}

/// The counters of a route's consumers.
#[derive(Default)]
pub(super) struct ConsumerCounters {
    on: AtomicBool,
    counted: Mutex<Option<Counted>>,
}

struct Counted {
    names: Arc<dyn ConsumerNames>,
    /// What belongs to no consumer, or was counted before.
    nobody: Counts,
    consumers: HashMap<Uuid, Consumer>,
}

#[derive(Default)]
struct Consumer {
    username: Option<String>,
    counts: Counts,
}

impl fmt::Debug for ConsumerCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerCounters").field("on", &self.on).finish_non_exhaustive()
    }
}

impl ConsumerCounters {
    /// Counts by consumer from now on, or no longer.
    pub(super) fn count_by(&self, names: Option<Arc<dyn ConsumerNames>>, counters: &RouteCounters) {
        let mut counted = self.counted();
        self.on.store(names.is_some(), Ordering::Relaxed);
        *counted = match (names, counted.take()) {
            (None, _) => None,
            (Some(names), Some(known)) => Some(Counted { names, ..known }),
            (Some(names), None) => Some(Counted { names, nobody: Counts::of(counters), consumers: HashMap::new() }),
        };
    }

    /// Counts a request.
    pub(super) fn add(&self, consumer: Option<Uuid>, seen: &Observation) {
        if self.on.load(Ordering::Relaxed)
            && let Some(counted) = &mut *self.counted()
        {
            counted.counts_of(consumer).add(seen);
        }
    }

    /// By username; everything else is under the empty one.
    pub(super) fn read(&self, counters: &RouteCounters) -> BTreeMap<String, Counts> {
        match &*self.counted() {
            None => BTreeMap::from([(String::new(), Counts::of(counters))]),
            Some(counted) => {
                let mut read = BTreeMap::from([(String::new(), counted.nobody.clone())]);
                for consumer in counted.consumers.values() {
                    read.entry(consumer.username.clone().unwrap_or_default()).or_default().merge(&consumer.counts);
                }
                read
            }
        }
    }

    fn counted(&self) -> MutexGuard<'_, Option<Counted>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn counts_of(&mut self, consumer: Option<Uuid>) -> &mut Counts {
        let is_full = self.consumers.len() >= MOST;
        let consumer = consumer.filter(|id| !is_full || self.consumers.contains_key(id));
        let Some(id) = consumer else { return &mut self.nobody };
        let names = &self.names;
        let make = || Consumer { username: names.username(id), counts: Counts::default() };
        &mut self.consumers.entry(id).or_insert_with(make).counts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;

    struct Names;

    impl ConsumerNames for Names {
        fn username(&self, consumer: Uuid) -> Option<String> {
            (consumer.as_u128() < 3).then(|| format!("consumer-{}", consumer.as_u128()))
        }
    }

    fn seen(status: u16) -> Observation {
        Observation {
            status: StatusCode::from_u16(status).unwrap(),
            source: Source::Service,
            total: Duration::ZERO,
            upstream: None,
            bytes_in: 1,
            bytes_out: 2,
        }
    }

    /// Requests and bytes by consumer.
    fn read(counters: &ConsumerCounters, totals: &RouteCounters) -> Vec<(String, u64, [u64; 2])> {
        let read = counters.read(totals).into_iter();
        read.map(|(name, counts)| (name, counts.statuses.values().sum(), counts.bytes)).collect()
    }

    #[test]
    fn each_request_is_counted_for_one_consumer_or_for_none() {
        let (totals, counters) = (RouteCounters::new(), ConsumerCounters::default());
        let observe = |consumer: Option<u128>| {
            totals.add(&seen(200));
            counters.add(consumer.map(Uuid::from_u128), &seen(200));
        };
        observe(Some(1));
        let row = |name: &str, requests: u64| (name.to_owned(), requests, [requests, 2 * requests]);
        assert_eq!(read(&counters, &totals), [row("", 1)], "switched off");
        counters.count_by(Some(Arc::new(Names)), &totals);
        for consumer in [Some(1), Some(2), Some(1), None, Some(7)] {
            observe(consumer);
        }
        let expected = [row("", 3), row("consumer-1", 2), row("consumer-2", 1)];
        assert_eq!(read(&counters, &totals), expected, "one from before, one of nobody, one without a name");
        counters.count_by(Some(Arc::new(Names)), &totals);
        assert_eq!(read(&counters, &totals), expected, "a configuration that is compiled again");
        counters.count_by(None, &totals);
        assert_eq!(read(&counters, &totals), [row("", 6)]);
    }

    #[test]
    fn a_flood_of_consumers_is_bounded() {
        let (totals, counters) = (RouteCounters::new(), ConsumerCounters::default());
        counters.count_by(Some(Arc::new(Names)), &totals);
        for consumer in 0..u128::try_from(MOST).unwrap() + 5 {
            counters.add(Some(Uuid::from_u128(consumer)), &seen(200));
        }
        let counted = counters.counted();
        let counted = counted.as_ref().unwrap();
        assert_eq!((counted.consumers.len(), counted.nobody.bytes), (MOST, [5, 10]));
    }
}
