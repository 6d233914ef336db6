//! Signing keys in the plugin's table.

use async_trait::async_trait;
use tollgate_core::change::{Change, Operation};
use tollgate_core::error::StoreError;
use tollgate_plugin::store::{Abort, Row, Statement, Store, statement};
use uuid::Uuid;

use super::{KeyRow, KeyRows, NAME};
use crate::store::Outcome;

const FIND_SIGNING_KEYS: Statement = statement!("oauth2/find_signing_keys.sql");
const INSERT_SIGNING_KEY: Statement = statement!("oauth2/insert_signing_key.sql");
const COVER_SIGNING_KEY: Statement = statement!("oauth2/cover_signing_key.sql");
const DELETE_SIGNING_KEY: Statement = statement!("oauth2/delete_signing_key.sql");

/// Signing keys in a store.
pub(super) struct Tables(Store);

impl Tables {
    pub(super) fn new(store: &Store) -> Self {
        Self(store.clone())
    }
}

fn key(row: &Row) -> Result<KeyRow, StoreError> {
    Ok(KeyRow {
        id: row.get(0)?,
        key_id: row.get(1)?,
        generation: row.get(2)?,
        algorithm: row.get(3)?,
        sealed: row.get(4)?,
        created_at: row.get(5)?,
        active_from: row.get(6)?,
        covers: row.get(7)?,
    })
}

fn change(operation: Operation, id: Uuid) -> Change {
    Change { kind: NAME.to_owned(), operation, id, key: Vec::new(), document: None }
}

#[async_trait]
impl KeyRows for Tables {
    async fn find_keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let find = self.0.read((), async |(), session| {
            let rows = session.rows(&FIND_SIGNING_KEYS, &[]).await?;
            rows.iter().map(key).collect::<Result<Vec<_>, _>>()
        });
        find.await
    }

    async fn insert_key(&self, follows: i64, key: KeyRow) -> Result<Outcome, StoreError> {
        let insert = self.0.transaction((follows, key), async |(follows, key), tx| {
            let parameters = [
                key.id.into(),
                (&key.key_id).into(),
                (*follows).into(),
                (&key.algorithm).into(),
                key.sealed.as_slice().into(),
                key.created_at.into(),
                key.active_from.into(),
                key.covers.into(),
            ];
            if tx.rows(&INSERT_SIGNING_KEY, &parameters).await?.is_empty() {
                return Ok::<_, Abort>(Outcome::Lost);
            }
            tx.record(change(Operation::Created, key.id)).await?;
            Ok(Outcome::Won(()))
        });
        insert.await
    }

    async fn cover(&self, key_id: String, until: i64) -> Result<Outcome<i64>, StoreError> {
        let cover = self.0.statement((key_id, until), async |(key_id, until), tx| {
            let rows = tx.rows(&COVER_SIGNING_KEY, &[key_id.into(), (*until).into()]).await?;
            Ok::<_, Abort>(match rows.first() {
                Some(row) => Outcome::Won(row.get(0)?),
                None => Outcome::Lost,
            })
        });
        cover.await
    }

    async fn delete_key(&self, id: Uuid) -> Result<Outcome, StoreError> {
        let delete = self.0.transaction(id, async |id, tx| {
            if tx.rows(&DELETE_SIGNING_KEY, &[(*id).into()]).await?.is_empty() {
                return Ok::<_, Abort>(Outcome::Lost);
            }
            tx.record(change(Operation::Deleted, *id)).await?;
            Ok(Outcome::Won(()))
        });
        delete.await
    }
}
