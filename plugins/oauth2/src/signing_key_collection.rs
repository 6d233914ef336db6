//! The signing keys as the Admin API reads and writes them: a POST makes the key that signs from then on, a DELETE ends
//! what a key has signed for those who verify signatures. Nothing else can be written.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use tollgate_core::collection::{Collection, Document, Filter, Key, Merge, Page, PageQuery};
use tollgate_core::entity::Kind;
use tollgate_core::error::{DaoError, StoreError};

use crate::entity::signing_key;
use crate::error::Error;
use crate::signing_keys::{KnownKey, SigningKeys, algorithm};
use crate::store::Outcome;
use crate::store::signing_keys::NAME;

/// The collection of the kind `oauth2_signing_keys`.
pub struct SigningKeyCollection {
    kind: Kind,
    keys: Arc<SigningKeys>,
}

impl SigningKeyCollection {
    /// These keys.
    pub fn new(keys: Arc<SigningKeys>) -> Self {
        Self { kind: signing_key::kind(), keys }
    }
}

fn show(known: &KnownKey) -> Document {
    let fields = [
        ("id", json!(known.row.id)),
        ("created_at", json!(known.row.created_at)),
        ("algorithm", json!(known.key.algorithm().as_str())),
        ("key_id", json!(known.key.key_id())),
        ("active_from", json!(known.row.active_from)),
        ("last_expiry", json!(known.covers())),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn failed(error: Error) -> StoreError {
    match error {
        Error::Store(error) => error,
        other => StoreError::Unavailable(other.to_string().into()),
    }
}

#[async_trait]
impl Collection for SigningKeyCollection {
    fn kind(&self) -> &Kind {
        &self.kind
    }

    async fn find(&self, key: &Key) -> Result<Option<Document>, StoreError> {
        let Key::Id(id) = key else { return Ok(None) };
        Ok(self.keys.all().await?.iter().find(|known| known.row.id == *id).map(|known| show(known)))
    }

    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        if query.filter != Filter::All {
            return Ok(Page::default());
        }
        let mut keys = self.keys.all().await?;
        keys.sort_by_key(|known| known.row.id);
        keys.retain(|known| Some(known.row.id) > query.after);
        let more = keys.len() > query.size;
        keys.truncate(query.size);
        let next = keys.last().filter(|_| more).map(|known| known.row.id);
        Ok(Page { documents: keys.iter().map(|known| show(known)).collect(), next })
    }

    async fn insert(&self, document: Document) -> Result<Document, DaoError> {
        // The schema has checked it.
        let algorithm = document.text("algorithm").and_then(|name| algorithm(name).ok());
        Ok(show(&*self.keys.rotate(algorithm).await.map_err(failed)?))
    }

    async fn upsert(&self, _: &Key, _: Document) -> Result<Document, DaoError> {
        Err(DaoError::Unsupported { kind: NAME })
    }

    async fn update(&self, _: &Key, _: &Merge<'_>) -> Result<Option<Document>, DaoError> {
        Err(DaoError::Unsupported { kind: NAME })
    }

    async fn delete(&self, key: &Key) -> Result<bool, DaoError> {
        let Key::Id(id) = key else { return Ok(false) };
        Ok(self.keys.delete(*id).await? == Outcome::Won(()))
    }
}
