//! Rows: each column is read as the requested type, directly from the driver's data.

use tollgate_core::error::StoreError;
use uuid::Uuid;

/// A row that a statement returned.
#[derive(Debug)]
pub struct Row(pub(crate) Columns);

/// A row in the driver's form.
#[derive(Debug)]
pub(crate) enum Columns {
    Postgres(tokio_postgres::Row),
    Sqlite(Vec<rusqlite::types::Value>),
}

/// A value in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Column<'r> {
    /// No value.
    Null,
    /// Text.
    Text(&'r str),
    /// An integer; in SQLite also a boolean.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A UUID.
    Uuid(Uuid),
    /// Bytes; in SQLite also a UUID.
    Bytes(&'r [u8]),
}

/// Types as which a column can be read.
pub trait FromColumn: Sized {
    /// The error for a column of another type.
    const MISMATCH: &'static str;

    /// The value. `None`: the column has another type.
    fn from_column(column: Column<'_>) -> Option<Self>;
}

impl Row {
    /// The column with this index, from 0.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]: the column does not exist, or has another type.
    pub fn get<T: FromColumn>(&self, index: usize) -> Result<T, StoreError> {
        let column = self.column(index);
        column.and_then(T::from_column).ok_or(StoreError::Corrupt { kind: "row", what: T::MISMATCH })
    }

    /// Whether the column is null, as in the row of an outer join that found nothing.
    pub fn is_null(&self, index: usize) -> bool {
        self.column(index) == Some(Column::Null)
    }

    fn column(&self, index: usize) -> Option<Column<'_>> {
        match &self.0 {
            Columns::Postgres(row) => crate::postgres::column(row, index),
            Columns::Sqlite(values) => values.get(index).and_then(crate::sqlite::column),
        }
    }
}

impl FromColumn for String {
    const MISMATCH: &'static str = "a column is not text";

    fn from_column(column: Column<'_>) -> Option<Self> {
        if let Column::Text(text) = column { Some(text.to_owned()) } else { None }
    }
}

impl FromColumn for i64 {
    const MISMATCH: &'static str = "a column is not an integer";

    fn from_column(column: Column<'_>) -> Option<Self> {
        if let Column::Integer(number) = column { Some(number) } else { None }
    }
}

impl FromColumn for bool {
    const MISMATCH: &'static str = "a column is not a boolean";

    fn from_column(column: Column<'_>) -> Option<Self> {
        match column {
            Column::Boolean(value) => Some(value),
            Column::Integer(0) => Some(false),
            Column::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl FromColumn for Uuid {
    const MISMATCH: &'static str = "a column is not a UUID";

    fn from_column(column: Column<'_>) -> Option<Self> {
        match column {
            Column::Uuid(id) => Some(id),
            Column::Bytes(bytes) => Self::from_slice(bytes).ok(),
            _ => None,
        }
    }
}

impl FromColumn for Vec<u8> {
    const MISMATCH: &'static str = "a column is not a byte string";

    fn from_column(column: Column<'_>) -> Option<Self> {
        if let Column::Bytes(bytes) = column { Some(bytes.to_vec()) } else { None }
    }
}

impl<const LENGTH: usize> FromColumn for [u8; LENGTH] {
    const MISMATCH: &'static str = "a column is not a byte string of the expected length";

    fn from_column(column: Column<'_>) -> Option<Self> {
        if let Column::Bytes(bytes) = column { bytes.try_into().ok() } else { None }
    }
}

impl<T: FromColumn> FromColumn for Option<T> {
    const MISMATCH: &'static str = T::MISMATCH;

    fn from_column(column: Column<'_>) -> Option<Self> {
        if column == Column::Null { Some(None) } else { T::from_column(column).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::types::Value;

    use super::*;

    #[test]
    fn a_column_is_read_only_as_its_own_type() {
        let id = Uuid::from_u128(7);
        let values = vec![Value::Null, Value::Text("a".into()), Value::Integer(1), Value::Blob(id.as_bytes().into())];
        let row = Row(Columns::Sqlite(values));
        assert_eq!(row.get::<Option<String>>(0).unwrap(), None);
        assert_eq!(row.get::<Option<String>>(1).unwrap().as_deref(), Some("a"));
        assert_eq!((row.get::<i64>(2).unwrap(), row.get::<bool>(2).unwrap()), (1, true));
        assert_eq!((row.get::<Uuid>(3).unwrap(), row.get::<[u8; 16]>(3).unwrap()), (id, id.into_bytes()));
        assert!(row.is_null(0) && !row.is_null(1) && !row.is_null(4));
        let wrong = [
            row.get::<String>(0).unwrap_err(),
            row.get::<i64>(1).unwrap_err(),
            row.get::<[u8; 32]>(3).unwrap_err(),
            row.get::<String>(4).unwrap_err(),
        ];
        let what = ["not text", "not an integer", "not a byte string of the expected length", "not text"];
        for (error, expected) in wrong.into_iter().zip(what) {
            let StoreError::Corrupt { kind: "row", what } = error else { panic!("{error:?}") };
            assert_eq!(what, format!("a column is {expected}"));
        }
    }
}
