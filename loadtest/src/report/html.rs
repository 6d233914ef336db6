//! A result as one HTML page: no script, nothing loaded from anywhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{ReportError, chart};
use crate::failure::Failure;
use crate::live::duration;
use crate::outcome::{Latency, Outage, Outcome, Revocation, Saturation, Summary};

const STYLE: &str = "
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #8884 }
th:first-child, td:first-child { text-align: left }
figure { background: #fff; margin: 1rem 0; border-radius: .4rem } svg { width: 100%; height: auto }
.bad { border-left: .4rem solid #c22; padding: .2rem 1rem; background: #c221 }
.good { border-left: .4rem solid #282; padding: .2rem 1rem; background: #2821 }
pre { overflow: auto; background: #8882; padding: 1rem }
";

/// The page.
pub(super) fn page(outcome: &Outcome) -> Result<String, ReportError> {
    let charts = match outcome.seconds.as_slice() {
        [] | [_] => None,
        seconds => Some((chart::rate(seconds)?, chart::percentiles(seconds)?, chart::hits(seconds)?)),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (outcome.scenario) " – load test" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (outcome.scenario) " against " (outcome.target) }
                (verdict(outcome))
                (summary(outcome))
                @if let Some((rate, percentiles, hits)) = &charts {
                    h2 { "Over time" }
                    figure role="img" aria-label="Answers of each second" { (PreEscaped(rate)) }
                    figure role="img" aria-label="Percentiles of each second" { (PreEscaped(percentiles)) }
                    @if let Some(hits) = hits {
                        figure role="img" aria-label="Cache hits of each second" { (PreEscaped(hits)) }
                    }
                }
                (kinds(outcome))
                (answers(&outcome.total))
                @if let Some(revocation) = &outcome.revocation { (revocations(revocation)) }
                @if let Some(saturation) = &outcome.saturation { (trials(saturation)) }
                @if let Some(outage) = &outcome.outage { (timeline(outage)) }
                (generator(outcome))
                h2 { "The scenario" }
                pre { (outcome.scenario_text) }
            }
        }
    };
    Ok(page.into_string())
}

fn verdict(outcome: &Outcome) -> Markup {
    let checks = &outcome.checks;
    html! {
        @if outcome.is_valid() {
            p.good {
                "Every answer was right: " (checks.statuses_checked) " statuses and " (checks.identities_checked)
                " identities were checked."
            }
        } @else if outcome.total.answers == 0 {
            p.bad { "Nothing was answered: there is nothing to be learnt from this run." }
        } @else {
            p.bad { "This run failed: " (checks.wrong) " of " (checks.statuses_checked) " answers were wrong." }
            ul {
                @for example in &checks.examples {
                    li { (format!("{:.1} s", example.at)) ": expected " (example.expected) ", found " (example.found) }
                }
            }
        }
        @if outcome.interrupted { p.bad { "It was ended before its time." } }
        @if let Some(limited) = &outcome.generator.limited { p.bad { "Not to be relied on: " (limited) "." } }
    }
}

fn summary(outcome: &Outcome) -> Markup {
    html! {
        p {
            (format!("{:.0}", outcome.total.rate)) " answers a second over " (format!("{:.0}", outcome.duration))
            " s; " (outcome.generator.connections) " connections, " (outcome.generator.threads) " threads; "
            (outcome.machine.processor) ", " (outcome.machine.processors) " processors, " (outcome.machine.kernel) "."
        }
    }
}

fn kinds(outcome: &Outcome) -> Markup {
    html! {
        h2 { "Latency" }
        p { "From the time at which each request was meant to be sent, to the end of its answer." }
        table {
            thead {
                tr {
                    th scope="col" { "requests" }
                    @for name in ["a second", "p50", "p90", "p99", "p99.9", "p99.99", "max"] { th scope="col" { (name) } }
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

fn answers(total: &Summary) -> Markup {
    html! {
        h2 { "Answers" }
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
            " were still accepted when the watch was over. The others were accepted after the revocation was answered for:"
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
            Some(rate) => p { (format!("{rate:.0}")) " requests a second kept p99 under " (duration(saturation.bound)) "." },
            None => p.bad { "Not even the lowest rate kept p99 under " (duration(saturation.bound)) "." },
        }
        table {
            thead { tr { @for name in ["offered", "answered", "p99", "kept"] { th scope="col" { (name) } } } }
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

fn timeline(outage: &Outage) -> Markup {
    html! {
        h2 { "What was answered when" }
        table {
            thead { tr { th scope="col" { "seconds" } th scope="col" { "answers" } } }
            tbody {
                @for span in &outage.timeline {
                    tr {
                        th scope="row" { (format!("{:.0}–{:.0}", span.from, span.to)) }
                        td {
                            @for (kind, count) in &span.answers { div { (kind) ": " (count) } }
                        }
                    }
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
