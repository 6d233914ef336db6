//! The breaker of an authority: while a server fails or is too slow, calls to it fail at once, and one call at
//! a time probes whether it has recovered. So clients do not wait for a server that does not respond, and it is
//! not called harder while it recovers.
//!
//! What counts is whether the server responds, not what it says: any complete response is a success, whatever
//! its status. A status may depend on the one request (a token at which a server stumbles), and whoever can
//! send requests must not be able to cut off everybody else. For the same reason a response that is too large is
//! no failure. A certificate that is not accepted is none either: each profile has its own trust, and all share
//! the breaker. Overload on this side (the queue is full, or its wait used up the time) says nothing of the
//! server.
//!
//! [`Circuit`] has the rules, without clock and lock.

mod circuit;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Phase};
use crate::limits::BreakerLimits;
use crate::metrics::BreakerGauge;

use circuit::{Change, Circuit, Ended, Entry};

/// See the module.
pub(crate) struct Breaker {
    authority: String,
    circuit: Mutex<Circuit>,
    gauge: BreakerGauge,
}

impl Breaker {
    /// Closed. `authority` names it in logs.
    pub(crate) fn new(authority: String, limits: BreakerLimits, gauge: BreakerGauge) -> Self {
        gauge.set(0);
        Self { authority, circuit: Mutex::new(Circuit::new(limits, Instant::now())), gauge }
    }

    /// If calls are refused now: after what time to retry. Does not make the caller the probe.
    pub(crate) fn refusal(&self) -> Option<Duration> {
        self.circuit().refusal(Instant::now())
    }

    /// Lets a call through, as the probe if there must be one; or says after what time to retry. `began` is when
    /// the call started to wait, `timeout` what it may take in all.
    pub(crate) fn enter(&self, began: Instant, timeout: Duration) -> Result<Passage<'_>, Duration> {
        let now = Instant::now();
        let mut circuit = self.circuit();
        let entry = circuit.enter(now)?;
        self.gauge.set(circuit.state());
        drop(circuit);
        let queued = now.saturating_duration_since(began);
        Ok(Passage { breaker: self, entry: Some(entry), entered: now, queued, timeout })
    }

    /// Whether nothing would be lost if the authority were forgotten.
    pub(crate) fn is_forgettable(&self) -> bool {
        self.circuit().is_forgettable(Instant::now())
    }

    fn ended(&self, entry: Entry, ended: Ended, error: Option<&Error>) {
        let mut circuit = self.circuit();
        let change = circuit.ended(entry, ended, Instant::now(), spread);
        self.gauge.set(circuit.state());
        drop(circuit);
        let authority = &self.authority;
        match change {
            Some(Change::Opened(reason)) => {
                let error = error.map(tracing::field::display);
                tracing::warn!(authority, %reason, error, "authority is unavailable: calls to it are refused");
            }
            Some(Change::Closed { after }) => {
                tracing::info!(authority, ?after, "authority is available again");
            }
            None => {}
        }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that was let through. If it is dropped, it was cancelled, and says nothing of the server.
pub(crate) struct Passage<'a> {
    breaker: &'a Breaker,
    entry: Option<Entry>,
    entered: Instant,
    queued: Duration,
    timeout: Duration,
}

impl Passage<'_> {
    /// Records the end of the call.
    pub(crate) fn ended<T>(mut self, result: &Result<T, Error>) {
        let Some(entry) = self.entry.take() else { return };
        let error = result.as_ref().err();
        self.breaker.ended(entry, self.judged(error), error);
    }

    fn judged(&self, error: Option<&Error>) -> Ended {
        let half = self.timeout / 2;
        match error {
            None | Some(Error::TooLarge { .. } | Error::Upgrade { .. }) => {
                if self.entered.elapsed() > half {
                    Ended::Slow
                } else {
                    Ended::Well
                }
            }
            // The server was not given its time.
            Some(Error::Timeout { .. }) if self.queued > half => Ended::Unrelated,
            Some(
                Error::Resolve { .. }
                | Error::Connect { .. }
                | Error::Timeout { phase: Phase::Connect | Phase::Response, .. }
                | Error::Lost { .. }
                | Error::InvalidResponse { .. },
            ) => Ended::Failed,
            Some(
                Error::InvalidRequest { .. }
                | Error::Refused { .. }
                | Error::Overloaded { .. }
                | Error::TooManyAuthorities { .. }
                | Error::Open { .. }
                | Error::Tls { .. }
                | Error::Timeout { phase: Phase::Queue, .. }
                | Error::Stopped { .. },
            ) => Ended::Unrelated,
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.breaker.ended(entry, Ended::Unrelated, None);
        }
    }
}

/// A random number: nodes that lost a server together do not probe it together.
fn spread() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::metrics::Metrics;

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// Opens after one failure.
    fn breaker() -> Breaker {
        let gauge = Metrics::register(&Registry::new()).unwrap().of_breaker("http://issuer.test:80");
        Breaker::new(
            "http://issuer.test:80".to_owned(),
            BreakerLimits { in_a_row: 1, ..BreakerLimits::default() },
            gauge,
        )
    }

    fn timeout(phase: Phase) -> Error {
        Error::Timeout { place: "http://issuer.test/".into(), phase, after: TIMEOUT }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_is_no_failure_of_a_server_that_was_not_given_its_time() {
        for (queued, phase, opens) in [
            (Duration::ZERO, Phase::Response, true),
            (Duration::from_secs(5), Phase::Response, true),
            (Duration::from_secs(6), Phase::Response, false),
            (Duration::from_secs(6), Phase::Connect, false),
            (Duration::ZERO, Phase::Queue, false),
        ] {
            let (breaker, began) = (breaker(), Instant::now());
            tokio::time::advance(queued).await;
            let passage = breaker.enter(began, TIMEOUT).unwrap();
            tokio::time::advance(TIMEOUT - queued).await;
            passage.ended(&Err::<(), _>(timeout(phase)));
            assert_eq!(breaker.refusal().is_some(), opens, "{queued:?} {phase:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_is_slow_if_the_server_took_more_than_half_of_the_timeout() {
        for (queued, took, slow) in [(0, 5, false), (0, 6, true), (6, 4, false)] {
            let (breaker, began) = (breaker(), Instant::now());
            tokio::time::advance(Duration::from_secs(queued)).await;
            let passage = breaker.enter(began, TIMEOUT).unwrap();
            tokio::time::advance(Duration::from_secs(took)).await;
            assert_eq!(passage.judged(None) == Ended::Slow, slow, "{queued} {took}");
        }
    }
}
