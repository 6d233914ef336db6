//! Tokens of an authorization server other than the gateway, for the plugins that accept them.
//!
//! A stub [`Authority`] answers introspection requests and publishes keys. Its tokens are minted here: opaque
//! ones ([`opaque`]), and JWTs ([`Signer`]). What it knows of a token is computed from the token's number
//! ([`Holders`]), so neither side keeps a list of tokens.
//!
//! It issues no tokens over HTTP, and it is not a model of an authorization server: it is as cheap as possible,
//! because it shares the machine with the gateway that is measured.

mod authority;
mod holders;
mod issuer;
pub mod opaque;
mod plugin;
mod signer;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use authority::{AUTHORIZATION_VALUE, Authority, Listening};
pub use holders::{FORWARDED, Holders};
pub use issuer::{Issuer, Minter};
pub use plugin::plugin;
pub use signer::{Algorithm, Signer};

/// The kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Opaque tokens, introspected by the gateway.
    Introspection,
    /// JWTs signed with RSA, SHA-256.
    Rs256,
    /// JWTs signed with ECDSA, P-256.
    Es256,
    /// JWTs signed with Ed25519.
    Eddsa,
}

impl Kind {
    /// How its tokens are signed; `None` for opaque ones.
    pub fn algorithm(self) -> Option<Algorithm> {
        match self {
            Self::Introspection => None,
            Self::Rs256 => Some(Algorithm::Rs256),
            Self::Es256 => Some(Algorithm::Es256),
            Self::Eddsa => Some(Algorithm::EdDsa),
        }
    }
}
