//! Counters of one thread in one second, by kind of request.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use hdrhistogram::errors::CreationError;

use crate::failure::Failure;
use crate::outcome::{Checks, Summary, WrongResponse};
use crate::recorder::{Ending, Recorder, Seen};
use crate::workload::{Checked, Wrong};

/// Maximum number of wrong responses kept as examples.
const EXAMPLES: usize = 10;

/// Responses by kind, and the results of their checks.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    kinds: BTreeMap<String, Recorder>,
    /// By the index of the step, if there are several, and by kind.
    steps: BTreeMap<usize, BTreeMap<String, Recorder>>,
    checks: Checks,
}

/// How requests of each kind ended, and when.
pub type Endings = BTreeMap<String, BTreeMap<Ending, Seen>>;

/// A finished request.
#[derive(Debug)]
pub struct Finished<'w> {
    /// The kind, as named in results.
    pub kind: &'w str,
    /// The step for which it was scheduled, if there are several.
    pub step: Option<usize>,
    /// Its scheduled send time.
    pub intended: Instant,
    /// Its actual send time.
    pub sent: Instant,
    /// Its result.
    pub result: Result<(u16, Result<Checked, Wrong>), Failure>,
}

impl Counters {
    /// Adds a request that ended now. Times in examples are relative to `start`.
    ///
    /// # Errors
    /// If another histogram cannot be allocated.
    pub fn add(&mut self, finished: Finished<'_>, start: Instant) -> Result<(), CreationError> {
        let recorder = match self.kinds.get_mut(finished.kind) {
            Some(recorder) => recorder,
            None => self.kinds.entry(finished.kind.to_owned()).or_insert(Recorder::try_new()?),
        };
        let step = match finished.step {
            Some(step) => Some(known(self.steps.entry(step).or_default(), finished.kind)?),
            None => None,
        };
        let lateness = finished.sent.saturating_duration_since(finished.intended);
        let now = Instant::now();
        let at = now.saturating_duration_since(start);
        match finished.result {
            Err(failure) => [Some(recorder), step].into_iter().flatten().for_each(|recorder| {
                recorder.failure(failure, at, lateness);
            }),
            Ok((status, checked)) => {
                let latency = now.saturating_duration_since(finished.intended);
                [Some(recorder), step].into_iter().flatten().for_each(|recorder| {
                    recorder.response(status, at, latency, lateness);
                });
                self.checks.statuses_checked += 1;
                match checked {
                    Ok(Checked::Status) => {}
                    Ok(Checked::Identity) => self.checks.identities_checked += 1,
                    Err(wrong) => self.wrong(wrong, at),
                }
            }
        }
        Ok(())
    }

    fn wrong(&mut self, wrong: Wrong, at: Duration) {
        self.checks.wrong += 1;
        if self.checks.examples.len() < EXAMPLES {
            let Wrong { expected, found } = wrong;
            self.checks.examples.push(WrongResponse { at: at.as_secs_f64(), expected, found });
        }
    }

    /// Adds the counters of another thread or second.
    pub fn merge(&mut self, other: &Self) {
        merge(&mut self.kinds, &other.kinds);
        for (step, kinds) in &other.steps {
            merge(self.steps.entry(*step).or_default(), kinds);
        }
        self.checks.statuses_checked += other.checks.statuses_checked;
        self.checks.identities_checked += other.checks.identities_checked;
        self.checks.wrong += other.checks.wrong;
        let room = EXAMPLES.saturating_sub(self.checks.examples.len());
        self.checks.examples.extend(other.checks.examples.iter().take(room).cloned());
    }

    /// The results of the checks.
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// The summary of each kind, over a duration.
    pub fn kinds(&self, over: Duration) -> impl Iterator<Item = (&str, Summary)> {
        self.kinds.iter().map(move |(kind, recorder)| (kind.as_str(), recorder.summary(over)))
    }

    /// The summary of a step, over its duration.
    ///
    /// # Errors
    /// If another histogram cannot be allocated.
    pub fn step(&self, number: usize, took: Duration) -> Result<Summary, CreationError> {
        let mut all = Recorder::try_new()?;
        self.steps.get(&number).into_iter().flat_map(BTreeMap::values).for_each(|recorder| all.add(recorder));
        Ok(all.summary(took))
    }

    /// The summary of each kind in a step, over its duration.
    pub fn step_kinds(&self, number: usize, took: Duration) -> impl Iterator<Item = (&str, Summary)> {
        let kinds = self.steps.get(&number).into_iter().flatten();
        kinds.map(move |(kind, recorder)| (kind.as_str(), recorder.summary(took)))
    }

    /// How requests of each kind ended, and when.
    pub fn endings(&self) -> Endings {
        self.kinds.iter().map(|(kind, recorder)| (kind.clone(), recorder.endings().clone())).collect()
    }

    /// The summary of all kinds together.
    ///
    /// # Errors
    /// If another histogram cannot be allocated.
    pub fn summary(&self, over: Duration) -> Result<Summary, CreationError> {
        let mut all = Recorder::try_new()?;
        self.kinds.values().for_each(|recorder| all.add(recorder));
        Ok(all.summary(over))
    }

    /// The number of responses and failures.
    pub fn requests(&self) -> u64 {
        self.kinds.values().map(Recorder::requests).sum()
    }
}

fn known<'r>(recorders: &'r mut BTreeMap<String, Recorder>, kind: &str) -> Result<&'r mut Recorder, CreationError> {
    match recorders.entry(kind.to_owned()) {
        Entry::Occupied(entry) => Ok(entry.into_mut()),
        Entry::Vacant(entry) => Ok(entry.insert(Recorder::try_new()?)),
    }
}

fn merge<K: Ord + Clone>(recorders: &mut BTreeMap<K, Recorder>, others: &BTreeMap<K, Recorder>) {
    for (key, other) in others {
        match recorders.get_mut(key) {
            Some(known) => known.add(other),
            None => {
                recorders.insert(key.clone(), other.clone());
            }
        }
    }
}
