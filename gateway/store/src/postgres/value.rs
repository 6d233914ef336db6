//! Parameters as the driver sends them.

use std::error::Error as StdError;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::session::Parameter;

/// A value whose type is known without the server.
pub(super) trait Value: ToSql + Sync {
    /// The type of the parameter; unknown: the server infers it, which it can for nulls.
    fn kind(&self) -> Type;
}

/// The values of one parameter for many lists, as an array.
#[derive(Debug)]
pub(super) struct Many<'a>(pub(super) Vec<Parameter<'a>>);

/// Values by reference, as the driver requires.
pub(super) fn references<V: Value>(values: &[V]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

/// The same with their types.
pub(super) fn typed<V: Value>(values: &[V]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    values.iter().map(|value| (value as &(dyn ToSql + Sync), value.kind())).collect()
}

impl Value for Parameter<'_> {
    fn kind(&self) -> Type {
        match self {
            Self::Null => Type::UNKNOWN,
            Self::Text(_) => Type::TEXT,
            Self::Integer(_) => Type::INT8,
            Self::Boolean(_) => Type::BOOL,
            Self::Uuid(_) => Type::UUID,
            Self::Bytes(_) => Type::BYTEA,
            Self::Texts(_) => Type::TEXT_ARRAY,
            Self::Uuids(_) => Type::UUID_ARRAY,
            Self::ByteStrings(_) => Type::BYTEA_ARRAY,
        }
    }
}

impl Value for Many<'_> {
    fn kind(&self) -> Type {
        let known = self.0.iter().map(Value::kind).find(|kind| *kind != Type::UNKNOWN);
        match known.unwrap_or(Type::UNKNOWN) {
            Type::TEXT => Type::TEXT_ARRAY,
            Type::INT8 => Type::INT8_ARRAY,
            Type::BOOL => Type::BOOL_ARRAY,
            Type::UUID => Type::UUID_ARRAY,
            Type::BYTEA => Type::BYTEA_ARRAY,
            // Arrays of arrays are no parameters.
            _ => Type::UNKNOWN,
        }
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Text(text) => text.to_sql_checked(ty, out),
            Self::Integer(number) => number.to_sql_checked(ty, out),
            Self::Boolean(value) => value.to_sql_checked(ty, out),
            Self::Uuid(id) => id.to_sql_checked(ty, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(ty, out),
            Self::Texts(texts) => texts.to_sql_checked(ty, out),
            Self::Uuids(ids) => ids.to_sql_checked(ty, out),
            Self::ByteStrings(all) => all.to_sql_checked(ty, out),
        }
    }

    /// Each variant checks its own type.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl ToSql for Many<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        if *ty != Type::UNKNOWN {
            return self.0.to_sql(ty, out);
        }
        // All are null. The binary form of an array names its type; the text form does not.
        let nulls = vec!["NULL"; self.0.len()].join(",");
        out.extend_from_slice(format!("{{{nulls}}}").as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, ty: &Type) -> Format {
        if *ty == Type::UNKNOWN { Format::Text } else { Format::Binary }
    }

    to_sql_checked!();
}
