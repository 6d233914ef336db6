//! The report as a Markdown page, and as text for a terminal.

use std::fmt::Write as _;

use super::{Outcome, Report};
use crate::load::CONCURRENCY;
use crate::sample::Spread;
use crate::target::{Judged, Verdict};

/// The page. `chart` is the file name of the chart in the same folder.
pub(super) fn page(report: &Report, chart: &str) -> String {
    let mut page = format!("# Measured on {} at commit {}\n\n", report.machine.date, report.machine.commit);
    if report.machine.dirty {
        page += "The working tree had uncommitted changes.\n\n";
    }
    page += &machine(report);
    page += "\n## Targets\n\n| subject | measured | target | |\n|---|---|---|---|\n";
    for judged in &report.targets {
        let _ = writeln!(page, "| {} | {} | {} | {} |", judged.what, measured(judged), judged.target, verdict(judged));
    }
    let _ = write!(page, "\n## Rows\n\n![CPU time per request]({chart})\n\n");
    page += "CPU µs per request: median, minimum and maximum of the rounds; ratios: median of the ratios within each round.\n\n";
    page += "| row | | CPU µs | min–max | ÷ nginx | ÷ peer | responses/s |\n|---|---|---|---|---|---|---|\n";
    report.rows.iter().for_each(|row| page += &line(row));
    if report.rows.iter().any(|row| row.instructions.is_some()) {
        page += "\n| row | instructions per request, user space |\n|---|---|\n";
        for (row, spread) in report.rows.iter().filter_map(|row| Some((row, row.instructions?))) {
            let _ = writeln!(page, "| {} | {:.0} |", row.name, spread.median);
        }
    }
    if !report.figures.is_empty() {
        page += "\n## Other figures\n\n| | |\n|---|---|\n";
        for figure in &report.figures {
            let _ = writeln!(page, "| {} | {} {} |", figure.about, number(figure.value), figure.unit);
        }
    }
    if !report.failures.is_empty() {
        page += "\n## Not measured\n\n";
        for (name, why) in &report.failures {
            let _ = writeln!(page, "- {name}: {}", why.lines().next().unwrap_or_default().trim_end());
        }
    }
    page
}

fn machine(report: &Report) -> String {
    let (machine, amounts) = (&report.machine, &report.amounts);
    let programs: Vec<_> = machine.programs.iter().map(|(name, version)| format!("{name} ({version})")).collect();
    let counters = if machine.counters {
        "can be read"
    } else {
        "cannot be read on this machine, so there are no instruction counts"
    };
    format!(
        "- {} processors ({}), {} GiB, Linux {}; the processor's counters {counters}; {:.1} % of the time was stolen\n\
         - {}\n\
         - {} rounds, each row {} s in each; {CONCURRENCY} requests under way, one thread (wrk; h2load with 8 \
         connections of 4 streams), closed loop\n\
         - {} tokens in the store and the cache; Zipf's law over {} of them\n\
         - one worker thread each; access logs off; nginx returns 100 bytes as the upstream of every proxy; all on one machine\n",
        machine.processors,
        machine.processor,
        machine.memory_gib,
        machine.kernel,
        report.stolen_percent,
        programs.join(", "),
        amounts.rounds,
        amounts.seconds,
        amounts.tokens,
        amounts.popular,
    )
}

fn line(row: &Outcome) -> String {
    let Spread { median, min, max } = row.micros;
    let peer =
        row.to_peer.zip(row.peer).map_or_else(String::new, |(spread, peer)| format!("{:.2} ({peer})", spread.median));
    format!(
        "| {} | {} | {median:.1} | {min:.1}–{max:.1} | {} | {peer} | {:.0} |\n",
        row.name,
        row.about,
        ratio(row.to_floor),
        row.rate.median
    )
}

fn ratio(spread: Option<Spread>) -> String {
    spread.map_or_else(String::new, |spread| format!("{:.2}", spread.median))
}

fn measured(judged: &Judged) -> String {
    match judged.measured {
        None => "–".to_owned(),
        Some(Spread { median, min, max }) if min == max => number(median),
        Some(Spread { median, min, max }) => format!("{median:.2} ({min:.2}–{max:.2})"),
    }
}

fn verdict(judged: &Judged) -> &'static str {
    match judged.verdict {
        Verdict::Met => "met",
        Verdict::NotMet => "**not met**",
        Verdict::NotMeasured => "not measured",
    }
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Rows and targets, aligned.
pub(super) fn summary(report: &Report) -> String {
    let head = ["CPU µs", "min", "max", "÷ nginx", "÷ peer", "responses/s"].map(|head| format!("{head:>10}")).concat();
    let mut text = format!("{:<24}{head}\n", "");
    for row in &report.rows {
        let Spread { median, min, max } = row.micros;
        let (floor, peer) = (ratio(row.to_floor), ratio(row.to_peer));
        let rate = row.rate.median;
        let _ = writeln!(text, "{:<24}{median:>10.2}{min:>10.2}{max:>10.2}{floor:>10}{peer:>10}{rate:>11.0}", row.name);
    }
    for figure in &report.figures {
        let _ = writeln!(text, "{}: {} {}", figure.about, number(figure.value), figure.unit);
    }
    for judged in report.targets.iter().filter(|judged| judged.verdict != Verdict::NotMeasured) {
        let met = if judged.verdict == Verdict::Met { "met    " } else { "NOT MET" };
        let _ = writeln!(text, "{met} {}: {} {}", judged.what, measured(judged), judged.target);
    }
    for (name, why) in &report.failures {
        let _ = writeln!(text, "NOT MEASURED {name}: {why}");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_printed_with_its_range_and_a_figure_without() {
        let judged = |spread| Judged { what: "", measured: spread, target: String::new(), verdict: Verdict::Met };
        assert_eq!(measured(&judged(Some(Spread { median: 1.054, min: 1.0, max: 1.2 }))), "1.05 (1.00–1.20)");
        assert_eq!(measured(&judged(Spread::of([419.6]))), "420");
        assert_eq!(measured(&judged(None)), "–");
    }
}
