//! Entities of every kind in one family of tables (`sql/*/migrations/0001_entities.sql`).

pub(crate) mod declare;
pub(crate) mod dependents;
pub(crate) mod expiry;
pub(crate) mod names;
pub(crate) mod read;
pub(crate) mod stored;
pub(crate) mod tag;
pub(crate) mod write;
