//! Statements: each a file in `sql/`, once for either database.

/// A statement in both dialects. The files take the same parameters in the same order and give
/// the same columns.
///
/// SQLite's may be several, each of which but the last ends in a `;` at the end of a line. They share the
/// parameters and are carried out one after the other; the result is what all of them return. So what
/// PostgreSQL does in one statement with parts that depend on one another is one statement to its caller
/// in SQLite too, where `changes()` says whether the part before has done anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Its file below `sql/postgres` and `sql/sqlite`; what errors name.
    pub name: &'static str,
    /// The text of `sql/postgres/…`.
    pub postgres: &'static str,
    /// The text of `sql/sqlite/…`.
    pub sqlite: &'static str,
}

/// The parts of a statement for SQLite.
pub(crate) fn parts(sqlite: &str) -> impl Iterator<Item = &str> {
    sqlite.split(";\n")
}

/// Takes a statement from its two files: `statement!("entity/insert.sql")`. For crates two folders
/// below the root of the repository.
#[macro_export]
macro_rules! statement {
    ($file:literal) => {
        $crate::Statement {
            name: $file,
            postgres: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/postgres/", $file)),
            sqlite: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/sqlite/", $file)),
        }
    };
}
