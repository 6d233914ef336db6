//! The counters of one route, in a single block of memory.
//!
//! A request touches a few adjacent cache lines here, however many families of metrics are derived
//! from it on export: times are sorted once, into the bounds of all families together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{array, iter};

use super::route_metrics::{Observation, Source};

/// Statuses with their own counters besides 200; others are rare enough to be looked up.
const COMMON: [u16; 27] = [
    201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 426, 429, 500,
    501, 502, 503, 504,
];

/// In microseconds: the bounds of `tollgate_*_duration_seconds`, `kong_upstream_latency_ms` and
/// `kong_request_latency_ms`.
const WHOLE: [u64; 20] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 80_000, 100_000, 250_000, 400_000, 500_000, 700_000, 1_000_000,
    2_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// In microseconds: the bounds of `tollgate_gateway_duration_seconds` and `kong_kong_latency_ms`.
const OWN: [u64; 22] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 50_000, 75_000, 100_000, 200_000,
    500_000, 750_000, 1_000_000, 3_000_000, 6_000_000, 10_000_000,
];

/// A distribution as read from its counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Distribution {
    bounds: &'static [u64],
    counts: Vec<u64>,
    /// The sum of all times.
    pub(super) sum: Duration,
}

impl Distribution {
    fn read<'c>(bounds: &'static [u64], counts: impl Iterator<Item = &'c AtomicU64>, nanos: u64) -> Self {
        Self { bounds, counts: counts.map(|count| count.load(Relaxed)).collect(), sum: Duration::from_nanos(nanos) }
    }

    /// The number of times.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The number of times of at most this length, which must be one of the bounds.
    pub(super) fn up_to(&self, bound: Duration) -> u64 {
        let within = self.bounds.iter().take_while(|known| Duration::from_micros(**known) <= bound).count();
        self.counts.iter().take(within).sum()
    }

    /// Adds another distribution with the same bounds.
    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }
}

/// The counters of a route.
///
/// Most requests change two cache lines: from the sums to the shortest of the gateway's own
/// times, and the shortest of the other times.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct RouteCounters {
    upstream_nanos: AtomicU64,
    own_nanos: AtomicU64,
    ingress: AtomicU64,
    egress: AtomicU64,
    ok: BySource,
    own: [AtomicU64; OWN.len() + 1],
    whole: Whole,
    statuses: [BySource; COMMON.len()],
    rare: Mutex<BTreeMap<(u16, Source), u64>>,
}

/// Times by [`WHOLE`]; those of a request and of its upstream are usually adjacent.
#[derive(Debug)]
#[repr(align(64))]
struct Whole([Times; WHOLE.len() + 1]);

#[derive(Debug, Default)]
struct Times {
    total: AtomicU64,
    upstream: AtomicU64,
}

#[derive(Debug, Default)]
struct BySource {
    service: AtomicU64,
    gateway: AtomicU64,
}

impl RouteCounters {
    pub(super) fn new() -> Self {
        Self {
            upstream_nanos: AtomicU64::default(),
            own_nanos: AtomicU64::default(),
            ingress: AtomicU64::default(),
            egress: AtomicU64::default(),
            ok: BySource::default(),
            own: array::from_fn(|_| AtomicU64::default()),
            whole: Whole(array::from_fn(|_| Times::default())),
            statuses: array::from_fn(|_| BySource::default()),
            rare: Mutex::default(),
        }
    }

    pub(super) fn add(&self, seen: &Observation) {
        self.add_status(seen.status.as_u16(), seen.source);
        for (sum, bytes) in [(&self.ingress, seen.bytes_in), (&self.egress, seen.bytes_out)] {
            if bytes > 0 {
                sum.fetch_add(bytes, Relaxed);
            }
        }
        let (total, own) = (nanos(seen.total), nanos(seen.total.saturating_sub(seen.upstream.unwrap_or_default())));
        self.own_nanos.fetch_add(own, Relaxed);
        add_one(self.own.get(place(&OWN, own)));
        add_one(self.whole.0.get(place(&WHOLE, total)).map(|times| &times.total));
        if let Some(upstream) = seen.upstream.map(nanos) {
            self.upstream_nanos.fetch_add(upstream, Relaxed);
            add_one(self.whole.0.get(place(&WHOLE, upstream)).map(|times| &times.upstream));
        }
    }

    fn add_status(&self, status: u16, source: Source) {
        let counts = match status {
            200 => Some(&self.ok),
            _ => COMMON.binary_search(&status).ok().and_then(|place| self.statuses.get(place)),
        };
        match counts {
            Some(counts) => add_one(Some(counts.of(source))),
            None => *self.rare.lock().unwrap_or_else(PoisonError::into_inner).entry((status, source)).or_default() += 1,
        }
    }

    /// Whether there was any request.
    pub(super) fn is_used(&self) -> bool {
        self.own.iter().any(|count| count.load(Relaxed) > 0)
    }

    /// The number of requests for each status that occurred.
    pub(super) fn statuses(&self) -> BTreeMap<(u16, Source), u64> {
        let mut counts = self.rare.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (status, kept) in iter::once((200, &self.ok)).chain(COMMON.into_iter().zip(&self.statuses)) {
            for source in [Source::Service, Source::Gateway] {
                let count = kept.of(source).load(Relaxed);
                if count > 0 {
                    counts.insert((status, source), count);
                }
            }
        }
        counts
    }

    /// Bytes of bodies: from clients, to clients.
    pub(super) fn bytes(&self) -> [u64; 2] {
        [self.ingress.load(Relaxed), self.egress.load(Relaxed)]
    }

    /// From the request's head to the end of the response, including the upstream's time.
    pub(super) fn total(&self) -> Distribution {
        let nanos = self.own_nanos.load(Relaxed).saturating_add(self.upstream_nanos.load(Relaxed));
        Distribution::read(&WHOLE, self.whole.0.iter().map(|times| &times.total), nanos)
    }

    /// Time spent waiting for the upstream; only for requests that had a response from it.
    pub(super) fn upstream(&self) -> Distribution {
        let counts = self.whole.0.iter().map(|times| &times.upstream);
        Distribution::read(&WHOLE, counts, self.upstream_nanos.load(Relaxed))
    }

    /// The rest: the gateway's own time.
    pub(super) fn own(&self) -> Distribution {
        Distribution::read(&OWN, self.own.iter(), self.own_nanos.load(Relaxed))
    }
}

impl BySource {
    fn of(&self, source: Source) -> &AtomicU64 {
        match source {
            Source::Service => &self.service,
            Source::Gateway => &self.gateway,
        }
    }
}

/// The index of a time among the bounds; after all of them if it is longer.
fn place(bounds: &[u64], nanos: u64) -> usize {
    bounds.partition_point(|bound| bound * 1_000 < nanos)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn add_one(count: Option<&AtomicU64>) {
    if let Some(count) = count {
        count.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

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
    fn a_time_is_counted_in_the_first_bound_that_it_does_not_exceed() {
        let counters = RouteCounters::new();
        for nanos in [1, 500_000, 500_001, 80_000_000_000] {
            counters.add(&seen(200, Duration::from_nanos(nanos), None));
        }
        let total = counters.total();
        let up_to = |micros| total.up_to(Duration::from_micros(micros));
        assert_eq!((up_to(500), up_to(1_000), up_to(60_000_000), total.count()), (2, 3, 3, 4));
        assert_eq!(total.sum, Duration::from_nanos(80_001_000_002));
    }

    #[test]
    fn the_gateways_own_time_is_what_the_upstream_did_not_take() {
        let counters = RouteCounters::new();
        counters.add(&seen(200, Duration::from_millis(30), Some(Duration::from_millis(20))));
        assert_eq!(
            (counters.own().sum, counters.upstream().sum),
            (Duration::from_millis(10), Duration::from_millis(20))
        );
        assert_eq!(
            (counters.own().up_to(Duration::from_millis(7)), counters.own().up_to(Duration::from_millis(10))),
            (0, 1)
        );
        counters.add(&seen(401, Duration::from_millis(1), None));
        assert_eq!((counters.upstream().count(), counters.own().count(), counters.bytes()), (1, 2, [0, 14]));
    }

    #[test]
    fn every_status_is_counted_by_who_chose_it() {
        let counters = RouteCounters::new();
        let time = Duration::from_millis(1);
        for status in [200, 200, 418, 504] {
            counters.add(&seen(status, time, Some(time)));
        }
        counters.add(&seen(200, time, None));
        counters.add(&seen(599, time, None));
        let expected = [
            ((200, Source::Service), 2),
            ((200, Source::Gateway), 1),
            ((418, Source::Service), 1),
            ((504, Source::Service), 1),
            ((599, Source::Gateway), 1),
        ];
        assert_eq!(counters.statuses(), BTreeMap::from(expected));
    }

    #[test]
    fn most_requests_change_two_cache_lines() {
        let line = |offset: usize| offset / 64;
        assert_eq!(
            (line(offset_of!(RouteCounters, upstream_nanos)), line(offset_of!(RouteCounters, own) + size_of::<u64>())),
            (0, 0)
        );
        assert_eq!((offset_of!(RouteCounters, whole) % 64, 4 * size_of::<Times>()), (0, 64));
    }

    #[test]
    fn distributions_add_up() {
        let (one, other) = (RouteCounters::new(), RouteCounters::new());
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
