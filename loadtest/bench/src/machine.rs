//! The machine and programs of a run.

use std::fs;
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::counters;

/// The machine and the programs.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The day, in UTC.
    pub date: String,
    /// The commit.
    pub commit: String,
    /// Whether the working tree has uncommitted changes.
    pub dirty: bool,
    /// The processor's name.
    pub processor: String,
    /// Processors that this run may use.
    pub processors: usize,
    /// Memory, in GiB.
    pub memory_gib: u64,
    /// The kernel.
    pub kernel: String,
    /// Whether the processor's counters can be read.
    pub counters: bool,
    /// Program and version.
    pub programs: Vec<(&'static str, String)>,
}

impl Machine {
    /// Describes this machine.
    pub fn here() -> Self {
        let status = output(&["git", "status", "--porcelain"]);
        Self {
            date: first_line(&["date", "-u", "+%F"]),
            commit: first_line(&["git", "rev-parse", "--short", "HEAD"]),
            dirty: !status.trim().is_empty(),
            processor: field("/proc/cpuinfo", "model name"),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_kib().div_ceil(1 << 20),
            kernel: first_line(&["uname", "-r"]),
            counters: counters::work(),
            programs: vec![
                ("rustc", first_line(&["rustc", "--version"])),
                ("nginx", first_line(&["nginx", "-v"])),
                ("HAProxy", first_line(&["haproxy", "-v"])),
                ("wrk", first_line(&["wrk", "-v"])),
                ("h2load", first_line(&["h2load", "--version"])),
                ("PostgreSQL", first_line(&["psql", "--version"])),
            ],
        }
    }
}

/// Stolen time, and total time, in ticks.
#[derive(Debug, Clone, Copy)]
pub struct Stolen {
    stolen: u64,
    all: u64,
}

impl Stolen {
    /// Since the machine booted.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; the remaining fields are part of user and nice.
        Self { stolen: ticks.get(7).copied().unwrap_or_default(), all: ticks.iter().take(8).sum() }
    }

    /// The stolen share since an earlier reading, in percent.
    pub fn percent_since(&self, earlier: &Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        self.stolen.saturating_sub(earlier.stolen) as f64 * 100.0 / all as f64
    }
}

/// The memory of this machine, in KiB.
pub fn memory_kib() -> u64 {
    field("/proc/meminfo", "MemTotal").split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default()
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// A program's output; some write their version to standard error and then fail.
fn output(words: &[&str]) -> String {
    let [program, arguments @ ..] = words else { return String::new() };
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    output.map_or_else(
        |_| String::new(),
        |output| format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
    )
}

fn first_line(words: &[&str]) -> String {
    output(words).lines().next().unwrap_or("missing").trim().to_owned()
}
