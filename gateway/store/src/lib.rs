//! Tollgate's storage: PostgreSQL and SQLite behind one port.
//!
//! - [`Store`]: opens a database and provides collections of entities, the change feed, tags and shared
//!   secrets.
//! - [`Store::read`], [`Store::transaction`], [`Store::statement`]: access to a plugin's own tables,
//!   identical for both databases. A plugin supplies a migration, its statements in `sql/` ([`statement!`])
//!   and a [`Sweep`] for expired rows; a [`Batcher`] combines many requests into one statement.
//! - [`Store::declare`]: many entities of all kinds at once, from a file.
//! - [`Feed`]: committed changes, on this node before a write returns, on others within moments.
//! - [`Migrations`]: the schema.
//!
//! A plugin's adapter consists of statements and the mapping of rows, written once for both databases:
//!
//! ```
//! use tollgate_core::error::StoreError;
//! use tollgate_store::{Abort, Statement, Store, statement};
//!
//! const SHARE: Statement = statement!("setting/share.sql");
//!
//! /// Stores a value unless the name has one, and returns the stored value.
//! async fn keep(store: &Store, name: String, value: Vec<u8>) -> Result<Option<Vec<u8>>, StoreError> {
//!     let keep = store.statement((name, value), async |(name, value), tx| {
//!         let rows = tx.rows(&SHARE, &[name.into(), value.as_slice().into()]).await?;
//!         Ok::<_, Abort>(rows.first().map(|row| row.get(0)).transpose()?)
//!     });
//!     keep.await
//! }
//! ```
//!
//! Entities of every kind are documents in one family of tables, so a new kind needs no SQL. Operations are
//! written once (`entity`) against the sessions of both databases; the statements are files in `sql/postgres`
//! and `sql/sqlite`. This crate refers to no kind by name, and to no schema rule beyond those that a database
//! must enforce.

mod batch;
mod cleaner;
mod collection;
mod database;
mod declaration;
mod declared_rows;
mod entity;
mod failure;
mod feed;
mod kinds;
mod metrics;
mod migration;
mod options;
mod postgres;
mod row;
mod session;
mod sqlite;
mod statement;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod transaction;
mod work;
mod writing;

#[cfg(test)]
mod tests;

pub use batch::{Batch, Batcher};
pub use cleaner::Sweep;
pub use declaration::{DeclareError, Extent};
pub use declared_rows::DeclaredRows;
pub use entity::declare::{Changes, Declared};
pub use entity::dependents::{Dependents, Ended};
pub use failure::{Abort, Failure};
pub use feed::Feed;
pub use migration::{GATEWAY, Migration, MigrationError, MigrationId, MigrationSet, Migrations, Status};
pub use options::{MigrationPolicy, Options};
pub use postgres::UrlError;
pub use row::{Column, FromColumn, Row};
pub use session::{Parameter, Session};
pub use sqlite::OpenFileError;
pub use statement::Statement;
pub use store::{OpenError, Store};
pub use transaction::Transaction;
pub use work::{ReadWork, Work, WriteWork};
pub use writing::Committed;
