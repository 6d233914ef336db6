//! What is counted of one route, in one piece of memory.
//!
//! A request touches a few neighbouring cache lines here, however many families of metrics are made
//! of it when somebody asks: times are sorted into the bounds of all families together, once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::route_metrics::{Observation, Source};

/// Statuses with a count of their own; others are rare enough to be looked up.
const COMMON: [u16; 28] = [
    200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 426, 429,
    500, 501, 502, 503, 504,
];

/// In microseconds: the bounds of `tollgate_*_duration_seconds`, `kong_upstream_latency_ms` and
/// `kong_request_latency_ms`.
const WHOLE: [u64; 20] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 80_000, 100_000, 250_000, 400_000, 500_000, 700_000, 1_000_000,
    2_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// In microseconds: the bounds of `kong_kong_latency_ms`.
const OWN: [u64; 17] = [
    1_000, 2_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 50_000, 75_000, 100_000, 200_000, 500_000, 750_000,
    1_000_000, 3_000_000, 6_000_000,
];

/// Times, sorted by bounds; the last count is of those above all of them.
#[derive(Debug)]
struct Times<const COUNTS: usize> {
    counts: [AtomicU64; COUNTS],
    nanos: AtomicU64,
}

impl<const COUNTS: usize> Times<COUNTS> {
    fn new() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), nanos: AtomicU64::new(0) }
    }

    fn add(&self, bounds: &[u64], time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let place = bounds.partition_point(|bound| bound * 1_000 < nanos);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Relaxed);
        }
        self.nanos.fetch_add(nanos, Relaxed);
    }

    fn read(&self, bounds: &'static [u64]) -> Distribution {
        Distribution {
            bounds,
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum: Duration::from_nanos(self.nanos.load(Relaxed)),
        }
    }
}

/// Times that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Distribution {
    bounds: &'static [u64],
    counts: Vec<u64>,
    /// All times together.
    pub(super) sum: Duration,
}

impl Distribution {
    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many are at most this long, which must be one of the bounds.
    pub(super) fn up_to(&self, bound: Duration) -> u64 {
        let within = self.bounds.iter().take_while(|known| Duration::from_micros(**known) <= bound).count();
        self.counts.iter().take(within).sum()
    }

    /// Adds those of another with the same bounds.
    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }
}

/// The counts of a route.
#[derive(Debug)]
pub(super) struct Tally {
    statuses: [[AtomicU64; COMMON.len()]; 2],
    ingress: AtomicU64,
    egress: AtomicU64,
    total: Times<{ WHOLE.len() + 1 }>,
    upstream: Times<{ WHOLE.len() + 1 }>,
    own: Times<{ OWN.len() + 1 }>,
    rare: Mutex<BTreeMap<(u16, Source), u64>>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            statuses: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            ingress: AtomicU64::new(0),
            egress: AtomicU64::new(0),
            total: Times::new(),
            upstream: Times::new(),
            own: Times::new(),
            rare: Mutex::default(),
        }
    }

    pub(super) fn add(&self, seen: &Observation) {
        self.add_status(seen.status.as_u16(), seen.source);
        for (count, bytes) in [(&self.ingress, seen.bytes_in), (&self.egress, seen.bytes_out)] {
            if bytes > 0 {
                count.fetch_add(bytes, Relaxed);
            }
        }
        self.total.add(&WHOLE, seen.total);
        self.own.add(&OWN, seen.total.saturating_sub(seen.upstream.unwrap_or_default()));
        if let Some(upstream) = seen.upstream {
            self.upstream.add(&WHOLE, upstream);
        }
    }

    fn add_status(&self, status: u16, source: Source) {
        let [service, gateway] = &self.statuses;
        let counts = if source == Source::Service { service } else { gateway };
        match COMMON.binary_search(&status).ok().and_then(|place| counts.get(place)) {
            Some(count) => {
                count.fetch_add(1, Relaxed);
            }
            None => *self.rare.lock().unwrap_or_else(PoisonError::into_inner).entry((status, source)).or_default() += 1,
        }
    }

    /// The requests with each status that there was.
    pub(super) fn statuses(&self) -> BTreeMap<(u16, Source), u64> {
        let mut counts = self.rare.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (source, kept) in [Source::Service, Source::Gateway].into_iter().zip(&self.statuses) {
            let seen = COMMON.iter().zip(kept).map(|(status, count)| ((*status, source), count.load(Relaxed)));
            counts.extend(seen.filter(|(_, count)| *count > 0));
        }
        counts
    }

    /// Bytes of bodies: from clients, to clients.
    pub(super) fn bytes(&self) -> [u64; 2] {
        [self.ingress.load(Relaxed), self.egress.load(Relaxed)]
    }

    /// From the head to the end of the answer.
    pub(super) fn total(&self) -> Distribution {
        self.total.read(&WHOLE)
    }

    /// Spent waiting for the upstream; only requests that had an answer from it.
    pub(super) fn upstream(&self) -> Distribution {
        self.upstream.read(&WHOLE)
    }

    /// The rest.
    pub(super) fn own(&self) -> Distribution {
        self.own.read(&OWN)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn seen(status: u16, total: Duration, upstream: Option<Duration>) -> Observation {
        Observation {
            status: StatusCode::from_u16(status).unwrap(),
            source: if upstream.is_some() { Source::Service } else { Source::Gateway },
            total,
            upstream,
            bytes_in: 0,
            bytes_out: 7,
        }
    }

    #[test]
    fn a_time_counts_up_to_the_first_bound_that_it_does_not_exceed() {
        let tally = Tally::new();
        for nanos in [1, 500_000, 500_001, 80_000_000_000] {
            tally.add(&seen(200, Duration::from_nanos(nanos), None));
        }
        let total = tally.total();
        let up_to = |micros| total.up_to(Duration::from_micros(micros));
        assert_eq!((up_to(500), up_to(1_000), up_to(60_000_000), total.count()), (2, 3, 3, 4));
        assert_eq!(total.sum, Duration::from_nanos(80_001_000_002));
    }

    #[test]
    fn the_gateways_own_time_is_what_the_upstream_did_not_take() {
        let tally = Tally::new();
        tally.add(&seen(200, Duration::from_millis(30), Some(Duration::from_millis(20))));
        assert_eq!((tally.own().sum, tally.upstream().sum), (Duration::from_millis(10), Duration::from_millis(20)));
        assert_eq!((tally.own().up_to(Duration::from_millis(7)), tally.own().up_to(Duration::from_millis(10))), (0, 1));
        tally.add(&seen(401, Duration::from_millis(1), None));
        assert_eq!((tally.upstream().count(), tally.own().count(), tally.bytes()), (1, 2, [0, 14]));
    }

    #[test]
    fn every_status_is_counted_by_who_chose_it() {
        let tally = Tally::new();
        let time = Duration::from_millis(1);
        for status in [200, 200, 418, 504] {
            tally.add(&seen(status, time, Some(time)));
        }
        tally.add(&seen(200, time, None));
        tally.add(&seen(599, time, None));
        let expected = [
            ((200, Source::Service), 2),
            ((200, Source::Gateway), 1),
            ((418, Source::Service), 1),
            ((504, Source::Service), 1),
            ((599, Source::Gateway), 1),
        ];
        assert_eq!(tally.statuses(), BTreeMap::from(expected));
    }

    #[test]
    fn distributions_add_up() {
        let (one, other) = (Tally::new(), Tally::new());
        one.add(&seen(200, Duration::from_millis(1), None));
        other.add(&seen(200, Duration::from_secs(90), None));
        let mut both = one.total();
        both.merge(&other.total());
        assert_eq!((both.count(), both.up_to(Duration::from_secs(60))), (2, 1));
    }

    #[test]
    fn common_statuses_and_bounds_are_in_order() {
        assert!(COMMON.is_sorted() && WHOLE.is_sorted() && OWN.is_sorted());
    }
}
