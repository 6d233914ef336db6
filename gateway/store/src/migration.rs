//! Migrations: forward only, numbered, each in a transaction of its own.
//!
//! Postgres nodes that start together take turns under an advisory lock. What was applied is kept
//! with its checksum, so that an edited migration is noticed instead of skipped.

use std::path::PathBuf;

use openssl::sha::sha256;
use tollgate_core::clock::{Clock, SystemClock};

use crate::options::Options;
use crate::postgres::{Connector, UrlError};
use crate::sqlite::{OpenFileError, open};

mod postgres;
mod sqlite;

/// One step of the schema, in both dialects.
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

macro_rules! migration {
    ($version:literal, $name:literal, $file:literal) => {
        Migration {
            version: $version,
            name: $name,
            postgres: include_str!(concat!("../../../sql/postgres/migrations/", $file)),
            sqlite: include_str!(concat!("../../../sql/sqlite/migrations/", $file)),
        }
    };
}

/// All of them, in order.
pub const MIGRATIONS: &[Migration] = &[
    migration!(1, "entities", "0001_entities.sql"),
    migration!(2, "oauth2", "0002_oauth2.sql"),
    migration!(3, "change_horizon", "0003_change_horizon.sql"),
];

/// Why the schema cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The URL is no good.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The embedded database cannot be opened.
    #[error(transparent)]
    File(#[from] OpenFileError),
    /// PostgreSQL cannot be reached, or refused.
    #[error("the schema in PostgreSQL cannot be read or changed")]
    Postgres(#[from] tokio_postgres::Error),
    /// SQLite refused.
    #[error("the schema in SQLite cannot be read or changed")]
    Sqlite(#[from] rusqlite::Error),
    /// The thread that migrates ended early.
    #[error("the migration was interrupted")]
    Interrupted,
    /// The database was migrated by a later version of Tollgate.
    #[error(
        "the database is at version {found}, and this Tollgate knows versions up to {known}: \
         run a Tollgate that is as new as the database"
    )]
    Newer {
        /// The version of the database.
        found: i64,
        /// The last version that this program knows.
        known: i64,
    },
    /// A migration is not the one that was applied.
    #[error("migration {version} ({name}) differs from the one that was applied to the database")]
    Altered {
        /// Its number.
        version: i64,
        /// Its name.
        name: &'static str,
    },
}

/// A migration that the database has, as it is recorded there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Applied {
    version: i64,
    checksum: String,
}

/// Which migrations a database has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The versions that are applied, in order.
    pub applied: Vec<i64>,
    /// The versions that are not, in order.
    pub pending: Vec<i64>,
}

impl Status {
    /// The version of the database; 0 is an empty one.
    pub fn version(&self) -> i64 {
        self.applied.last().copied().unwrap_or(0)
    }
}

/// The migrations of one database.
#[derive(Debug)]
pub struct Migrations<'o> {
    options: &'o Options,
}

/// A database by the URL's scheme.
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
    /// The migrations of the database that the options name. Nothing is opened yet.
    pub fn new(options: &'o Options) -> Self {
        Self { options }
    }

    /// What is applied and what is not. Changes nothing.
    pub async fn status(&self) -> Result<Status, MigrationError> {
        match Location::parse(&self.options.url)? {
            Location::Postgres => postgres::status(&Connector::parse(self.options)?).await,
            // Opening would create the file.
            Location::Sqlite(path) if !path.exists() => compare(&[], |_| String::new()),
            Location::Sqlite(path) => blocking(move || sqlite::status(&open(&path)?)).await,
        }
    }

    /// Applies what is missing and returns the versions that were.
    pub async fn up(&self) -> Result<Vec<i64>, MigrationError> {
        match Location::parse(&self.options.url)? {
            Location::Postgres => postgres::up(&Connector::parse(self.options)?).await,
            Location::Sqlite(path) => blocking(move || sqlite::up(&mut open(&path)?)).await,
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MigrationError> + Send + 'static,
) -> Result<T, MigrationError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(MigrationError::Interrupted))
}

/// Compares what the database has with what this program knows.
fn compare(applied: &[Applied], checksum: impl Fn(&Migration) -> String) -> Result<Status, MigrationError> {
    let known = MIGRATIONS.last().map_or(0, |migration| migration.version);
    if let Some(newer) = applied.iter().find(|applied| applied.version > known) {
        return Err(MigrationError::Newer { found: newer.version, known });
    }
    let mut status = Status { applied: Vec::new(), pending: Vec::new() };
    for migration in MIGRATIONS {
        match applied.iter().find(|applied| applied.version == migration.version) {
            None => status.pending.push(migration.version),
            Some(found) if found.checksum == checksum(migration) => status.applied.push(migration.version),
            Some(_) => {
                return Err(MigrationError::Altered { version: migration.version, name: migration.name });
            }
        }
    }
    Ok(status)
}

fn checksum(sql: &str) -> String {
    sha256(sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// When a migration was applied: for people, so the machine's clock will do.
fn now() -> i64 {
    SystemClock.now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(version: i64, checksum: &str) -> Applied {
        Applied { version, checksum: checksum.into() }
    }

    #[test]
    fn an_empty_database_lacks_every_migration() {
        let status = compare(&[], |_| String::new()).unwrap();
        assert_eq!(status.version(), 0);
        assert_eq!(status.pending.len(), MIGRATIONS.len());
    }

    #[test]
    fn a_newer_database_is_refused() {
        let error = compare(&[applied(9999, "")], |_| String::new()).unwrap_err();
        assert!(matches!(error, MigrationError::Newer { found: 9999, .. }));
    }

    #[test]
    fn an_edited_migration_is_noticed() {
        let error = compare(&[applied(1, "old")], |_| "new".into()).unwrap_err();
        assert!(matches!(error, MigrationError::Altered { version: 1, .. }));
    }

    #[test]
    fn migrations_are_numbered_without_gaps() {
        let versions: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=i64::try_from(MIGRATIONS.len()).unwrap()).collect::<Vec<_>>());
    }
}
