//! Migrating PostgreSQL.

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::{Applied, MigrationError, MigrationId, MigrationSet, Status, all, checksum, compare, now};
use crate::postgres::Connector;
use crate::statement;
use crate::statement::Statement;

const TABLE_EXISTS: Statement = statement!("migration/table_exists.sql");
const TABLE_CREATE: Statement = statement!("migration/table_create.sql");
const HAS_OWNERS: Statement = statement!("migration/has_owners.sql");
const ADD_OWNERS: Statement = statement!("migrations/owners.sql");
const APPLIED: Statement = statement!("migration/applied.sql");
const APPLIED_BEFORE_OWNERS: Statement = statement!("migration/applied_before_owners.sql");
const RECORD: Statement = statement!("migration/record.sql");
const LOCK: &str = include_str!("../../../../sql/postgres/migration/lock.sql");

pub(super) async fn status(connector: &Connector, sets: &[MigrationSet]) -> Result<Status, MigrationError> {
    let client = connector.connect().await?;
    read(&client, sets).await
}

pub(super) async fn up(connector: &Connector, sets: &[MigrationSet]) -> Result<Vec<MigrationId>, MigrationError> {
    let mut client = connector.connect().await?;
    // Held until this connection ends, so that of nodes that start together one migrates and the others then
    // find nothing to do.
    client.query_one(LOCK, &[]).await?;
    client.batch_execute(TABLE_CREATE.postgres).await?;
    if !client.query_one(HAS_OWNERS.postgres, &[]).await?.try_get::<_, bool>(0)? {
        client.batch_execute(ADD_OWNERS.postgres).await?;
    }
    let pending = read(&client, sets).await?.pending;
    for (id, migration) in all(sets).filter(|(id, _)| pending.contains(id)) {
        let transaction = client.transaction().await?;
        transaction.batch_execute(migration.postgres).await?;
        let checksum = checksum(migration.postgres);
        let recorded = [&id.owner as &(dyn ToSql + Sync), &id.version, &migration.name, &now(), &checksum];
        transaction.execute(RECORD.postgres, &recorded).await?;
        transaction.commit().await?;
        tracing::info!(owner = id.owner, version = id.version, name = migration.name, "migration applied");
    }
    Ok(pending)
}

async fn read(client: &Client, sets: &[MigrationSet]) -> Result<Status, MigrationError> {
    let exists: bool = client.query_one(TABLE_EXISTS.postgres, &[]).await?.try_get(0)?;
    let mut applied = Vec::new();
    if exists {
        let has_owners: bool = client.query_one(HAS_OWNERS.postgres, &[]).await?.try_get(0)?;
        let sql = if has_owners { APPLIED.postgres } else { APPLIED_BEFORE_OWNERS.postgres };
        for row in client.query(sql, &[]).await? {
            applied.push(Applied { owner: row.try_get(0)?, version: row.try_get(1)?, checksum: row.try_get(2)? });
        }
    }
    compare(sets, &applied, |migration| checksum(migration.postgres))
}
