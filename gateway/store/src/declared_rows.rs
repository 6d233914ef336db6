//! Declared entities of a kind that is kept in tables of a plugin's own.

use async_trait::async_trait;
use tollgate_core::collection::Document;
use tollgate_core::error::DaoError;

use crate::failure::Abort;
use crate::transaction::Transaction;

/// Adds such entities within the transaction of a declaration.
#[async_trait]
pub trait DeclaredRows: Send + Sync + 'static {
    /// Adds an entity, unless it is there.
    async fn add(&self, tx: &mut Transaction<'_>, document: &Document) -> Result<(), Abort<DaoError>>;
}
