//! Instructions of the proxy, if the processor's counters can be read: many virtual machines have none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// User space only: the kernel's share depends on the kernel.
const EVENT: &str = "instructions:u";

/// Whether `perf` can count instructions on this machine.
pub fn work() -> bool {
    static WORK: OnceLock<bool> = OnceLock::new();
    *WORK.get_or_init(|| {
        let mut command = Command::new("perf");
        command.args(["stat", "-x", ",", "-e", EVENT, "--", "true"]).stdin(Stdio::null());
        let output = command.output();
        output.is_ok_and(|output| count(&String::from_utf8_lossy(&output.stderr)).is_some())
    })
}

/// Counts while a generator runs.
pub struct Watch {
    prefix: Vec<String>,
    file: PathBuf,
}

/// Watches these processes while the command runs that [`Watch::prefix`] is prepended to.
pub fn watch(processes: &[u32], folder: &Path) -> Watch {
    let file = folder.join("perf");
    if !work() {
        return Watch { prefix: Vec::new(), file };
    }
    let list = processes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let path = file.display().to_string();
    let words = ["perf", "stat", "-x", ",", "-e", EVENT, "-p", &list, "-o", &path, "--"];
    Watch { prefix: words.iter().map(|&word| word.to_owned()).collect(), file }
}

impl Watch {
    /// The prefix of the command line.
    pub fn prefix(&self) -> &[String] {
        &self.prefix
    }

    /// The count.
    pub fn read(&self) -> Option<f64> {
        if self.prefix.is_empty() {
            return None;
        }
        count(&fs::read_to_string(&self.file).ok()?)
    }
}

/// The first field of the event's line; `<not supported>` is not a number.
fn count(said: &str) -> Option<f64> {
    said.lines().find(|line| line.contains(EVENT))?.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsupported_counter_has_no_count() {
        assert_eq!(count("123456,,instructions:u,1000,100.00,,\n"), Some(123_456.0));
        assert_eq!(count("<not supported>,,instructions:u,0,100.00,,\n"), None);
    }
}
