//! Where Tollgate keeps its state: PostgreSQL and SQLite behind one port.
//!
//! - [`Store`]: opens a database and hands out collections of entities, the change feed, tags and
//!   shared secrets.
//! - [`Database`]: the driver itself, for plugins with tables of their own; they bring a
//!   migration, their statements in `sql/`, and a [`Sweep`] for what expires.
//! - [`Feed`]: committed changes, on this node before the write is answered, on others within
//!   moments.
//! - [`Migrations`]: the schema.
//!
//! Entities of every kind are documents in one family of tables, so that a new kind needs no SQL.
//! What is done to them is written once (`entity`) against a small session that both databases
//! offer; the statements are files in `sql/postgres` and `sql/sqlite`. This crate knows no kind
//! by name, and no schema rule beyond what a database has to decide.

mod cleaner;
mod collection;
mod database;
mod entity;
mod feed;
mod kinds;
mod metrics;
mod migration;
mod options;
mod postgres;
mod session;
mod sqlite;
mod statement;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(test)]
mod tests;

pub use cleaner::Sweep;
pub use database::Database;
pub use feed::{Feed, Write};
pub use migration::{GATEWAY, Migration, MigrationError, MigrationId, MigrationSet, Migrations, Status};
pub use options::{MigrationPolicy, Options};
pub use postgres::{Postgres, UrlError};
pub use sqlite::{OpenFileError, Sqlite};
pub use statement::Statement;
pub use store::{OpenError, Store};
