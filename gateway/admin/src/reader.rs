//! Who reads what the Admin API and the status listener both show.

/// Who reads `/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Whoever may use the Admin API.
    Operator,
    /// Whoever reaches the status listener.
    Anybody,
}
