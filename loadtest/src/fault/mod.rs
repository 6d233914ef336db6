//! Faults of the store during a run, and what they cost cached traffic.
//!
//! A run with faults has three steps for each of them: before, during and after. At the boundaries the [`Breaker`] of
//! the fault breaks the store and repairs it. The p99 of cached traffic during a fault is compared with the normal
//! one: the median of all steps before a fault, since a single step has few requests in its last hundredth.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::live::Update;
use crate::outcome::{Fault, Faults, Phase, Step};
use crate::scenario;
use crate::span::Span;

mod command;
mod prepare;
mod site;
mod store;

pub use command::Commands;
pub use prepare::{PrepareError, Prepared, prepare};
pub use site::{Site, SiteError};
pub use store::{Kind, OwnStore};

/// The kind of requests whose latency must not suffer, as the scenario names it.
const JUDGED: &str = "cached";

/// By how much the p99 of cached traffic may exceed the normal one.
const BOUND: f64 = 1.5;

/// The steps of each fault.
const STEPS: [&str; 3] = ["before", "during", "after"];

/// Breaks and repairs a store.
pub trait Breaker: Send {
    /// The names of the faults, in order.
    fn faults(&self) -> Vec<String>;

    /// Brings a fault about.
    ///
    /// # Errors
    /// Why it could not.
    fn break_store(&mut self, fault: usize) -> Result<(), String>;

    /// Ends it.
    ///
    /// # Errors
    /// Why it could not.
    fn repair(&mut self, fault: usize) -> Result<(), String>;
}

/// The load of a run with faults: the same rate in steps of the same duration.
pub fn steps(faults: &[String], rate: f64, over: Duration) -> Vec<scenario::Step> {
    let duration = Span(each(faults.len(), over));
    let names = faults.iter().flat_map(|fault| STEPS.map(|step| format!("{fault}: {step}")));
    names.map(|name| scenario::Step { name: Some(name), rate, duration }).collect()
}

fn each(faults: usize, over: Duration) -> Duration {
    over / u32::try_from(faults * STEPS.len()).unwrap_or(u32::MAX).max(1)
}

/// Breaks and repairs at the boundaries of the steps, on a thread of its own.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(
    mut breaker: Box<dyn Breaker>,
    (start, over): (Instant, Duration),
    updates: Sender<Update>,
    stop: Arc<AtomicBool>,
) -> std::io::Result<Breaking> {
    let faults = breaker.faults();
    let names = faults.clone();
    let each = each(faults.len(), over);
    let thread = std::thread::Builder::new().name("faults".to_owned()).spawn(move || {
        let mut failed = Vec::new();
        for (place, fault) in faults.iter().enumerate() {
            let step = u32::try_from(place * STEPS.len()).unwrap_or(u32::MAX);
            if !wait_until(start + each * (step + 1), &stop) {
                break;
            }
            let _ = updates.send(Update::Note(format!("store: {fault}")));
            let broken = breaker.break_store(place);
            wait_until(start + each * (step + 2), &stop);
            let repaired = breaker.repair(place);
            let _ = updates.send(Update::Note(format!("store: {fault}: ended")));
            failed.extend(broken.and(repaired).err().map(|why| format!("{fault}: {why}")));
        }
        (breaker, failed)
    })?;
    Ok(Breaking { faults: names, thread })
}

/// A store that is being broken and repaired.
pub struct Breaking {
    faults: Vec<String>,
    /// Returns the breaker, so that the store lives until the run has ended.
    thread: JoinHandle<(Box<dyn Breaker>, Vec<String>)>,
}

impl Breaking {
    /// Waits for the last repair, and ends the store if it is the run's own. Returns the names of the faults.
    ///
    /// # Errors
    /// The first fault that could not be brought about, or not be ended.
    pub fn end(self) -> Result<Vec<String>, String> {
        let (_breaker, failed) = self.thread.join().map_err(|_| "the thread that does it panicked".to_owned())?;
        failed.into_iter().next().map_or(Ok(self.faults), Err)
    }
}

/// `false` if the run was stopped first.
fn wait_until(at: Instant, stop: &AtomicBool) -> bool {
    while !stop.load(Ordering::Relaxed) {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
    false
}

/// What each fault cost, from the steps of a run.
pub fn judge(faults: &[String], steps: &[Step]) -> Faults {
    let mut rows: Vec<Fault> =
        faults.iter().zip(steps.chunks(STEPS.len())).filter_map(|(name, steps)| fault(name, steps)).collect();
    let mut normal: Vec<f64> = rows.iter().map(|fault| fault.before.p99).collect();
    normal.sort_by(f64::total_cmp);
    let normal = normal.get(normal.len() / 2).copied().unwrap_or_default();
    for fault in &mut rows {
        fault.times_normal = fault.during.p99 / normal.max(f64::MIN_POSITIVE);
        fault.held = fault.times_normal <= BOUND && fault.not_accepted == 0;
    }
    Faults { normal_p99: normal, bound: BOUND, held: rows.iter().all(|fault| fault.held), rows }
}

fn fault(name: &str, steps: &[Step]) -> Option<Fault> {
    let [before, during, after] = steps else { return None };
    let judged = |step: &Step| {
        let phase = step.kinds.iter().find(|phase| phase.name == JUDGED);
        phase.map(|phase| phase.summary.clone()).unwrap_or_default()
    };
    let not_accepted = |step: &Step| {
        let summary = judged(step);
        summary.responses - summary.statuses.get(&200).copied().unwrap_or_default() + summary.failures()
    };
    let others = || during.kinds.iter().filter(|phase| phase.name != JUDGED);
    let unserved = |phase: &Phase| phase.summary.unserved();
    Some(Fault {
        name: name.to_owned(),
        before: judged(before).latency,
        during: judged(during).latency,
        after: judged(after).latency,
        not_accepted: not_accepted(during),
        not_accepted_after: not_accepted(after),
        others_unserved: others().map(unserved).sum(),
        others_longest: others().map(|phase| phase.summary.latency.max).fold(0.0, f64::max),
        ..Fault::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Latency, Summary};

    fn step(p99: f64, refused: u64) -> Step {
        let mut summary =
            Summary { responses: 100, latency: Latency { p99, ..Latency::default() }, ..Summary::default() };
        summary.statuses.insert(200, 100 - refused);
        summary.statuses.insert(503, refused);
        let mut others = Summary { responses: 3, ..Summary::default() };
        others.statuses.insert(503, 3);
        let named = |name: &str, summary| Phase { name: name.to_owned(), summary };
        Step { kinds: vec![named("issue", others), named(JUDGED, summary)], ..Step::default() }
    }

    fn judged(steps: &[(f64, u64)]) -> Faults {
        let names: Vec<String> = (0..steps.len() / 3).map(|number| number.to_string()).collect();
        let steps: Vec<Step> = steps.iter().map(|(p99, refused)| step(*p99, *refused)).collect();
        judge(&names, &steps)
    }

    #[test]
    fn a_fault_is_judged_by_the_median_of_the_steps_before_faults() {
        let faults =
            judged(&[(10.0, 0), (14.0, 0), (90.0, 1), (90.0, 0), (15.0, 0), (9.0, 0), (9.0, 0), (16.0, 0), (9.0, 0)]);
        let held: Vec<bool> = faults.rows.iter().map(|fault| fault.held).collect();
        assert_eq!((faults.normal_p99, held, faults.held), (10.0, vec![true, true, false], false));
        assert_eq!((faults.rows[0].not_accepted_after, faults.rows[0].others_unserved), (1, 3));
    }

    #[test]
    fn a_disturbance_that_began_before_a_fault_excuses_nothing() {
        let faults =
            judged(&[(10.0, 0), (10.0, 0), (10.0, 0), (10.0, 0), (9.0, 0), (10.0, 0), (40.0, 0), (50.0, 0), (10.0, 0)]);
        let row = &faults.rows[2];
        assert_eq!((faults.normal_p99, row.times_normal, row.held, faults.held), (10.0, 5.0, false, false));
    }

    #[test]
    fn a_cached_token_that_is_not_accepted_fails_however_fast() {
        let faults = judged(&[(10.0, 0), (1.0, 1), (10.0, 0)]);
        assert_eq!((faults.held, faults.rows[0].not_accepted), (false, 1));
    }

    #[test]
    fn steps_of_a_fault_have_equal_durations() {
        let steps = steps(&["stopped".to_owned(), "cut".to_owned()], 50.0, Duration::from_secs(60));
        assert_eq!(steps.len(), 6);
        assert!(steps.iter().all(|step| step.duration.0 == Duration::from_secs(10)));
        assert_eq!(steps[4].name.as_deref(), Some("cut: during"));
    }
}
