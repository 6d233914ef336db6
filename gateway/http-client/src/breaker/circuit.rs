//! The rules of a breaker: when it opens, for how long, and when it closes.
//!
//! 1. Closed: calls pass. It opens after failures in a row, or if, of enough recent calls, half failed or nearly
//!    all failed or were slow.
//! 2. Open: calls are refused. The period doubles if the server fails again soon, and is spread at random.
//! 3. Half-open, from the first call after that period: one call at a time passes, as the probe. If it ends
//!    well (even slowly: slowness matters under load), the breaker closes; if it fails, the breaker opens for
//!    longer. A call that began before the breaker opened says nothing any more.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::BreakerLimits;

/// A breaker's state and its recent calls.
pub(crate) struct Circuit {
    limits: BreakerLimits,
    state: State,
    /// How often it opened: calls that passed in an earlier generation no longer count.
    generation: u64,
    recent: Recent,
    in_a_row: u32,
    /// How often it opened without a longer pause.
    level: u32,
    /// When a call last passed or ended.
    used: Instant,
    /// When it last closed.
    closed: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { since: Instant, until: Instant },
    HalfOpen { since: Instant, probe: Probe },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    None,
    UnderWay,
}

/// A call that passed.
#[derive(Debug)]
pub(crate) struct Entry {
    generation: u64,
    is_probe: bool,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With a complete response.
    Well,
    /// The same, after more than half of its timeout.
    Slow,
    /// Without a usable response.
    Failed,
    /// It says nothing of the server.
    Unrelated,
}

/// A change that an operator should know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Calls are refused from now on.
    Opened(Reason),
    /// They pass again, after this time.
    Closed { after: Duration },
}

/// Why a breaker opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// This many calls failed, none succeeded in between.
    InARow(u32),
    /// Of recent calls, too many failed.
    Failures { failed: u32, calls: u32 },
    /// Of recent calls, too many failed or were slow.
    Slowness { slow: u32, calls: u32 },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow(failed) => write!(f, "{failed} calls in a row failed"),
            Self::Failures { failed, calls } => write!(f, "{failed} of {calls} recent calls failed"),
            Self::Slowness { slow, calls } => {
                write!(f, "{slow} of {calls} recent calls failed or took more than half of their timeout")
            }
        }
    }
}

impl Circuit {
    /// Closed.
    pub(crate) fn new(limits: BreakerLimits, now: Instant) -> Self {
        let recent = Recent { half: limits.window / 2, began: now, now: Tally::default(), before: Tally::default() };
        Self { limits, state: State::Closed, generation: 0, recent, in_a_row: 0, level: 0, used: now, closed: now }
    }

    /// 0: closed, 1: half-open, 2: open.
    pub(crate) fn state(&self) -> i64 {
        match self.state {
            State::Closed => 0,
            State::HalfOpen { .. } => 1,
            State::Open { .. } => 2,
        }
    }

    /// If a call would be refused: after what time to retry.
    pub(crate) fn refusal(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Closed | State::HalfOpen { probe: Probe::None, .. } => None,
            State::HalfOpen { probe: Probe::UnderWay, .. } => Some(self.limits.shortest),
            State::Open { until, .. } => (now < until).then(|| until - now),
        }
    }

    /// A call passes, or is refused: then the time after which to retry is returned.
    pub(crate) fn enter(&mut self, now: Instant) -> Result<Entry, Duration> {
        if let Some(retry) = self.refusal(now) {
            return Err(retry);
        }
        self.used = now;
        let is_probe = match self.state {
            State::Closed => false,
            State::Open { since, .. } | State::HalfOpen { since, .. } => {
                self.state = State::HalfOpen { since, probe: Probe::UnderWay };
                true
            }
        };
        Ok(Entry { generation: self.generation, is_probe })
    }

    /// A call ended; `spread` draws a random number, which is needed only if the breaker opens.
    pub(crate) fn ended(
        &mut self,
        entry: Entry,
        ended: Ended,
        now: Instant,
        spread: impl FnOnce() -> u32,
    ) -> Option<Change> {
        if entry.generation != self.generation {
            return None;
        }
        self.used = now;
        match (self.state, ended) {
            (State::HalfOpen { since, .. }, _) if entry.is_probe => self.probed(since, ended, now, spread),
            (State::Closed, Ended::Unrelated) => None,
            (State::Closed, _) => {
                let reason = self.counted(ended, now)?;
                if now.saturating_duration_since(self.closed) >= self.limits.window {
                    self.level = 0;
                }
                self.open(now, now, spread());
                Some(Change::Opened(reason))
            }
            (State::Open { .. } | State::HalfOpen { .. }, _) => None,
        }
    }

    /// Whether a new circuit would behave the same, or nobody has asked for long.
    pub(crate) fn is_forgettable(&self, now: Instant) -> bool {
        let last = match self.state {
            State::Closed if self.in_a_row == 0 && self.level == 0 => return true,
            State::Open { until, .. } => until,
            State::Closed | State::HalfOpen { .. } => self.used,
        };
        now.saturating_duration_since(last) >= self.limits.forget
    }

    fn probed(&mut self, since: Instant, ended: Ended, now: Instant, spread: impl FnOnce() -> u32) -> Option<Change> {
        match ended {
            Ended::Well | Ended::Slow => {
                self.state = State::Closed;
                self.closed = now;
                self.in_a_row = 0;
                self.recent.clear(now);
                Some(Change::Closed { after: now.saturating_duration_since(since) })
            }
            Ended::Failed => {
                self.open(since, now, spread());
                None
            }
            Ended::Unrelated => {
                self.state = State::HalfOpen { since, probe: Probe::None };
                None
            }
        }
    }

    /// Why to open now, if at all.
    fn counted(&mut self, ended: Ended, now: Instant) -> Option<Reason> {
        let (failed, slow) = (u32::from(ended == Ended::Failed), u32::from(ended == Ended::Slow));
        self.in_a_row = if failed == 1 { self.in_a_row.saturating_add(1) } else { 0 };
        let Tally { calls, failed, slow } = self.recent.add(now, Tally { calls: 1, failed, slow });
        let slow = slow.saturating_add(failed);
        if self.in_a_row >= self.limits.in_a_row {
            return Some(Reason::InARow(self.in_a_row));
        }
        if calls < self.limits.calls {
            return None;
        }
        if failed.saturating_mul(2) >= calls {
            return Some(Reason::Failures { failed, calls });
        }
        (slow.saturating_mul(10) >= calls.saturating_mul(9)).then_some(Reason::Slowness { slow, calls })
    }

    fn open(&mut self, since: Instant, now: Instant, spread: u32) {
        let doubled = self.limits.shortest.saturating_mul(1 << self.level.min(16));
        let period = doubled.min(self.limits.longest);
        // Between three and five quarters of it.
        let spread = period.mul_f64(0.75 + f64::from(spread) / f64::from(u32::MAX) / 2.0);
        self.state = State::Open { since, until: now + spread };
        self.level = self.level.saturating_add(1);
        self.generation = self.generation.wrapping_add(1);
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    calls: u32,
    failed: u32,
    slow: u32,
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            failed: self.failed.saturating_add(other.failed),
            slow: self.slow.saturating_add(other.slow),
        }
    }
}

/// Calls of the current half of the window and of the half before.
struct Recent {
    half: Duration,
    began: Instant,
    now: Tally,
    before: Tally,
}

impl Recent {
    fn add(&mut self, now: Instant, tally: Tally) -> Tally {
        let passed = now.saturating_duration_since(self.began);
        if passed >= self.half.saturating_mul(2) {
            self.clear(now);
        } else if passed >= self.half {
            self.before = std::mem::take(&mut self.now);
            self.began += self.half;
        }
        self.now = self.now.plus(tally);
        self.now.plus(self.before)
    }

    fn clear(&mut self, now: Instant) {
        (self.now, self.before, self.began) = (Tally::default(), Tally::default(), now);
    }
}

#[cfg(test)]
#[path = "circuit_tests.rs"]
mod tests;
