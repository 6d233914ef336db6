//! The day, the commit and the machine of a run.

use std::fs;
use std::process::{Command, Stdio};

use serde::Serialize;

/// Where and of what a run was made.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// The day, in UTC.
    pub date: String,
    /// The commit.
    pub commit: String,
    /// Whether the working tree had uncommitted changes.
    pub dirty: bool,
    /// `release` or `debug`.
    pub build: &'static str,
    /// The processor's name.
    pub processor: String,
    /// Processors that the run may use.
    pub processors: usize,
    /// The kernel.
    pub kernel: String,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
        Self {
            date: first_line(&["date", "-u", "+%F"]),
            commit: first_line(&["git", "rev-parse", "--short", "HEAD"]),
            dirty: !first_line(&["git", "status", "--porcelain"]).is_empty(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            processor: processor.map(|(_, name)| name.trim().to_owned()).unwrap_or_default(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: first_line(&["uname", "-r"]),
        }
    }
}

fn first_line(words: &[&str]) -> String {
    let [program, arguments @ ..] = words else { return String::new() };
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    output.lines().next().unwrap_or_default().trim().to_owned()
}
