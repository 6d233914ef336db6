//! A place in a text.

use std::fmt;

/// A position in a text, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Position {
    /// The beginning.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The place at the end of the parser's messages, and the message before it. The parser says none at the beginning.
    pub(crate) fn split_off(message: &str) -> (Self, &str) {
        let Some((text, place)) = message.rsplit_once(" at line ") else { return (Self::START, message) };
        let numbers = place.split_once(" column ").map(|(line, column)| (line.parse(), column.parse()));
        match numbers {
            Some((Ok(line), Ok(column))) => (Self { line, column }, text),
            _ => (Self::START, message),
        }
    }
}
