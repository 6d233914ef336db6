//! Migrations: forward only, numbered per owner, each in its own transaction.
//!
//! The gateway owns the tables shared by every kind of entity; a plugin with its own tables brings its own
//! migrations, numbered from 1 and applied after the gateway's. Owners are independent of each other.
//!
//! PostgreSQL nodes that start together take turns under an advisory lock. Applied migrations are recorded
//! with their checksum, so that an edited migration is detected instead of skipped.

use std::fmt;
use std::path::PathBuf;

use openssl::sha::sha256;
use tollgate_core::clock::{Clock, SystemClock};

use crate::options::Options;
use crate::postgres::{Connector, UrlError};
use crate::sqlite::{OpenFileError, open_checked};

mod postgres;
mod sqlite;

/// One schema change, in both dialects.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// 1, 2, 3 …
    pub version: i64,
    /// The rest of the file's name.
    pub name: &'static str,
    /// For PostgreSQL.
    pub postgres: &'static str,
    /// For SQLite.
    pub sqlite: &'static str,
}

/// Reads a migration from its two files: `migration!(1, "tickets", "tickets/migrations/0001_tickets.sql")`.
/// For crates two folders below the root of the repository.
#[macro_export]
macro_rules! migration {
    ($version:literal, $name:literal, $file:literal) => {
        $crate::Migration {
            version: $version,
            name: $name,
            postgres: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/postgres/", $file)),
            sqlite: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/sqlite/", $file)),
        }
    };
}

/// The migrations of one owner, in order.
#[derive(Debug, Clone, Copy)]
pub struct MigrationSet {
    /// `gateway`, or a plugin's name.
    pub owner: &'static str,
    /// Numbered from 1 without gaps.
    pub migrations: &'static [Migration],
}

/// The gateway's own tables.
pub const GATEWAY: MigrationSet = MigrationSet {
    owner: "gateway",
    migrations: &[
        migration!(1, "entities", "migrations/0001_entities.sql"),
        migration!(2, "change_horizon", "migrations/0002_change_horizon.sql"),
        migration!(3, "entity_expiry", "migrations/0003_entity_expiry.sql"),
        migration!(4, "change_written_at", "migrations/0004_change_written_at.sql"),
    ],
};

/// A migration's owner and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MigrationId {
    /// The owner.
    pub owner: &'static str,
    /// The number.
    pub version: i64,
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.owner, self.version)
    }
}

/// Why the schema cannot be read or migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The URL is invalid.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The embedded database cannot be opened.
    #[error(transparent)]
    File(#[from] OpenFileError),
    /// PostgreSQL is unreachable.
    #[error(transparent)]
    Connect(Box<dyn std::error::Error + Send + Sync>),
    /// PostgreSQL reported an error.
    #[error("cannot read or migrate the PostgreSQL schema")]
    Postgres(#[from] tokio_postgres::Error),
    /// SQLite reported an error.
    #[error("cannot read or migrate the SQLite schema")]
    Sqlite(#[from] rusqlite::Error),
    /// The migration thread ended early.
    #[error("migration interrupted")]
    Interrupted,
    /// The database was migrated by a later version of Tollgate.
    #[error(
        "the database is at version {found} of {owner}, but this Tollgate supports versions up to {known}: \
         use a Tollgate at least as new as the database"
    )]
    Newer {
        /// The owner of the tables.
        owner: &'static str,
        /// The version of the database.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// A migration differs from the one that was applied.
    #[error("migration {id} ({name}) differs from the one that was applied to the database")]
    Altered {
        /// Its owner and number.
        id: MigrationId,
        /// Its name.
        name: &'static str,
    },
}

/// An applied migration, as recorded in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Applied {
    owner: String,
    version: i64,
    checksum: String,
}

/// Which migrations were applied to a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Applied migrations, in order.
    pub applied: Vec<MigrationId>,
    /// Missing migrations, in order.
    pub pending: Vec<MigrationId>,
}

/// The migrations of one database.
#[derive(Debug)]
pub struct Migrations<'o> {
    options: &'o Options,
}

/// The database that the URL's scheme selects.
pub(crate) enum Location {
    Postgres,
    Sqlite(PathBuf),
}

impl Location {
    pub(crate) fn parse(url: &str) -> Result<Self, UrlError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres);
        }
        match url.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into())),
            _ => Err(UrlError::Scheme),
        }
    }
}

impl<'o> Migrations<'o> {
    /// The migrations of the database in the options. Nothing is opened yet.
    pub fn new(options: &'o Options) -> Self {
        Self { options }
    }

    /// Which migrations are applied and which are missing. Changes nothing.
    pub async fn status(&self) -> Result<Status, MigrationError> {
        match Location::parse(&self.options.url)? {
            Location::Postgres => postgres::status(&Connector::parse(self.options)?, self.sets()).await,
            // Opening the database would create the file.
            Location::Sqlite(path) if !path.exists() => compare(self.sets(), &[], |_| String::new()),
            Location::Sqlite(path) => {
                let sets = self.sets().to_vec();
                blocking(move || sqlite::status(&open_checked(&path)?, &sets)).await
            }
        }
    }

    /// Applies missing migrations and returns them.
    pub async fn up(&self) -> Result<Vec<MigrationId>, MigrationError> {
        match Location::parse(&self.options.url)? {
            Location::Postgres => postgres::up(&Connector::parse(self.options)?, self.sets()).await,
            Location::Sqlite(path) => {
                let sets = self.sets().to_vec();
                blocking(move || sqlite::up(&mut open_checked(&path)?, &sets)).await
            }
        }
    }

    fn sets(&self) -> &'o [MigrationSet] {
        &self.options.migrations
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MigrationError> + Send + 'static,
) -> Result<T, MigrationError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(MigrationError::Interrupted))
}

/// Every migration of the sets, in order, with its id.
fn all(sets: &[MigrationSet]) -> impl Iterator<Item = (MigrationId, &'static Migration)> {
    sets.iter().flat_map(|set| {
        set.migrations.iter().map(|migration| (MigrationId { owner: set.owner, version: migration.version }, migration))
    })
}

/// Compares the database's migrations with those that this program knows. Tables of an unknown owner, such as
/// a plugin that is no longer built in, are left alone.
fn compare(
    sets: &[MigrationSet],
    applied: &[Applied],
    checksum: impl Fn(&Migration) -> String,
) -> Result<Status, MigrationError> {
    for set in sets {
        let known = set.migrations.last().map_or(0, |migration| migration.version);
        let newer = applied.iter().find(|applied| applied.owner == set.owner && applied.version > known);
        if let Some(newer) = newer {
            return Err(MigrationError::Newer { owner: set.owner, found: newer.version, known });
        }
    }
    let mut status = Status { applied: Vec::new(), pending: Vec::new() };
    for (id, migration) in all(sets) {
        match applied.iter().find(|applied| applied.owner == id.owner && applied.version == id.version) {
            None => status.pending.push(id),
            Some(found) if found.checksum == checksum(migration) => status.applied.push(id),
            Some(_) => return Err(MigrationError::Altered { id, name: migration.name }),
        }
    }
    Ok(status)
}

pub(crate) fn checksum(sql: &str) -> String {
    sha256(sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// When a migration was applied: informational, so the machine's clock is good enough.
fn now() -> i64 {
    SystemClock.now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(owner: &str, version: i64, checksum: &str) -> Applied {
        Applied { owner: owner.to_owned(), version, checksum: checksum.to_owned() }
    }

    fn compared(applied: &[Applied]) -> Result<Status, MigrationError> {
        compare(&[GATEWAY], applied, |_| "new".to_owned())
    }

    #[test]
    fn an_empty_database_lacks_every_migration() {
        let status = compared(&[]).unwrap();
        assert_eq!((status.applied.len(), status.pending.len()), (0, GATEWAY.migrations.len()));
    }

    #[test]
    fn a_newer_database_is_refused() {
        let error = compared(&[applied("gateway", 9999, "")]).unwrap_err();
        assert!(matches!(error, MigrationError::Newer { owner: "gateway", found: 9999, .. }));
    }

    #[test]
    fn an_edited_migration_is_detected() {
        let error = compared(&[applied("gateway", 1, "old")]).unwrap_err();
        assert!(matches!(error, MigrationError::Altered { id: MigrationId { version: 1, .. }, .. }));
    }

    #[test]
    fn tables_of_an_owner_that_is_not_built_in_are_left_alone() {
        let known = applied("gateway", 1, "new");
        let with_others = compared(&[known.clone(), applied("gone", 9999, "")]).unwrap();
        assert_eq!(with_others, compared(&[known]).unwrap());
    }

    #[test]
    fn migrations_are_numbered_without_gaps() {
        let versions: Vec<i64> = GATEWAY.migrations.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=i64::try_from(versions.len()).unwrap()).collect::<Vec<_>>());
    }
}
