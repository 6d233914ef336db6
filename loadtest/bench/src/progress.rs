//! What a run tells while it goes on, on standard error.

use std::io::Write as _;

/// One line.
pub fn say(line: &str) {
    // Nobody may be listening.
    let _closed = writeln!(std::io::stderr(), "{line}");
}
