//! Migrating PostgreSQL.

use tokio_postgres::Client;

use super::{Applied, MIGRATIONS, MigrationError, Status, checksum, compare, now};
use crate::postgres::Connector;
use crate::statement;
use crate::statement::Statement;

const TABLE_EXISTS: Statement = statement!("migration/table_exists.sql");
const TABLE_CREATE: Statement = statement!("migration/table_create.sql");
const APPLIED: Statement = statement!("migration/applied.sql");
const RECORD: Statement = statement!("migration/record.sql");
const LOCK: &str = include_str!("../../../../sql/postgres/migration/lock.sql");

pub(super) async fn status(connector: &Connector) -> Result<Status, MigrationError> {
    let client = connector.connect().await?;
    read(&client).await
}

pub(super) async fn up(connector: &Connector) -> Result<Vec<i64>, MigrationError> {
    let mut client = connector.connect().await?;
    // Held until this connection ends, so that of nodes that start together one migrates and
    // the others then find nothing to do.
    client.query_one(LOCK, &[]).await?;
    client.batch_execute(TABLE_CREATE.postgres).await?;
    let pending = read(&client).await?.pending;
    for migration in MIGRATIONS.iter().filter(|migration| pending.contains(&migration.version)) {
        let transaction = client.transaction().await?;
        transaction.batch_execute(migration.postgres).await?;
        let checksum = checksum(migration.postgres);
        transaction.execute(RECORD.postgres, &[&migration.version, &migration.name, &now(), &checksum]).await?;
        transaction.commit().await?;
        tracing::info!(version = migration.version, name = migration.name, "migration applied");
    }
    Ok(pending)
}

async fn read(client: &Client) -> Result<Status, MigrationError> {
    let exists: bool = client.query_one(TABLE_EXISTS.postgres, &[]).await?.try_get(0)?;
    let mut applied = Vec::new();
    if exists {
        for row in client.query(APPLIED.postgres, &[]).await? {
            applied.push(Applied { version: row.try_get(0)?, checksum: row.try_get(1)? });
        }
    }
    compare(&applied, |migration| checksum(migration.postgres))
}
