//! Statements: each a file in `sql/`, once for either database.

/// A statement in both dialects. The files take the same parameters in the same order and give
/// the same columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Its file below `sql/postgres` and `sql/sqlite`; what errors name.
    pub name: &'static str,
    /// The text of `sql/postgres/…`.
    pub postgres: &'static str,
    /// The text of `sql/sqlite/…`.
    pub sqlite: &'static str,
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
