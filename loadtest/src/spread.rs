//! How repeated runs differ.

use serde::{Deserialize, Serialize};

use crate::live::duration;
use crate::outcome::{Outcome, SCHEMA_VERSION};

/// The result of `run --repeat`, as JSON. Units are those of [`Outcome`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repeated {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// How the runs differ.
    pub spread: Spread,
    /// The runs, in order.
    pub runs: Vec<Outcome>,
}

impl Repeated {
    /// The result of these runs.
    pub fn of(runs: Vec<Outcome>) -> Self {
        Self { schema_version: SCHEMA_VERSION, spread: Spread::of(&runs), runs }
    }
}

/// The figures of repeated runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spread {
    /// Responses per second.
    pub rate: Figure,
    /// The median latency, in microseconds, as all that follow.
    pub p50: Figure,
    /// 90 %.
    pub p90: Figure,
    /// 99 %.
    pub p99: Figure,
    /// 99.9 %.
    pub p999: Figure,
    /// The highest.
    pub max: Figure,
    /// The highest rate that kept the bound, if every run searched for one and found it.
    pub saturation: Option<Figure>,
}

impl Spread {
    /// How these runs differ.
    pub fn of(runs: &[Outcome]) -> Self {
        let figure = |of: fn(&Outcome) -> f64| Figure::of(runs.iter().map(of).collect());
        let saturation: Option<Vec<f64>> =
            runs.iter().map(|run| run.saturation.as_ref().and_then(|found| found.rate)).collect();
        Self {
            rate: figure(|run| run.total.rate),
            p50: figure(|run| run.total.latency.p50),
            p90: figure(|run| run.total.latency.p90),
            p99: figure(|run| run.total.latency.p99),
            p999: figure(|run| run.total.latency.p999),
            max: figure(|run| run.total.latency.max),
            saturation: saturation.filter(|rates| !rates.is_empty()).map(Figure::of),
        }
    }

    /// The figures in human-readable form: median, lowest, highest, half of the distance, and that as a percentage of the
    /// median.
    pub fn rows(&self) -> Vec<(&'static str, [String; 5])> {
        let per_second = |rate: f64| format!("{rate:.0}/s");
        let row = |figure: &Figure, show: &dyn Fn(f64) -> String| {
            let percentage = format!("{:.1} %", figure.noise() * 100.0);
            [show(figure.median), show(figure.lowest), show(figure.highest), show(figure.half_distance), percentage]
        };
        let mut rows = vec![
            ("rate", row(&self.rate, &per_second)),
            ("p50", row(&self.p50, &duration)),
            ("p90", row(&self.p90, &duration)),
            ("p99", row(&self.p99, &duration)),
            ("p99.9", row(&self.p999, &duration)),
            ("max", row(&self.max, &duration)),
        ];
        rows.extend(self.saturation.as_ref().map(|rate| ("saturation", row(rate, &per_second))));
        rows
    }
}

/// One figure of repeated runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figure {
    /// The median of the runs.
    pub median: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
    /// Half of the distance between the lowest and the highest; 0 for a single run.
    pub half_distance: f64,
}

impl Figure {
    /// The figure that has these values in the runs.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        let (lowest, highest) = (at(0), at(last));
        let median = f64::midpoint(at(last / 2), at(values.len() / 2));
        Self { median, lowest, highest, half_distance: (highest - lowest) / 2.0 }
    }

    /// Half of the distance as a share of the median.
    pub fn noise(&self) -> f64 {
        if self.median > 0.0 { self.half_distance / self.median } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Latency, Saturation, Summary};

    fn figure(median: f64, lowest: f64, highest: f64, half_distance: f64) -> Figure {
        Figure { median, lowest, highest, half_distance }
    }

    #[test]
    fn the_spread_is_around_the_median() {
        assert_eq!(Figure::of(vec![30.0, 10.0, 14.0]), figure(14.0, 10.0, 30.0, 10.0));
        assert_eq!(Figure::of(vec![4.0, 1.0, 2.0, 3.0]), figure(2.5, 1.0, 4.0, 1.5));
        assert_eq!(Figure::of(vec![7.0]), figure(7.0, 7.0, 7.0, 0.0));
        assert_eq!(Figure::of(Vec::new()), Figure::default());
        assert!((Figure::of(vec![30.0, 10.0, 20.0]).noise() - 0.5).abs() < 1e-9);
        assert!(Figure::of(vec![0.0]).noise().abs() < 1e-9);
    }

    #[test]
    fn each_figure_has_its_own_spread() {
        let run = |rate, found| {
            let latency = Latency { p50: 1.0, p90: 2.0, p99: 3.0, p999: 4.0, max: rate, ..Latency::default() };
            let saturation = Some(Saturation { rate: found, ..Saturation::default() });
            Outcome { total: Summary { rate, latency, ..Summary::default() }, saturation, ..Outcome::default() }
        };
        let spread = Spread::of(&[run(10.0, Some(5.0)), run(20.0, Some(7.0))]);
        let equal = |value| figure(value, value, value, 0.0);
        assert_eq!(
            spread,
            Spread {
                rate: figure(15.0, 10.0, 20.0, 5.0),
                p50: equal(1.0),
                p90: equal(2.0),
                p99: equal(3.0),
                p999: equal(4.0),
                max: figure(15.0, 10.0, 20.0, 5.0),
                saturation: Some(figure(6.0, 5.0, 7.0, 1.0)),
            }
        );
        // A run that found none has no place in a median.
        assert_eq!(Spread::of(&[run(10.0, Some(5.0)), run(20.0, None)]).saturation, None);
    }
}
