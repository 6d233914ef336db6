//! Whether what a node uses is flat at the end of a run.
//!
//! The rule: the median of the last fifth of the run is at most a tenth, and an allowance for the smallest numbers,
//! above the median of the middle fifth, from 40 to 60 %. By then caches are full and pools are open. Medians, since a
//! single sample may fall into a burst; what grows with time or traffic grows between the two.

use serde::Serialize;

use crate::sample::Sample;

/// How much more at the end is still flat.
const SHARE: f64 = 0.1;

/// Something that must not grow.
struct Series {
    name: &'static str,
    unit: &'static str,
    /// What one of the unit is in the sample.
    scale: f64,
    of: fn(&Sample) -> f64,
    /// In the unit.
    allowance: f64,
}

const SERIES: [Series; 7] = [
    Series { name: "resident memory", unit: "MiB", scale: 1024.0, of: |sample| sample.memory, allowance: 4.0 },
    Series { name: "descriptors", unit: "", scale: 1.0, of: |sample| sample.descriptors, allowance: 16.0 },
    Series { name: "threads", unit: "", scale: 1.0, of: |sample| sample.threads, allowance: 2.0 },
    // Those of connections, which come and go.
    Series { name: "tasks", unit: "", scale: 1.0, of: |sample| sample.tasks, allowance: 16.0 },
    Series { name: "store connections", unit: "", scale: 1.0, of: |sample| sample.pool, allowance: 2.0 },
    Series { name: "cache entries", unit: "", scale: 1.0, of: |sample| sample.cache_entries, allowance: 200.0 },
    Series { name: "cache weight", unit: "KiB", scale: 1024.0, of: |sample| sample.cache_weight, allowance: 64.0 },
];

/// How one of them developed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Trend {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The median of the middle fifth.
    pub middle: f64,
    /// The median of the last fifth.
    pub end: f64,
    /// The highest that the end may be.
    pub allowed: f64,
    /// Whether it is not.
    pub flat: bool,
}

/// The trends of a run.
pub(crate) fn trends(samples: &[Sample]) -> Vec<Trend> {
    SERIES.iter().map(|series| trend(series, samples)).collect()
}

fn trend(series: &Series, samples: &[Sample]) -> Trend {
    let median = |from: usize, to: usize| {
        let part = samples.get(samples.len() * from / 100..samples.len() * to / 100).unwrap_or_default();
        let mut values: Vec<f64> = part.iter().map(|sample| (series.of)(sample) / series.scale).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let (middle, end) = (median(40, 60), median(80, 100));
    let allowed = middle * (1.0 + SHARE) + series.allowance;
    // Without samples nothing is known to be flat.
    let flat = end <= allowed && samples.len() >= 10;
    Trend { name: series.name, unit: series.unit, middle, end, allowed, flat }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(mebibytes: impl Fn(u32) -> f64) -> Trend {
        let samples: Vec<Sample> =
            (0..100).map(|number| Sample { memory: mebibytes(number) * 1024.0, ..Sample::default() }).collect();
        trends(&samples).remove(0)
    }

    #[test]
    fn what_grows_at_the_beginning_only_is_flat() {
        let trend = memory(|number| 100.0 + f64::from(number.min(40)));
        assert!(trend.flat && trend.middle == 140.0 && trend.end == 140.0, "{trend:?}");
    }

    #[test]
    fn what_grows_all_the_time_is_not() {
        let trend = memory(|number| 100.0 + f64::from(number));
        assert!(!trend.flat && trend.middle == 150.0 && trend.end == 190.0, "{trend:?}");
    }

    #[test]
    fn a_burst_is_no_growth() {
        assert!(memory(|number| if number == 95 { 900.0 } else { 100.0 }).flat);
    }

    #[test]
    fn a_run_without_samples_is_not_flat() {
        assert!(trends(&[]).iter().all(|trend| !trend.flat));
    }
}
