//! Refresh tokens against a model: any sequence of refreshes, deletions and pauses, by any client and by several at
//! once. A refresh token works once, or as long as its row is renewed; what ended stays ended.

use std::sync::Arc;

use futures::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::json;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{Fixture, NOW, Outcome, Rotation, Token, put, random, replace};
use crate::store::Refreshable;
use crate::token::Digest;

/// How long a row lives.
const LIFETIME: i64 = 100;

/// Tokens are chosen among all that were ever issued, in order, however they ended.
#[derive(Debug, Clone, Copy)]
enum Step {
    Issue,
    /// `reuse_refresh_token = false`, by this many callers at once.
    Replace {
        token: usize,
        client: Client,
        callers: usize,
    },
    /// `reuse_refresh_token = true`; `seen` is the access token that the caller saw in the row.
    Renew {
        token: usize,
        client: Client,
        seen: Seen,
        callers: usize,
    },
    Delete {
        token: usize,
    },
    Wait {
        seconds: i64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Its,
    Another,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Current,
    Older,
}

fn step() -> impl Strategy<Value = Step> {
    let client = || prop_oneof![4 => Just(Client::Its), 1 => Just(Client::Another)];
    let seen = prop_oneof![3 => Just(Seen::Current), 1 => Just(Seen::Older)];
    prop_oneof![
        2 => Just(Step::Issue),
        4 => (0..16_usize, client(), 1..4_usize)
            .prop_map(|(token, client, callers)| Step::Replace { token, client, callers }),
        3 => (0..16_usize, client(), seen, 1..4_usize)
            .prop_map(|(token, client, seen, callers)| Step::Renew { token, client, seen, callers }),
        1 => (0..16_usize).prop_map(|token| Step::Delete { token }),
        1 => (1..LIFETIME).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// What should be stored.
#[derive(Default)]
struct Model {
    rows: Vec<Row>,
    /// All refresh tokens that clients hold.
    refresh_tokens: Vec<Digest>,
    /// All access tokens.
    access_tokens: Vec<Digest>,
    now: i64,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: Uuid,
    access_token: Digest,
    refresh_token: Digest,
    ends: i64,
}

impl Model {
    fn add(&mut self, token: &Token) {
        let refresh_token = token.refresh_token.unwrap();
        let ends = token.ttl.unwrap();
        self.rows.push(Row { id: token.id, access_token: token.access_token, refresh_token, ends });
        self.refresh_tokens.push(refresh_token);
        self.access_tokens.push(token.access_token);
    }

    fn presented(&self, token: usize) -> Option<Digest> {
        self.refresh_tokens.get(token % self.refresh_tokens.len().max(1)).copied()
    }

    fn alive(&self, refresh_token: Digest) -> Option<usize> {
        let now = self.now;
        self.rows.iter().position(|row| row.refresh_token == refresh_token && row.ends >= now)
    }
}

pub(super) async fn refreshing_follows_its_model(fixture: Fixture) {
    let consumers = fixture.store.documents(Arc::new(tollgate_core::entity::consumer::kind()));
    let consumer = put(&consumers, json!({"username": "eve"})).await;
    let another = put(&fixture.credentials, json!({"consumer": {"id": consumer}, "client_id": "other"})).await;
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let follows = |steps: Vec<Step>| {
        tokio::task::block_in_place(|| Handle::current().block_on(follow(&fixture, another, &steps)))
    };
    runner.run(&prop::collection::vec(step(), 1..20), follows).unwrap();
}

async fn follow(fixture: &Fixture, another: Uuid, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model { now: NOW, ..Model::default() };
    for step in steps {
        take(fixture, another, &mut model, *step).await?;
        compare(fixture, &model, *step).await?;
    }
    for row in &model.rows {
        fixture.tokens.delete_row(row.id, NOW).await.unwrap();
    }
    Ok(())
}

async fn take(fixture: &Fixture, another: Uuid, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    let fresh = |now: i64| Token { created_at: now, ttl: Some(now + LIFETIME), ..fixture.token() };
    let by = |client| if client == Client::Its { fixture.credential } else { another };
    match step {
        Step::Issue => {
            let token = fresh(model.now);
            prop_assert_eq!(fixture.tokens.insert_token(token.clone()).await.unwrap(), Outcome::Won(()));
            model.add(&token);
        }
        Step::Wait { seconds } => model.now += seconds,
        Step::Delete { token } => {
            let Some(refresh_token) = model.presented(token) else { return Ok(()) };
            if let Some(at) = model.rows.iter().position(|row| row.refresh_token == refresh_token) {
                fixture.tokens.delete_row(model.rows.remove(at).id, model.now).await.unwrap();
            }
        }
        Step::Replace { token, client, callers } => {
            let Some(refresh_token) = model.presented(token) else { return Ok(()) };
            let drafts: Vec<_> = (0..callers).map(|_| fresh(model.now)).collect();
            let rotations = drafts.iter().cloned().map(replace);
            let winner = rotate(fixture, refresh_token, by(client), rotations, model.now).await?;
            let expected = model.alive(refresh_token).filter(|_| client == Client::Its);
            prop_assert_eq!(winner.map(|(_, ended)| ended), expected.map(|at| model.rows[at].access_token));
            if let (Some((nth, _)), Some(at)) = (winner, expected) {
                model.rows.remove(at);
                model.add(&drafts[nth]);
            }
        }
        Step::Renew { token, client, seen, callers } => {
            let Some(refresh_token) = model.presented(token) else { return Ok(()) };
            let at = model.alive(refresh_token);
            let current = at.map(|at| model.rows[at].access_token);
            let replaces = current.filter(|_| seen == Seen::Current).unwrap_or_else(random);
            let drafts: Vec<_> = (0..callers).map(|_| random()).collect();
            let (created_at, ttl) = (model.now, Some(model.now + LIFETIME));
            let renew = |access_token: &Digest| Rotation::Renew {
                replaces,
                access_token: *access_token,
                token_hint: "abcd".to_owned(),
                expires_in: 5,
                created_at,
                ttl,
                binding: None,
                scope: None,
                granted_scope: None,
            };
            let winner = rotate(fixture, refresh_token, by(client), drafts.iter().map(renew), model.now).await?;
            let expected = at.filter(|_| client == Client::Its && seen == Seen::Current);
            prop_assert_eq!(winner.map(|(_, ended)| ended), expected.map(|at| model.rows[at].access_token));
            if let (Some((nth, _)), Some(at)) = (winner, expected) {
                model.rows[at].access_token = drafts[nth];
                model.rows[at].ends = model.now + LIFETIME;
                model.access_tokens.push(drafts[nth]);
            }
        }
    }
    Ok(())
}

/// Which of the callers won, and the access token that ended; at most one does.
async fn rotate(
    fixture: &Fixture,
    refresh_token: Digest,
    client: Uuid,
    rotations: impl Iterator<Item = Rotation>,
    now: i64,
) -> Result<Option<(usize, Digest)>, TestCaseError> {
    let calls =
        rotations.map(|rotation| fixture.tokens.rotate_refresh_token(refresh_token, client, rotation, None, now));
    let outcomes = join_all(calls).await.into_iter().map(Result::unwrap).enumerate();
    let winners: Vec<_> = outcomes
        .filter_map(|(nth, outcome)| match outcome {
            Outcome::Won(ended) => Some((nth, ended)),
            Outcome::Lost => None,
        })
        .collect();
    prop_assert!(winners.len() <= 1, "{} callers won", winners.len());
    Ok(winners.first().copied())
}

/// Every token that was ever issued is valid if the model says so, and only then.
async fn compare(fixture: &Fixture, model: &Model, step: Step) -> Result<(), TestCaseError> {
    let alive: Vec<_> = model.rows.iter().filter(|row| row.ends >= model.now).collect();
    let found = fixture.tokens.find_tokens(&model.access_tokens, model.now).await.unwrap();
    let mut found: Vec<_> = found.iter().map(|token| token.id).collect();
    let mut expected: Vec<_> = alive.iter().map(|row| row.id).collect();
    found.sort();
    expected.sort();
    prop_assert_eq!(found, expected, "after {:?}", step);
    for refresh_token in &model.refresh_tokens {
        let found = fixture.tokens.find_by_refresh_token(*refresh_token, model.now).await.unwrap();
        let expected = alive.iter().find(|row| row.refresh_token == *refresh_token);
        let pair = |found: Refreshable| (found.token.id, found.token.access_token);
        prop_assert_eq!(found.map(pair), expected.map(|row| (row.id, row.access_token)), "after {:?}", step);
    }
    Ok(())
}
