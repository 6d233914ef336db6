//! How much was done, how long it took, and what it cost.

use std::fs;
use std::time::{Duration, Instant};

/// Work of one kind, done for a while.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// How often it was done.
    pub done: u64,
    /// For how long.
    pub elapsed: Duration,
    /// Processor time of this process, all threads. Zero for work of another program.
    pub cpu: Duration,
}

impl Rate {
    /// How often in a second.
    pub fn per_second(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Processor time of each, in microseconds.
    pub fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (self.done as f64).max(1.0)
    }
}

/// A measurement that has begun.
#[derive(Debug)]
pub(super) struct Started {
    at: Instant,
    cpu: Duration,
}

impl Started {
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), cpu: spent() }
    }

    pub(super) fn rate(&self, done: u64) -> Rate {
        Rate { done, elapsed: self.at.elapsed(), cpu: spent().saturating_sub(self.cpu) }
    }
}

/// Processor time of this process's threads, without those of programs it has started. Threads that
/// have ended are missing, so none may end within a measurement.
fn spent() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        let account = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        account.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
