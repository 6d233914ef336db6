//! Rows that get another access token, which deletes and inserts them on PostgreSQL, while somebody else wants them.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// How often each race is run: most of them meet in the middle of a write.
const ROUNDS: usize = 20;

/// Refreshes a row again and again, and keeps its refresh token, until it is gone. Returns the access tokens that it had.
async fn renewing(tokens: &dyn TokenRows, token: &Token, started: &AtomicBool) -> Vec<Digest> {
    let refresh_token = token.refresh_token.unwrap();
    let mut had = vec![token.access_token];
    while let Some(seen) = tokens.find_by_refresh_token(refresh_token, NOW).await.unwrap() {
        let renewal = Rotation::Renew {
            replaces: seen.token.access_token,
            access_token: random(),
            token_hint: "abcd".to_owned(),
            expires_in: 5,
            created_at: NOW,
            ttl: Some(NOW + 100),
            binding: None,
            scope: None,
            granted_scope: None,
        };
        let Rotation::Renew { access_token, .. } = renewal else { unreachable!() };
        let renewed =
            tokens.rotate_refresh_token(refresh_token, token.credential_id, renewal, None, NOW).await.unwrap();
        if matches!(renewed, Outcome::Won(_)) {
            had.push(access_token);
            started.store(true, Ordering::SeqCst);
        }
    }
    had
}

/// Runs `end` while two callers refresh the row; nothing of it is left.
async fn outlived_by_nothing(fixture: &Fixture, token: &Token, end: impl AsyncFnOnce()) {
    let started = AtomicBool::new(false);
    let tokens = fixture.tokens.as_ref();
    let ended = async {
        while !started.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        end().await;
    };
    let (one, other, ()) = tokio::join!(renewing(tokens, token, &started), renewing(tokens, token, &started), ended);
    let had = [one, other].concat();
    assert_eq!(tokens.find_tokens(&had, NOW).await.unwrap(), []);
    assert_eq!(tokens.find_token_by_id(token.id, NOW).await.unwrap(), None);
}

/// What is told that it was revoked does not go on with another access token.
pub(super) async fn a_row_that_is_revoked_while_it_is_renewed_is_gone(fixture: Fixture) {
    for _ in 0..ROUNDS {
        let token = fixture.stored().await;
        outlived_by_nothing(&fixture, &token, async || {
            let ended = fixture.tokens.delete_row(token.id, NOW).await.unwrap();
            assert_eq!(ended.map(|ended| ended.id), Some(token.id));
        })
        .await;
    }
}

pub(super) async fn a_row_that_is_renewed_goes_with_its_client_and_its_service(fixture: Fixture) {
    for round in 0..ROUNDS {
        let token = fixture.stored().await;
        let (collection, id, kind) = match round % 2 {
            0 => (&fixture.credentials, token.credential_id, "client_id"),
            _ => (&fixture.services, token.service_id.unwrap(), "name"),
        };
        let document = collection.find(&Key::Id(id)).await.unwrap().unwrap();
        outlived_by_nothing(&fixture, &token, async || {
            assert!(collection.delete(&Key::Id(id)).await.unwrap(), "{kind}");
        })
        .await;
        collection.insert(document).await.unwrap();
    }
}

/// A refresh token that nobody has used is accepted, although its row is moved meanwhile.
pub(super) async fn a_refresh_token_is_replaced_while_an_operator_changes_its_access_token(fixture: Fixture) {
    for _ in 0..ROUNDS {
        let token = fixture.stored().await;
        let refresh_token = token.refresh_token.unwrap();
        let successor = Token { family: token.family, ..fixture.token() };
        let changed = Token { access_token: random(), ..token.clone() };
        let replace = Rotation::Replace { successor: successor.clone(), granted_scope: None, remembered: None };
        let change = fixture.tokens.replace_row(&token, changed.clone(), Provenance::Given, NOW);
        let refresh = fixture.tokens.rotate_refresh_token(refresh_token, token.credential_id, replace, None, NOW);
        let (refreshed, changed_first) = tokio::join!(refresh, change);
        let ended = match changed_first.unwrap() {
            Outcome::Won(()) => changed.access_token,
            Outcome::Lost => token.access_token,
        };
        assert_eq!(refreshed.unwrap(), Outcome::Won(ended));
        let known = [token.access_token, changed.access_token, successor.access_token];
        let found = fixture.tokens.find_tokens(&known, NOW).await.unwrap();
        assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), [successor.id]);
    }
}
