//! SQL statements: each is a file in `sql/`, one per database.

/// A statement in both dialects. The files take the same parameters in the same order and return the same
/// columns.
///
/// The SQLite version may consist of several statements, each of which except the last ends in a `;` at the
/// end of a line. They share the parameters and are executed in order; the result is the rows of all of them.
/// So what PostgreSQL does in one statement with dependent parts is a single statement to its caller in
/// SQLite too, where `changes()` tells whether the previous part changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Its path below `sql/postgres` and `sql/sqlite`; errors include it.
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

/// Reads a statement from its two files: `statement!("entity/insert.sql")`. For crates two folders below the
/// root of the repository.
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
