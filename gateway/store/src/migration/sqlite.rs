//! Migrating SQLite.

use rusqlite::{Connection, TransactionBehavior, params};

use super::{Applied, MIGRATIONS, MigrationError, Status, checksum, compare, now};
use crate::statement;
use crate::statement::Statement;

const TABLE_EXISTS: Statement = statement!("migration/table_exists.sql");
const TABLE_CREATE: Statement = statement!("migration/table_create.sql");
const APPLIED: Statement = statement!("migration/applied.sql");
const RECORD: Statement = statement!("migration/record.sql");

pub(super) fn status(connection: &Connection) -> Result<Status, MigrationError> {
    let exists: bool = connection.query_row(TABLE_EXISTS.sqlite, [], |row| row.get(0))?;
    let mut applied = Vec::new();
    if exists {
        let mut statement = connection.prepare(APPLIED.sqlite)?;
        let rows = statement.query_map([], |row| Ok(Applied { version: row.get(0)?, checksum: row.get(1)? }))?;
        applied = rows.collect::<Result<_, _>>()?;
    }
    compare(&applied, |migration| checksum(migration.sqlite))
}

pub(super) fn up(connection: &mut Connection) -> Result<Vec<i64>, MigrationError> {
    connection.execute_batch(TABLE_CREATE.sqlite)?;
    let mut done = Vec::new();
    for migration in MIGRATIONS {
        // The lock is taken before looking: of two processes one migrates and the other then
        // finds nothing to do.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !status(&transaction)?.pending.contains(&migration.version) {
            continue;
        }
        transaction.execute_batch(migration.sqlite)?;
        let checksum = checksum(migration.sqlite);
        transaction.execute(RECORD.sqlite, params![migration.version, migration.name, now(), checksum])?;
        transaction.commit()?;
        tracing::info!(version = migration.version, name = migration.name, "migration applied");
        done.push(migration.version);
    }
    Ok(done)
}
