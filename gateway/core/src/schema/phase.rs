//! Which write is validated.

/// The kind of write; an update words some messages differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A whole document.
    Insert,
    /// A change of a stored document.
    Update,
}

impl Phase {
    /// The prefix of messages about missing values.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Insert => "",
            Self::Update => "when updating, ",
        }
    }
}
