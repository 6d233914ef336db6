//! Counting in the store, for all nodes together.
//!
//! 1. A sender that is known to have reached a limit is refused without asking: counts do not fall within a window.
//! 2. Otherwise the store lets the request through or not, in the one statement that counts it, so nodes and
//!    concurrent requests cannot share a place. Requests that arrive at the same time share a statement.

use std::collections::HashMap;

use async_trait::async_trait;
use tollgate_plugin::StoreError;
use tollgate_plugin::store::{Abort, Batch, Batcher, Parameter, Row, Statement, Store, Sweep, statement};

use crate::period::{ALL, COUNT};
use crate::recent::Recent;
use crate::sender::Key;
use crate::usage::{Limits, Used, Windows};

const COUNT_REQUESTS: Statement = statement!("rate-limiting/count.sql");
const SWEEP: Statement = statement!("rate-limiting/sweep.sql");

/// Rows whose windows have ended.
pub(crate) const EXPIRED: Sweep =
    Sweep { table: "rate_limiting_counters", statement: SWEEP, interval: std::time::Duration::from_secs(60) };

/// A row expires at a multiple of this many seconds, so that its index entry seldom changes.
const EXPIRY: i64 = 600;

/// Counts in the store.
pub(crate) struct Cluster {
    batcher: Batcher<Counting>,
    /// Senders that have reached a limit.
    spent: Recent,
}

impl Cluster {
    /// `most`: how many senders that have reached a limit are remembered.
    pub(crate) fn new(store: &Store, most: usize) -> Self {
        let batcher = Batcher::new(Counting(store.clone()), store.runtime().clone());
        Self { batcher, spent: Recent::new(most) }
    }

    /// What is counted of a sender that is known to have reached a limit.
    pub(crate) fn spent(&self, key: &Key, limits: &Limits, now: i64) -> Option<Used> {
        let used = self.spent.get(key)?.used(limits, now);
        (!limits.admit(&used)).then_some(used)
    }

    /// Counts a request if every limit admits it; what was counted before.
    ///
    /// # Errors
    /// The store cannot tell.
    pub(crate) async fn count(&self, key: Key, limits: &Limits, now: i64) -> Result<Used, StoreError> {
        let request = Request::new(key, limits, now);
        let used = self.batcher.submit(request).await?;
        if !limits.admit(&used) {
            self.spent.with(&key, |windows| *windows = Windows::counted(now, used));
        }
        Ok(used)
    }
}

/// A request to be counted: all that is alike is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Request {
    key: Key,
    expires_at: i64,
    starts: [i64; COUNT],
    limits: [i64; COUNT],
}

impl Request {
    fn new(key: Key, limits: &Limits, now: i64) -> Self {
        let number = |limit: Option<u64>| limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(i64::MAX);
        Self {
            key,
            expires_at: (limits.end(now).div_euclid(EXPIRY) + 1) * EXPIRY,
            starts: ALL.map(|period| period.start(now)),
            limits: limits.by_period().map(number),
        }
    }

    /// The parameters that count it this many times.
    fn parameters(&self, times: i64) -> Vec<Parameter<'_>> {
        let windows = self.starts.iter().zip(&self.limits).flat_map(|(start, limit)| [*start, *limit]);
        let numbers = [times, self.expires_at].into_iter().chain(windows).map(Parameter::Integer);
        std::iter::once(Parameter::Bytes(&self.key)).chain(numbers).collect()
    }
}

/// What the store has let through of requests that are alike.
struct Granted {
    requests: u64,
    /// What is counted now.
    counts: [u64; COUNT],
}

impl Granted {
    fn of(row: &Row) -> Result<(Key, Self), StoreError> {
        let number = |at: usize| Ok::<_, StoreError>(u64::try_from(row.get::<i64>(at)?).unwrap_or_default());
        let mut counts = [0; COUNT];
        for (at, count) in counts.iter_mut().enumerate() {
            *count = number(at + 2)?;
        }
        Ok((row.get(0)?, Self { requests: number(1)?, counts }))
    }

    /// What was counted before the request with this number, from 0: those that were let through come first.
    fn before(&self, number: u64) -> Used {
        let more = self.requests.saturating_sub(number);
        Used(self.counts.map(|count| count.saturating_sub(more)))
    }
}

struct Counting(Store);

#[async_trait]
impl Batch for Counting {
    type Request = Request;
    type Response = Used;

    /// Nodes that count the same senders wait for each other, and more statements would too.
    const IN_FLIGHT: usize = 2;

    async fn run(&self, requests: Vec<Request>) -> Result<Vec<Used>, StoreError> {
        let mut times: HashMap<Request, i64> = HashMap::new();
        for request in &requests {
            *times.entry(*request).or_default() += 1;
        }
        let mut granted = HashMap::new();
        for statement in statements(times) {
            granted.extend(self.count(statement).await?);
        }
        let missing = StoreError::Corrupt { kind: "rate_limiting_counters", what: "a count was not returned" };
        let mut seen: HashMap<Request, u64> = HashMap::new();
        let used = requests.iter().map(|request| {
            let number = seen.entry(*request).or_default();
            let before = granted.get(request).map(|granted: &Granted| granted.before(*number));
            *number += 1;
            before
        });
        used.collect::<Option<_>>().ok_or(missing)
    }
}

/// A statement counts a sender once. Requests of one sender that differ, since a window has just ended or instances
/// have different limits, are in successive ones.
fn statements(times: HashMap<Request, i64>) -> Vec<HashMap<Key, (Request, i64)>> {
    let mut statements: Vec<HashMap<Key, (Request, i64)>> = Vec::new();
    for (request, times) in times {
        match statements.iter_mut().find(|statement| !statement.contains_key(&request.key)) {
            Some(statement) => drop(statement.insert(request.key, (request, times))),
            None => statements.push(HashMap::from([(request.key, (request, times))])),
        }
    }
    statements
}

impl Counting {
    async fn count(&self, asked: HashMap<Key, (Request, i64)>) -> Result<Vec<(Request, Granted)>, StoreError> {
        let requests: Vec<(Request, i64)> = asked.values().copied().collect();
        let count = self.0.statement(requests, async |requests, tx| {
            let lists: Vec<_> = requests.iter().map(|(request, times)| request.parameters(*times)).collect();
            let rows = tx.rows_for_each(&COUNT_REQUESTS, &lists).await?;
            Ok::<_, Abort>(rows.iter().map(Granted::of).collect::<Result<Vec<_>, _>>()?)
        });
        let counted = count.await?;
        Ok(counted.into_iter().filter_map(|(key, granted)| Some((asked.get(&key)?.0, granted))).collect())
    }
}

#[cfg(test)]
mod tests;
