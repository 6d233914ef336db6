//! Keeps the plugin's caches exact: applies every change and evicts what it affects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::error::StoreError;

use crate::credentials::CachedCredentials;
use crate::entity::{credential, token};
use crate::guard::Shared;
use crate::store::{Tokens, signing_keys};
use crate::token::Digest;

/// The plugin's listener on the change feed.
pub struct Listener {
    /// State shared by the guards.
    pub shared: Arc<Shared>,
    /// The endpoints' cached credentials.
    pub credentials: Arc<CachedCredentials>,
    /// Queried for tokens that were not minted here.
    pub tokens: Arc<dyn Tokens>,
    /// The result, for the guard.
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
            (signing_keys::NAME, _) => self.shared.signing_keys.changed(),
            ("services", operation) => {
                // For an entity that was deleted and recreated under its id, the feed reports an update: tokens may
                // have been deleted with it. So the tokens of a service that was only changed are looked up again too.
                if operation != Operation::Created {
                    cache.facts_ended();
                }
                cache.source().service_changed(change.id);
            }
            _ => {}
        }
    }

    /// Foreign tokens are looked up from the moment there is one. The flag is never reset while the
    /// node runs: a superfluous look-up does no harm.
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
        self.shared.signing_keys.changed();
        self.learn_of_foreign_tokens().await
    }
}
