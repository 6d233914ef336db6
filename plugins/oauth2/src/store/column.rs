//! Tokens and codes as the columns of either database, in the order of the statements: that of the
//! fields of [`Token`] and [`Code`].

use std::error::Error as StdError;

use bytes::BytesMut;
use rusqlite::types::Value;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tollgate_core::change::{Change, Operation};
use uuid::Uuid;

use super::{Code, Token};
use crate::entity::token;
use crate::token::Digest;

/// A statement for one of the databases: its file in `sql/`, and the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sql {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

/// Takes a statement from its file: `sql!("postgres", "insert_token.sql")`.
macro_rules! sql {
    ($database:literal, $file:literal) => {
        $crate::store::column::Sql {
            name: concat!("oauth2/", $file),
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/", $database, "/oauth2/", $file)),
        }
    };
}
pub(super) use sql;

/// What the feed says of a token: caches know it by its digest.
pub(super) fn change(operation: Operation, id: Uuid, access_token: Digest) -> Change {
    Change { kind: token::NAME.to_owned(), operation, id, key: access_token.0.to_vec(), document: None }
}

/// What the feed says of a token that was written over another one.
pub(super) fn replacement(old: &Token, new: &Token) -> Vec<Change> {
    let mut digests = vec![old.access_token, new.access_token];
    digests.dedup();
    digests.into_iter().map(|digest| change(Operation::Updated, new.id, digest)).collect()
}

/// The smallest id of the page; `None`: there is no id behind the last one.
pub(super) fn successor(after: Option<Uuid>) -> Option<Uuid> {
    after.map_or(Some(Uuid::nil()), |id| id.as_u128().checked_add(1).map(Uuid::from_u128))
}

impl ToSql for Digest {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.0.as_slice().to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <&[u8] as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for Digest {
    fn from_sql(ty: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let bytes = <&[u8] as FromSql>::from_sql(ty, raw)?;
        Self::read(bytes).ok_or_else(|| "a digest has another length".into())
    }

    fn accepts(ty: &Type) -> bool {
        <&[u8] as FromSql>::accepts(ty)
    }
}

/// A value given to a statement of PostgreSQL.
pub(super) type Parameter<'p> = &'p (dyn ToSql + Sync);

/// A token for PostgreSQL: `$1` to `$12`.
pub(super) fn token_parameters(token: &Token) -> Vec<Parameter<'_>> {
    vec![
        &token.id,
        &token.access_token,
        &token.refresh_token,
        &token.token_hint,
        &token.credential_id,
        &token.service_id,
        &token.expires_in,
        &token.created_at,
        &token.ttl,
        &token.authenticated_userid,
        &token.scope,
        &token.family,
    ]
}

/// Many tokens for PostgreSQL, an array for each column: `$1` to `$12`.
#[derive(Default)]
pub(super) struct TokenColumns<'t> {
    ids: Vec<Uuid>,
    access_tokens: Vec<Digest>,
    refresh_tokens: Vec<Option<Digest>>,
    token_hints: Vec<&'t str>,
    credential_ids: Vec<Uuid>,
    service_ids: Vec<Option<Uuid>>,
    expires_ins: Vec<i64>,
    created_ats: Vec<i64>,
    ttls: Vec<Option<i64>>,
    userids: Vec<Option<&'t str>>,
    scopes: Vec<Option<&'t str>>,
    families: Vec<Option<Uuid>>,
}

impl<'t> TokenColumns<'t> {
    pub(super) fn of(tokens: &'t [Token]) -> Self {
        let mut columns = Self::default();
        for token in tokens {
            columns.ids.push(token.id);
            columns.access_tokens.push(token.access_token);
            columns.refresh_tokens.push(token.refresh_token);
            columns.token_hints.push(&token.token_hint);
            columns.credential_ids.push(token.credential_id);
            columns.service_ids.push(token.service_id);
            columns.expires_ins.push(token.expires_in);
            columns.created_ats.push(token.created_at);
            columns.ttls.push(token.ttl);
            columns.userids.push(token.authenticated_userid.as_deref());
            columns.scopes.push(token.scope.as_deref());
            columns.families.push(token.family);
        }
        columns
    }

    pub(super) fn parameters(&self) -> [Parameter<'_>; 12] {
        [
            &self.ids,
            &self.access_tokens,
            &self.refresh_tokens,
            &self.token_hints,
            &self.credential_ids,
            &self.service_ids,
            &self.expires_ins,
            &self.created_ats,
            &self.ttls,
            &self.userids,
            &self.scopes,
            &self.families,
        ]
    }
}

/// A code for PostgreSQL: `$1` to `$12`.
pub(super) fn code_parameters(code: &Code) -> Vec<Parameter<'_>> {
    vec![
        &code.id,
        &code.code,
        &code.credential_id,
        &code.service_id,
        &code.plugin_id,
        &code.authenticated_userid,
        &code.scope,
        &code.challenge,
        &code.challenge_method,
        &code.redirect_uri,
        &code.created_at,
        &code.ttl,
    ]
}

/// A token that PostgreSQL answered.
pub(super) fn token_of_postgres(row: &tokio_postgres::Row) -> Result<Token, tokio_postgres::Error> {
    Ok(Token {
        id: row.try_get(0)?,
        access_token: row.try_get(1)?,
        refresh_token: row.try_get(2)?,
        token_hint: row.try_get(3)?,
        credential_id: row.try_get(4)?,
        service_id: row.try_get(5)?,
        expires_in: row.try_get(6)?,
        created_at: row.try_get(7)?,
        ttl: row.try_get(8)?,
        authenticated_userid: row.try_get(9)?,
        scope: row.try_get(10)?,
        family: row.try_get(11)?,
    })
}

/// A code that PostgreSQL answered.
pub(super) fn code_of_postgres(row: &tokio_postgres::Row) -> Result<Code, tokio_postgres::Error> {
    Ok(Code {
        id: row.try_get(0)?,
        code: row.try_get(1)?,
        credential_id: row.try_get(2)?,
        service_id: row.try_get(3)?,
        plugin_id: row.try_get(4)?,
        authenticated_userid: row.try_get(5)?,
        scope: row.try_get(6)?,
        challenge: row.try_get(7)?,
        challenge_method: row.try_get(8)?,
        redirect_uri: row.try_get(9)?,
        created_at: row.try_get(10)?,
        ttl: row.try_get(11)?,
    })
}

/// An id for SQLite.
pub(super) fn id_value(id: Uuid) -> Value {
    Value::Blob(id.into_bytes().to_vec())
}

/// A digest for SQLite.
pub(super) fn digest_value(digest: Digest) -> Value {
    Value::Blob(digest.0.to_vec())
}

/// A token for SQLite: `?1` to `?12`.
pub(super) fn token_values(token: &Token) -> Vec<Value> {
    vec![
        id_value(token.id),
        digest_value(token.access_token),
        token.refresh_token.map(digest_value).into(),
        token.token_hint.clone().into(),
        id_value(token.credential_id),
        token.service_id.map(id_value).into(),
        token.expires_in.into(),
        token.created_at.into(),
        token.ttl.into(),
        token.authenticated_userid.clone().into(),
        token.scope.clone().into(),
        token.family.map(id_value).into(),
    ]
}

/// A code for SQLite: `?1` to `?12`.
pub(super) fn code_values(code: &Code) -> Vec<Value> {
    vec![
        id_value(code.id),
        digest_value(code.code),
        id_value(code.credential_id),
        code.service_id.map(id_value).into(),
        code.plugin_id.map(id_value).into(),
        code.authenticated_userid.clone().into(),
        code.scope.clone().into(),
        code.challenge.clone().into(),
        code.challenge_method.clone().into(),
        code.redirect_uri.clone().into(),
        code.created_at.into(),
        code.ttl.into(),
    ]
}

fn id_of_sqlite(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<Option<Uuid>> {
    Ok(row.get::<_, Option<[u8; 16]>>(index)?.map(Uuid::from_bytes))
}

/// The id and the access token with which an answer of SQLite begins.
pub(super) fn identity_of_sqlite(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Uuid, Digest)> {
    Ok((Uuid::from_bytes(row.get(0)?), Digest(row.get(1)?)))
}

/// A token that SQLite answered.
pub(super) fn token_of_sqlite(row: &rusqlite::Row<'_>) -> rusqlite::Result<Token> {
    let (id, access_token) = identity_of_sqlite(row)?;
    Ok(Token {
        id,
        access_token,
        refresh_token: row.get::<_, Option<[u8; 32]>>(2)?.map(Digest),
        token_hint: row.get(3)?,
        credential_id: Uuid::from_bytes(row.get(4)?),
        service_id: id_of_sqlite(row, 5)?,
        expires_in: row.get(6)?,
        created_at: row.get(7)?,
        ttl: row.get(8)?,
        authenticated_userid: row.get(9)?,
        scope: row.get(10)?,
        family: id_of_sqlite(row, 11)?,
    })
}

/// A code that SQLite answered.
pub(super) fn code_of_sqlite(row: &rusqlite::Row<'_>) -> rusqlite::Result<Code> {
    let (id, code) = identity_of_sqlite(row)?;
    Ok(Code {
        id,
        code,
        credential_id: Uuid::from_bytes(row.get(2)?),
        service_id: id_of_sqlite(row, 3)?,
        plugin_id: id_of_sqlite(row, 4)?,
        authenticated_userid: row.get(5)?,
        scope: row.get(6)?,
        challenge: row.get(7)?,
        challenge_method: row.get(8)?,
        redirect_uri: row.get(9)?,
        created_at: row.get(10)?,
        ttl: row.get(11)?,
    })
}
