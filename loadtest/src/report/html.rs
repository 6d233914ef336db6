//! A result as one HTML page, without scripts or external resources.

use std::collections::BTreeSet;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{ReportError, chart};
use crate::failure::Failure;
use crate::live::{self, duration};
use crate::outcome::{Faults, Latency, Outage, Outcome, Revocation, Saturation, Second, Step, Stretch, Summary};
use crate::spread::Spread;

const STYLE: &str = "
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #8884 }
th:first-child, td:first-child { text-align: left }
figure { background: #fff; margin: 1rem 0; border-radius: .4rem } svg { width: 100%; height: auto; display: block }
figcaption { font-size: .85rem; text-align: right; padding: .4rem 1rem 0 }
.bad { border-left: .4rem solid #c22; padding: .2rem 1rem; background: #c221 }
.good { border-left: .4rem solid #282; padding: .2rem 1rem; background: #2821 }
pre { white-space: pre-wrap; background: #8882; padding: 1rem }
";

/// The page of one or repeated runs.
pub(super) fn page(runs: &[Outcome]) -> Result<String, ReportError> {
    let sections = runs.iter().map(section).collect::<Result<Vec<_>, _>>()?;
    let (scenario, target) = runs.first().map(|run| (run.scenario.as_str(), run.target.as_str())).unwrap_or_default();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (scenario) " – load test" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (scenario) " against " (target) }
                @if runs.len() > 1 { (spread(runs)) }
                @for (number, section) in sections.iter().enumerate() {
                    @if runs.len() > 1 { h1 { "Run " (number + 1) " of " (runs.len()) } }
                    (section)
                }
            }
        }
    };
    Ok(page.into_string())
}

/// How repeated runs differ.
fn spread(runs: &[Outcome]) -> Markup {
    html! {
        p { (runs.len()) " runs. “±” is half of the distance between the lowest and the highest." }
        table {
            thead {
                tr { @for name in ["figure", "median", "lowest", "highest", "±", "± %"] { th scope="col" { (name) } } }
            }
            tbody {
                @for (name, cells) in Spread::of(runs).rows() {
                    tr {
                        th scope="row" { (name) }
                        @for cell in cells { td { (cell) } }
                    }
                }
            }
        }
    }
}

/// What is to be said of one run.
fn section(outcome: &Outcome) -> Result<Markup, ReportError> {
    let charts = match outcome.seconds.as_slice() {
        [] | [_] => None,
        seconds => Some(charts(seconds)?),
    };
    Ok(html! {
        (verdict(outcome))
        (summary(outcome))
        @if let Some(charts) = &charts { (charts) }
        (kinds(outcome))
        @if !outcome.steps.is_empty() { (steps(&outcome.steps)) }
        (responses(&outcome.total))
        @if let Some(revocation) = &outcome.revocation { (revocations(revocation)) }
        @if let Some(saturation) = &outcome.saturation { (trials(saturation)) }
        @if let Some(faults) = &outcome.faults { (faults_of_the_store(faults)) }
        @if let Some(outage) = &outcome.outage { (timeline(outage, outcome.duration)) }
        (generator(outcome))
        h2 { "The scenario" }
        @if !outcome.options.is_empty() { p { "With " code { (outcome.options.join(" ")) } "." } }
        pre { (outcome.scenario_text) }
    })
}

fn charts(seconds: &[Second]) -> Result<Markup, ReportError> {
    let (rate, percentiles) = (chart::rate(seconds)?, chart::percentiles(seconds)?);
    let (unserved, hits) = (chart::unserved(seconds)?, chart::hits(seconds)?);
    Ok(html! {
        h2 { "Over time" }
        figure role="img" aria-label="Responses of each second" { (PreEscaped(rate)) }
        @if let Some(unserved) = unserved {
            figure role="img" aria-label="Requests not served in each second" { (PreEscaped(unserved)) }
        }
        figure role="img" aria-label="Percentiles of each second" {
            figcaption { @for (name, colour) in chart::legend() { b style={ "color: " (colour) } { (name) } " " } }
            (PreEscaped(percentiles))
        }
        @if let Some(hits) = hits { figure role="img" aria-label="Cache hits of each second" { (PreEscaped(hits)) } }
    })
}

fn verdict(outcome: &Outcome) -> Markup {
    let checks = &outcome.checks;
    html! {
        @if outcome.is_valid() {
            p.good {
                "Every response was correct: " (checks.statuses_checked) " statuses and " (checks.identities_checked)
                " identities were checked."
            }
        } @else if outcome.total.responses == 0 {
            p.bad { "There were no responses, so this run has no result." }
        } @else {
            p.bad { "This run failed: " (checks.wrong) " of " (checks.statuses_checked) " responses were wrong." }
            ul {
                @for example in &checks.examples {
                    li { (format!("{:.1} s", example.at)) ": expected " (example.expected) ", found " (example.found) }
                }
            }
        }
        @if outcome.interrupted { p.bad { "It was stopped early." } }
        @if let Some(limited) = &outcome.generator.limited { p.bad { "Unreliable: " (limited) "." } }
    }
}

fn summary(outcome: &Outcome) -> Markup {
    html! {
        p {
            (format!("{:.0}", outcome.total.rate)) " responses per second over " (format!("{:.0}", outcome.duration))
            " s. Connections: " (outcome.generator.connections) ", threads: " (outcome.generator.threads) "; "
            (outcome.machine.processor) ", " (outcome.machine.processors) " processors, " (outcome.machine.kernel) "."
        }
    }
}

fn steps(steps: &[Step]) -> Markup {
    html! {
        h2 { "Steps" }
        table {
            thead {
                tr {
                    @for name in ["step", "offered", "achieved", "p50", "p99", "p99.9", "max", "unserved"] {
                        th scope="col" { (name) }
                    }
                }
            }
            tbody {
                @for Step { name, rate, duration: seconds, summary, .. } in steps {
                    tr {
                        th scope="row" { (name) ", " (format!("{seconds:.0} s")) }
                        @for rate in [rate, &summary.rate] { td { (format!("{rate:.0}/s")) } }
                        @let Latency { p50, p99, p999, max, .. } = summary.latency;
                        @for value in [p50, p99, p999, max] { td { (duration(value)) } }
                        td { (format!("{:.2} %", summary.error_rate() * 100.0)) }
                    }
                }
            }
        }
    }
}

fn kinds(outcome: &Outcome) -> Markup {
    html! {
        h2 { "Latency" }
        p { "Latency from the scheduled send time of each request to the end of its response." }
        table {
            thead {
                tr {
                    th scope="col" { "requests" }
                    @for name in ["per second", "p50", "p90", "p99", "p99.9", "p99.99", "max"] { th scope="col" { (name) } }
                }
            }
            tbody {
                (row("all", &outcome.total))
                @for phase in &outcome.phases { (row(&phase.name, &phase.summary)) }
            }
        }
    }
}

fn row(name: &str, summary: &Summary) -> Markup {
    let Latency { p50, p90, p99, p999, p9999, max, .. } = summary.latency;
    html! {
        tr {
            th scope="row" { (name) }
            td { (format!("{:.0}", summary.rate)) }
            @for value in [p50, p90, p99, p999, p9999, max] { td { (duration(value)) } }
        }
    }
}

fn responses(total: &Summary) -> Markup {
    html! {
        h2 { "Responses" }
        table {
            thead { tr { th scope="col" { "status or error" } th scope="col" { "requests" } } }
            tbody {
                @for (status, count) in &total.statuses { tr { th scope="row" { (status) } td { (count) } } }
                @for (name, count) in &total.errors {
                    tr {
                        th scope="row" {
                            (name)
                            @if let Some(failure) = Failure::named(name) { ": " (failure) }
                        }
                        td { (count) }
                    }
                }
            }
        }
    }
}

fn revocations(revocation: &Revocation) -> Markup {
    let latency = &revocation.accepted_for;
    html! {
        h2 { "Revocation" }
        p {
            (revocation.revoked) " tokens were revoked; " (revocation.never_refused)
            " were still accepted at the end of the watch. The others were still accepted after the response to the revocation for:"
        }
        table {
            thead { tr { @for name in ["p50", "p99", "max"] { th scope="col" { (name) } } } }
            tbody { tr { @for value in [latency.p50, latency.p99, latency.max] { td { (duration(value)) } } } }
        }
    }
}

fn trials(saturation: &Saturation) -> Markup {
    html! {
        h2 { "Saturation" }
        @match saturation.rate {
            Some(rate) => p { (format!("{rate:.0}")) " requests per second kept p99 under " (duration(saturation.bound)) "." },
            None => p.bad { "Even the lowest rate did not keep p99 under " (duration(saturation.bound)) "." },
        }
        table {
            thead { tr { @for name in ["offered", "achieved", "p99", "kept"] { th scope="col" { (name) } } } }
            tbody {
                @for trial in &saturation.trials {
                    tr {
                        td { (format!("{:.0}", trial.rate)) }
                        td { (format!("{:.0}", trial.summary.rate)) }
                        td { (duration(trial.summary.latency.p99)) }
                        td { @if trial.held { "yes" } @else { "no" } }
                    }
                }
            }
        }
    }
}

fn timeline(outage: &Outage, over: f64) -> Markup {
    html! {
        h2 { "Responses over time" }
        p { (live::trouble(outage)) }
        (bars(&outage.stretches, over))
        table {
            thead { tr { @for name in ["requests", "outcome", "first", "last", "count"] { th scope="col" { (name) } } } }
            tbody {
                @for stretch in &outage.stretches {
                    tr {
                        th scope="row" { (stretch.kind) }
                        td { (stretch.ending) }
                        td { (format!("{:.2} s", stretch.from)) }
                        td { (format!("{:.2} s", stretch.to)) }
                        td { (stretch.requests) }
                    }
                }
            }
        }
    }
}

fn faults_of_the_store(faults: &Faults) -> Markup {
    let head =
        ["fault", "p50 before", "during", "after", "p99 before", "during", "after", "× normal", "not 200", "kept"];
    html! {
        h2 { "Cached tokens while the store is broken" }
        p { "Normal p99 " (duration(faults.normal_p99)) "; at most " (faults.bound) " times that during a fault." }
        table {
            thead { tr { @for name in head { th scope="col" { (name) } } } }
            tbody {
                @for fault in &faults.rows {
                    tr {
                        th scope="row" { (fault.name) }
                        @for latency in [&fault.before, &fault.during, &fault.after] { td { (duration(latency.p50)) } }
                        @for latency in [&fault.before, &fault.during, &fault.after] { td { (duration(latency.p99)) } }
                        td { (format!("{:.2}", fault.times_normal)) }
                        td { (fault.not_accepted) }
                        td { (if fault.held { "yes" } else { "no" }) }
                    }
                }
            }
        }
    }
}

/// One line per kind and outcome, with a bar from its first to its last request.
fn bars(stretches: &[Stretch], over: f64) -> Markup {
    const LABELS: f64 = 190.0;
    const WIDTH: f64 = 600.0;
    const LINE: f64 = 22.0;
    let over = stretches.iter().map(|stretch| stretch.to).fold(over.max(1.0), f64::max);
    let lines: BTreeSet<(&str, &str)> =
        stretches.iter().map(|stretch| (stretch.kind.as_str(), stretch.ending.as_str())).collect();
    let height = LINE * (lines.len() + 1) as f64;
    let x = |at: f64| LABELS + at / over * WIDTH;
    html! {
        figure role="img" aria-label="Outcomes of each kind of request over time" {
            svg viewBox=(format!("0 0 820 {height}")) font-size="13" {
                @for (number, line) in lines.iter().enumerate() {
                    @let y = LINE * number as f64;
                    text x="8" y=(y + 16.0) { (line.0) " " (line.1) }
                    @for stretch in stretches.iter().filter(|stretch| (stretch.kind.as_str(), stretch.ending.as_str()) == *line) {
                        rect x=(format!("{:.1}", x(stretch.from))) y=(y + 4.0) height="14"
                            width=(format!("{:.1}", (x(stretch.to) - x(stretch.from)).max(2.0)))
                            fill=(if stretch.served { "#282" } else { "#c22" }) {}
                    }
                }
                @for quarter in 0..=4_u8 {
                    @let at = over * f64::from(quarter) / 4.0;
                    text x=(format!("{:.1}", x(at))) y=(height - 6.0) text-anchor="middle" { ((at * 10.0).round() / 10.0) " s" }
                }
            }
        }
    }
}

fn generator(outcome: &Outcome) -> Markup {
    let generator = &outcome.generator;
    html! {
        h2 { "The generator" }
        p {
            (format!("{:.2}", generator.cpu)) " processors used; "
            (format!("{:.2}", generator.late_share * 100.0)) " % of the requests were sent more than a millisecond late."
        }
    }
}
