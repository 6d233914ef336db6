//! What a client holds, by what the responses promised.

use super::client::{Pair, Token};

/// A client's tokens and codes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Tokens without refresh token.
    pub(super) tokens: Vec<Token>,
    /// Tokens with refresh token.
    pub(super) pairs: Vec<Pair>,
    /// Pairs that a refresh with 200 has replaced.
    pub(super) replaced: Vec<Pair>,
    /// Codes that were redeemed with 200.
    pub(super) redeemed: Vec<String>,
    /// Pairs whose refresh had no response, or 503.
    pub(super) untold_pairs: Vec<Pair>,
    /// Codes whose redemption had no response, or 503.
    pub(super) untold_codes: Vec<String>,
    /// Tokens of responses with 200.
    pub(super) issued: usize,
    /// Promises that were broken while the client ran.
    pub(super) violations: Vec<String>,
}
