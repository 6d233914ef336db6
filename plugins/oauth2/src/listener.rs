//! Keeps what the plugin remembers exact: hears of every change and forgets what it touches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::error::StoreError;

use crate::credentials::CachedCredentials;
use crate::entity::{credential, token};
use crate::guard::Shared;
use crate::store::Tokens;
use crate::token::Digest;

/// The plugin's ear on the change feed.
pub struct Listener {
    /// State shared by the guards.
    pub shared: Arc<Shared>,
    /// Credentials of the endpoints.
    pub credentials: Arc<CachedCredentials>,
    /// Asked whether tokens exist that were not minted here.
    pub tokens: Arc<dyn Tokens>,
    /// The answer, for the guard.
    pub foreign_tokens: Arc<AtomicBool>,
}

impl Listener {
    fn hear(&self, change: &Change) {
        let cache = &self.shared.cache;
        match (change.kind.as_str(), change.operation) {
            (token::NAME, _) => match Digest::read(&change.key) {
                Some(digest) => cache.forget(&digest),
                None => cache.forget_all(),
            },
            (credential::NAME, _) => self.credentials.forget(change.id),
            ("services", operation) => {
                // Of an entity that was deleted and made again under its id, the feed tells an update: tokens may
                // have gone with it. So also the tokens of a service that was merely changed are looked up again.
                if operation != Operation::Created {
                    cache.facts_ended();
                }
                cache.source().service_changed(change.id);
            }
            _ => {}
        }
    }

    /// Foreign tokens are looked up from the moment there is one. They are not unlearnt while the
    /// node runs: a look-up too many is no fault.
    async fn learn_of_foreign_tokens(&self) -> Result<(), StoreError> {
        if !self.foreign_tokens.load(Ordering::Acquire) && self.tokens.any_imported().await? {
            self.foreign_tokens.store(true, Ordering::Release);
        }
        Ok(())
    }
}

#[async_trait]
impl ChangeListener for Listener {
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        changes.iter().for_each(|change| self.hear(change));
        let came = |change: &Change| change.kind == token::NAME && change.operation != Operation::Deleted;
        if changes.iter().any(came) {
            self.learn_of_foreign_tokens().await?;
        }
        Ok(())
    }

    async fn reset(&self) -> Result<(), StoreError> {
        self.shared.cache.forget_all();
        self.shared.cache.source().services_changed();
        self.credentials.forget_all();
        self.learn_of_foreign_tokens().await
    }
}
