//! Tokens and codes as parameters and columns, in the order of the statements: the order of the fields of
//! [`Token`] and [`Code`].

use std::sync::Arc;

use tollgate_core::error::StoreError;
use tollgate_plugin::store::{Parameter, Row};

use super::{Code, Token};
use crate::binding::Binding;
use crate::token::Digest;

/// A digest as a parameter.
pub(super) fn digest(digest: &Digest) -> Parameter<'_> {
    Parameter::Bytes(&digest.0)
}

/// A binding as a parameter.
pub(super) fn binding(binding: Option<&Arc<Binding>>) -> Parameter<'_> {
    binding.map(|binding| binding.text()).into()
}

/// The binding in a column.
pub(super) fn bound(row: &Row, column: usize, kind: &'static str) -> Result<Option<Arc<Binding>>, StoreError> {
    let Some(text) = row.get::<Option<String>>(column)? else { return Ok(None) };
    // Whoever cannot read what a token is bound to must not accept it.
    Binding::parse(&text).map_err(|_| StoreError::Corrupt { kind, what: "binding" })
}

/// A token: parameters 1 to 13.
pub(super) fn token_parameters(token: &Token) -> Vec<Parameter<'_>> {
    vec![
        token.id.into(),
        digest(&token.access_token),
        token.refresh_token.as_ref().map(digest).into(),
        (&token.token_hint).into(),
        token.credential_id.into(),
        token.service_id.into(),
        token.expires_in.into(),
        token.created_at.into(),
        token.ttl.into(),
        token.authenticated_userid.as_ref().into(),
        token.scope.as_ref().into(),
        token.family.into(),
        binding(token.binding.as_ref()),
    ]
}

/// A code: parameters 1 to 13.
pub(super) fn code_parameters(code: &Code) -> Vec<Parameter<'_>> {
    vec![
        code.id.into(),
        digest(&code.code),
        code.credential_id.into(),
        code.service_id.into(),
        code.plugin_id.into(),
        code.authenticated_userid.as_ref().into(),
        code.scope.as_ref().into(),
        code.challenge.as_ref().into(),
        code.challenge_method.as_ref().into(),
        code.redirect_uri.as_ref().into(),
        code.created_at.into(),
        code.ttl.into(),
        binding(code.binding.as_ref()),
    ]
}

/// The token of a row.
pub(super) fn token(row: &Row) -> Result<Token, StoreError> {
    Ok(Token {
        id: row.get(0)?,
        access_token: Digest(row.get(1)?),
        refresh_token: row.get::<Option<_>>(2)?.map(Digest),
        token_hint: row.get(3)?,
        credential_id: row.get(4)?,
        service_id: row.get(5)?,
        expires_in: row.get(6)?,
        created_at: row.get(7)?,
        ttl: row.get(8)?,
        authenticated_userid: row.get(9)?,
        scope: row.get(10)?,
        family: row.get(11)?,
        binding: bound(row, 12, "oauth2_tokens")?,
    })
}

/// The tokens of many rows.
pub(super) fn tokens(rows: &[Row]) -> Result<Vec<Token>, StoreError> {
    rows.iter().map(token).collect()
}

/// The code of a row.
pub(super) fn code(row: &Row) -> Result<Code, StoreError> {
    Ok(Code {
        id: row.get(0)?,
        code: Digest(row.get(1)?),
        credential_id: row.get(2)?,
        service_id: row.get(3)?,
        plugin_id: row.get(4)?,
        authenticated_userid: row.get(5)?,
        scope: row.get(6)?,
        challenge: row.get(7)?,
        challenge_method: row.get(8)?,
        redirect_uri: row.get(9)?,
        created_at: row.get(10)?,
        ttl: row.get(11)?,
        binding: bound(row, 12, "oauth2_authorization_codes")?,
    })
}
