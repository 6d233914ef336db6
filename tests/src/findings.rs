//! Findings of a table-driven test: all failing rows are reported, not only the first.

use std::fmt::Debug;

/// The rows of a table that failed. Dropping it with any fails the test.
#[derive(Debug, Default)]
#[must_use]
pub struct Findings {
    rows: usize,
    wrong: Vec<String>,
}

impl Findings {
    /// No findings yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compares one row's outcome.
    pub fn compare<T: PartialEq + Debug>(&mut self, row: &str, expected: &T, got: &T) {
        self.rows += 1;
        if expected != got {
            self.wrong.push(format!("{row}\n  expected {expected:?}\n       got {got:?}"));
        }
    }

    /// Checks one row.
    pub fn check(&mut self, row: &str, holds: Result<(), String>) {
        self.rows += 1;
        if let Err(why) = holds {
            self.wrong.push(format!("{row}\n  {why}"));
        }
    }
}

impl Drop for Findings {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.rows > 0, "the table is empty");
            assert!(
                self.wrong.is_empty(),
                "{} of {} rows differ:\n{}",
                self.wrong.len(),
                self.rows,
                self.wrong.join("\n")
            );
        }
    }
}
