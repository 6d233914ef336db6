//! CPU time of a running program: its process, its child processes, and all their threads.
//!
//! The scheduler's figures (`/proc/PID/task/TID/schedstat`, nanoseconds) omit threads that have ended;
//! `/proc/PID/stat` includes them, in ticks of 10 ms. The precise figures are used as long as the coarse
//! ones agree with them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

/// Ticks of `/proc/PID/stat` per second: fixed by the kernel's interface.
const TICKS_A_SECOND: u64 = 100;

/// How far the figures may differ: rounding at both ends, and a small share of the total.
const ROUNDING: Duration = Duration::from_millis(40);
const PART: u32 = 50;

/// A program's CPU time since it started.
#[derive(Debug, Clone, Default)]
pub struct CpuTime {
    /// By thread, in nanoseconds.
    threads: BTreeMap<u32, u64>,
    /// By process, in ticks.
    processes: BTreeMap<u32, u64>,
}

impl CpuTime {
    /// Reads that of a process and its descendants. Fails if there is no such process.
    pub fn of(process: u32) -> io::Result<Self> {
        let mut time = Self::default();
        let mut found = vec![process];
        while let Some(process) = found.pop() {
            match time.add(process) {
                Ok(children) => found.extend(children),
                // A descendant may end at any time.
                Err(error) if time.processes.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(time)
    }

    fn add(&mut self, process: u32) -> io::Result<Vec<u32>> {
        let mut children = Vec::new();
        for task in fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
            let Some(thread) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(nanos) = first_number(&fs::read_to_string(task.path().join("schedstat")).unwrap_or_default()) {
                self.threads.insert(thread, nanos);
            }
            let listed = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            children.extend(listed.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        self.processes.insert(process, ticks(&stat).unwrap_or_default());
        Ok(children)
    }

    /// The CPU time since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Duration {
        let coarse = difference(&self.processes, &earlier.processes);
        let coarse = Duration::from_millis(coarse * 1000 / TICKS_A_SECOND);
        let fine = Duration::from_nanos(difference(&self.threads, &earlier.threads));
        let ended = earlier.threads.keys().any(|thread| !self.threads.contains_key(thread));
        let apart = fine.abs_diff(coarse) > coarse / PART + ROUNDING;
        if ended || apart { coarse } else { fine }
    }

    /// Its processes.
    pub fn processes(&self) -> Vec<u32> {
        self.processes.keys().copied().collect()
    }
}

/// The CPU time of the calling thread.
pub fn of_this_thread() -> Duration {
    let schedule = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(first_number(&schedule).unwrap_or_default())
}

fn difference(later: &BTreeMap<u32, u64>, earlier: &BTreeMap<u32, u64>) -> u64 {
    later.iter().map(|(key, now)| now.saturating_sub(earlier.get(key).copied().unwrap_or_default())).sum()
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// User and system time: the 14th and 15th field. The second field, a name in brackets, may contain blanks.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident memory of the process and its descendants, in bytes.
pub fn resident_bytes(process: u32) -> io::Result<u64> {
    let processes = CpuTime::of(process)?.processes();
    let resident = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(first_number(line)? * 1024)
    };
    Ok(processes.iter().filter_map(resident).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_is_skipped() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 31 11 0 0";
        assert_eq!(ticks(stat), Some(42));
    }

    #[test]
    fn the_cpu_time_of_this_process_is_measured() {
        let process = std::process::id();
        let before = CpuTime::of(process).unwrap();
        let started = std::time::Instant::now();
        let mut sum = 0_u64;
        while started.elapsed() < Duration::from_millis(200) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let used = CpuTime::of(process).unwrap().since(&before);
        assert!(used > Duration::from_millis(20), "{used:?}");
        assert!(resident_bytes(process).unwrap() > 100_000);
    }

    #[test]
    fn coarse_figures_are_used_if_a_thread_has_ended() {
        let at = |threads: &[(u32, u64)], ticks| CpuTime {
            threads: threads.iter().copied().collect(),
            processes: [(1, ticks)].into(),
        };
        let fine = at(&[(1, 1_003_000_000)], 101).since(&at(&[(1, 0)], 0));
        assert_eq!(fine, Duration::from_millis(1003));
        let coarse = at(&[(1, 1_003_000_000)], 101).since(&at(&[(1, 0), (2, 0)], 0));
        assert_eq!(coarse, Duration::from_millis(1010));
    }
}
