//! When requests are to be sent.
//!
//! In an open loop each request has a time at which it is meant to be sent, whatever became of those
//! before it; latency runs from that time, so that a stalled gateway cannot hide the requests that
//! waited for it. tokio's timers count in milliseconds, which would be most of what is measured: an
//! [`Alarm`] is a timer of the kernel.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How fast requests are sent.
#[derive(Debug, Clone)]
pub enum Pace {
    /// Each worker sends as soon as it has its answer.
    Closed,
    /// At these rates (requests a second), one after the other.
    Open(Vec<(f64, Duration)>),
}

/// The intended times of one thread's requests.
#[derive(Debug)]
pub struct Schedule {
    pace: Pace,
    /// The thread's part of the rate.
    part: f64,
    /// The first intended time of the step that is under way.
    start: Instant,
    step: usize,
    /// Requests of that step so far.
    sent: u64,
    end: Instant,
}

impl Schedule {
    /// From `start` to `end`; `part` is the thread's part of the rates, 0 to 1. The last step lasts
    /// until the end.
    pub fn new(pace: Pace, part: f64, start: Instant, end: Instant) -> Self {
        Self { pace, part, start, step: 0, sent: 0, end }
    }

    /// When the next request is to be sent, and in which step, where there are several; `None`: no
    /// more are.
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

/// Waits until a time, to within what the kernel takes to wake a process.
#[derive(Debug)]
pub struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// A new one, of the current runtime.
    pub fn new() -> std::io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(deprecated, reason = "sound for an OwnedFd, which stays the same file for as long as it lives")]
        let registered = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self(registered))
    }

    /// Returns at that time, at once if it is past.
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
    fn steps_follow_each_other_at_their_rates() {
        let start = Instant::now();
        let pace = Pace::Open(vec![(10.0, Duration::from_secs(1)), (100.0, Duration::from_secs(1))]);
        let mut schedule = Schedule::new(pace, 0.5, start, start + Duration::from_secs(2));
        let times: Vec<f64> =
            std::iter::from_fn(|| schedule.advance()).map(|(at, _)| at.duration_since(start).as_secs_f64()).collect();
        assert_eq!(times.len(), 5 + 50);
        assert!((times[4] - 0.8).abs() < 1e-9 && (times[5] - 1.0).abs() < 1e-9 && (times[6] - 1.02).abs() < 1e-9);
    }

    #[tokio::test]
    async fn an_alarm_does_not_come_early() {
        let alarm = Alarm::new().unwrap();
        for micros in [0, 150, 2500] {
            let at = Instant::now() + Duration::from_micros(micros);
            alarm.until(at).await.unwrap();
            assert!(Instant::now() >= at);
        }
    }
}
