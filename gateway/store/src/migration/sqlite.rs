//! Migrating SQLite.

use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::{Applied, MigrationError, MigrationId, MigrationSet, Status, all, checksum, compare, now};
use crate::statement;
use crate::statement::Statement;

const TABLE_EXISTS: Statement = statement!("migration/table_exists.sql");
const TABLE_CREATE: Statement = statement!("migration/table_create.sql");
const HAS_OWNERS: Statement = statement!("migration/has_owners.sql");
const ADD_OWNERS: Statement = statement!("migrations/owners.sql");
const APPLIED: Statement = statement!("migration/applied.sql");
const APPLIED_BEFORE_OWNERS: Statement = statement!("migration/applied_before_owners.sql");
const RECORD: Statement = statement!("migration/record.sql");

pub(super) fn status(connection: &Connection, sets: &[MigrationSet]) -> Result<Status, MigrationError> {
    let exists: bool = connection.query_row(TABLE_EXISTS.sqlite, [], |row| row.get(0))?;
    let mut applied = Vec::new();
    if exists {
        let has_owners: bool = connection.query_row(HAS_OWNERS.sqlite, [], |row| row.get(0))?;
        let sql = if has_owners { APPLIED.sqlite } else { APPLIED_BEFORE_OWNERS.sqlite };
        let mut statement = connection.prepare(sql)?;
        let read = |row: &Row<'_>| Ok(Applied { owner: row.get(0)?, version: row.get(1)?, checksum: row.get(2)? });
        applied = statement.query_map([], read)?.collect::<Result<_, _>>()?;
    }
    compare(sets, &applied, |migration| checksum(migration.sqlite))
}

pub(super) fn up(connection: &mut Connection, sets: &[MigrationSet]) -> Result<Vec<MigrationId>, MigrationError> {
    connection.execute_batch(TABLE_CREATE.sqlite)?;
    add_owners(connection)?;
    let mut done = Vec::new();
    for (id, migration) in all(sets) {
        // The lock is taken before the check: of two processes one migrates and the other then finds nothing
        // to do.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !status(&transaction, sets)?.pending.contains(&id) {
            continue;
        }
        transaction.execute_batch(migration.sqlite)?;
        let checksum = checksum(migration.sqlite);
        transaction.execute(RECORD.sqlite, params![id.owner, id.version, migration.name, now(), checksum])?;
        transaction.commit()?;
        tracing::info!(owner = id.owner, version = id.version, name = migration.name, "migration applied");
        done.push(id);
    }
    Ok(done)
}

fn add_owners(connection: &mut Connection) -> Result<(), MigrationError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !transaction.query_row(HAS_OWNERS.sqlite, [], |row| row.get::<_, bool>(0))? {
        transaction.execute_batch(ADD_OWNERS.sqlite)?;
    }
    Ok(transaction.commit()?)
}
