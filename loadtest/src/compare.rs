//! Compares results, and checks them against thresholds for CI.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::live::duration;
use crate::outcome::Outcome;
use crate::report::{self, ReportError};
use crate::span::Span;
use crate::spread::Figure;

/// `tollgate-load compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Results of `run --json`: the baseline and then new ones, each of which is judged for itself. Of `run --repeat`, a
    /// result is one of repeated runs. With `--baseline` all are repeated runs of the new one.
    #[arg(required = true)]
    pub results: Vec<PathBuf>,
    /// Repeated runs of the baseline: medians are compared, and a difference counts only beyond the spread of the runs.
    #[arg(long, num_args = 1.., value_name = "RESULTS")]
    pub baseline: Vec<PathBuf>,
    /// Fail if a new median is longer than the baseline's by this factor, such as 1.2.
    #[arg(long, value_parser = factor, value_name = "FACTOR")]
    pub max_p50_ratio: Option<f64>,
    /// The same for the 90th percentile.
    #[arg(long, value_parser = factor, value_name = "FACTOR")]
    pub max_p90_ratio: Option<f64>,
    /// The same for the 99th percentile.
    #[arg(long, value_parser = factor, value_name = "FACTOR")]
    pub max_p99_ratio: Option<f64>,
    /// The same for the 99.9th percentile.
    #[arg(long, value_parser = factor, value_name = "FACTOR")]
    pub max_p999_ratio: Option<f64>,
    /// Fail if there were fewer responses per second than this share of the baseline's, such as 0.9.
    #[arg(long, value_parser = factor, value_name = "FACTOR")]
    pub min_rate_ratio: Option<f64>,
    /// Fail if a new median is longer, such as 1ms. This and the following say nothing about the baseline.
    #[arg(long)]
    pub max_p50: Option<Span>,
    /// Fail if a new 90th percentile is longer.
    #[arg(long)]
    pub max_p90: Option<Span>,
    /// Fail if a new 99th percentile is longer.
    #[arg(long)]
    pub max_p99: Option<Span>,
    /// Fail if a new 99.9th percentile is longer.
    #[arg(long)]
    pub max_p999: Option<Span>,
    /// Fail if a new result has fewer responses per second.
    #[arg(long)]
    pub min_rate: Option<f64>,
    /// Fail if, of a new result, a larger share of requests (0 to 1) got no response or a status of 500 or above.
    #[arg(long)]
    pub max_error_rate: Option<f64>,
}

fn factor(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "expected a factor such as 1.2 or 0.9".to_owned())
}

/// A comparison.
#[derive(Debug, Default)]
pub struct Comparison {
    /// A human-readable table.
    pub table: String,
    /// What cannot be told from these runs.
    pub undecided: Vec<String>,
    /// Missed thresholds; empty if there were none.
    pub failures: Vec<String>,
}

/// Why results cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// There is nothing to compare with.
    #[error(
        "{0} has nothing to be compared with: name a baseline and a new result (compare BASE.json NEW.json), or \
         repeated runs (compare NEW-*.json --baseline BASE-*.json)"
    )]
    Alone(String),
    /// A result cannot be read.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// A run and its name.
type Named = (String, Outcome);

/// Runs that are judged as one.
struct Group {
    name: String,
    runs: Vec<Named>,
}

/// Reads the results and compares them.
///
/// # Errors
/// If there is one result alone, or a file does not exist or is not a result.
pub fn compare(args: &CompareArgs) -> Result<Comparison, CompareError> {
    let mut results = args.results.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let (base, new) = if args.baseline.is_empty() {
        if results.len() < 2 {
            return Err(CompareError::Alone(results.first().map(|group| group.name.clone()).unwrap_or_default()));
        }
        (results.remove(0), results)
    } else {
        let baseline = args.baseline.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        (together(baseline), vec![together(results)])
    };
    let runs: Vec<&Named> = base.runs.iter().chain(new.iter().flat_map(|group| &group.runs)).collect();
    let mut comparison = Comparison { table: table(&runs), ..Comparison::default() };
    for (name, outcome) in &runs {
        if !outcome.is_valid() {
            let (wrong, responses) = (outcome.checks.wrong, outcome.total.responses);
            comparison.failures.push(format!("{name}: the run failed ({wrong} wrong responses of {responses})"));
        }
    }
    for group in &new {
        group.runs.iter().for_each(|(name, outcome)| judge(args, name, outcome, &mut comparison.failures));
        judge_ratios(args, &base, group, &mut comparison);
    }
    Ok(comparison)
}

fn read(path: &Path) -> Result<Group, ReportError> {
    let (runs, name) = (report::read(path)?, path.display().to_string());
    let count = runs.len();
    let named = runs.into_iter().enumerate().map(|(number, outcome)| match count {
        1 => (name.clone(), outcome),
        _ => (format!("{name}, run {}", number + 1), outcome),
    });
    Ok(Group { runs: named.collect(), name })
}

/// Results whose runs are repeated ones of the same.
fn together(results: Vec<Group>) -> Group {
    let name = match results.as_slice() {
        [] => String::new(),
        [only] => only.name.clone(),
        [first, more @ ..] => format!("{} and {} more", first.name, more.len()),
    };
    Group { name, runs: results.into_iter().flat_map(|group| group.runs).collect() }
}

/// The limits that concern a new result alone.
fn judge(args: &CompareArgs, name: &str, outcome: &Outcome, failures: &mut Vec<String>) {
    let latency = &outcome.total.latency;
    let bounds = [
        ("p50", latency.p50, args.max_p50),
        ("p90", latency.p90, args.max_p90),
        ("p99", latency.p99, args.max_p99),
        ("p99.9", latency.p999, args.max_p999),
    ];
    for (percentile, found, bound) in bounds {
        let Some(bound) = bound.map(|bound| bound.0.as_secs_f64() * 1e6) else { continue };
        if found > bound {
            failures.push(format!("{name}: {percentile} is {}, above {}", duration(found), duration(bound)));
        }
    }
    if let Some(least) = args.min_rate.filter(|least| outcome.total.rate < *least) {
        failures.push(format!("{name}: {:.1} responses per second, below {least}", outcome.total.rate));
    }
    let error_rate = outcome.total.error_rate();
    if let Some(most) = args.max_error_rate.filter(|most| error_rate > *most) {
        failures.push(format!("{name}: error rate is {error_rate:.4}, above {most}"));
    }
}

/// The limits relative to the baseline. A figure that is beyond its limit by less than the runs differ among themselves
/// is no failure, but is named.
fn judge_ratios(args: &CompareArgs, base: &Group, new: &Group, comparison: &mut Comparison) {
    type Of = fn(&Outcome) -> f64;
    let figures: [(&str, Of, Option<f64>, Limit); 5] = [
        ("p50", |outcome| outcome.total.latency.p50, args.max_p50_ratio, Limit::Most),
        ("p90", |outcome| outcome.total.latency.p90, args.max_p90_ratio, Limit::Most),
        ("p99", |outcome| outcome.total.latency.p99, args.max_p99_ratio, Limit::Most),
        ("p99.9", |outcome| outcome.total.latency.p999, args.max_p999_ratio, Limit::Most),
        ("rate", |outcome| outcome.total.rate, args.min_rate_ratio, Limit::Least),
    ];
    let name = &new.name;
    for (figure, of, limit, kind) in figures {
        let Some(limit) = limit else { continue };
        let found = |group: &Group| Figure::of(group.runs.iter().map(|(_, outcome)| of(outcome)).collect());
        let Some(ratio) = Ratio::of(&found(base), &found(new)) else {
            comparison.failures.push(format!("{name}: {figure} cannot be compared: the baseline has none"));
            continue;
        };
        let text = format!("{name}: {figure} is {ratio} the baseline's; the limit is × {limit}");
        match kind.verdict(&ratio, limit) {
            Verdict::Kept => {}
            Verdict::Missed => comparison.failures.push(text),
            Verdict::WithinNoise => comparison.undecided.push(format!("{text}: not beyond the spread of the runs")),
        }
    }
}

/// How new runs compare with those of the baseline.
struct Ratio {
    value: f64,
    /// By how much it may be off, since runs differ.
    noise: f64,
}

impl Ratio {
    /// `None`: the baseline has nothing to compare with.
    fn of(base: &Figure, new: &Figure) -> Option<Self> {
        let value = (base.median > 0.0).then_some(new.median / base.median)?;
        // Independent spreads add up as squares.
        Some(Self { value, noise: value * base.noise().hypot(new.noise()) })
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "× {:.3}", self.value)?;
        if self.noise > 0.0 { write!(f, " ± {:.3}", self.noise) } else { Ok(()) }
    }
}

#[derive(Clone, Copy)]
enum Limit {
    Most,
    Least,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Kept,
    Missed,
    WithinNoise,
}

impl Limit {
    fn verdict(self, ratio: &Ratio, limit: f64) -> Verdict {
        let beyond = match self {
            Self::Most => ratio.value - limit,
            Self::Least => limit - ratio.value,
        };
        match beyond {
            beyond if beyond <= 0.0 => Verdict::Kept,
            beyond if beyond > ratio.noise => Verdict::Missed,
            _ => Verdict::WithinNoise,
        }
    }
}

fn table(outcomes: &[&Named]) -> String {
    let mut text = String::new();
    let Some((_, base)) = outcomes.first() else { return text };
    for (name, outcome) in outcomes {
        let _ = writeln!(text, "{name} ({}, {:.0} s)", outcome.scenario, outcome.duration);
        let (total, first) = (&outcome.total, &base.total);
        let rows = [
            ("rate", format!("{:.0}/s", total.rate), ratio(total.rate, first.rate)),
            ("p50", duration(total.latency.p50), ratio(total.latency.p50, first.latency.p50)),
            ("p90", duration(total.latency.p90), ratio(total.latency.p90, first.latency.p90)),
            ("p99", duration(total.latency.p99), ratio(total.latency.p99, first.latency.p99)),
            ("p99.9", duration(total.latency.p999), ratio(total.latency.p999, first.latency.p999)),
            ("p99.99", duration(total.latency.p9999), ratio(total.latency.p9999, first.latency.p9999)),
            ("max", duration(total.latency.max), ratio(total.latency.max, first.latency.max)),
            ("errors", format!("{:.4}", total.error_rate()), String::new()),
            ("wrong", outcome.checks.wrong.to_string(), String::new()),
        ];
        let rows = rows.into_iter().chain(of_saturation(outcome, base)).chain(of_revocation(outcome, base));
        for (figure, value, ratio) in rows {
            let _ = writeln!(text, "  {figure:<16} {value:>12} {ratio:>8}");
        }
    }
    text
}

type Row = (&'static str, String, String);

/// The highest rate that kept the bound, for a search.
fn of_saturation(outcome: &Outcome, base: &Outcome) -> Vec<Row> {
    let Some(found) = &outcome.saturation else { return Vec::new() };
    let first = base.saturation.as_ref().and_then(|first| first.rate).unwrap_or_default();
    let row = match found.rate {
        Some(rate) => ("saturation", format!("{rate:.0}/s"), ratio(rate, first)),
        None => ("saturation", "none held".to_owned(), String::new()),
    };
    vec![row]
}

/// How long revoked tokens were accepted, if any were revoked.
fn of_revocation(outcome: &Outcome, base: &Outcome) -> Vec<Row> {
    let Some(found) = &outcome.revocation else { return Vec::new() };
    let first = base.revocation.as_ref().map(|first| first.accepted_for).unwrap_or_default();
    let lasted = found.accepted_for;
    vec![
        ("accepted for p50", duration(lasted.p50), ratio(lasted.p50, first.p50)),
        ("accepted for p99", duration(lasted.p99), ratio(lasted.p99, first.p99)),
        ("accepted for max", duration(lasted.max), ratio(lasted.max, first.max)),
        ("never refused", found.never_refused.to_string(), String::new()),
    ]
}

fn ratio(value: f64, base: f64) -> String {
    if base > 0.0 { format!("× {:.2}", value / base) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Latency, Revocation, Saturation};

    #[test]
    fn a_limit_is_missed_only_beyond_the_spread_of_the_runs() {
        let ratio =
            |base: &[f64], new: &[f64]| Ratio::of(&Figure::of(base.to_vec()), &Figure::of(new.to_vec())).unwrap();
        let rows = [
            // One run each: nothing is known of the noise.
            (ratio(&[100.0], &[119.0]), Limit::Most, 1.2, "× 1.190", Verdict::Kept),
            (ratio(&[100.0], &[121.0]), Limit::Most, 1.2, "× 1.210", Verdict::Missed),
            // The runs of the baseline differ by ± 10 %.
            (ratio(&[90.0, 100.0, 110.0], &[125.0]), Limit::Most, 1.2, "× 1.250 ± 0.125", Verdict::WithinNoise),
            (ratio(&[90.0, 100.0, 110.0], &[140.0]), Limit::Most, 1.2, "× 1.400 ± 0.140", Verdict::Missed),
            (ratio(&[99.0, 101.0], &[84.0, 86.0]), Limit::Least, 0.9, "× 0.850 ± 0.013", Verdict::Missed),
            (ratio(&[90.0, 110.0], &[84.0, 86.0]), Limit::Least, 0.9, "× 0.850 ± 0.086", Verdict::WithinNoise),
            (ratio(&[90.0, 110.0], &[95.0]), Limit::Least, 0.9, "× 0.950 ± 0.095", Verdict::Kept),
        ];
        for (ratio, kind, limit, text, expected) in rows {
            assert_eq!((ratio.to_string().as_str(), kind.verdict(&ratio, limit)), (text, expected));
        }
        assert!(Ratio::of(&Figure::of(vec![0.0]), &Figure::of(vec![1.0])).is_none());
    }

    #[test]
    fn results_specific_to_a_scenario_are_compared() {
        let of = |rate, p99| Outcome {
            saturation: Some(Saturation { rate, ..Saturation::default() }),
            revocation: Some(Revocation {
                accepted_for: Latency { p99, ..Latency::default() },
                ..Revocation::default()
            }),
            ..Outcome::default()
        };
        let results = [of(Some(1000.0), 2000.0), of(Some(2500.0), 1000.0), of(None, 1000.0), Outcome::default()];
        let results: Vec<_> = results.into_iter().map(|outcome| ("r.json".to_owned(), outcome)).collect();
        let text = table(&results.iter().collect::<Vec<_>>());
        let rows = |name: &str| -> Vec<Vec<&str>> {
            let named = text.lines().filter_map(|line| line.trim().strip_prefix(name));
            named.map(|rest| rest.split_whitespace().collect()).collect()
        };
        assert_eq!(
            rows("saturation"),
            [vec!["1000/s", "×", "1.00"], vec!["2500/s", "×", "2.50"], vec!["none", "held"]]
        );
        assert_eq!(rows("accepted for p99")[1], ["1.00", "ms", "×", "0.50"]);
        assert_eq!(rows("never refused").len(), 3);
    }
}
