//! What grants issue tokens and codes with, and what the client gets.

use std::sync::Arc;

use tollgate_core::clock::Clock;
use tollgate_core::random::Random;
use tollgate_core::secret::Secret;

use crate::store::Tokens;
use crate::token::{Digest, Minter};

/// Issues tokens and codes for all plugin instances of a node.
pub struct Issuer {
    /// Tokens and codes. The implementation makes this node's cache forget what ends.
    pub tokens: Arc<dyn Tokens>,
    /// Makes tokens and codes.
    pub minter: Arc<Minter>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids.
    pub random: Arc<dyn Random>,
}

impl Issuer {
    /// The digest and the clear value of a new code.
    pub fn code(&self) -> (Digest, Secret) {
        let code = self.minter.mint();
        (Digest::of(code.expose()), code)
    }
}

/// A token response: shown once, to the client.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The access token.
    pub access_token: Secret,
    /// For how many seconds it is valid; `None` is for ever.
    pub expires_in: Option<i64>,
    /// The refresh token, where the grant has one.
    pub refresh_token: Option<Secret>,
    /// The scope, where the response has to name it.
    pub scope: Option<String>,
}
