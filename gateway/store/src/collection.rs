//! The collection of any kind whose entities are documents.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tollgate_core::change::Change;
use tollgate_core::collection::{Collection, Document, Key, Merge, Page, PageQuery};
use tollgate_core::entity::Kind;
use tollgate_core::error::{DaoError, StoreError};

use crate::entity::read::{self, Found};
use crate::entity::write::{self, Author, Written};
use crate::store::Store;

/// A kind's entities. Every write commits and is announced even when its caller is dropped
/// halfway, so that no cache is left with what is not true any more.
pub(crate) struct Documents {
    pub(crate) kind: Arc<Kind>,
    pub(crate) store: Store,
}

impl Documents {
    fn author(&self) -> Author {
        Author { origin: self.store.feed().origin(), now: self.store.clock().now() }
    }

    async fn found(&self, key: &Key) -> Result<Option<Found>, StoreError> {
        let (kind, key) = (self.kind.clone(), key.clone());
        let work =
            self.store.database().read(move |session| Box::pin(async move { read::find(session, &kind, &key).await }));
        work.await
    }

    /// Writes `document` over what was read, if it still is there. `None`: it is not.
    async fn replace(&self, found: Found, document: Document) -> Result<Option<Document>, DaoError> {
        let (store, kind, author) = (self.store.clone(), self.kind.clone(), self.author());
        let (found, document) = (Arc::new(found), Arc::new(document));
        self.store
            .uninterrupted(async move {
                let new = document.clone();
                let work = store.database().write(move |session| {
                    let (kind, found, document) = (kind.clone(), found.clone(), document.clone());
                    Box::pin(async move { write::replace_unchanged(session, &kind, &found, &document, author).await })
                });
                let Some(written) = work.await? else { return Ok(None) };
                announce(&store, [written]).await?;
                Ok(Some(Arc::unwrap_or_clone(new)))
            })
            .await
    }
}

#[async_trait]
impl Collection for Documents {
    fn kind(&self) -> &Kind {
        &self.kind
    }

    async fn find(&self, key: &Key) -> Result<Option<Document>, StoreError> {
        Ok(self.found(key).await?.map(|found| found.document))
    }

    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        let (kind, query) = (self.kind.clone(), query.clone());
        let work = self
            .store
            .database()
            .read(move |session| Box::pin(async move { read::page(session, &kind, &query).await }));
        work.await
    }

    async fn insert(&self, document: Document) -> Result<Document, DaoError> {
        let (store, kind, author) = (self.store.clone(), self.kind.clone(), self.author());
        let document = Arc::new(document);
        self.store
            .uninterrupted(async move {
                let new = document.clone();
                let work = store.database().write(move |session| {
                    let (kind, document) = (kind.clone(), document.clone());
                    Box::pin(async move { write::insert(session, &kind, &document, author).await })
                });
                announce(&store, [work.await?]).await?;
                Ok(Arc::unwrap_or_clone(new))
            })
            .await
    }

    async fn upsert(&self, key: &Key, document: Document) -> Result<Document, DaoError> {
        let (store, kind, author, key) = (self.store.clone(), self.kind.clone(), self.author(), key.clone());
        self.store
            .uninterrupted(async move {
                let work = store.database().write(move |session| {
                    let (kind, key, document) = (kind.clone(), key.clone(), document.clone());
                    Box::pin(async move { write::upsert(session, &kind, &key, document, author).await })
                });
                let (document, written) = work.await?;
                announce(&store, [written]).await?;
                Ok(document)
            })
            .await
    }

    /// Reads, merges, and writes unless the entity has changed since it was read; then it is
    /// merged again. Whenever that happens another writer has succeeded.
    async fn update(&self, key: &Key, merge: &Merge<'_>) -> Result<Option<Document>, DaoError> {
        loop {
            let Some(found) = self.found(key).await? else { return Ok(None) };
            let mut document = merge(&found.document).map_err(DaoError::Schema)?;
            document.insert("id".into(), Value::String(found.id.to_string()));
            if let Some(document) = self.replace(found, document).await? {
                return Ok(Some(document));
            }
        }
    }

    async fn delete(&self, key: &Key) -> Result<bool, DaoError> {
        let (store, kind, author, key) = (self.store.clone(), self.kind.clone(), self.author(), key.clone());
        self.store
            .uninterrupted(async move {
                let kinds = store.kinds().clone();
                let work = store.database().write(move |session| {
                    let (kinds, kind, key) = (kinds.clone(), kind.clone(), key.clone());
                    Box::pin(async move { write::delete(session, &kinds, &kind, &key, author).await })
                });
                let written = work.await?;
                let existed = !written.is_empty();
                announce(&store, written).await?;
                Ok(existed)
            })
            .await
    }
}

async fn announce(store: &Store, written: impl IntoIterator<Item = Written>) -> Result<(), StoreError> {
    let change = |written: Written| Change {
        kind: written.kind,
        operation: written.operation,
        id: written.id,
        key: Vec::new(),
        document: None,
    };
    let changes: Vec<Change> = written.into_iter().map(change).collect();
    store.feed().announce(&changes).await
}
