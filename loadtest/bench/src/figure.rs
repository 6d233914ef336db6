//! A figure in addition to the rows: measured once, not a ratio of CPU time.

use serde::Serialize;

/// A named number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// The number.
    pub value: f64,
    /// The unit.
    pub unit: String,
}

impl Figure {
    /// A figure.
    pub fn new(name: &str, about: &str, value: f64, unit: &str) -> Self {
        Self { name: name.to_owned(), about: about.to_owned(), value, unit: unit.to_owned() }
    }
}
