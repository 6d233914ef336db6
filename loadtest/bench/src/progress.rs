//! Progress messages on standard error.

use std::io::Write as _;

/// Prints a line.
pub fn say(line: &str) {
    // Standard error may be closed.
    let _closed = writeln!(std::io::stderr(), "{line}");
}
