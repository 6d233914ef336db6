//! Keeps what the plugin remembers exact: hears of every change and forgets what it touches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::error::StoreError;
use tollgate_store::Feed;

use crate::cache::Trust;
use crate::credentials::CachedCredentials;
use crate::entity::{credential, token};
use crate::guard::Post;
use crate::store::Tokens;
use crate::token::Digest;

/// The plugin's ear on the change feed.
pub struct Listener {
    /// Tokens, consumers and credentials of the guard.
    pub post: Arc<Post>,
    /// Credentials of the endpoints.
    pub credentials: Arc<CachedCredentials>,
    /// Asked whether tokens exist that were not minted here.
    pub tokens: Arc<dyn Tokens>,
    /// The answer, for the guard.
    pub foreign_tokens: Arc<AtomicBool>,
}

impl Listener {
    fn hear(&self, change: &Change) {
        let post = &self.post;
        match (change.kind.as_str(), change.operation) {
            (token::NAME, _) => match Digest::read(&change.key) {
                Some(digest) => post.cache.forget(&digest),
                None => post.cache.forget_all(),
            },
            (credential::NAME, operation) => {
                self.may_have_ended_tokens(operation);
                post.directory.credential_changed(change.id);
                self.credentials.forget(change.id);
            }
            ("consumers", operation) => {
                self.may_have_ended_tokens(operation);
                post.directory.consumer_changed(change.id);
            }
            ("services", operation) => {
                self.may_have_ended_tokens(operation);
                post.directory.service_deleted(change.id);
            }
            _ => {}
        }
    }

    /// Of an entity that was deleted and made again under its id, the feed tells an update: tokens may
    /// have gone with it. So also the tokens of a service that was merely changed are looked up again.
    fn may_have_ended_tokens(&self, operation: Operation) {
        if operation != Operation::Created {
            self.post.cache.tokens_deleted();
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
        self.post.cache.forget_all();
        self.post.directory.reset();
        self.credentials.forget_all();
        self.learn_of_foreign_tokens().await
    }
}

/// The store's feed tells whether this node still hears of every change.
pub struct FeedTrust(pub Feed);

impl Trust for FeedTrust {
    fn is_current(&self) -> bool {
        self.0.is_current()
    }
}
