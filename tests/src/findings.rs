//! What a table-driven test found, row by row: all of it is told, not only the first.

use std::fmt::Debug;

/// The rows of a table that did not behave as written down. Ends the test when dropped with any.
#[derive(Debug, Default)]
#[must_use]
pub struct Findings {
    rows: usize,
    wrong: Vec<String>,
}

impl Findings {
    /// Nothing found yet.
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

    /// Notes one row that must hold.
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
