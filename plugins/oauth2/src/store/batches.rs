//! Batches: look-ups and insertions of many callers at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use tollgate_core::error::StoreError;
use tollgate_plugin::store::{Abort, Batch, Parameter, Session, Statement, Store, statement};
use uuid::Uuid;

use super::columns::{token_parameters, tokens};
use super::{Outcome, Token};
use crate::token::Digest;

const FIND_TOKENS: Statement = statement!("oauth2/find_tokens.sql");
const INSERT_TOKENS: Statement = statement!("oauth2/insert_tokens.sql");

/// Looks up tokens by access token, for many callers in one statement.
pub(super) struct LookUps(pub(super) Store);

/// Where a look-up may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// The primary.
    Primary,
    /// A replica that shows every change applied on this node; the primary for what it does not know.
    Replica,
}

#[async_trait]
impl Batch for LookUps {
    /// Access tokens, the time at which they must be visible, and where they may be read.
    type Request = (Vec<Digest>, i64, From);
    type Response = Vec<Token>;

    const IN_FLIGHT: usize = 3;

    async fn run(&self, requests: Vec<Self::Request>) -> Result<Vec<Vec<Token>>, StoreError> {
        // The earliest `now` sees the most rows; each look-up then drops rows that have expired for it.
        let earliest = requests.iter().map(|(_, now, _)| *now).min().unwrap_or(i64::MAX);
        let find = async |(digests, earliest): &(Vec<Digest>, i64), session: &mut dyn Session| {
            let digests: Vec<&[u8]> = digests.iter().map(|digest| digest.0.as_slice()).collect();
            let parameters = [Parameter::ByteStrings(&digests), Parameter::Integer(*earliest)];
            tokens(&session.rows(&FIND_TOKENS, &parameters).await?)
        };
        let mut known: HashMap<Digest, Token> = HashMap::new();
        let mut take = |found: Vec<Token>| known.extend(found.into_iter().map(|token| (token.access_token, token)));
        let (mut rest, mut near) = (digests(&requests, From::Primary), digests(&requests, From::Replica));
        near.retain(|digest| rest.binary_search(digest).is_err());
        let found = match near.is_empty() {
            true => None,
            false => self.0.read_from_replica((near.clone(), earliest), find).await,
        };
        let found = found.unwrap_or_default();
        let of_replica: HashSet<Digest> = found.iter().map(|token| token.access_token).collect();
        take(found);
        rest.extend(near.into_iter().filter(|digest| !of_replica.contains(digest)));
        if !rest.is_empty() {
            take(self.0.read((rest, earliest), find).await?);
        }
        let own = |(digests, now, _): &Self::Request| {
            let tokens = digests.iter().filter_map(|digest| known.get(digest));
            tokens.filter(|token| token.ttl.is_none_or(|ttl| ttl >= *now)).cloned().collect()
        };
        Ok(requests.iter().map(own).collect())
    }
}

/// The tokens that may be read there, sorted.
fn digests(requests: &[(Vec<Digest>, i64, From)], from: From) -> Vec<Digest> {
    let requests = requests.iter().filter(|(.., there)| *there == from);
    let mut digests: Vec<Digest> = requests.flat_map(|(digests, ..)| digests.iter().copied()).collect();
    digests.sort_unstable();
    digests.dedup();
    digests
}

/// Inserts tokens for many callers in one commit.
pub(super) struct Inserts(pub(super) Store);

#[async_trait]
impl Batch for Inserts {
    type Request = Token;
    type Response = Result<Outcome, StoreError>;

    // A third writer makes commits smaller without adding throughput.
    const IN_FLIGHT: usize = 2;

    async fn run(&self, tokens: Vec<Token>) -> Result<Vec<Self::Response>, StoreError> {
        let tokens: Arc<[Token]> = tokens.into();
        match self.insert(Arc::clone(&tokens)).await {
            // The database refused one of them (a duplicate value, say), so none of the others was
            // written either: nobody's tokens may depend on another client's input.
            Err(StoreError::Statement { .. }) if tokens.len() > 1 => {
                let mut outcomes = Vec::new();
                for token in tokens.iter() {
                    let one = self.insert(Arc::new([token.clone()])).await;
                    outcomes.push(one.map(|mut one| one.pop().unwrap_or(Outcome::Lost)));
                }
                Ok(outcomes)
            }
            inserted => Ok(inserted?.into_iter().map(Ok).collect()),
        }
    }
}

impl Inserts {
    async fn insert(&self, tokens: Arc<[Token]>) -> Result<Vec<Outcome>, StoreError> {
        let insert = self.0.statement(tokens, async |tokens, tx| {
            let lists: Vec<_> = tokens.iter().map(token_parameters).collect();
            let rows = tx.rows_for_each(&INSERT_TOKENS, &lists).await?;
            let added: HashSet<Uuid> = rows.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
            let outcome = |token: &Token| if added.contains(&token.id) { Outcome::Won(()) } else { Outcome::Lost };
            Ok::<_, Abort>(tokens.iter().map(outcome).collect())
        });
        insert.await
    }
}
