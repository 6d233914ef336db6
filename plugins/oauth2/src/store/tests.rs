//! The rules of the ports, on both databases.

mod keys;
mod moves;
mod registrations;
mod rotation;
mod waiting;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::json;
use tollgate_core::change::{Change, ChangeListener};
use tollgate_core::collection::{Collection, Document, Key};
use tollgate_core::entity::Kind;
use tollgate_core::error::{DaoError, StoreError};
use tollgate_core::random::{Random, SystemRandom};
use tollgate_core::schema::Schema;
use tollgate_store::testing::{Backend, TestDatabase};
use tollgate_store::{MigrationSet, Parameter, Statement, Store};
use uuid::Uuid;

use self::keys::{a_key_is_added_once_after_the_newest, a_key_stays_while_it_covers_a_token};
use self::moves::{
    a_refresh_token_is_replaced_while_an_operator_changes_its_access_token,
    a_row_that_is_renewed_goes_with_its_client_and_its_service, a_row_that_is_revoked_while_it_is_renewed_is_gone,
};
use self::registrations::{a_quota_is_never_exceeded, registrations_without_tokens_are_found_after_their_time};
use self::rotation::refreshing_follows_its_model;
use self::waiting::{
    a_device_code_is_decided_and_redeemed_once, a_pushed_request_is_taken_once,
    polls_that_come_too_soon_lengthen_the_interval, waiting_requests_go_with_their_entities_and_their_time,
};
use super::{
    Cause, Code, Outcome, Provenance, RecentRefresh, Refreshable, Remembered, Repeatable, Rotation, SWEEPS, SingleUse,
    Token, TokenFilter, TokenRows, open,
};
use crate::binding::{Binding, Confirmation};
use crate::entity::{credential, token as token_kind};
use crate::token::Digest;

/// The plugin's own tables.
pub(crate) const TABLES: MigrationSet = MigrationSet { owner: crate::NAME, migrations: crate::MIGRATIONS };

const NOW: i64 = 1_700_000_000;

/// An open store with a client and a service, and the token changes its listeners received.
struct Fixture {
    tokens: Arc<dyn TokenRows>,
    credentials: Arc<dyn Collection>,
    services: Arc<dyn Collection>,
    plugins: Arc<dyn Collection>,
    credential: Uuid,
    service: Uuid,
    received: Arc<Received>,
    store: Store,
    _database: TestDatabase,
}

#[derive(Default)]
struct Received(Mutex<Vec<Vec<u8>>>);

#[async_trait]
impl ChangeListener for Received {
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let tokens = changes.iter().filter(|change| change.kind == token_kind::NAME);
        self.0.lock().unwrap().extend(tokens.map(|change| change.key.clone()));
        Ok(())
    }

    async fn reset(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Received {
    /// What was received since the last call.
    fn take(&self) -> Vec<Digest> {
        std::mem::take(&mut *self.0.lock().unwrap()).iter().map(|key| Digest::read(key).unwrap()).collect()
    }
}

impl Fixture {
    async fn new(backend: Backend) -> Self {
        let database = TestDatabase::create_with(backend, &[TABLES]).await;
        let store = database.open().await;
        let consumers = store.documents(Arc::new(tollgate_core::entity::consumer::kind()));
        let services = store.documents(Arc::new(tollgate_core::entity::service::kind()));
        let credentials = store.documents(Arc::new(credential::kind(crate::profile::Name::Kong)));
        let plugins = store.documents(Arc::new(Kind::new("plugins", Schema::default())));
        let consumer = put(&consumers, json!({"username": "ada"})).await;
        let credential = put(&credentials, json!({"consumer": {"id": consumer}, "client_id": "app"})).await;
        let service = put(&services, json!({"name": "api"})).await;
        let received = Arc::new(Received::default());
        store.feed().subscribe(received.clone());
        let tokens = open(&store);
        Self { tokens, credentials, services, plugins, credential, service, received, store, _database: database }
    }

    /// Forgets what was received, and what the feed may tell once more: on PostgreSQL it may have read a write before this
    /// node announced it itself.
    async fn settled(&self) {
        self.store.feed().catch_up().await.unwrap();
        self.received.take();
    }

    fn token(&self) -> Token {
        Token {
            id: SystemRandom.uuid(),
            access_token: random(),
            refresh_token: Some(random()),
            token_hint: "wxyz".to_owned(),
            credential_id: self.credential,
            service_id: Some(self.service),
            expires_in: 7200,
            created_at: NOW,
            ttl: Some(NOW + 100),
            authenticated_userid: Some("ada".to_owned()),
            scope: Some("email".to_owned()),
            family: Some(SystemRandom.uuid()),
            binding: Binding::new(vec!["https://api.example".to_owned()], Some(Confirmation::Key("jkt".to_owned()))),
        }
    }

    fn code(&self) -> Code {
        Code {
            id: SystemRandom.uuid(),
            code: random(),
            credential_id: self.credential,
            service_id: Some(self.service),
            plugin_id: None,
            authenticated_userid: Some("ada".to_owned()),
            scope: None,
            challenge: Some("challenge".to_owned()),
            challenge_method: Some("S256".to_owned()),
            redirect_uri: None,
            created_at: NOW,
            ttl: NOW + 300,
            binding: Binding::new(vec!["https://api.example".to_owned()], None),
        }
    }

    async fn stored(&self) -> Token {
        let token = self.token();
        assert_eq!(self.tokens.insert_token(token.clone()).await.unwrap(), Outcome::Won(()));
        token
    }

    async fn all(&self) -> Vec<Token> {
        self.tokens.page_tokens(TokenFilter::All, None, 100, NOW).await.unwrap()
    }
}

async fn put(collection: &Arc<dyn Collection>, mut document: serde_json::Value) -> Uuid {
    let id = SystemRandom.uuid();
    document["id"] = json!(id);
    document["created_at"] = json!(NOW);
    collection.insert(Document::try_from(document).unwrap()).await.unwrap();
    id
}

fn random() -> Digest {
    Digest::of(&SystemRandom.uuid().to_string())
}

fn won<T: PartialEq>(outcomes: &[Outcome<T>]) -> usize {
    outcomes.iter().filter(|outcome| **outcome != Outcome::Lost).count()
}

/// Runs each test once per database.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
                super::$name(super::Fixture::new(super::Backend::Postgres).await).await;
            })*
        }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
                super::$name(super::Fixture::new(super::Backend::Sqlite).await).await;
            })*
        }
    };
}

on_both!(
    a_stored_row_is_found,
    a_code_is_redeemed_once,
    a_refresh_token_is_replaced_once,
    a_second_use_of_a_code_ends_what_it_gave_rfc6749_4_1_2,
    a_second_use_of_a_refresh_token_ends_its_descendants_rfc9700_4_14,
    nothing_of_a_family_outlives_a_second_use_while_it_is_refreshed,
    a_refresh_token_keeps_the_scope_that_its_access_token_was_narrowed_from,
    a_row_is_renewed_once_per_access_token_seen,
    a_row_that_is_revoked_while_it_is_renewed_is_gone,
    a_row_that_is_renewed_goes_with_its_client_and_its_service,
    a_refresh_token_is_replaced_while_an_operator_changes_its_access_token,
    a_refresh_that_can_be_repeated_is_stored_with_the_rotation,
    rows_of_a_deleted_entity_are_deleted_with_it,
    no_row_is_added_for_a_deleted_entity,
    expired_rows_are_invisible_and_swept,
    a_taken_value_is_refused_with_its_field_name,
    a_changed_row_is_not_replaced,
    tokens_are_paged_by_id,
    a_family_ends_with_all_its_tokens_and_no_others,
    a_family_that_is_refreshed_while_it_ends_leaves_nothing,
    tokens_stored_at_once_succeed_or_fail_independently,
    concurrent_look_ups_find_their_own_tokens,
    refreshing_follows_its_model,
    a_quota_is_never_exceeded,
    registrations_without_tokens_are_found_after_their_time,
    a_key_is_added_once_after_the_newest,
    a_key_stays_while_it_covers_a_token,
    a_device_code_is_decided_and_redeemed_once,
    a_pushed_request_is_taken_once,
    polls_that_come_too_soon_lengthen_the_interval,
    waiting_requests_go_with_their_entities_and_their_time,
);

async fn a_stored_row_is_found(fixture: Fixture) {
    let Fixture { tokens, .. } = &fixture;
    let token = fixture.stored().await;
    let bare = Token {
        refresh_token: None,
        service_id: None,
        ttl: None,
        authenticated_userid: None,
        scope: None,
        family: None,
        binding: None,
        ..fixture.token()
    };
    tokens.insert_token(bare.clone()).await.unwrap();
    let found = tokens.find_tokens(&[token.access_token, bare.access_token, random()], NOW).await.unwrap();
    assert!(found.len() == 2 && found.contains(&token) && found.contains(&bare));
    let found = tokens.find_by_refresh_token(token.refresh_token.unwrap(), NOW).await.unwrap();
    let found = found.map(|found| found.token);
    assert_eq!(found.as_ref(), Some(&token));
    assert_eq!(tokens.find_token_by_id(token.id, NOW).await.unwrap(), Some(token));
    let code = fixture.code();
    assert_eq!(tokens.insert_code(code.clone()).await.unwrap(), Outcome::Won(()));
    assert_eq!(tokens.find_code(code.code, NOW).await.unwrap(), Some(code));
}

async fn a_code_is_redeemed_once(fixture: Fixture) {
    let Fixture { tokens, credential, .. } = &fixture;
    let code = fixture.code();
    tokens.insert_code(code.clone()).await.unwrap();
    let stranger = tokens.redeem_code(code.code, SystemRandom.uuid(), fixture.token(), None, NOW).await.unwrap();
    assert_eq!(stranger, Outcome::Lost);
    let tries = (0..16).map(|_| tokens.redeem_code(code.code, *credential, fixture.token(), None, NOW));
    let outcomes: Vec<Outcome> = join_all(tries).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(won(&outcomes), 1);
    assert_eq!(fixture.all().await.len(), 1);
}

/// A rotation of which nothing is remembered.
fn replace(successor: Token) -> Rotation {
    Rotation::Replace { successor, granted_scope: None, remembered: None }
}

async fn a_refresh_token_is_replaced_once(fixture: Fixture) {
    let Fixture { tokens, credential, received, .. } = &fixture;
    let old = fixture.stored().await;
    let refresh_token = old.refresh_token.unwrap();
    let rotate = || tokens.rotate_refresh_token(refresh_token, *credential, replace(fixture.token()), None, NOW);
    let outcomes: Vec<_> = join_all((0..16).map(|_| rotate())).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(won(&outcomes), 1);
    assert!(outcomes.contains(&Outcome::Won(old.access_token)));
    assert_eq!(received.take(), [old.access_token]);
    let left = fixture.all().await;
    assert!(left.len() == 1 && left[0].id != old.id);
}

/// A rotation of which a second use is noticed.
fn replace_noticed(successor: Token, tolerated_until: i64, until: i64) -> Rotation {
    let remembered = Some(Remembered { tolerated_until, until });
    Rotation::Replace { successor, granted_scope: None, remembered }
}

async fn a_second_use_of_a_code_ends_what_it_gave_rfc6749_4_1_2(fixture: Fixture) {
    let Fixture { tokens, credential, received, .. } = &fixture;
    let code = fixture.code();
    tokens.insert_code(code.clone()).await.unwrap();
    let token = Token { family: Some(code.id), ..fixture.token() };
    let redeemed = tokens.redeem_code(code.code, *credential, token.clone(), Some(NOW + 100), NOW).await.unwrap();
    assert_eq!(redeemed, Outcome::Won(()));
    let end = |client, now| tokens.end_replayed(code.code, client, Cause::Reuse, now);
    assert!(end(SystemRandom.uuid(), NOW).await.unwrap().is_empty(), "another client");
    assert!(end(*credential, NOW + 101).await.unwrap().is_empty(), "not noticed any more");
    assert!(tokens.end_replayed(random(), *credential, Cause::Reuse, NOW).await.unwrap().is_empty(), "never used");
    assert_eq!(received.take(), []);
    assert_eq!(end(*credential, NOW).await.unwrap(), [token.id]);
    assert_eq!((received.take(), fixture.all().await), (vec![token.access_token], vec![]));
    assert!(end(*credential, NOW).await.unwrap().is_empty(), "once");
    assert_eq!(fixture.store.clean_now(&SWEEPS[4]).await.unwrap(), 1, "swept, by the machine's clock: long ago");
}

async fn a_second_use_of_a_refresh_token_ends_its_descendants_rfc9700_4_14(fixture: Fixture) {
    let Fixture { tokens, credential, received, .. } = &fixture;
    let first = fixture.stored().await;
    let mut family = vec![first.clone()];
    for _ in 0..3 {
        let used = family.last().unwrap().refresh_token.unwrap();
        let successor = Token { family: first.family, ..fixture.token() };
        let rotation = replace_noticed(successor.clone(), NOW + 10, NOW + 100);
        tokens.rotate_refresh_token(used, *credential, rotation, None, NOW).await.unwrap();
        family.push(successor);
    }
    fixture.settled().await;
    let (used, last) = (first.refresh_token.unwrap(), family.pop().unwrap());
    let stranger = fixture.stored().await;
    assert!(tokens.end_replayed(used, *credential, Cause::Reuse, NOW + 10).await.unwrap().is_empty(), "tolerated");
    assert_eq!(tokens.end_replayed(used, *credential, Cause::Reuse, NOW + 11).await.unwrap(), [last.id]);
    assert_eq!(received.take(), [last.access_token]);
    assert_eq!(fixture.all().await, [stranger]);
}

async fn nothing_of_a_family_outlives_a_second_use_while_it_is_refreshed(fixture: Fixture) {
    let Fixture { tokens, credential, .. } = &fixture;
    for _ in 0..10 {
        let first = fixture.stored().await;
        let used = first.refresh_token.unwrap();
        let successor = || Token { family: first.family, ..fixture.token() };
        let second = successor();
        let rotation = replace_noticed(second.clone(), 0, NOW + 100);
        tokens.rotate_refresh_token(used, *credential, rotation, None, NOW).await.unwrap();
        let refreshes = async {
            let mut current = second.refresh_token.unwrap();
            for _ in 0..5 {
                let next = successor();
                let rotation = replace_noticed(next.clone(), 0, NOW + 100);
                tokens.rotate_refresh_token(current, *credential, rotation, None, NOW).await.unwrap();
                current = next.refresh_token.unwrap();
            }
        };
        let (ended, ()) = tokio::join!(tokens.end_replayed(used, *credential, Cause::Reuse, NOW), refreshes);
        assert_eq!(ended.unwrap().len(), 1);
        assert_eq!(fixture.all().await, [], "a successor outlived its family");
    }
}

async fn a_refresh_token_keeps_the_scope_that_its_access_token_was_narrowed_from(fixture: Fixture) {
    let Fixture { tokens, credential, .. } = &fixture;
    let old = fixture.stored().await;
    let successor = Token { scope: Some("a".to_owned()), ..fixture.token() };
    let granted_scope = Some("a b".to_owned());
    let rotation =
        Rotation::Replace { successor: successor.clone(), granted_scope: granted_scope.clone(), remembered: None };
    tokens.rotate_refresh_token(old.refresh_token.unwrap(), *credential, rotation, None, NOW).await.unwrap();
    let presented = successor.refresh_token.unwrap();
    let found = tokens.find_by_refresh_token(presented, NOW).await.unwrap().unwrap();
    assert_eq!(found, Refreshable { token: successor.clone(), granted_scope });
    let renewed = |granted_scope: Option<&str>| Rotation::Renew {
        replaces: successor.access_token,
        access_token: successor.access_token,
        token_hint: "abcd".to_owned(),
        expires_in: 5,
        created_at: NOW,
        ttl: None,
        binding: None,
        scope: Some("b".to_owned()),
        granted_scope: granted_scope.map(str::to_owned),
    };
    for granted in [Some("a b"), None] {
        tokens.rotate_refresh_token(presented, *credential, renewed(granted), None, NOW).await.unwrap();
        let found = tokens.find_by_refresh_token(presented, NOW).await.unwrap().unwrap();
        assert_eq!((found.token.scope.as_deref(), found.granted_scope.as_deref()), (Some("b"), granted));
    }
}

async fn a_row_is_renewed_once_per_access_token_seen(fixture: Fixture) {
    let Fixture { tokens, credential, received, .. } = &fixture;
    let old = fixture.stored().await;
    let refresh_token = old.refresh_token.unwrap();
    let renew = || {
        let (access_token, token_hint) = (random(), "abcd".to_owned());
        let (replaces, ttl) = (old.access_token, Some(NOW + 200));
        let binding = Binding::new(vec!["https://api.example/narrow".to_owned()], None);
        let created_at = NOW + 1;
        let rotation = Rotation::Renew {
            replaces,
            access_token,
            token_hint,
            expires_in: 5,
            created_at,
            ttl,
            binding,
            scope: Some("email".to_owned()),
            granted_scope: None,
        };
        tokens.rotate_refresh_token(refresh_token, *credential, rotation, None, NOW)
    };
    let outcomes: Vec<_> = join_all((0..16).map(|_| renew())).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(won(&outcomes), 1);
    assert_eq!(received.take(), [old.access_token]);
    let left = fixture.all().await;
    let access_token = left[0].access_token;
    assert_ne!(access_token, old.access_token);
    let ttl = Some(NOW + 200);
    let token_hint = "abcd".to_owned();
    let binding = Binding::new(vec!["https://api.example/narrow".to_owned()], None);
    assert_eq!(left, [Token { access_token, token_hint, expires_in: 5, created_at: NOW + 1, ttl, binding, ..old }]);
}

async fn a_refresh_that_can_be_repeated_is_stored_with_the_rotation(fixture: Fixture) {
    let Fixture { tokens, credential, store, .. } = &fixture;
    let old = fixture.stored().await;
    let presented = old.refresh_token.unwrap();
    let successors: Vec<Token> = (0..8).map(|_| fixture.token()).collect();
    let rotations = successors.iter().map(|successor| {
        let repeatable = Repeatable { sealed: successor.id.as_bytes().to_vec(), until: NOW + 10 };
        let rotation = replace(successor.clone());
        tokens.rotate_refresh_token(presented, *credential, rotation, Some(repeatable), NOW)
    });
    let outcomes: Vec<_> = join_all(rotations).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(won(&outcomes), 1);
    let successor = fixture.all().await.pop().unwrap();
    let sealed = successor.id.as_bytes().to_vec();
    let expected = Some(RecentRefresh { token: successor.clone(), granted_scope: None, sealed });
    assert_eq!(tokens.find_recent_refresh(presented, NOW + 10).await.unwrap(), expected);
    assert_eq!(tokens.find_recent_refresh(presented, NOW + 11).await.unwrap(), None);

    // A row that is renewed keeps its refresh token; the last refresh is the one that counts.
    let presented = successor.refresh_token.unwrap();
    let mut replaces = successor.access_token;
    for number in 0..2 {
        let access_token = random();
        let (token_hint, ttl) = ("abcd".to_owned(), None);
        let (created_at, binding) = (NOW, None);
        let rotation = Rotation::Renew {
            replaces,
            access_token,
            token_hint,
            expires_in: 5,
            created_at,
            ttl,
            binding,
            scope: Some("email".to_owned()),
            granted_scope: None,
        };
        let repeatable = Some(Repeatable { sealed: vec![number], until: NOW + 10 });
        let rotated = tokens.rotate_refresh_token(presented, *credential, rotation, repeatable, NOW).await.unwrap();
        assert_eq!(rotated, Outcome::Won(replaces));
        replaces = access_token;
        let recent = tokens.find_recent_refresh(presented, NOW).await.unwrap().unwrap();
        assert_eq!((recent.token.access_token, recent.sealed), (access_token, vec![number]));
    }
    // A lost rotation stores nothing.
    let repeatable = Some(Repeatable { sealed: vec![9], until: NOW + 10 });
    let rotation = replace(fixture.token());
    let lost = tokens.rotate_refresh_token(presented, SystemRandom.uuid(), rotation, repeatable, NOW).await.unwrap();
    assert_eq!(lost, Outcome::Lost);
    assert_eq!(tokens.find_recent_refresh(presented, NOW).await.unwrap().unwrap().sealed, [1]);

    assert!(tokens.delete_row(successor.id, NOW).await.unwrap().is_some());
    assert_eq!(tokens.find_recent_refresh(presented, NOW).await.unwrap(), None);
    // The two refreshes are swept, by the machine's clock: long ago.
    assert_eq!(store.clean_now(&SWEEPS[2]).await.unwrap(), 2);
}

async fn rows_of_a_deleted_entity_are_deleted_with_it(fixture: Fixture) {
    let Fixture { tokens, .. } = &fixture;
    fixture.stored().await;
    let global = Token { service_id: None, ..fixture.token() };
    tokens.insert_token(global.clone()).await.unwrap();
    let code = fixture.code();
    tokens.insert_code(code.clone()).await.unwrap();
    assert!(fixture.services.delete(&Key::Id(fixture.service)).await.unwrap());
    assert_eq!(fixture.all().await, [global]);
    assert_eq!(tokens.find_code(code.code, NOW).await.unwrap(), None);
    assert!(fixture.credentials.delete(&Key::Id(fixture.credential)).await.unwrap());
    assert_eq!(fixture.all().await, []);
}

async fn no_row_is_added_for_a_deleted_entity(fixture: Fixture) {
    let Fixture { tokens, credential, service, .. } = &fixture;
    let code = fixture.code();
    tokens.insert_code(code.clone()).await.unwrap();
    let gone = SystemRandom.uuid();
    let homeless = || Token { service_id: Some(gone), ..fixture.token() };
    assert_eq!(tokens.redeem_code(code.code, *credential, homeless(), None, NOW).await.unwrap(), Outcome::Lost);
    assert!(tokens.find_code(code.code, NOW).await.unwrap().is_some(), "a lost redemption uses up nothing");
    let orphan = Token { credential_id: gone, ..fixture.token() };
    assert_eq!(tokens.insert_token(orphan.clone()).await.unwrap(), Outcome::Lost);
    let error = tokens.insert_row(orphan, Provenance::Given, NOW).await.unwrap_err();
    assert!(matches!(error, DaoError::ForeignMissing { field: "credential", id, .. } if id == gone));
    let error = tokens.insert_row(homeless(), Provenance::Given, NOW).await.unwrap_err();
    assert!(matches!(error, DaoError::ForeignMissing { field: "service", id, .. } if id == gone));
    let unissued = Code { plugin_id: Some(gone), ..fixture.code() };
    assert_eq!(tokens.insert_code(unissued).await.unwrap(), Outcome::Lost);
    // Nothing remains of a client that is deleted meanwhile, whichever commits first.
    let client = Key::Id(*credential);
    let (issued, deleted) = tokio::join!(
        join_all((0..16).map(|_| tokens.insert_token(Token { service_id: Some(*service), ..fixture.token() }))),
        fixture.credentials.delete(&client),
    );
    assert!(deleted.unwrap() && issued.iter().all(Result::is_ok));
    assert_eq!(fixture.all().await, []);
}

async fn expired_rows_are_invisible_and_swept(fixture: Fixture) {
    let Fixture { tokens, credential, store, .. } = &fixture;
    let (token, code) = (fixture.stored().await, fixture.code());
    tokens.insert_code(code.clone()).await.unwrap();
    let (digest, refresh_token) = ([token.access_token], token.refresh_token.unwrap());
    assert_eq!(tokens.find_tokens(&digest, NOW + 100).await.unwrap().len(), 1, "the last second of its life");
    let late = NOW + 301;
    assert_eq!(tokens.find_tokens(&digest, late).await.unwrap(), []);
    assert_eq!(tokens.find_by_refresh_token(refresh_token, late).await.unwrap(), None);
    assert_eq!(tokens.find_token_by_id(token.id, late).await.unwrap(), None);
    assert_eq!(tokens.find_code(code.code, late).await.unwrap(), None);
    assert_eq!(tokens.delete_row(token.id, late).await.unwrap(), None);
    assert_eq!(tokens.redeem_code(code.code, *credential, fixture.token(), None, late).await.unwrap(), Outcome::Lost);
    let rotation = replace(fixture.token());
    let rotated = tokens.rotate_refresh_token(refresh_token, *credential, rotation, None, late).await.unwrap();
    assert_eq!(rotated, Outcome::Lost);
    // An expired row blocks nothing.
    let again = Token { ttl: None, ..token };
    tokens.insert_row(again, Provenance::Given, late).await.unwrap();
    fixture.stored().await;
    for sweep in &SWEEPS[..2] {
        assert_eq!(store.clean_now(sweep).await.unwrap(), 1, "{}", sweep.table);
    }
    assert_eq!(fixture.all().await.len(), 1);
}

async fn a_taken_value_is_refused_with_its_field_name(fixture: Fixture) {
    let Fixture { tokens, received, .. } = &fixture;
    let (first, second) = (fixture.token(), fixture.stored().await);
    tokens.insert_row(first.clone(), Provenance::Minted, NOW).await.unwrap();
    assert_eq!(received.take(), [first.access_token]);
    fixture.settled().await;
    assert!(!tokens.any_imported().await.unwrap());
    let insert = |token| tokens.insert_row(token, Provenance::Given, NOW);
    let error = insert(Token { id: first.id, ..fixture.token() }).await.unwrap_err();
    assert!(matches!(error, DaoError::PrimaryKey { id } if id == first.id));
    let error = insert(Token { access_token: first.access_token, ..fixture.token() }).await.unwrap_err();
    assert!(matches!(error, DaoError::Unique { fields } if fields[0].0 == "access_token"));
    let error = insert(Token { refresh_token: first.refresh_token, ..fixture.token() }).await.unwrap_err();
    assert!(matches!(error, DaoError::Unique { fields } if fields[0].0 == "refresh_token"));
    let taken = Token { access_token: first.access_token, ..second.clone() };
    let error = tokens.replace_row(&second, taken, Provenance::Given, NOW).await.unwrap_err();
    assert!(matches!(error, DaoError::Unique { fields } if fields[0].0 == "access_token"));
    assert_eq!(received.take(), []);
    insert(fixture.token()).await.unwrap();
    assert!(tokens.any_imported().await.unwrap());
}

async fn a_changed_row_is_not_replaced(fixture: Fixture) {
    let Fixture { tokens, received, .. } = &fixture;
    let old = fixture.stored().await;
    let new = Token { access_token: random(), refresh_token: None, scope: None, ..old.clone() };
    let replace = || tokens.replace_row(&old, new.clone(), Provenance::Given, NOW);
    assert_eq!(replace().await.unwrap(), Outcome::Won(()));
    assert_eq!(replace().await.unwrap(), Outcome::Lost);
    assert_eq!(received.take(), [old.access_token, new.access_token]);
    fixture.settled().await;
    assert!(tokens.any_imported().await.unwrap());
    assert_eq!(tokens.delete_row(new.id, NOW).await.unwrap(), Some(new.clone()));
    assert_eq!(received.take(), [new.access_token]);
    assert_eq!(tokens.delete_row(new.id, NOW).await.unwrap(), None);
}

async fn a_family_ends_with_all_its_tokens_and_no_others(fixture: Fixture) {
    let Fixture { tokens, credential, received, .. } = &fixture;
    let first = Token { family: None, ..fixture.token() };
    let second = Token { family: Some(first.id), ..fixture.token() };
    let others = [fixture.token(), Token { family: None, ..fixture.token() }];
    for token in [&first, &second, &others[0], &others[1]] {
        tokens.insert_token(token.clone()).await.unwrap();
    }
    tokens.end_family(first.id, SystemRandom.uuid(), NOW).await.unwrap();
    assert_eq!(fixture.all().await.len(), 4, "another client's");
    tokens.end_family(first.id, *credential, NOW).await.unwrap();
    let mut ended = received.take();
    ended.sort_unstable_by_key(|digest| digest.0);
    let mut expected = [first.access_token, second.access_token];
    expected.sort_unstable_by_key(|digest| digest.0);
    assert_eq!(ended, expected);
    let mut left = others;
    left.sort_by_key(|token| token.id);
    assert_eq!(fixture.all().await, left);
}

/// Whoever comes first: either the refresh finds nothing, or its new tokens end too.
async fn a_family_that_is_refreshed_while_it_ends_leaves_nothing(fixture: Fixture) {
    let Fixture { tokens, credential, .. } = &fixture;
    for _ in 0..40 {
        let token = fixture.stored().await;
        let family = token.family.unwrap();
        let refresh = async {
            let mut presented = token.refresh_token.unwrap();
            for _ in 0..3 {
                let successor = Token { family: Some(family), ..fixture.token() };
                let rotation = replace(successor.clone());
                if tokens.rotate_refresh_token(presented, *credential, rotation, None, NOW).await.unwrap()
                    == Outcome::Lost
                {
                    return;
                }
                presented = successor.refresh_token.unwrap();
            }
        };
        let end = async {
            tokio::task::yield_now().await;
            tokens.end_family(family, *credential, NOW).await.unwrap();
        };
        let ((), ()) = tokio::join!(refresh, end);
        assert_eq!(fixture.all().await, []);
    }
}

async fn tokens_are_paged_by_id(fixture: Fixture) {
    let Fixture { tokens, credential, service, .. } = &fixture;
    let global = Token { service_id: None, ..fixture.token() };
    tokens.insert_token(global.clone()).await.unwrap();
    let mut ids = vec![global.id, fixture.stored().await.id, fixture.stored().await.id];
    ids.sort_unstable();
    let page = |filter, after, size| async move {
        let page = tokens.page_tokens(filter, after, size, NOW).await.unwrap();
        page.iter().map(|token| token.id).collect::<Vec<_>>()
    };
    assert_eq!(page(TokenFilter::All, None, 2).await, ids[..2]);
    assert_eq!(page(TokenFilter::Credential(*credential), Some(ids[1]), 2).await, ids[2..]);
    ids.retain(|id| *id != global.id);
    assert_eq!(page(TokenFilter::Service(*service), None, 9).await, ids);
    assert!(page(TokenFilter::All, Some(Uuid::max()), 9).await.is_empty());
}

async fn tokens_stored_at_once_succeed_or_fail_independently(fixture: Fixture) {
    let taken = fixture.stored().await;
    let tokens: Vec<Token> = (0..100)
        .map(|number| match number % 10 {
            0 => Token { credential_id: Uuid::new_v4(), ..fixture.token() },
            1 => Token { service_id: Some(Uuid::new_v4()), ..fixture.token() },
            2 => Token { access_token: taken.access_token, ..fixture.token() },
            3 => Token { service_id: None, refresh_token: None, scope: None, ttl: None, ..fixture.token() },
            // A value that one of the databases does not accept.
            4 => Token { scope: Some("a\0b".to_owned()), ..fixture.token() },
            _ => fixture.token(),
        })
        .collect();
    let stored = join_all(tokens.iter().map(|token| fixture.tokens.insert_token(token.clone()))).await;
    for (number, outcome) in stored.iter().enumerate() {
        let expected = match number % 10 {
            0 | 1 => matches!(outcome, Ok(Outcome::Lost)),
            2 => outcome.is_err(),
            4 => !matches!(outcome, Ok(Outcome::Lost)),
            _ => matches!(outcome, Ok(Outcome::Won(()))),
        };
        assert!(expected, "{number}: {outcome:?}");
    }
    let won = tokens.into_iter().zip(stored).filter(|(_, outcome)| matches!(outcome, Ok(Outcome::Won(()))));
    let mut expected: Vec<Token> = won.map(|(token, _)| token).collect();
    expected.push(taken);
    expected.sort_by_key(|token| token.id);
    assert_eq!(fixture.all().await, expected);
}

async fn concurrent_look_ups_find_their_own_tokens(fixture: Fixture) {
    let Fixture { tokens, .. } = &fixture;
    let stored = join_all((0..20).map(|_| fixture.stored())).await;
    let look_up = |index: usize| {
        let token = &stored[index % stored.len()];
        let now = if index.is_multiple_of(2) { NOW } else { NOW + 101 };
        async move {
            let found = tokens.find_tokens(&[token.access_token], now).await.unwrap();
            assert_eq!(found, if now == NOW { vec![token.clone()] } else { Vec::new() });
        }
    };
    join_all((0..500).map(look_up)).await;
}

#[tokio::test]
async fn sqlite_finds_tokens_by_index() {
    const PLAN: Statement = Statement {
        name: "test",
        postgres: "",
        sqlite: concat!("EXPLAIN QUERY PLAN ", include_str!("../../../../sql/sqlite/oauth2/find_tokens.sql")),
    };
    let fixture = Fixture::new(Backend::Sqlite).await;
    let plan = fixture.store.read((), async |(), session| {
        let rows = session.rows(&PLAN, &[Parameter::ByteStrings(&[]), Parameter::Integer(NOW)]).await?;
        rows.iter().map(|row| row.get(3)).collect::<Result<Vec<String>, _>>()
    });
    let plan = plan.await.unwrap().join("\n");
    assert!(plan.contains("SEARCH oauth2_tokens USING INDEX") && plan.contains("(access_token=?)"), "{plan}");
}

async fn what_is_presented_is_new_once(backend: Backend) {
    let fixture = Fixture::new(backend).await;
    let (store, other) = (&fixture.store, fixture._database.open().await);
    let present = |store: &Store, id: u8, until| store.clone().use_once_owned([id; 32], until);
    let at_once = join_all((0..10).map(|number| present(if number % 2 == 0 { store } else { &other }, 1, NOW))).await;
    assert_eq!(at_once.into_iter().filter(|first| *first).count(), 1, "on two nodes");
    assert!(!present(&other, 1, NOW + 100).await);
    assert!(present(store, 2, NOW - 1).await);
    let sweep = SWEEPS.iter().find(|sweep| sweep.table == "oauth2_single_use").unwrap();
    // Both have ended: the sweep goes by the real time.
    assert_eq!(store.clean_now(sweep).await.unwrap(), 2);
    assert!(present(store, 1, NOW).await);
}

impl Once for Store {}

trait Once: SingleUse + Sized {
    async fn use_once_owned(self, id: [u8; 32], until: i64) -> bool {
        self.use_once(id, until).await.unwrap()
    }
}

#[tokio::test]
async fn what_is_presented_is_new_once_on_sqlite() {
    what_is_presented_is_new_once(Backend::Sqlite).await;
}

#[tokio::test]
async fn what_is_presented_is_new_once_on_postgres() {
    what_is_presented_is_new_once(Backend::Postgres).await;
}
