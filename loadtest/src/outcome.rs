//! The result of a run: the model that is written as JSON and read by reports and comparisons.
//!
//! Latencies are microseconds, durations seconds, rates requests per second. Readers ignore unknown
//! fields, use defaults for missing ones, and accept the names that version 1 used (`answers`, `answer`),
//! so that results of other versions stay readable. This module neither measures nor renders.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the format that this program writes.
pub const SCHEMA_VERSION: u32 = 2;

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
    /// The text of the scenario file.
    pub scenario_text: String,
    /// Command line options that changed the scenario.
    pub options: Vec<String>,
    /// The address under test; it contains no secret.
    pub target: String,
    /// The machine that generated the load.
    pub machine: Machine,
    /// When the warm-up started, in seconds since 1970.
    pub started_at: u64,
    /// The measured time without the warm-up, in seconds.
    pub duration: f64,
    /// Whether the run was stopped early.
    pub interrupted: bool,
    /// One entry for each measured second.
    pub seconds: Vec<Second>,
    /// The totals.
    pub total: Summary,
    /// The steps of a stepped load, in order.
    pub steps: Vec<Step>,
    /// The summary of each kind of request.
    pub phases: Vec<Phase>,
    /// Wrong responses.
    pub checks: Checks,
    /// The health of the generator.
    pub generator: Generator,
    /// How long revoked tokens were still accepted.
    pub revocation: Option<Revocation>,
    /// The result of the search for the highest rate.
    pub saturation: Option<Saturation>,
    /// The responses during an outage of the store.
    pub outage: Option<Outage>,
    /// What each fault of the store cost, if the run brought them about.
    pub faults: Option<Faults>,
}

/// What faults of the store cost cached traffic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Faults {
    /// The normal p99 in microseconds: the median of the steps before faults.
    pub normal_p99: f64,
    /// By how much the p99 during a fault may exceed it.
    pub bound: f64,
    /// Whether all faults kept the bound, and every cached token was accepted.
    pub held: bool,
    /// One row for each fault, in order.
    pub rows: Vec<Fault>,
}

/// What a fault of the store cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// Its name.
    pub name: String,
    /// Latency of cached traffic before it.
    pub before: Latency,
    /// During it.
    pub during: Latency,
    /// After it.
    pub after: Latency,
    /// The p99 during it, divided by the normal one.
    pub times_normal: f64,
    /// Requests with cached tokens that did not get 200 during it.
    pub not_accepted: u64,
    /// The same after it.
    pub not_accepted_after: u64,
    /// Other requests during it that got no response, or one of status 500 or above.
    pub others_unserved: u64,
    /// The longest that one of them waited for its response, in microseconds.
    pub others_longest: f64,
    /// Whether the bound was kept, and every cached token accepted.
    pub held: bool,
}

/// The machine that generated the load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Kernel name and release.
    pub kernel: String,
    /// Processor name.
    pub processor: String,
    /// Number of processors that this program may use.
    pub processors: usize,
}

/// One second of a run, also shown by the live view.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    /// Its start, in seconds since the measurement started.
    pub at: f64,
    /// The summary of this second.
    pub summary: Summary,
    /// Wrong responses.
    pub wrong: u64,
    /// The hit ratio of the gateway's token cache, 0 to 1, if known.
    pub cache_hit_ratio: Option<f64>,
}

/// A number of responses, and their latency from the scheduled send times.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Responses.
    #[serde(alias = "answers")]
    pub responses: u64,
    /// Responses per second.
    pub rate: f64,
    /// Their latency.
    pub latency: Latency,
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without a response, by [`crate::failure::Failure::name`].
    pub errors: BTreeMap<String, u64>,
    /// Requests sent more than a millisecond after their scheduled time.
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
    /// Its name in the report.
    pub name: String,
    /// The offered rate.
    pub rate: f64,
    /// How long it lasted, in seconds.
    pub duration: f64,
    /// The summary of the requests scheduled in it.
    pub summary: Summary,
    /// The same by kind of request.
    pub kinds: Vec<Phase>,
}

/// One kind of a run's requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phase {
    /// Its name in the report.
    pub name: String,
    /// Its summary.
    pub summary: Summary,
}

/// Wrong responses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checks {
    /// Responses whose status was checked: all of them.
    pub statuses_checked: u64,
    /// Responses whose echoed identity headers were checked.
    pub identities_checked: u64,
    /// Wrong responses. A run with any has failed.
    pub wrong: u64,
    /// The first few of them.
    pub examples: Vec<WrongResponse>,
}

/// A wrong response. It never contains tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WrongResponse {
    /// Seconds since the measurement started.
    pub at: f64,
    /// What was expected.
    pub expected: String,
    /// What was received.
    pub found: String,
}

/// The health of the generator itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generator {
    /// CPU seconds used per second.
    pub cpu: f64,
    /// Number of threads.
    pub threads: usize,
    /// Number of connections.
    pub connections: usize,
    /// The share of late requests, 0 to 1.
    pub late_share: f64,
    /// Why the generator limited the results, if it did.
    pub limited: Option<String>,
}

/// How long revoked tokens were still accepted after the response to the revocation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Revocation {
    /// Tokens that were revoked.
    pub revoked: u64,
    /// Tokens still accepted when the run or the watch ended.
    pub never_refused: u64,
    /// Microseconds from the response to the revocation to the send time of the last accepted request.
    pub accepted_for: Latency,
}

/// The highest rate at which the bound held.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saturation {
    /// The bound on p99, in microseconds.
    pub bound: f64,
    /// The highest rate that kept it; none if even the lowest did not.
    pub rate: Option<f64>,
    /// Every trial, in order.
    pub trials: Vec<Trial>,
}

/// One trial of a rate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trial {
    /// The offered rate.
    pub rate: f64,
    /// Its summary.
    pub summary: Summary,
    /// Whether the bound held and every request got a response.
    pub held: bool,
}

/// The responses during an outage of the store, over time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outage {
    /// When requests were not served; none if all were.
    pub trouble: Option<Trouble>,
    /// Periods of equal endings, by kind, then by time.
    pub stretches: Vec<Stretch>,
}

/// The time during which requests were not served: they got no response, or one of status 500 or above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// When the first such request ended, in seconds since the measurement started.
    pub from: f64,
    /// When the last one ended.
    pub to: f64,
    /// Whether every affected kind of request was served again after that.
    pub recovered: bool,
}

/// A period in which requests of a kind kept ending in the same way, possibly among others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stretch {
    /// The kind of request.
    pub kind: String,
    /// The status, or the error's name.
    #[serde(alias = "answer")]
    pub ending: String,
    /// When the first such request ended, in seconds since the measurement started.
    pub from: f64,
    /// When the last one ended.
    pub to: f64,
    /// Number of requests.
    pub requests: u64,
    /// Whether they were served: got a response with a status below 500.
    pub served: bool,
}

impl Summary {
    /// Requests without a response.
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Requests without a response, or with one of status 500 or above.
    pub fn unserved(&self) -> u64 {
        let broken: u64 = self.statuses.iter().filter(|(status, _)| **status >= 500).map(|(_, count)| count).sum();
        broken + self.failures()
    }

    /// The share of requests without a response, or with one of status 500 or above, 0 to 1.
    pub fn error_rate(&self) -> f64 {
        let requests = self.responses + self.failures();
        if requests == 0 { 0.0 } else { self.unserved() as f64 / requests as f64 }
    }
}

impl Outcome {
    /// Whether there were responses, all were correct, and faults of the store kept their bounds.
    pub fn is_valid(&self) -> bool {
        let held = self.faults.as_ref().is_none_or(|faults| faults.held);
        self.checks.wrong == 0 && self.total.responses > 0 && held
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
    fn field_names_of_version_1_are_readable() {
        let written = r#"{"schema_version": 1, "total": {"answers": 7}, "outage": {"stretches": [{"answer": "503"}]}}"#;
        let outcome: Outcome = serde_json::from_str(written).unwrap();
        assert_eq!((outcome.total.responses, outcome.outage.unwrap().stretches[0].ending.as_str()), (7, "503"));
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
            responses: 8,
            statuses: BTreeMap::from([(200, 6), (401, 1), (503, 1)]),
            errors: BTreeMap::from([("reset".to_owned(), 2)]),
            ..Summary::default()
        };
        assert!((summary.error_rate() - 0.3).abs() < 1e-9);
    }
}
