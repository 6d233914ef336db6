//! The rounds: each runs all rows, so that whatever slows the machine affects all of them equally.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::check::check;
use crate::counters;
use crate::cpu::CpuTime;
use crate::error::{Error, Result};
use crate::load::{Outcome, Step, Wire};
use crate::options::Amounts;
use crate::progress::say;
use crate::row::{Ask, Row, Subject};
use crate::sample::{Sample, Spread};
use crate::stage::Stage;

/// The tolerated share of unexpected responses.
const TOLERATED: f64 = 0.0001;

/// How long a row is measured before the next one.
const SECOND: Duration = Duration::from_secs(1);

/// The results of the rows.
#[derive(Debug, Default)]
pub struct Measurement {
    /// By row, by round.
    pub samples: Vec<(&'static Row, Vec<Option<Sample>>)>,
    /// Rows that could not be measured or had wrong responses, with the reason.
    pub failures: Vec<(&'static str, String)>,
}

impl Measurement {
    /// The samples of a row.
    pub fn of(&self, name: &str) -> Option<&[Option<Sample>]> {
        self.samples.iter().find_map(|(row, samples)| (row.name == name).then_some(samples.as_slice()))
    }
}

/// Prepares the rows' programs and measures them.
pub async fn measure(stage: &mut Stage<'_>, rows: &[&'static Row], amounts: Amounts) -> Measurement {
    let mut measurement = Measurement::default();
    let mut rows_of: BTreeMap<Subject, Vec<&'static Row>> = BTreeMap::new();
    rows.iter().for_each(|row| rows_of.entry(row.subject).or_default().push(row));
    for (subject, rows) in &rows_of {
        let prepared = match stage.prepare(*subject, rows).await {
            Ok(()) => check_all(stage, rows).await,
            Err(error) => rows.iter().map(|row| (row.name, story(&error))).collect(),
        };
        for (name, reason) in &prepared {
            say(&format!("  {name} is skipped: {reason}"));
        }
        measurement.failures.extend(prepared);
    }
    let failed = |row: &Row| measurement.failures.iter().any(|(name, _)| *name == row.name);
    measurement.samples = rows.iter().filter(|row| !failed(row)).map(|row| (*row, Vec::new())).collect();
    if let Err(error) = stage.note_misses().await {
        measurement.failures.push(("oauth2", story(&error)));
    }
    rounds(stage, &mut measurement, amounts).await;
    let unknown = stage.calls_for_one_unknown_token().await;
    for figure in [stage.late_misses().await, stage.store_calls_by_forged_tokens().await, unknown] {
        match figure {
            Ok(figure) => stage.figures.extend(figure),
            Err(error) => measurement.failures.push(("oauth2", story(&error))),
        }
    }
    measurement
}

async fn check_all(stage: &Stage<'_>, rows: &[&'static Row]) -> Vec<(&'static str, String)> {
    let mut failures = Vec::new();
    for row in rows {
        if let Err(error) = check_one(stage, row).await {
            failures.push((row.name, story(&error)));
        }
    }
    failures
}

async fn check_one(stage: &Stage<'_>, row: &Row) -> Result<()> {
    if let Ask::SignatureCheck(_) = row.ask {
        // Each check is judged.
        return Ok(());
    }
    let ready = stage.ready(row.subject).ok_or_else(|| Error::Usage("it is not running".to_owned()))?;
    let requests =
        ready.requests(row.ask).ok_or_else(|| Error::Usage("it does not support this request".to_owned()))?;
    check(row, &ready.proxy, requests).await
}

async fn rounds(stage: &Stage<'_>, measurement: &mut Measurement, amounts: Amounts) {
    // One uncounted round first, which opens connections and warms up programs.
    for round in 0..=amounts.rounds {
        say(&if round == 0 { "warming up".to_owned() } else { format!("round {round} of {}", amounts.rounds) });
        let rows: Vec<&'static Row> = measurement.samples.iter().map(|(row, _)| *row).collect();
        let seconds = if round == 0 { 1 } else { amounts.seconds };
        let tallies = passes(stage, &rows, round, seconds).await;
        if round == 0 {
            continue;
        }
        for ((row, samples), totals) in measurement.samples.iter_mut().zip(tallies) {
            let sample = totals.map(|totals| totals.sample());
            match &sample {
                Ok(sample) => say(&format!("  {:<24} {:>8.2} µs  {:>9.0}/s", row.name, sample.micros, sample.rate)),
                Err(error) => {
                    say(&format!("  {:<24} {}", row.name, story(error)));
                    measurement.failures.push((row.name, story(error)));
                }
            }
            samples.push(sample.ok());
        }
    }
}

/// A round: all rows in turn, a second each, repeatedly, so that rows being compared are measured close
/// together in time.
async fn passes(stage: &Stage<'_>, rows: &[&'static Row], round: usize, seconds: u64) -> Vec<Result<Totals>> {
    let mut tallies: Vec<Result<Totals>> = rows.iter().map(|_| Ok(Totals::default())).collect();
    for pass in 0..seconds {
        // Each pass starts at a different position in the lists, far from those of earlier passes, whatever the
        // length of the list.
        let start = (round as u64 * seconds + pass) * 618_034;
        for (row, totals) in rows.iter().zip(&mut tallies) {
            if let Ok(sum) = totals
                && let Err(error) = step(stage, row, start, sum).await
            {
                *totals = Err(error);
            }
        }
    }
    tallies
}

/// The totals of the passes of a round.
#[derive(Debug, Default)]
struct Totals {
    cpu: Duration,
    requests: u64,
    seconds: f64,
    instructions: Option<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Totals {
    fn sample(&self) -> Sample {
        let requests = (self.requests as f64).max(1.0);
        let middle = |latencies: &[f64]| Spread::of(latencies.iter().copied()).map(|spread| spread.median as u64);
        Sample {
            micros: self.cpu.as_secs_f64() * 1e6 / requests,
            requests: self.requests,
            rate: requests / self.seconds.max(f64::EPSILON),
            instructions: self.instructions.map(|count| count / requests),
            p50: middle(&self.p50),
            p99: middle(&self.p99),
        }
    }
}

async fn step(stage: &Stage<'_>, row: &Row, start: u64, totals: &mut Totals) -> Result<()> {
    let lost = || Error::Usage(format!("{} is not running", row.name));
    if let Ask::SignatureCheck(kind) = row.ask {
        let check = stage.signature_check(kind).ok_or_else(lost)?;
        // This thread has nothing else to do: no other row is measured at the same time.
        let (checks, cpu) = check.run(SECOND)?;
        totals.cpu += cpu;
        totals.requests += checks;
        totals.seconds += SECOND.as_secs_f64();
        return Ok(());
    }
    let ready = stage.ready(row.subject).ok_or_else(lost)?;
    let requests = ready.requests(row.ask).ok_or_else(lost)?;
    let address = if row.wire == Wire::Plain { ready.proxy.http } else { ready.proxy.https };
    let step = Step {
        address: address.ok_or_else(lost)?,
        wire: row.wire,
        requests,
        duration: SECOND,
        start,
        folder: stage.folder(),
    };
    requests.renew()?;
    let cpu = || CpuTime::of(ready.proxy.process).map_err(Error::system(format!("{} has exited", row.name)));
    let before = cpu()?;
    let counters = counters::watch(&before.processes(), &stage.folder());
    let outcome = step.run(counters.prefix()).await?;
    totals.cpu += cpu()?.since(&before);
    judge(row, &outcome)?;
    totals.requests += outcome.requests;
    totals.seconds += outcome.seconds;
    totals.p50.extend(outcome.p50.map(|micros| micros as f64));
    totals.p99.extend(outcome.p99.map(|micros| micros as f64));
    if let Some(count) = counters.read() {
        totals.instructions = Some(totals.instructions.unwrap_or_default() + count);
    }
    Ok(())
}

/// Checks that all but a few responses are as expected.
fn judge(row: &Row, outcome: &Outcome) -> Result<()> {
    let Outcome { requests, refused, broken, .. } = *outcome;
    let wrong = broken + if row.expects_success() { refused } else { requests.saturating_sub(refused) };
    if requests > 0 && wrong as f64 <= requests as f64 * TOLERATED {
        return Ok(());
    }
    let what = format!("{wrong} of {requests} responses are not as expected");
    Err(Error::WrongResponse { row: row.name.to_owned(), what })
}

/// An error with its causes.
pub fn story(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::find;

    #[test]
    fn one_wrong_response_in_ten_thousand_is_tolerated() {
        let outcome = |requests, refused, broken| Outcome { requests, refused, broken, ..Outcome::default() };
        let (plain, forged) = (find("plain").unwrap(), find("forged").unwrap());
        assert!(judge(plain, &outcome(20_000, 1, 1)).is_ok());
        assert!(judge(plain, &outcome(20_000, 2, 1)).is_err());
        assert!(judge(plain, &outcome(0, 0, 0)).is_err());
        assert!(judge(forged, &outcome(20_000, 19_998, 0)).is_ok());
        assert!(judge(forged, &outcome(20_000, 0, 0)).is_err());
    }
}
