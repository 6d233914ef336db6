//! What a run found: the model that is written as JSON, and read again by reports and comparisons.
//!
//! Latencies are microseconds, durations seconds, rates requests per second.
//! Readers ignore fields that they do not know, and fill those that are missing with nothing, so
//! that results of other versions stay readable. This module measures and renders nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the layout that this program writes.
pub const SCHEMA_VERSION: u32 = 1;

/// The result of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// The version of the load tester.
    pub tool_version: String,
    /// The scenario's name.
    pub scenario: String,
    /// The scenario file as it was read.
    pub scenario_text: String,
    /// Options of the command line that changed the scenario.
    pub options: Vec<String>,
    /// The address that was loaded; it holds no secret.
    pub target: String,
    /// The machine that generated the load.
    pub machine: Machine,
    /// When the warm-up began, in seconds since 1970.
    pub started_at: u64,
    /// How long was measured, without the warm-up, in seconds.
    pub duration: f64,
    /// Whether the run was ended before its time.
    pub interrupted: bool,
    /// One entry for each measured second.
    pub seconds: Vec<Second>,
    /// Everything measured, together.
    pub total: Summary,
    /// Each rate of a stepped load, in order.
    pub steps: Vec<Step>,
    /// The same for each kind of request.
    pub phases: Vec<Phase>,
    /// Answers that were not what they should have been.
    pub checks: Checks,
    /// Whether the generator kept up.
    pub generator: Generator,
    /// How long revoked tokens were still accepted.
    pub revocation: Option<Revocation>,
    /// What the search for the highest rate found.
    pub saturation: Option<Saturation>,
    /// What was answered while the store was away.
    pub outage: Option<Outage>,
}

/// The machine that generated the load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Its kernel's name and release.
    pub kernel: String,
    /// Its processor's name.
    pub processor: String,
    /// How many of its processors this program may use.
    pub processors: usize,
}

/// One second of a run, also what the live view shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    /// Seconds since the measurement began, that is its first instant.
    pub at: f64,
    /// Answers in this second, and how long they took.
    pub summary: Summary,
    /// Answers that were wrong.
    pub wrong: u64,
    /// The share of look-ups that the gateway's token cache answered, 0 to 1, when it was told.
    pub cache_hit_ratio: Option<f64>,
}

/// A number of answers and how long they took from their intended send times.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Answers.
    pub answers: u64,
    /// Answers per second.
    pub rate: f64,
    /// How long they took.
    pub latency: Latency,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer, by [`crate::failure::Failure::name`].
    pub errors: BTreeMap<String, u64>,
    /// Requests that were sent more than a millisecond after their intended time.
    pub late: u64,
}

/// Percentiles of a latency, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// The mean.
    pub mean: f64,
    /// The lowest.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// 99.99 %.
    pub p9999: f64,
    /// The highest.
    pub max: f64,
}

/// One rate of a stepped load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// What it is called in the report.
    pub name: String,
    /// The rate that was offered.
    pub rate: f64,
    /// How long it lasted, in seconds.
    pub duration: f64,
    /// What became of the requests that were to be sent in it.
    pub summary: Summary,
}

/// One kind of a run's requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phase {
    /// What it is called in the report.
    pub name: String,
    /// What was measured in it.
    pub summary: Summary,
}

/// Answers that were not what they should have been.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checks {
    /// Answers whose status was checked: all of them.
    pub statuses_checked: u64,
    /// Answers whose echoed identity headers were checked.
    pub identities_checked: u64,
    /// Answers that were wrong. A run with any has failed.
    pub wrong: u64,
    /// The first few of them.
    pub examples: Vec<WrongAnswer>,
}

/// One wrong answer. Tokens are never part of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WrongAnswer {
    /// Seconds since the measurement began.
    pub at: f64,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub found: String,
}

/// The health of the generator itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generator {
    /// Processor seconds it used in each second, in processors.
    pub cpu: f64,
    /// Its threads.
    pub threads: usize,
    /// Its connections.
    pub connections: usize,
    /// The share of requests that were sent late, 0 to 1.
    pub late_share: f64,
    /// Why the figures tell of the generator and not of the gateway, when they do.
    pub limited: Option<String>,
}

/// How long revoked tokens were still accepted after the revocation was answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Revocation {
    /// Tokens that were revoked.
    pub revoked: u64,
    /// Those still accepted when the run ended or the wait was over.
    pub never_refused: u64,
    /// Microseconds from the revocation's answer to the send time of the last accepted request.
    pub accepted_for: Latency,
}

/// The highest rate at which the bound held.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saturation {
    /// The bound on p99, in microseconds.
    pub bound: f64,
    /// The highest rate that kept it; none when not even the lowest did.
    pub rate: Option<f64>,
    /// Every rate that was tried, in order.
    pub trials: Vec<Trial>,
}

/// One rate that was tried.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trial {
    /// The rate that was offered.
    pub rate: f64,
    /// What came of it.
    pub summary: Summary,
    /// Whether the bound held, and every request was answered.
    pub held: bool,
}

/// What was answered when, while the store was away.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outage {
    /// When requests went unserved; none when all were served.
    pub trouble: Option<Trouble>,
    /// From when to when each kind of request ended in each way: by kind, then in order of time.
    pub stretches: Vec<Stretch>,
}

/// The time in which requests went unserved: they had no answer, or one of status 500 or above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// The first such end of a request, in seconds since the measurement began.
    pub from: f64,
    /// The last.
    pub to: f64,
    /// Whether every kind of request that it met was served again after that.
    pub recovered: bool,
}

/// A stretch in which requests of a kind kept ending in the same way, among others perhaps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stretch {
    /// The kind of request.
    pub kind: String,
    /// The status, or the error's name.
    pub answer: String,
    /// The first such end, in seconds since the measurement began.
    pub from: f64,
    /// The last.
    pub to: f64,
    /// How many there were.
    pub requests: u64,
    /// Whether they were served: answered with a status below 500.
    pub served: bool,
}

impl Summary {
    /// Requests that got no answer.
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Requests that got no answer, or one of status 500 or above.
    pub fn unserved(&self) -> u64 {
        let broken: u64 = self.statuses.iter().filter(|(status, _)| **status >= 500).map(|(_, count)| count).sum();
        broken + self.failures()
    }

    /// The share of requests that got no answer, or one of status 500 or above, 0 to 1.
    pub fn error_rate(&self) -> f64 {
        let requests = self.answers + self.failures();
        if requests == 0 { 0.0 } else { self.unserved() as f64 / requests as f64 }
    }
}

impl Outcome {
    /// Whether every answer was right, and there were any.
    pub fn is_valid(&self) -> bool {
        self.checks.wrong == 0 && self.total.answers > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_of_another_version_is_readable() {
        let outcome: Outcome =
            serde_json::from_str(r#"{"schema_version": 9, "new": 1, "seconds": [{"at": 1}]}"#).unwrap();
        assert_eq!((outcome.schema_version, outcome.seconds.len()), (9, 1));
    }

    #[test]
    fn a_result_survives_being_written_and_read() {
        let mut outcome = Outcome { schema_version: SCHEMA_VERSION, ..Outcome::default() };
        let mut second = Second { at: 1.0, ..Second::default() };
        second.summary.statuses.insert(200, 7);
        outcome.seconds.push(second);
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
    }

    #[test]
    fn unanswered_requests_and_server_errors_are_the_error_rate() {
        let summary = Summary {
            answers: 8,
            statuses: BTreeMap::from([(200, 6), (401, 1), (503, 1)]),
            errors: BTreeMap::from([("reset".to_owned(), 2)]),
            ..Summary::default()
        };
        assert!((summary.error_rate() - 0.3).abs() < 1e-9);
    }
}
