//! Samples of the rounds, and their statistics.

use serde::Serialize;

/// One row in one round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// CPU time of the proxy per request, in microseconds.
    pub micros: f64,
    /// Number of responses.
    pub requests: u64,
    /// Responses per second. Of little meaning: generator, proxy and upstream share the processors.
    pub rate: f64,
    /// User-space instructions of the proxy per request, if counters are available.
    pub instructions: Option<f64>,
    /// Latencies in microseconds, if the generator reports them.
    pub p50: Option<u64>,
    /// The same.
    pub p99: Option<u64>,
}

/// Median, minimum and maximum of several numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The median; for an even count, the mean of the two middle values.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// `None` for no numbers.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }

    /// The spread of the ratios within each round; rounds without one of the two are skipped.
    pub fn of_ratios(samples: &[Option<Sample>], peers: &[Option<Sample>]) -> Option<Self> {
        let rounds = samples.iter().zip(peers).filter_map(|(sample, peer)| Some((sample.as_ref()?, peer.as_ref()?)));
        Self::of(rounds.map(|(sample, peer)| sample.micros / peer.micros))
    }

    /// The spread, over the rounds, of what samples exceed a base by, in units of a third.
    pub fn of_excess(samples: &[Option<Sample>], base: &[Option<Sample>], units: &[Option<Sample>]) -> Option<Self> {
        let rounds = samples.iter().zip(base).zip(units);
        let rounds =
            rounds.filter_map(|((sample, base), unit)| Some((sample.as_ref()?, base.as_ref()?, unit.as_ref()?)));
        Self::of(rounds.map(|(sample, base, unit)| (sample.micros - base.micros) / unit.micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(micros: f64) -> Option<Sample> {
        Some(Sample { micros, requests: 1, rate: 1.0, instructions: None, p50: None, p99: None })
    }

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_values() {
        assert_eq!(Spread::of([4.0, 1.0, 3.0]), Some(Spread { median: 3.0, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        // The machine was twice as slow in the second round; the ratio was the same.
        let (rows, peers) = ([sample(3.0), sample(6.0), None], [sample(2.0), sample(4.0), sample(1.0)]);
        assert_eq!(Spread::of_ratios(&rows, &peers), Some(Spread { median: 1.5, min: 1.5, max: 1.5 }));
        let units = [sample(0.5), sample(2.0), sample(1.0)];
        assert_eq!(Spread::of_excess(&rows, &peers, &units), Some(Spread { median: 1.5, min: 1.0, max: 2.0 }));
    }
}
