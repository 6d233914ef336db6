//! The amount of work, its duration, and its CPU time.

use std::fs;
use std::time::{Duration, Instant};

/// Work of one kind over a period.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Number of operations.
    pub done: u64,
    /// The duration.
    pub elapsed: Duration,
    /// CPU time of this process, all threads. Zero for work of another program.
    pub cpu: Duration,
}

impl Rate {
    /// Operations per second.
    pub fn per_second(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// CPU time per operation, in microseconds.
    pub fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (self.done as f64).max(1.0)
    }
}

/// A running measurement.
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

/// CPU time of this process's threads, without its child processes. Threads that have ended are missing, so none
/// may end during a measurement.
fn spent() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        let account = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        account.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
