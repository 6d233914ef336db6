//! Callers of the store port, each of which calls again when it has its result.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tollgate_core::random::{Random as _, SystemRandom};
use tollgate_oauth2::store::Outcome;

use super::rate::{Rate, Started};
use super::table::TokenTable;
use crate::error::{Error, Result};

/// Looks up existing tokens in random order, like cache misses.
pub async fn look_up(table: &Arc<TokenTable>, callers: usize, duration: Duration) -> Result<Rate> {
    let until = Instant::now() + duration;
    let caller = |table: Arc<TokenTable>| async move {
        let (mut place, mut done) = (seed(), 0);
        while Instant::now() < until {
            place = next(place);
            let digest = TokenTable::digest(1 + place % table.rows());
            let found = table.tokens().find_tokens(&[digest], table.now()).await.map_err(Error::store)?;
            if found.first().is_none_or(|token| token.access_token != digest) {
                return Err(wrong("a token that exists was not found"));
            }
            done += 1;
        }
        Ok(done)
    };
    all(table, callers, caller).await
}

/// Adds tokens of random clients; each is durable when it is counted.
pub async fn issue(table: &Arc<TokenTable>, callers: usize, duration: Duration) -> Result<Rate> {
    let until = Instant::now() + duration;
    let place = Arc::new(AtomicU64::new(seed() | 1 << 63));
    let caller = |table: Arc<TokenTable>| {
        let place = Arc::clone(&place);
        async move {
            let mut done = 0;
            while Instant::now() < until {
                let token = table.token(place.fetch_add(1, Ordering::Relaxed));
                if table.tokens().insert_token(token).await.map_err(Error::store)? != Outcome::Won(()) {
                    return Err(wrong("a token was not added"));
                }
                done += 1;
            }
            Ok(done)
        }
    };
    all(table, callers, caller).await
}

async fn all<F>(table: &Arc<TokenTable>, callers: usize, caller: impl Fn(Arc<TokenTable>) -> F) -> Result<Rate>
where
    F: Future<Output = Result<u64>> + Send + 'static,
{
    let started = Started::now();
    let callers: Vec<_> = (0..callers).map(|_| tokio::spawn(caller(Arc::clone(table)))).collect();
    let done = try_join_all(callers).await.map_err(Error::store)?;
    let done: u64 = done.into_iter().sum::<Result<u64>>()?;
    Ok(started.rate(done))
}

fn wrong(what: &str) -> Error {
    Error::WrongResponse { row: "store".to_owned(), what: what.to_owned() }
}

fn seed() -> u64 {
    let (high, low) = SystemRandom.uuid().as_u64_pair();
    high ^ low
}

/// SplitMix64's step and mix combined: cheap, and random enough to spread look-ups over a table.
fn next(state: u64) -> u64 {
    let mixed = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
