//! The collection of any kind of entity that is stored as documents.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tollgate_core::collection::{Collection, Document, Key, Merge, Page, PageQuery};
use tollgate_core::entity::Kind;
use tollgate_core::error::{DaoError, StoreError};

use crate::entity::names;
use crate::entity::read::{self, Found};
use crate::entity::write;
use crate::store::Store;

/// The entities of one kind. Every write is committed and announced even if its caller is dropped halfway, so
/// that no cache keeps a stale value.
pub(crate) struct Documents {
    pub(crate) kind: Arc<Kind>,
    pub(crate) store: Store,
}

impl Documents {
    /// Returns the result of a write that changed nothing, once this node has read the writes that caused
    /// that.
    async fn unchanged<T>(&self, result: Result<T, DaoError>) -> Result<T, DaoError> {
        self.store.feed().catch_up().await?;
        result
    }

    /// Returns the result of a write; see [`Documents::unchanged`].
    async fn written<T>(&self, result: Result<T, DaoError>) -> Result<T, DaoError> {
        match result {
            Err(
                DaoError::PrimaryKey { .. }
                | DaoError::Unique { .. }
                | DaoError::ForeignMissing { .. }
                | DaoError::Referenced { .. }
                | DaoError::Listed { .. },
            ) => self.unchanged(result).await,
            result => result,
        }
    }

    fn names(&self) -> Option<names::OfKind> {
        names::OfKind::of(&self.kind, self.store.kinds())
    }

    async fn found(&self, key: &Key) -> Result<Option<Found>, StoreError> {
        let input = (Arc::clone(&self.kind), self.names(), key.clone(), self.store.now());
        let found = self.store.read(input, async |(kind, names, key, now), session| {
            let mut found = read::find_current(session, kind, key, *now).await?;
            if let (Some(names), Some(found)) = (names, &mut found) {
                names.show(session, std::slice::from_mut(&mut found.document)).await?;
            }
            Ok(found)
        });
        found.await
    }

    /// Replaces the entity that was read with `document`, if it is unchanged. `None`: it was changed or
    /// deleted.
    async fn replace(&self, found: Found, document: Document) -> Result<Option<Document>, DaoError> {
        let input = (Arc::clone(&self.kind), self.names(), found, document);
        let replace = self.store.transaction(input, async |(kind, names, found, document), tx| {
            let mut document = document.clone();
            let Some(names) = names else { return write::replace_unchanged(tx, kind, found, document).await };
            write::lock_by_id(tx, kind, found.id).await?;
            if !names.are_unchanged(tx, found).await? {
                return Ok(None);
            }
            let wanted = names.take(&mut document);
            let mut replaced = write::replace_unchanged(tx, kind, found, document).await?;
            if let Some(document) = &mut replaced {
                names.replace(tx, document, &wanted).await?;
            }
            Ok(replaced)
        });
        replace.await
    }
}

#[async_trait]
impl Collection for Documents {
    fn kind(&self) -> &Kind {
        &self.kind
    }

    async fn find(&self, key: &Key) -> Result<Option<Document>, StoreError> {
        let now = self.store.now();
        Ok(self.found(key).await?.map(|found| found.shown(&self.kind, now)))
    }

    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        let input = (Arc::clone(&self.kind), self.names(), query.clone(), self.store.now());
        let page = self.store.read(input, async |(kind, names, query, now), session| {
            let mut page = read::page(session, kind, query, *now).await?;
            if let Some(names) = names {
                names.show(session, &mut page.documents).await?;
            }
            Ok(page)
        });
        page.await
    }

    async fn insert(&self, document: Document) -> Result<Document, DaoError> {
        let input = (Arc::clone(&self.kind), self.names(), document);
        let insert = self.store.transaction(input, async |(kind, names, document), tx| {
            let mut document = document.clone();
            let Some(names) = names else { return write::insert(tx, kind, document).await };
            let wanted = names.take(&mut document);
            let mut inserted = write::insert(tx, kind, document).await?;
            names.replace(tx, &mut inserted, &wanted).await?;
            Ok(inserted)
        });
        self.written(insert.await).await
    }

    async fn upsert(&self, key: &Key, document: Document) -> Result<Document, DaoError> {
        let input = (Arc::clone(&self.kind), self.names(), key.clone(), document);
        let upsert = self.store.transaction(input, async |(kind, names, key, document), tx| {
            let mut document = document.clone();
            let Some(names) = names else { return write::upsert(tx, kind, key, document).await };
            let wanted = names.take(&mut document);
            let mut written = write::upsert(tx, kind, key, document).await?;
            names.replace(tx, &mut written, &wanted).await?;
            Ok(written)
        });
        self.written(upsert.await).await
    }

    /// Reads, merges, and writes unless the entity has changed since it was read; in that case it merges
    /// again. Every retry means that another writer succeeded.
    async fn update(&self, key: &Key, merge: &Merge<'_>) -> Result<Option<Document>, DaoError> {
        loop {
            let Some(found) = self.found(key).await? else { return self.unchanged(Ok(None)).await };
            let mut document = merge(&found.document).map_err(DaoError::Schema)?;
            document.insert("id".into(), Value::String(found.id.to_string()));
            if let Some(document) = self.written(self.replace(found, document).await).await? {
                return Ok(Some(document));
            }
        }
    }

    async fn delete(&self, key: &Key) -> Result<bool, DaoError> {
        let dependents = self.store.dependents();
        let input = (self.store.kinds().clone(), dependents.clone(), Arc::clone(&self.kind), key.clone());
        let delete = self.store.transaction(input, async |(kinds, dependents, kind, key), tx| {
            write::delete(tx, kinds, dependents, kind, key).await
        });
        match delete.await {
            Ok(None) => self.unchanged(Ok(false)).await,
            Ok(Some(ended)) => {
                dependents.report(&ended);
                Ok(true)
            }
            Err(error) => self.written(Err(error)).await,
        }
    }
}
