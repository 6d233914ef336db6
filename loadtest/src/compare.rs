//! Compares results, and checks them against thresholds for CI.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::live::duration;
use crate::outcome::Outcome;
use crate::report::{self, ReportError};
use crate::span::Span;

/// `tollgate-load compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Results of `run --json`; the others are compared with the first.
    #[arg(required = true)]
    pub results: Vec<PathBuf>,
    /// Fail if a median is longer, such as 1ms.
    #[arg(long)]
    pub max_p50: Option<Span>,
    /// Fail if a 90th percentile is longer.
    #[arg(long)]
    pub max_p90: Option<Span>,
    /// Fail if a 99th percentile is longer.
    #[arg(long)]
    pub max_p99: Option<Span>,
    /// Fail if a 99.9th percentile is longer.
    #[arg(long)]
    pub max_p999: Option<Span>,
    /// Fail if there were fewer responses per second.
    #[arg(long)]
    pub min_rate: Option<f64>,
    /// Fail if a larger share of requests (0 to 1) got no response or a status of 500 or above.
    #[arg(long)]
    pub max_error_rate: Option<f64>,
}

/// A comparison.
#[derive(Debug, Default)]
pub struct Comparison {
    /// A human-readable table.
    pub table: String,
    /// Missed thresholds; empty if there were none.
    pub failures: Vec<String>,
}

/// Reads the results and compares them.
///
/// # Errors
/// If a file does not exist or is not a result.
pub fn compare(args: &CompareArgs) -> Result<Comparison, ReportError> {
    let outcomes: Result<Vec<_>, _> =
        args.results.iter().map(|path| Ok((path.display().to_string(), report::read(path)?))).collect();
    let outcomes = outcomes?;
    let mut comparison = Comparison { table: table(&outcomes), failures: Vec::new() };
    for (name, outcome) in &outcomes {
        judge(args, name, outcome, &mut comparison.failures);
    }
    Ok(comparison)
}

fn judge(args: &CompareArgs, name: &str, outcome: &Outcome, failures: &mut Vec<String>) {
    if !outcome.is_valid() {
        failures.push(format!(
            "{name}: the run failed ({} wrong responses of {})",
            outcome.checks.wrong, outcome.total.responses
        ));
    }
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

fn table(outcomes: &[(String, Outcome)]) -> String {
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
        let text = table(&results);
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
