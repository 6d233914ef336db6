//! Tokens of a file, by the rules of a POST.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tollgate_core::collection::Document;
use tollgate_core::error::DaoError;
use tollgate_core::random::Random;
use tollgate_plugin::store::{Abort, DeclaredRows, Transaction};

use super::document::Draft;
use crate::store::Provenance;
use crate::store::declared::add_token;
use crate::token::{OwnTokens, Shape};

/// Adds tokens of files.
pub struct DeclaredTokens {
    /// The format of tokens.
    pub own_tokens: OwnTokens,
    /// The source of ids and tokens.
    pub random: Arc<dyn Random>,
    /// Set before the first access token that was not minted here is stored.
    pub imported: Arc<AtomicBool>,
}

#[async_trait]
impl DeclaredRows for DeclaredTokens {
    async fn add(&self, tx: &mut Transaction<'_>, document: &Document) -> Result<(), Abort<DaoError>> {
        let draft = Draft::read(document)?;
        let random = self.random.as_ref();
        let access_token = draft.clear.access_token.clone().unwrap_or_else(|| self.own_tokens.mint(random));
        let provenance = match self.own_tokens.is_ours(access_token.expose()) {
            Shape::Genuine => Provenance::Minted,
            Shape::Signed | Shape::Foreign => {
                self.imported.store(true, Ordering::Release);
                Provenance::Given
            }
        };
        let id = draft.id.unwrap_or_else(|| random.uuid());
        let token = draft.to_token(id, &access_token, tx.now());
        add_token(tx, &token, provenance).await
    }
}
