//! Tokens of a file, such as those that another gateway has issued: added within the transaction that writes the
//! entities they belong to, unless they are there.

use tollgate_core::change::Operation;
use tollgate_core::error::DaoError;
use tollgate_plugin::store::{Abort, Parameter, Statement, Transaction, statement};

use super::columns::{digest, token_parameters};
use super::tables::{INSERT_ROW, admitted, change, chosen, refusal};
use super::{Provenance, Token};

const FORGET_EXPIRED: Statement = statement!("oauth2/forget_expired.sql");
const FIND_TOKEN_BY_ID: Statement = statement!("oauth2/find_token_by_id.sql");
const FIND_TOKENS: Statement = statement!("oauth2/find_tokens.sql");
const FIND_REFRESH_TOKEN: Statement = statement!("oauth2/find_refresh_token.sql");

/// Adds a token unless there is one with its id or one of its values.
pub async fn add_token(tx: &mut Transaction<'_>, token: &Token, provenance: Provenance) -> Result<(), Abort<DaoError>> {
    let now = tx.now();
    let refresh_token = token.refresh_token.as_ref();
    let taken = [token.id.into(), digest(&token.access_token), refresh_token.map(digest).into(), now.into()];
    tx.execute(&FORGET_EXPIRED, &taken).await?;
    let access_token: [&[u8]; 1] = [&token.access_token.0];
    let mut there = tx.rows(&FIND_TOKEN_BY_ID, &[token.id.into(), now.into()]).await?.len();
    there += tx.rows(&FIND_TOKENS, &[Parameter::ByteStrings(&access_token), now.into()]).await?.len();
    if let Some(refresh_token) = refresh_token {
        there += tx.rows(&FIND_REFRESH_TOKEN, &[digest(refresh_token), now.into()]).await?.len();
    }
    if there > 0 {
        return Ok(());
    }
    let mut parameters = token_parameters(token);
    parameters.extend([chosen(provenance), now.into(), tx.origin().into()]);
    let rows = tx.rows(&INSERT_ROW, &parameters).await.map_err(|failure| refusal(failure, token))?;
    admitted(&rows, token)?;
    tx.announce(change(Operation::Created, token.id, token.access_token));
    Ok(())
}
