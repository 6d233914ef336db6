//! What one thread has seen in one second, by kind of request.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::errors::CreationError;

use crate::failure::Failure;
use crate::outcome::{Checks, Summary, WrongAnswer};
use crate::recorder::Recorder;
use crate::workload::{Checked, Wrong};

/// Wrong answers that are told in full.
const EXAMPLES: usize = 10;

/// Answers by kind, and what their checks found.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    kinds: BTreeMap<&'static str, Recorder>,
    checks: Checks,
}

/// One request that is over.
#[derive(Debug)]
pub struct Finished {
    /// The kind.
    pub kind: &'static str,
    /// When it was meant to be sent.
    pub intended: Instant,
    /// When it was.
    pub sent: Instant,
    /// What came of it.
    pub result: Result<(u16, Result<Checked, Wrong>), Failure>,
}

impl Tally {
    /// Adds a request that ended now. Times in examples count from `start`.
    ///
    /// # Errors
    /// When there is no memory for another histogram.
    pub fn add(&mut self, finished: Finished, start: Instant) -> Result<(), CreationError> {
        let recorder = match self.kinds.get_mut(finished.kind) {
            Some(recorder) => recorder,
            None => self.kinds.entry(finished.kind).or_insert(Recorder::try_new()?),
        };
        let lateness = finished.sent.saturating_duration_since(finished.intended);
        match finished.result {
            Err(failure) => recorder.failure(failure, lateness),
            Ok((status, checked)) => {
                recorder.answer(status, finished.intended.elapsed(), lateness);
                self.checks.statuses_checked += 1;
                match checked {
                    Ok(Checked::Status) => {}
                    Ok(Checked::Identity) => self.checks.identities_checked += 1,
                    Err(wrong) => self.wrong(wrong, start.elapsed()),
                }
            }
        }
        Ok(())
    }

    fn wrong(&mut self, wrong: Wrong, at: Duration) {
        self.checks.wrong += 1;
        if self.checks.examples.len() < EXAMPLES {
            let Wrong { expected, found } = wrong;
            self.checks.examples.push(WrongAnswer { at: at.as_secs_f64(), expected, found });
        }
    }

    /// Adds another thread's, or another second's.
    pub fn merge(&mut self, other: &Self) {
        for (kind, recorder) in &other.kinds {
            match self.kinds.get_mut(kind) {
                Some(known) => known.add(recorder),
                None => {
                    self.kinds.insert(kind, recorder.clone());
                }
            }
        }
        self.checks.statuses_checked += other.checks.statuses_checked;
        self.checks.identities_checked += other.checks.identities_checked;
        self.checks.wrong += other.checks.wrong;
        let room = EXAMPLES.saturating_sub(self.checks.examples.len());
        self.checks.examples.extend(other.checks.examples.iter().take(room).cloned());
    }

    /// What the checks found.
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// The figures of each kind, over that much time.
    pub fn kinds(&self, over: Duration) -> impl Iterator<Item = (&'static str, Summary)> {
        self.kinds.iter().map(move |(kind, recorder)| (*kind, recorder.summary(over)))
    }

    /// The figures of all kinds together.
    ///
    /// # Errors
    /// When there is no memory for another histogram.
    pub fn summary(&self, over: Duration) -> Result<Summary, CreationError> {
        let mut all = Recorder::try_new()?;
        self.kinds.values().for_each(|recorder| all.add(recorder));
        Ok(all.summary(over))
    }

    /// Answers and failures.
    pub fn requests(&self) -> u64 {
        self.kinds.values().map(Recorder::requests).sum()
    }
}
