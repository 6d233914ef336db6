//! Whether the generator was the bottleneck: its CPU time, and how late it sent requests.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::failure::Failure;
use crate::outcome::{Generator, Machine, Summary};

/// Above this share of late requests, the schedule was not kept.
const LATE_SHARE: f64 = 0.01;
/// Above this share of its threads' CPU time, the generator is saturated.
const BUSY: f64 = 0.9;

/// CPU time since a point in time.
#[derive(Debug)]
pub struct Watch {
    since: Instant,
    used: Duration,
}

impl Watch {
    /// Starts now.
    pub fn start() -> Self {
        Self { since: Instant::now(), used: used() }
    }

    /// The same, without CPU time that was used for something else.
    pub fn without(self, other: Duration) -> Self {
        Self { used: self.used + other, ..self }
    }

    /// The generator's health, for a run with these threads and connections.
    pub fn verdict(&self, threads: usize, connections: usize, summary: &Summary, is_open: bool) -> Generator {
        let elapsed = self.since.elapsed().as_secs_f64().max(f64::EPSILON);
        let cpu = used().saturating_sub(self.used).as_secs_f64() / elapsed;
        let requests = summary.responses + summary.failures();
        let late_share = if requests == 0 { 0.0 } else { summary.late as f64 / requests as f64 };
        let own = [Failure::NoPorts, Failure::NoFiles].into_iter().find(|own| summary.errors.contains_key(own.name()));
        let limited = if let Some(own) = own {
            Some(own.to_string())
        } else if cpu > BUSY * threads as f64 {
            Some(format!(
                "the generator used {cpu:.2} processors for its {threads} thread(s): it was the bottleneck, not the \
                 gateway; use more threads or another machine"
            ))
        } else if is_open && late_share > LATE_SHARE {
            Some(format!(
                "{:.1} % of the requests were sent late: all {connections} connections were waiting for responses, or \
                 the generator got no CPU time; if the gateway is not busy, use more connections",
                late_share * 100.0
            ))
        } else {
            None
        };
        Generator { cpu, threads, connections, late_share, limited }
    }
}

/// CPU time of this process so far (user and system), in nanoseconds: /proc counts in ticks of 10 ms, and a tick within
/// a short interval would make the process look busy.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// This machine.
pub fn machine() -> Machine {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let kernel = format!("{} {}", read("/proc/sys/kernel/ostype").trim(), read("/proc/sys/kernel/osrelease").trim());
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Machine {
        kernel,
        processor: model.map_or_else(String::new, |(_, name)| name.to_owned()),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_that_is_always_busy_is_the_bottleneck() {
        let watch = Watch::start();
        while watch.since.elapsed() < Duration::from_millis(300) {
            std::hint::spin_loop();
        }
        let verdict = watch.verdict(1, 1, &Summary::default(), false);
        // On a busy machine it may not have got a whole processor.
        assert_eq!(verdict.limited.is_some(), verdict.cpu > 0.9, "{verdict:?}");
        assert!(verdict.cpu > 0.1, "{verdict:?}");
        let late = Summary { responses: 100, late: 2, ..Summary::default() };
        assert!(Watch::start().verdict(8, 1, &late, true).limited.unwrap().contains("2.0 %"));
        let errors = [("reset".to_owned(), 3), ("no_ports".to_owned(), 1)].into();
        let verdict = Watch::start().verdict(8, 1, &Summary { errors, ..Summary::default() }, false);
        assert!(verdict.limited.unwrap().starts_with("this machine has run out of local ports"));
    }
}
