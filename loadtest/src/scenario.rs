//! Scenarios: what is sent, how fast, for how long, and the expected responses; YAML files.
//!
//! An unknown key is an error with its line and column.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::mix::{Part, Pick};
use crate::span::Span;

/// Permitted rates, in requests per second.
const RATES: RangeInclusive<f64> = 0.001..=1e7;
/// Maximum number of concurrent requests.
const REQUESTS: usize = 100_000;

/// A scenario, as in its file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name in results.
    pub name: String,
    /// Its purpose, in a sentence or two.
    pub about: String,
    /// How fast requests are sent (default: a closed loop, as fast as responses arrive).
    #[serde(default)]
    pub load: Load,
    /// Connections, over all threads.
    #[serde(default = "connections")]
    pub connections: usize,
    /// Concurrent requests per HTTP/2 connection.
    #[serde(default = "one")]
    pub streams: usize,
    /// Sending threads.
    #[serde(default = "one")]
    pub threads: usize,
    /// Time before counting starts.
    #[serde(default = "warm_up")]
    pub warm_up: Span,
    /// Time during which requests are counted.
    #[serde(default = "duration")]
    pub duration: Span,
    /// How long a response may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Identity headers are checked in one of this many responses to valid tokens; 0: none.
    #[serde(default = "identity_every")]
    pub identity_every: u64,
    /// Whether the gateway's cache is cleared first (`DELETE /cache`).
    #[serde(default)]
    pub forget_cache: bool,
    /// Whether the report shows responses over time, as for an outage.
    #[serde(default)]
    pub timeline: bool,
    /// Whether a 503 must have `Retry-After`.
    #[serde(default)]
    pub retry_after: bool,
    /// The kinds of requests.
    pub mix: Vec<Part>,
    /// Tokens to revoke during the run.
    pub revoke: Option<Revoke>,
}

/// How fast requests are sent: at most one of the three.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Requests per second, whether responses arrive or not.
    pub rate: Option<f64>,
    /// One rate after another, instead of `rate` and `duration`.
    pub steps: Option<Vec<Step>>,
    /// Search for the highest rate that keeps a bound.
    pub search: Option<Search>,
}

/// A rate for a while.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name in results.
    pub name: Option<String>,
    /// Requests per second.
    pub rate: f64,
    /// Its duration.
    pub duration: Span,
}

/// The search for the highest rate at which the bound holds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The bound on the 99th percentile.
    pub p99: Span,
    /// The lowest rate to try.
    pub from: f64,
    /// The highest rate to try.
    pub to: f64,
    /// Duration of each trial.
    pub trial: Span,
}

/// Revocation of tokens during a run.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// The time between two revocations.
    pub every: Span,
    /// Maximum time to watch a revoked token.
    pub watch: Span,
}

fn connections() -> usize {
    64
}

fn one() -> usize {
    1
}

fn warm_up() -> Span {
    Span(Duration::from_secs(3))
}

fn duration() -> Span {
    Span(Duration::from_secs(30))
}

fn timeout() -> Span {
    Span(Duration::from_secs(10))
}

fn identity_every() -> u64 {
    100
}

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Neither a file nor a built-in scenario.
    #[error("no scenario `{given}`: name a file, or one of {}", shipped_names().join(", "))]
    Unknown {
        /// The given name.
        given: String,
    },
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is malformed.
    #[error("{origin}:{line}:{column}: {reason}")]
    Syntax {
        /// The file or the scenario's name.
        origin: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// Its parts contradict each other.
    #[error("{origin}: {reason}")]
    Contradiction {
        /// The file or the scenario's name.
        origin: String,
        /// The contradiction.
        reason: &'static str,
    },
}

/// The built-in scenarios, by name.
pub const SHIPPED: [(&str, &str); 11] = [
    ("warm", include_str!("../scenarios/warm.yaml")),
    ("zipf", include_str!("../scenarios/zipf.yaml")),
    ("cold-start", include_str!("../scenarios/cold-start.yaml")),
    ("flood", include_str!("../scenarios/flood.yaml")),
    ("issue-storm", include_str!("../scenarios/issue-storm.yaml")),
    ("refresh-storm", include_str!("../scenarios/refresh-storm.yaml")),
    ("revocation", include_str!("../scenarios/revocation.yaml")),
    ("mixed-day", include_str!("../scenarios/mixed-day.yaml")),
    ("outage", include_str!("../scenarios/outage.yaml")),
    ("saturation", include_str!("../scenarios/saturation.yaml")),
    ("third-party", include_str!("../scenarios/third-party.yaml")),
];

fn shipped_names() -> Vec<&'static str> {
    SHIPPED.iter().map(|(name, _)| *name).collect()
}

impl Scenario {
    /// A scenario by its name or file, with its text.
    pub fn find(given: &str) -> Result<(Self, String), ScenarioError> {
        if let Some((name, text)) = SHIPPED.iter().find(|(name, _)| *name == given) {
            return Ok((Self::parse(name, text)?, (*text).to_owned()));
        }
        let path = Path::new(given);
        let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ScenarioError::Unknown { given: given.to_owned() },
            _ => ScenarioError::Read { path: path.to_owned(), source },
        })?;
        Ok((Self::parse(given, &text)?, text))
    }

    /// Reads a scenario's text; `origin` is named in errors.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ScenarioError> {
        let parsed: Result<Self, serde_yaml::Error> = serde_yaml::from_str(text);
        let scenario = parsed.map_err(|error| {
            let place = error.location();
            let (line, column) = place.map_or((1, 1), |place| (place.line(), place.column()));
            let reason = error.to_string();
            // The position is already in the message.
            let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
            ScenarioError::Syntax { origin: origin.to_owned(), line, column, reason }
        })?;
        scenario.checked(origin)
    }

    /// The counted time; for a search, each trial has its own.
    pub fn counted(&self) -> Duration {
        match &self.load.steps {
            Some(steps) => steps.iter().map(|step| step.duration.0).sum(),
            None => self.duration.0,
        }
    }

    /// Sets the duration: steps are scaled in proportion; for a search, it is the duration of each trial.
    pub fn last(&mut self, duration: Duration) {
        let whole = self.counted().as_secs_f64();
        self.duration = Span(duration);
        for step in self.load.steps.iter_mut().flatten().filter(|_| whole > 0.0) {
            step.duration = Span(duration.mul_f64(step.duration.0.as_secs_f64() / whole));
        }
        if let Some(search) = &mut self.load.search {
            search.trial = Span(duration);
        }
    }

    /// Multiplies every rate.
    pub fn multiply_rates(&mut self, factor: f64) {
        let Load { rate, steps, search } = &mut self.load;
        let steps = steps.iter_mut().flatten().map(|step| &mut step.rate);
        let bounds = search.iter_mut().flat_map(|search| [&mut search.from, &mut search.to]);
        rate.iter_mut().chain(steps).chain(bounds).for_each(|rate| *rate *= factor);
    }

    /// Number of requests of an open loop, including the warm-up; 0 for other loads.
    pub fn requests(&self) -> f64 {
        let Load { rate, steps, .. } = &self.load;
        let steps = steps.as_deref().unwrap_or_default();
        let first = rate.or(steps.first().map(|step| step.rate)).unwrap_or_default();
        let sent = |rate: f64, span: Span| rate * span.0.as_secs_f64();
        let of_steps: f64 = steps.iter().map(|step| sent(step.rate, step.duration)).sum();
        sent(first, self.warm_up) + rate.map_or(of_steps, |rate| sent(rate, self.duration))
    }

    /// Checks that its parts are consistent; `origin` is named in the error.
    pub fn checked(self, origin: &str) -> Result<Self, ScenarioError> {
        match self.contradiction() {
            Some(reason) => Err(ScenarioError::Contradiction { origin: origin.to_owned(), reason }),
            None => Ok(self),
        }
    }

    fn contradiction(&self) -> Option<&'static str> {
        let Load { rate, steps, search } = &self.load;
        let ways = [rate.is_some(), steps.is_some(), search.is_some()].into_iter().filter(|given| *given).count();
        let sensible = |rate: f64| RATES.contains(&rate);
        let requests = self.connections.saturating_mul(self.streams);
        if ways > 1 {
            Some("load: use one of rate, steps and search, or none for a closed loop")
        } else if rate.is_some_and(|rate| !sensible(rate)) {
            Some("load.rate: must be from 0.001 to 10,000,000 per second")
        } else if steps.as_ref().is_some_and(|steps| steps.is_empty() || steps.iter().any(|step| !sensible(step.rate)))
        {
            Some("load.steps: needs at least one, each with a rate from 0.001 to 10,000,000 per second")
        } else if search
            .is_some_and(|search| !sensible(search.from) || !sensible(search.to) || search.to <= search.from)
        {
            Some("load.search: must be from 0.001 to 10,000,000 per second, with `to` above `from`")
        } else if self.mix.is_empty() || self.mix.iter().all(|part| part.share == 0) {
            Some("mix: needs at least one kind of request with a share above 0")
        } else if self.mix.iter().any(|part| part.tokens == Some(0) || !(0.0..=10.0).contains(&part.exponent)) {
            Some("mix: `tokens` must be at least 1, and `exponent` from 0 to 10")
        } else if rate.is_none() && steps.is_none() && self.mix.iter().any(|part| part.pick == Pick::Once) {
            Some("mix: `pick: once` needs a rate or steps, to determine the number of tokens")
        } else if self.threads == 0 || self.threads > self.connections || !(1..=REQUESTS).contains(&requests) {
            Some(
                "connections, streams and threads: at least 1 each, no more threads than connections, and at most \
                 100,000 requests under way",
            )
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_is_valid_and_states_its_purpose() {
        for (name, _) in SHIPPED {
            let (scenario, _) = Scenario::find(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(scenario.name, name);
            assert!(scenario.about.len() > 20, "{name}");
        }
    }

    #[test]
    fn errors_in_a_scenario_have_their_position() {
        let head = "name: x\nabout: y\n";
        let rows = [
            ("mix: [{send: token}]\nload:\n  rte: 5\n", "s.yaml:5:3: load: unknown field `rte`, expected one of"),
            ("mix: [{send: tokn}]\n", "s.yaml:3:14: mix[0].send: unknown variant `tokn`"),
            ("mix: [{send: token}]\nduration: 5 parsecs\n", "s.yaml:4:11: duration: `5 parsecs` is not a duration"),
            ("mix: [{send: token}]\nthreads: many\n", "s.yaml:4:10: threads: invalid type"),
            ("mix: []\n", "s.yaml: mix: needs at least one"),
            ("mix: [{send: token}]\nload: {rate: .nan}\n", "s.yaml: load.rate: must be from"),
            ("mix: [{send: token, tokens: 0}]\n", "s.yaml: mix: `tokens` must be"),
            ("mix: [{send: token}]\nconnections: 400\nstreams: 400\n", "s.yaml: connections, streams"),
            ("mix: [{send: token}]\nload: {rate: 1, steps: []}\n", "s.yaml: load: use one of"),
            ("mix: [{send: token, pick: once}]\n", "s.yaml: mix: `pick: once` needs a rate"),
        ];
        for (text, expected) in rows {
            let told = Scenario::parse("s.yaml", &format!("{head}{text}")).unwrap_err().to_string();
            assert!(told.starts_with(expected), "{told}");
        }
        assert!(Scenario::find("nonsense").unwrap_err().to_string().contains("cold-start"));
    }

    #[test]
    fn steps_keep_their_proportions_when_scaled() {
        let (mut scenario, _) = Scenario::find("mixed-day").unwrap();
        scenario.last(Duration::from_secs(10));
        scenario.multiply_rates(0.1);
        let steps = scenario.load.steps.iter().flatten();
        let shape: Vec<(f64, Duration)> = steps.map(|step| (step.rate.round(), step.duration.0)).collect();
        let seconds = Duration::from_secs;
        assert_eq!(shape, [(20.0, seconds(2)), (150.0, seconds(3)), (300.0, seconds(2)), (20.0, seconds(3))]);
        assert_eq!(scenario.counted(), seconds(10));
    }
}
