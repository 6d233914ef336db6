//! Issuer: creates tokens and codes for the grants, and the response to the client.

use std::sync::Arc;

use tollgate_core::clock::Clock;
use tollgate_core::random::Random;
use tollgate_core::secret::Secret;
use uuid::Uuid;

use crate::signing_keys::SigningKeys;
use crate::store::Tokens;
use crate::store::waiting::WaitingRequests;
use crate::token::{Digest, OwnTokens};
use crate::user_code::UserCodeKey;

/// Issues tokens and codes for all plugin instances of a node.
pub struct Issuer {
    /// The store of tokens and codes. The implementation evicts what ends from this node's cache.
    pub tokens: Arc<dyn Tokens>,
    /// The store of requests that wait for a user.
    pub waiting: Arc<dyn WaitingRequests>,
    /// The digests of user codes.
    pub user_codes: UserCodeKey,
    /// The keys of signed access tokens.
    pub signing_keys: Arc<SigningKeys>,
    /// The format of tokens and codes.
    pub own_tokens: OwnTokens,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub random: Arc<dyn Random>,
}

impl Issuer {
    /// A new token.
    pub fn token(&self) -> Secret {
        self.own_tokens.mint(self.random.as_ref())
    }

    /// The digest and the clear value of a new code.
    pub fn code(&self) -> (Digest, Secret) {
        let code = self.token();
        (Digest::of(code.expose()), code)
    }
}

/// A token response: shown once, to the client.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The id of its row.
    pub id: Uuid,
    /// The access token.
    pub access_token: Secret,
    /// How it is presented.
    pub token_type: &'static str,
    /// The lifetime in seconds; `None`: it never expires.
    pub expires_in: Option<i64>,
    /// The refresh token, if the grant issues one.
    pub refresh_token: Option<Secret>,
    /// The scope, if the response has to name it.
    pub scope: Option<String>,
}
