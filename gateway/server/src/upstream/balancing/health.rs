//! The health of an endpoint: what probes and requests say about it, counted.
//!
//! Invariant: a success clears the failures counted so far, and a failure the successes, so that only what happens in a
//! row changes the health. Probes and requests count apart.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Who observes an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observer {
    /// A probe.
    Active,
    /// A request of a client.
    Passive,
}

/// What was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// A response with this status.
    Status(u16),
    /// A connection, which is all that was wanted.
    Connected,
    /// There was no connection, or it broke.
    ConnectionFailed,
    /// It took too long.
    TimedOut,
}

/// How often what must happen in a row; 0: never.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Thresholds {
    /// Successes that make it healthy.
    pub(super) successes: u32,
    /// Failed connections that make it unhealthy.
    pub(super) tcp_failures: u32,
    /// Timeouts that do.
    pub(super) timeouts: u32,
    /// Failures by status that do.
    pub(super) http_failures: u32,
    /// Statuses that are successes.
    pub(super) healthy_statuses: Vec<u16>,
    /// Statuses that are failures.
    pub(super) unhealthy_statuses: Vec<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Success,
    TcpFailure,
    Timeout,
    HttpFailure,
}

impl Thresholds {
    /// Whether anything makes an endpoint unhealthy.
    pub(super) fn can_fail(&self) -> bool {
        self.tcp_failures > 0 || self.timeouts > 0 || self.http_failures > 0
    }

    fn meaning(&self, sign: Sign) -> Option<Meaning> {
        match sign {
            Sign::Connected => Some(Meaning::Success),
            Sign::ConnectionFailed => Some(Meaning::TcpFailure),
            Sign::TimedOut => Some(Meaning::Timeout),
            Sign::Status(status) if self.healthy_statuses.contains(&status) => Some(Meaning::Success),
            Sign::Status(status) if self.unhealthy_statuses.contains(&status) => Some(Meaning::HttpFailure),
            Sign::Status(_) => None,
        }
    }
}

/// The health of one endpoint.
#[derive(Debug)]
pub(super) struct Health {
    healthy: AtomicBool,
    /// Whether failures are counted that a success would clear.
    doubted: AtomicBool,
    counts: Mutex<[Counts; 2]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    successes: u32,
    tcp_failures: u32,
    timeouts: u32,
    http_failures: u32,
}

/// The health has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flip {
    /// To healthy.
    Healthy,
    /// To unhealthy.
    Unhealthy,
}

impl Default for Health {
    fn default() -> Self {
        Self { healthy: AtomicBool::new(true), doubted: AtomicBool::new(false), counts: Mutex::default() }
    }
}

impl Health {
    /// Whether it gets requests.
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// Counts what was observed.
    pub(super) fn observe(&self, observer: Observer, thresholds: &Thresholds, sign: Sign) -> Option<Flip> {
        let meaning = thresholds.meaning(sign)?;
        // The common case takes no lock.
        if meaning == Meaning::Success && self.is_healthy() && !self.doubted.load(Ordering::Acquire) {
            return None;
        }
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let [active, passive] = &mut *all;
        let counts = match observer {
            Observer::Active => active,
            Observer::Passive => passive,
        };
        let (count, limit) = match meaning {
            Meaning::Success => {
                *counts = Counts { successes: counts.successes, ..Counts::default() };
                (&mut counts.successes, thresholds.successes)
            }
            Meaning::TcpFailure => (&mut counts.tcp_failures, thresholds.tcp_failures),
            Meaning::Timeout => (&mut counts.timeouts, thresholds.timeouts),
            Meaning::HttpFailure => (&mut counts.http_failures, thresholds.http_failures),
        };
        *count = count.saturating_add(1);
        let reached = limit > 0 && *count >= limit;
        if meaning != Meaning::Success {
            counts.successes = 0;
        }
        let doubted = |counts: &Counts| counts.tcp_failures + counts.timeouts + counts.http_failures > 0;
        self.doubted.store(all.iter().any(doubted), Ordering::Release);
        let becomes = if meaning == Meaning::Success { Flip::Healthy } else { Flip::Unhealthy };
        if reached && (becomes == Flip::Healthy) != self.is_healthy() { self.turn(&mut all, becomes) } else { None }
    }

    /// Makes it healthy or not, whatever was counted.
    pub(super) fn set(&self, becomes: Flip) -> Option<Flip> {
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = (becomes == Flip::Healthy) != self.is_healthy();
        self.turn(&mut all, becomes).filter(|_| changes)
    }

    fn turn(&self, counts: &mut [Counts; 2], becomes: Flip) -> Option<Flip> {
        *counts = Default::default();
        self.doubted.store(false, Ordering::Release);
        self.healthy.store(becomes == Flip::Healthy, Ordering::Release);
        Some(becomes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thresholds() -> Thresholds {
        Thresholds {
            successes: 2,
            tcp_failures: 2,
            timeouts: 3,
            http_failures: 2,
            healthy_statuses: vec![200],
            unhealthy_statuses: vec![500],
        }
    }

    fn observed(signs: &[Sign]) -> Vec<Option<Flip>> {
        let health = Health::default();
        signs.iter().map(|sign| health.observe(Observer::Passive, &thresholds(), *sign)).collect()
    }

    #[test]
    fn what_happens_in_a_row_changes_the_health() {
        use Sign::{ConnectionFailed, Status, TimedOut};
        let (down, up) = (Some(Flip::Unhealthy), Some(Flip::Healthy));
        assert_eq!(observed(&[Status(500), Status(200), Status(500), Status(500)]), [None, None, None, down]);
        assert_eq!(observed(&[ConnectionFailed, TimedOut, ConnectionFailed]), [None, None, down]);
        assert_eq!(observed(&[TimedOut, TimedOut, Status(404), TimedOut]), [None, None, None, down]);
        let again = [ConnectionFailed, ConnectionFailed, Status(200), Status(500), Status(200), Status(200)];
        assert_eq!(observed(&again), [None, down, None, None, None, up]);
    }

    #[test]
    fn a_threshold_of_zero_is_never_reached() {
        let health = Health::default();
        for sign in [Sign::ConnectionFailed, Sign::TimedOut, Sign::Status(500)] {
            for _ in 0..300 {
                assert_eq!(health.observe(Observer::Active, &Thresholds::default(), sign), None);
            }
        }
        assert!(!Thresholds::default().can_fail());
    }

    #[test]
    fn probes_and_requests_count_apart() {
        let health = Health::default();
        let failed = |observer| health.observe(observer, &thresholds(), Sign::ConnectionFailed);
        assert_eq!((failed(Observer::Active), failed(Observer::Passive)), (None, None));
        assert_eq!(failed(Observer::Active), Some(Flip::Unhealthy));
    }

    #[test]
    fn an_operator_decides_at_once_and_nothing_counted_remains() {
        let health = Health::default();
        let failed = || health.observe(Observer::Passive, &thresholds(), Sign::ConnectionFailed);
        assert_eq!(failed(), None);
        assert_eq!(health.set(Flip::Healthy), None);
        assert_eq!(failed(), None, "the first one is forgotten");
        assert_eq!(health.set(Flip::Unhealthy), Some(Flip::Unhealthy));
        assert!(!health.is_healthy());
    }
}
