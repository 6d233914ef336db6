//! Migrating PostgreSQL. Every statement is unnamed and every lock ends with its transaction, so that migrations
//! can go through a pooler (`postgres::sessions`).

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Transaction};

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
    let mut client = connect(connector).await?;
    let transaction = client.transaction().await?;
    read(&transaction, sets).await
}

pub(super) async fn up(connector: &Connector, sets: &[MigrationSet]) -> Result<Vec<MigrationId>, MigrationError> {
    let mut client = connect(connector).await?;
    let transaction = locked(&mut client).await?;
    transaction.batch_execute(TABLE_CREATE.postgres).await?;
    if !exists(&transaction, HAS_OWNERS).await? {
        transaction.batch_execute(ADD_OWNERS.postgres).await?;
    }
    let pending = read(&transaction, sets).await?.pending;
    transaction.commit().await?;
    let mut done = Vec::new();
    for (id, migration) in all(sets).filter(|(id, _)| pending.contains(id)) {
        // Another node may have applied it since then: the lock is taken before the check.
        let transaction = locked(&mut client).await?;
        if !read(&transaction, sets).await?.pending.contains(&id) {
            continue;
        }
        transaction.batch_execute(migration.postgres).await?;
        let (version, now, checksum) = (id.version, now(), checksum(migration.postgres));
        let recorded: [(&(dyn ToSql + Sync), Type); 5] = [
            (&id.owner, Type::TEXT),
            (&version, Type::INT8),
            (&migration.name, Type::TEXT),
            (&now, Type::INT8),
            (&checksum, Type::TEXT),
        ];
        transaction.execute_typed(RECORD.postgres, &recorded).await?;
        transaction.commit().await?;
        tracing::info!(owner = id.owner, version = id.version, name = migration.name, "migration applied");
        done.push(id);
    }
    Ok(done)
}

async fn connect(connector: &Connector) -> Result<Client, MigrationError> {
    connector.connect().await.map_err(|error| MigrationError::Connect(Box::new(error)))
}

/// A transaction in its turn: nodes that start together migrate one after the other.
async fn locked(client: &mut Client) -> Result<Transaction<'_>, MigrationError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(LOCK).await?;
    Ok(transaction)
}

async fn exists(transaction: &Transaction<'_>, statement: Statement) -> Result<bool, MigrationError> {
    Ok(transaction.query_typed_one(statement.postgres, &[]).await?.try_get(0)?)
}

async fn read(transaction: &Transaction<'_>, sets: &[MigrationSet]) -> Result<Status, MigrationError> {
    let mut applied = Vec::new();
    if exists(transaction, TABLE_EXISTS).await? {
        let has_owners = exists(transaction, HAS_OWNERS).await?;
        let sql = if has_owners { APPLIED.postgres } else { APPLIED_BEFORE_OWNERS.postgres };
        for row in transaction.query_typed(sql, &[]).await? {
            applied.push(Applied { owner: row.try_get(0)?, version: row.try_get(1)?, checksum: row.try_get(2)? });
        }
    }
    compare(sets, &applied, |migration| checksum(migration.postgres))
}
