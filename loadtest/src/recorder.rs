//! Counts responses and their latencies. Each thread has its own recorder; they are added up once per second.
//!
//! Latency is measured from the scheduled send time of a request, not from the actual one, so that a stalled
//! gateway cannot hide the requests that waited for it (coordinated omission).

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::errors::CreationError;

use crate::failure::Failure;
use crate::outcome::{Latency, Summary};

/// A request sent later than this after its scheduled time counts as late.
pub const LATE_AFTER: Duration = Duration::from_millis(1);

/// Three digits: percentiles are within 0.2 % of the measured values.
const DIGITS: u8 = 3;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// With a response of this status.
    Status(u16),
    /// Without a response.
    Failure(Failure),
}

/// Requests that ended in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// How many.
    pub count: u64,
    /// When the first of them ended, since counting started.
    pub first: Duration,
    /// When the last of them ended.
    pub last: Duration,
}

impl Seen {
    /// Merges both.
    pub fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

/// Responses and latencies of a period.
#[derive(Debug, Clone)]
pub struct Recorder {
    histogram: Histogram<u64>,
    endings: BTreeMap<Ending, Seen>,
    late: u64,
}

impl Recorder {
    /// An empty recorder.
    ///
    /// # Errors
    /// Never with the precision chosen here, but the histogram's type does not express that.
    pub fn try_new() -> Result<Self, CreationError> {
        let histogram = Histogram::new(DIGITS)?;
        Ok(Self { histogram, endings: BTreeMap::new(), late: 0 })
    }

    /// Records a response at a time: its latency from the scheduled send time, and how late it was sent.
    pub fn response(&mut self, status: u16, at: Duration, latency: Duration, lateness: Duration) {
        // The histogram grows as needed, so no value is out of range.
        let _ = self.histogram.record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        self.ended(Ending::Status(status), Seen { count: 1, first: at, last: at });
        self.late += u64::from(lateness > LATE_AFTER);
    }

    /// Records a request that failed at a time, without a response. It has no latency.
    pub fn failure(&mut self, failure: Failure, at: Duration, lateness: Duration) {
        self.ended(Ending::Failure(failure), Seen { count: 1, first: at, last: at });
        self.late += u64::from(lateness > LATE_AFTER);
    }

    fn ended(&mut self, ending: Ending, seen: Seen) {
        self.endings.entry(ending).and_modify(|known| *known = known.and(seen)).or_insert(seen);
    }

    /// Adds the counts of another recorder.
    pub fn add(&mut self, other: &Self) {
        // Both histograms resize themselves, so no value is out of range.
        let _ = self.histogram.add(&other.histogram);
        other.endings.iter().for_each(|(ending, seen)| self.ended(*ending, *seen));
        self.late += other.late;
    }

    /// The number of responses and failures.
    pub fn requests(&self) -> u64 {
        self.endings.values().map(|seen| seen.count).sum()
    }

    /// How its requests ended, and when.
    pub fn endings(&self) -> &BTreeMap<Ending, Seen> {
        &self.endings
    }

    /// Its summary, over a duration.
    pub fn summary(&self, over: Duration) -> Summary {
        let responses = self.histogram.len();
        let seconds = over.as_secs_f64();
        Summary {
            responses,
            rate: if seconds > 0.0 { responses as f64 / seconds } else { 0.0 },
            latency: latency_of(&self.histogram),
            statuses: self.count(|ending| match ending {
                Ending::Status(status) => Some(status),
                Ending::Failure(_) => None,
            }),
            errors: self.count(|ending| match ending {
                Ending::Status(_) => None,
                Ending::Failure(failure) => Some(failure.name().to_owned()),
            }),
            late: self.late,
        }
    }

    fn count<K: Ord>(&self, key: impl Fn(Ending) -> Option<K>) -> BTreeMap<K, u64> {
        self.endings.iter().filter_map(|(ending, seen)| Some((key(*ending)?, seen.count))).collect()
    }
}

/// Percentiles of a histogram of nanoseconds, in microseconds.
pub fn latency_of(histogram: &Histogram<u64>) -> Latency {
    if histogram.is_empty() {
        return Latency::default();
    }
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    let at = |quantile| micros(histogram.value_at_quantile(quantile));
    Latency {
        mean: histogram.mean() / 1000.0,
        min: micros(histogram.min()),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        p9999: at(0.9999),
        max: micros(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_two_thousandths_of_the_true_values() {
        let mut recorder = Recorder::try_new().unwrap();
        (1..=100_000)
            .for_each(|micros| recorder.response(200, Duration::ZERO, Duration::from_micros(micros), Duration::ZERO));
        let latency = recorder.summary(Duration::from_secs(1)).latency;
        let truths: [(f64, u32); 4] =
            [(latency.p50, 50_000), (latency.p99, 99_000), (latency.p999, 99_900), (latency.p9999, 99_990)];
        for (found, truth) in truths {
            assert!((found / f64::from(truth) - 1.0).abs() < 0.002, "{found} is not {truth}");
        }
    }

    #[test]
    fn two_recorders_add_up() {
        let mut one = Recorder::try_new().unwrap();
        let mut other = Recorder::try_new().unwrap();
        let at = Duration::from_secs;
        one.response(200, at(3), Duration::from_micros(10), Duration::ZERO);
        one.response(401, at(4), Duration::from_micros(10), Duration::ZERO);
        other.response(401, at(2), Duration::from_secs(2), Duration::from_millis(2));
        other.failure(Failure::Reset, at(5), Duration::ZERO);
        one.add(&other);
        assert_eq!(one.endings()[&Ending::Status(401)], Seen { count: 2, first: at(2), last: at(4) });
        let summary = one.summary(Duration::from_secs(2));
        assert_eq!((summary.responses, summary.late, summary.failures()), (3, 1, 1));
        assert!((summary.rate - 1.5).abs() < 1e-9);
    }
}
