//! A store that is given: the user's commands break and repair it.

use std::process::Command;

use super::Breaker;

/// Shell commands, for the one fault `given`.
#[derive(Debug, Clone)]
pub struct Commands {
    /// Breaks the store.
    pub break_store: String,
    /// Repairs it.
    pub repair: String,
}

impl Breaker for Commands {
    fn faults(&self) -> Vec<String> {
        vec!["given".to_owned()]
    }

    fn break_store(&mut self, _: usize) -> Result<(), String> {
        run(&self.break_store)
    }

    fn repair(&mut self, _: usize) -> Result<(), String> {
        run(&self.repair)
    }
}

fn run(command: &str) -> Result<(), String> {
    let status =
        Command::new("sh").args(["-c", command]).status().map_err(|error| format!("cannot run sh: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{command}` ended with {status}")) }
}
