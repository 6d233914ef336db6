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
use crate::feed::Write;
use crate::store::Store;

/// A kind's entities. Every write commits and is announced even when its caller is dropped
/// halfway, so that no cache is left with what is not true any more.
pub(crate) struct Documents {
    pub(crate) kind: Arc<Kind>,
    pub(crate) store: Store,
}

impl Documents {
    /// Carries out a write and announces what it did.
    async fn write<T, F, W>(&self, work: F) -> Result<T, DaoError>
    where
        T: Send + 'static,
        F: FnOnce(Store, Arc<Write>, Author) -> W + Send + 'static,
        W: Future<Output = Result<(T, Vec<Written>), DaoError>> + Send + 'static,
    {
        let (store, now) = (self.store.clone(), self.store.clock().now());
        let commit = move |write: Arc<Write>| async move {
            let author = Author { origin: write.origin(), now };
            let (value, written) = work(store, write, author).await?;
            Ok((value, written.into_iter().map(change).collect()))
        };
        self.store.commit(commit).await
    }

    /// Passes on the answer of a write that changed nothing, once this node knows of what was
    /// written in its place.
    async fn unchanged<T>(&self, answer: Result<T, DaoError>) -> Result<T, DaoError> {
        self.store.feed().catch_up().await?;
        answer
    }

    /// Passes on the answer of a write; see [`Documents::unchanged`].
    async fn answer<T>(&self, answer: Result<T, DaoError>) -> Result<T, DaoError> {
        match answer {
            Err(
                DaoError::PrimaryKey { .. }
                | DaoError::Unique { .. }
                | DaoError::ForeignMissing { .. }
                | DaoError::Referenced { .. },
            ) => self.unchanged(answer).await,
            answer => answer,
        }
    }

    async fn found(&self, key: &Key) -> Result<Option<Found>, StoreError> {
        let (kind, key) = (self.kind.clone(), key.clone());
        let work =
            self.store.database().read(move |session| Box::pin(async move { read::find(session, &kind, &key).await }));
        work.await
    }

    /// Writes `document` over what was read, if it still is there. `None`: it is not.
    async fn replace(&self, found: Found, document: Document) -> Result<Option<Document>, DaoError> {
        let (kind, found, document) = (self.kind.clone(), Arc::new(found), Arc::new(document));
        let work = move |store: Store, write: Arc<Write>, author| async move {
            let new = document.clone();
            let transaction = store.database().commit(&write, move |session| {
                let (kind, found, document) = (kind.clone(), found.clone(), document.clone());
                Box::pin(async move { write::replace_unchanged(session, &kind, &found, &document, author).await })
            });
            let Some(written) = transaction.await? else { return Ok((None, Vec::new())) };
            Ok((Some(Arc::unwrap_or_clone(new)), vec![written]))
        };
        self.write(work).await
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
        let (kind, document) = (self.kind.clone(), Arc::new(document));
        let work = move |store: Store, write: Arc<Write>, author| async move {
            let new = document.clone();
            let transaction = store.database().commit(&write, move |session| {
                let (kind, document) = (kind.clone(), document.clone());
                Box::pin(async move { write::insert(session, &kind, &document, author).await })
            });
            let written = transaction.await?;
            Ok((Arc::unwrap_or_clone(new), vec![written]))
        };
        self.answer(self.write(work).await).await
    }

    async fn upsert(&self, key: &Key, document: Document) -> Result<Document, DaoError> {
        let (kind, key) = (self.kind.clone(), key.clone());
        let work = move |store: Store, write: Arc<Write>, author| async move {
            let transaction = store.database().commit(&write, move |session| {
                let (kind, key, document) = (kind.clone(), key.clone(), document.clone());
                Box::pin(async move { write::upsert(session, &kind, &key, document, author).await })
            });
            let (document, written) = transaction.await?;
            Ok((document, vec![written]))
        };
        self.answer(self.write(work).await).await
    }

    /// Reads, merges, and writes unless the entity has changed since it was read; then it is
    /// merged again. Whenever that happens another writer has succeeded.
    async fn update(&self, key: &Key, merge: &Merge<'_>) -> Result<Option<Document>, DaoError> {
        loop {
            let Some(found) = self.found(key).await? else { return self.unchanged(Ok(None)).await };
            let mut document = merge(&found.document).map_err(DaoError::Schema)?;
            document.insert("id".into(), Value::String(found.id.to_string()));
            if let Some(document) = self.answer(self.replace(found, document).await).await? {
                return Ok(Some(document));
            }
        }
    }

    async fn delete(&self, key: &Key) -> Result<bool, DaoError> {
        let (kind, key) = (self.kind.clone(), key.clone());
        let work = move |store: Store, write: Arc<Write>, author| async move {
            let kinds = store.kinds().clone();
            let transaction = store.database().commit(&write, move |session| {
                let (kinds, kind, key) = (kinds.clone(), kind.clone(), key.clone());
                Box::pin(async move { write::delete(session, &kinds, &kind, &key, author).await })
            });
            let written = transaction.await?;
            Ok((!written.is_empty(), written))
        };
        match self.write(work).await {
            Ok(false) => self.unchanged(Ok(false)).await,
            answer => self.answer(answer).await,
        }
    }
}

fn change(written: Written) -> Change {
    Change { kind: written.kind, operation: written.operation, id: written.id, key: Vec::new(), document: None }
}
