//! Registrations in the plugin's table.

use async_trait::async_trait;
use tollgate_core::error::StoreError;
use tollgate_plugin::store::{Abort, Row, Statement, Store, statement};
use uuid::Uuid;

use super::{Quota, Registration, Registrations};
use crate::store::Outcome;
use crate::store::columns::digest;
use crate::token::Digest;

const LOCK_REGISTRATIONS: Statement = statement!("oauth2/lock_registrations.sql");
const INSERT_REGISTRATION: Statement = statement!("oauth2/insert_registration.sql");
const FIND_REGISTRATION: Statement = statement!("oauth2/find_registration.sql");
const UPDATE_REGISTRATION: Statement = statement!("oauth2/update_registration.sql");
const DELETE_REGISTRATION: Statement = statement!("oauth2/delete_registration.sql");
const FIND_UNUSED_REGISTRATIONS: Statement = statement!("oauth2/find_unused_registrations.sql");

/// Registrations in a store.
pub(super) struct Tables(Store);

impl Tables {
    pub(super) fn new(store: &Store) -> Self {
        Self(store.clone())
    }
}

fn registration(row: &Row) -> Result<Registration, StoreError> {
    Ok(Registration {
        credential_id: row.get(0)?,
        plugin_id: row.get(1)?,
        access_token: Digest(row.get(2)?),
        network: Digest(row.get(3)?),
        metadata: row.get(4)?,
        created_at: row.get(5)?,
        unused_after: row.get(6)?,
    })
}

fn changed(rows: &[Row]) -> Outcome {
    if rows.is_empty() { Outcome::Lost } else { Outcome::Won(()) }
}

#[async_trait]
impl Registrations for Tables {
    async fn insert_registration(&self, registration: Registration, quota: Quota) -> Result<Outcome, StoreError> {
        let insert = self.0.transaction((registration, quota), async |(registration, quota), tx| {
            if tx.rows(&LOCK_REGISTRATIONS, &[registration.plugin_id.into()]).await?.is_empty() {
                return Ok::<_, Abort>(Outcome::Lost);
            }
            let parameters = [
                registration.credential_id.into(),
                registration.plugin_id.into(),
                digest(&registration.access_token),
                digest(&registration.network),
                (&registration.metadata).into(),
                registration.created_at.into(),
                registration.unused_after.into(),
                quota.total.into(),
                quota.per_network.into(),
                quota.since.into(),
            ];
            Ok(changed(&tx.rows(&INSERT_REGISTRATION, &parameters).await?))
        });
        insert.await
    }

    async fn find_registration(&self, credential_id: Uuid) -> Result<Option<Registration>, StoreError> {
        let find = self.0.read(credential_id, async |credential_id, session| {
            let rows = session.rows(&FIND_REGISTRATION, &[(*credential_id).into()]).await?;
            rows.first().map(registration).transpose()
        });
        find.await
    }

    async fn update_registration(&self, credential_id: Uuid, metadata: String) -> Result<Outcome, StoreError> {
        let update = self.0.statement((credential_id, metadata), async |(credential_id, metadata), tx| {
            let parameters = [(*credential_id).into(), metadata.into()];
            Ok::<_, Abort>(changed(&tx.rows(&UPDATE_REGISTRATION, &parameters).await?))
        });
        update.await
    }

    async fn delete_registration(&self, credential_id: Uuid) -> Result<(), StoreError> {
        let delete = self.0.statement(credential_id, async |credential_id, tx| {
            Ok::<_, Abort>(tx.rows(&DELETE_REGISTRATION, &[(*credential_id).into()]).await.map(drop)?)
        });
        delete.await
    }

    async fn find_unused(&self, now: i64, most: i64) -> Result<Vec<Uuid>, StoreError> {
        let find = self.0.read((now, most), async |(now, most), session| {
            let rows = session.rows(&FIND_UNUSED_REGISTRATIONS, &[(*now).into(), (*most).into()]).await?;
            rows.iter().map(|row| row.get(0)).collect::<Result<Vec<_>, _>>()
        });
        find.await
    }
}
