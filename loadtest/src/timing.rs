//! The schedule of requests.
//!
//! In an open loop each request has a scheduled send time, independent of earlier requests; latency is measured
//! from that time, so that a stalled gateway cannot hide the requests that waited for it. tokio's timers have a
//! resolution of a millisecond, which would dominate the measurement: an [`Alarm`] is a kernel timer.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How fast requests are sent.
#[derive(Debug, Clone)]
pub enum Pace {
    /// Closed loop: each worker sends as soon as it has its response.
    Closed,
    /// Open loop: these rates (requests per second) and durations, one after another.
    Open(Vec<(f64, Duration)>),
}

/// The scheduled times of one thread's requests.
#[derive(Debug)]
pub struct Schedule {
    pace: Pace,
    /// The thread's share of the rate.
    part: f64,
    /// The first scheduled time of the current step.
    start: Instant,
    step: usize,
    /// Requests of the current step so far.
    sent: u64,
    end: Instant,
}

impl Schedule {
    /// A schedule from `start` to `end`; `part` is the thread's share of the rates, 0 to 1. The last step lasts
    /// until the end.
    pub fn new(pace: Pace, part: f64, start: Instant, end: Instant) -> Self {
        Self { pace, part, start, step: 0, sent: 0, end }
    }

    /// The time of the next request, and its step if there are several; `None` if there are no more.
    pub fn advance(&mut self) -> Option<(Instant, Option<usize>)> {
        let at = match &self.pace {
            Pace::Closed => Instant::now(),
            Pace::Open(steps) => loop {
                let (rate, duration) = steps.get(self.step)?;
                let at = self.start + Duration::from_secs_f64(self.sent as f64 / (rate * self.part));
                let over = self.start + *duration;
                if at < over || self.step + 1 == steps.len() {
                    self.sent += 1;
                    break at;
                }
                (self.start, self.step, self.sent) = (over, self.step + 1, 0);
            },
        };
        let step = matches!(&self.pace, Pace::Open(steps) if steps.len() > 1).then_some(self.step);
        (at < self.end).then_some((at, step))
    }
}

/// Waits until a time, as precisely as the kernel wakes a process.
#[derive(Debug)]
pub struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// A timer of the current runtime.
    pub fn new() -> std::io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(deprecated, reason = "sound for an OwnedFd, which stays the same file for as long as it lives")]
        let registered = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self(registered))
    }

    /// Returns at a time, or at once if it has passed.
    pub async fn until(&self, at: Instant) -> std::io::Result<()> {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let value = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        rustix::time::timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        let mut ticks = [0; 8];
        let read = |timer: &OwnedFd| Ok(rustix::io::read(timer, &mut ticks)?);
        self.0.async_io(Interest::READABLE, read).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_one_another_at_their_rates() {
        let start = Instant::now();
        let pace = Pace::Open(vec![(10.0, Duration::from_secs(1)), (100.0, Duration::from_secs(1))]);
        let mut schedule = Schedule::new(pace, 0.5, start, start + Duration::from_secs(2));
        let times: Vec<f64> =
            std::iter::from_fn(|| schedule.advance()).map(|(at, _)| at.duration_since(start).as_secs_f64()).collect();
        assert_eq!(times.len(), 5 + 50);
        assert!((times[4] - 0.8).abs() < 1e-9 && (times[5] - 1.0).abs() < 1e-9 && (times[6] - 1.02).abs() < 1e-9);
    }

    #[tokio::test]
    async fn an_alarm_does_not_fire_early() {
        let alarm = Alarm::new().unwrap();
        for micros in [0, 150, 2500] {
            let at = Instant::now() + Duration::from_micros(micros);
            alarm.until(at).await.unwrap();
            assert!(Instant::now() >= at);
        }
    }
}
