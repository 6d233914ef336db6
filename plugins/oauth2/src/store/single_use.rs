//! What is accepted once, on whichever node it is presented: proofs and client assertions.

use async_trait::async_trait;
use tollgate_core::error::StoreError;
use tollgate_plugin::store::{Abort, Parameter, Statement, Store, statement};

const USE_ONCE: Statement = statement!("oauth2/use_once.sql");

/// Remembers on behalf of all nodes.
#[async_trait]
pub trait SingleUse: Send + Sync + 'static {
    /// Notes that this was presented, until after the last second (Unix) in which it would be accepted. Whether it is
    /// new. An unknown outcome is an error.
    async fn use_once(&self, id: [u8; 32], until: i64) -> Result<bool, StoreError>;
}

#[async_trait]
impl SingleUse for Store {
    async fn use_once(&self, id: [u8; 32], until: i64) -> Result<bool, StoreError> {
        let note = self.statement((id, until), async |(id, until), tx| {
            let rows = tx.rows(&USE_ONCE, &[Parameter::Bytes(id), (*until).into()]).await?;
            Ok::<_, Abort>(!rows.is_empty())
        });
        note.await
    }
}
