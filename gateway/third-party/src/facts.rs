//! Token facts: what the cache holds for one token of an authority. Never a verdict: whether the token is alive,
//! fresh and sufficient is decided on every request, by the rules of the instance that receives it.

use std::sync::Arc;

use tollgate_plugin::cache::{Fact, Generation};
use tollgate_plugin::{ConsumerFacts, Digest, thread_cache};
use triomphe::ThinArc;

use crate::authority::AuthorityFacts;
use crate::kept_claims::{Form, Kept, KeptValue, Position};
use tollgate_jose::PublishedKey;

/// Bytes of a cached token besides its claims: what the cache takes for an entry (docs/performance.md), the terms,
/// and what an allocation rounds up.
pub(crate) const ENTRY_BYTES: u32 = 370;

/// What an authority said of a token. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TokenFacts(ThinArc<Terms, u8>);

/// Everything but the claims.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The authority that vouches for it.
    pub authority: Arc<AuthorityFacts>,
    /// The key that has signed it.
    pub signed_by: Option<Arc<PublishedKey>>,
    /// Whose it is.
    pub owner: Owner,
    /// From this Unix second on it is not valid (`exp`); `i64::MAX`: it does not say.
    pub expires_at: i64,
    /// Before this Unix second it is not valid (`nbf`); `i64::MIN`: it does not say.
    pub not_before: i64,
    /// When the authority was asked, in Unix milliseconds.
    pub asked_at: i64,
    /// How long it took to respond, in milliseconds.
    pub took: u32,
    /// The number of the authority's kept claims that were looked for.
    pub kept: u8,
}

/// Whose a token is.
#[derive(Debug, Clone)]
pub enum Owner {
    /// A consumer's.
    Consumer(Arc<ConsumerFacts>),
    /// Nobody's: no consumer had the name, as of this generation of all consumers.
    Nobody(Generation),
    /// The configuration names no claim, so that no token is any consumer's.
    NotAsked,
}

impl TokenFacts {
    /// Facts with these terms and encoded claims.
    pub(crate) fn new(terms: Terms, claims: &[u8]) -> Self {
        Self(ThinArc::from_header_and_slice(terms, claims))
    }

    /// The same token with another owner.
    pub(crate) fn owned_by(&self, owner: Owner) -> Self {
        Self::new(Terms { owner, ..self.terms().clone() }, &self.0.slice)
    }

    /// Everything but the claims.
    pub fn terms(&self) -> &Terms {
        &self.0.header.header
    }

    /// The claims that were kept.
    pub fn claims(&self) -> impl Iterator<Item = (Position, Kept<'_>)> {
        self.terms().authority.kept().decode(&self.0.slice)
    }

    /// The same, as they are kept.
    pub(crate) fn encoded_claims(&self) -> impl Iterator<Item = (Position, Form, KeptValue<'_>)> {
        self.terms().authority.kept().encoded(&self.0.slice)
    }

    /// One of them.
    pub fn claim(&self, position: Position) -> Option<Kept<'_>> {
        self.claims().find(|(at, _)| *at == position).map(|(_, kept)| kept)
    }
}

thread_cache!(TokenFacts);

impl Fact for TokenFacts {
    type Key = Digest;

    /// The owner is checked by the guard, which can ask for another one without asking the authority again.
    fn is_current(&self) -> bool {
        self.terms().signed_by.as_ref().is_none_or(|key| key.is_current())
    }

    /// Authority, key and consumer are shared and weigh nothing here.
    fn weight(&self) -> u32 {
        ENTRY_BYTES.saturating_add(u32::try_from(self.0.slice.len()).unwrap_or(u32::MAX))
    }
}
