use serde_json::json;
use tollgate_core::clock::ManualClock;
use tollgate_core::entity::{consumer, service};
use tollgate_core::random::SystemRandom;
use tollgate_core::schema::{Makers, Violations};
use tollgate_store::Store;
use tollgate_store::testing::{Backend, TestDatabase};

use crate::store::tests::TABLES;

use super::*;
use crate::entity::credential;
use crate::store;

const NOW: i64 = 1_700_000_000;
const GIVEN: &str = "imported-from-elsewhere-0001";
const REFRESH: &str = "refresh-from-elsewhere-0001";

struct World {
    tokens: TokenCollection,
    rows: Arc<dyn TokenRows>,
    own_tokens: OwnTokens,
    imported: Arc<AtomicBool>,
    clock: Arc<ManualClock>,
    credential: Uuid,
    service: Uuid,
    _store: Store,
    _database: TestDatabase,
}

fn object(value: Value) -> Document {
    Document::try_from(value).unwrap()
}

fn id_of(document: &Document) -> Uuid {
    document.id().unwrap()
}

fn clear(value: &str) -> Key {
    Key::Unique { field: "access_token", value: value.to_owned() }
}

impl World {
    async fn new() -> Self {
        let database = TestDatabase::create_with(Backend::Sqlite, &[TABLES]).await;
        let store = database.open().await;
        let clock = Arc::new(ManualClock::at(NOW));
        let add = async |kind: Kind, document: Value| {
            let makers = Makers { clock: clock.as_ref(), random: &SystemRandom };
            let document = kind.schema.process_insert(object(document), &makers).unwrap();
            id_of(&store.documents(Arc::new(kind)).insert(document).await.unwrap())
        };
        let consumer = add(consumer::kind(), json!({"username": "bob"})).await;
        let service = add(service::kind(), json!({"name": "svc", "host": "svc.test"})).await;
        let credential =
            add(credential::kind(crate::profile::Name::Kong), json!({"name": "app", "consumer": {"id": consumer}}))
                .await;
        let rows = store::open(&store);
        let own_tokens = OwnTokens::new([7; 32], Vec::new());
        let imported = Arc::new(AtomicBool::new(false));
        let tokens = TokenCollection::new(
            Arc::clone(&rows),
            own_tokens.clone(),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::new(SystemRandom),
            Arc::clone(&imported),
        );
        Self { tokens, rows, own_tokens, imported, clock, credential, service, _store: store, _database: database }
    }

    /// The document of a POST or PUT, as the Admin API builds it.
    fn document(&self, mut given: Value) -> Document {
        given["credential"] = json!({"id": self.credential});
        let mut given = object(given);
        let ttl = given.remove("ttl");
        given.entry("expires_in").or_insert(json!(7200));
        let makers = Makers { clock: self.clock.as_ref(), random: &SystemRandom };
        let mut document = self.tokens.kind.schema.process_insert(given, &makers).unwrap();
        document.extend(ttl.map(|ttl| ("ttl".to_owned(), ttl)));
        document
    }

    async fn post(&self, given: Value) -> Document {
        self.tokens.insert(self.document(given)).await.unwrap()
    }

    async fn put(&self, key: &Key, mut given: Value) -> Document {
        // The path takes precedence over the body.
        match key {
            Key::Id(id) => given["id"] = json!(id),
            Key::Unique { field, value } => given[*field] = json!(value),
        }
        self.tokens.upsert(key, self.document(given)).await.unwrap()
    }

    /// A PATCH, merged as in the Admin API.
    async fn patch(&self, key: &Key, changes: Value) -> Result<Option<Document>, DaoError> {
        let merge = |stored: &Document| -> Result<Document, Violations> {
            let mut changes = object(changes.clone());
            let ttl = changes.remove("ttl");
            let makers = Makers { clock: self.clock.as_ref(), random: &SystemRandom };
            let mut merged = self.tokens.kind.schema.process_update(stored, changes, &makers)?;
            merged.remove("ttl");
            merged.extend(ttl.map(|ttl| ("ttl".to_owned(), ttl)));
            Ok(merged)
        };
        self.tokens.update(key, &merge).await
    }

    async fn patched(&self, key: &Key, changes: Value) -> Document {
        self.patch(key, changes).await.unwrap().unwrap()
    }

    async fn get(&self, key: &Key) -> Option<Document> {
        self.tokens.find(key).await.unwrap()
    }

    async fn row(&self, access_token: &str) -> Option<Token> {
        self.rows.find_tokens(&[Digest::of(access_token)], self.clock.now()).await.unwrap().pop()
    }

    async fn page(&self, filter: Filter, after: Option<Uuid>, size: usize) -> (Vec<Uuid>, Option<Uuid>) {
        let page = self.tokens.page(&PageQuery { filter, after, size }).await.unwrap();
        assert!(page.documents.iter().all(|document| document["access_token"].is_null()));
        (page.documents.iter().map(id_of).collect(), page.next)
    }
}

#[tokio::test]
async fn a_given_token_is_shown_only_to_the_client_that_sends_it() {
    let world = World::new().await;
    let given = json!({"access_token": GIVEN, "refresh_token": REFRESH, "service": {"id": world.service},
        "authenticated_userid": "u1", "scope": "a b"});
    let made = world.post(given).await;
    let mut expected = object(json!({
        "id": made["id"], "created_at": NOW, "service": {"id": world.service}, "credential": {"id": world.credential},
        "token_type": "bearer", "expires_in": 7200, "access_token": GIVEN, "refresh_token": REFRESH,
        "authenticated_userid": "u1", "scope": "a b", "token_hint": "0001", "ttl": null,
    }));
    assert_eq!(made, expected);

    expected.insert("refresh_token".into(), Value::Null);
    assert_eq!(world.get(&clear(GIVEN)).await, Some(expected.clone()));
    expected.insert("access_token".into(), Value::Null);
    assert_eq!(world.get(&Key::Id(id_of(&made))).await, Some(expected));
    assert_eq!(world.get(&clear("another")).await, None);
    assert_eq!(world.row(GIVEN).await.unwrap().refresh_token, Some(Digest::of(REFRESH)));
}

#[test]
fn a_user_or_scope_that_no_header_can_carry_is_refused() {
    let schema = crate::entity::token::kind().schema;
    for field in ["authenticated_userid", "scope"] {
        for (value, fault) in [
            ("a\nb", "must not contain control characters"),
            (" a", "must not begin or end with white space"),
            ("a ", "must not begin or end with white space"),
        ] {
            let document = object(json!({"credential": {"id": Uuid::nil()}, "expires_in": 1, field: value}));
            let violations = schema.validate(&document).expect_err(field);
            assert_eq!(violations.fields[field], json!(fault), "{value:?}");
        }
    }
}

#[tokio::test]
async fn a_short_token_has_no_hint_and_can_be_changed_like_any() {
    let world = World::new().await;
    let made = world.post(json!({"access_token": "short", "ttl": 60})).await;
    assert_eq!(made["token_hint"], Value::Null);
    let changed = world.patched(&clear("short"), json!({"scope": "a"})).await;
    assert_eq!((&changed["scope"], &changed["token_hint"]), (&json!("a"), &Value::Null));
    let read = world.get(&clear("short")).await.unwrap();
    assert_eq!(world.put(&clear("short"), Value::from(read.clone())).await["scope"], json!("a"));
    // As shown by an earlier version.
    let shown = Value::Object(read.into_iter().chain([("token_hint".to_owned(), json!(""))]).collect());
    assert_eq!(world.put(&clear("short"), shown).await["token_hint"], Value::Null);
}

#[tokio::test]
async fn a_token_stored_before_a_rule_existed_can_be_changed_in_its_other_fields() {
    let world = World::new().await;
    world.post(json!({"access_token": GIVEN})).await;
    let old = world.row(GIVEN).await.unwrap();
    let padded = Token { authenticated_userid: Some(" kate ".to_owned()), ..old.clone() };
    assert!(matches!(world.rows.replace_row(&old, padded, Provenance::Given, NOW).await, Ok(Outcome::Won(()))));
    assert_eq!(world.patched(&clear(GIVEN), json!({"scope": "a"})).await["authenticated_userid"], json!(" kate "));
    let refused = world.patch(&clear(GIVEN), json!({"authenticated_userid": " kate "})).await;
    assert!(matches!(refused, Err(DaoError::Schema(_))), "{refused:?}");
}

#[tokio::test]
async fn a_token_that_is_not_given_is_minted() {
    let world = World::new().await;
    let made = world.post(json!({"token_hint": "mine"})).await;
    let minted = made["access_token"].as_str().unwrap();
    assert_eq!(world.own_tokens.is_ours(minted), Shape::Genuine);
    assert_eq!(made["token_hint"], json!(crate::token::hint(minted)));
    assert_eq!((&made["refresh_token"], &made["service"]), (&Value::Null, &Value::Null));
    assert!(world.row(minted).await.is_some());
    assert!(!world.rows.any_imported().await.unwrap());
}

#[tokio::test]
async fn the_guard_learns_of_tokens_that_were_not_minted_here() {
    let world = World::new().await;
    let ours = world.own_tokens.mint(&SystemRandom);
    world.post(json!({"access_token": ours.expose()})).await;
    assert!(!world.imported.load(Ordering::Acquire));
    let id = id_of(&world.post(json!({})).await);
    world.patched(&Key::Id(id), json!({"access_token": GIVEN})).await;
    assert!(world.imported.load(Ordering::Acquire));
    assert!(world.rows.any_imported().await.unwrap());
}

#[tokio::test]
async fn a_token_vanishes_after_its_ttl() {
    let world = World::new().await;
    let made = world.post(json!({"access_token": GIVEN, "ttl": 60})).await;
    assert_eq!(made["ttl"], json!(60));
    world.clock.advance(25);
    assert_eq!(world.get(&clear(GIVEN)).await.unwrap()["ttl"], json!(35));
    world.clock.advance(36);
    assert_eq!(world.get(&clear(GIVEN)).await, None);
    assert!(world.patch(&clear(GIVEN), json!({"scope": "a"})).await.unwrap().is_none());
    assert!(!world.tokens.delete(&clear(GIVEN)).await.unwrap());
    // An expired row is invisible, so it blocks no other.
    assert_eq!(world.post(json!({"access_token": GIVEN, "ttl": 0})).await["ttl"], Value::Null);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_echoes_what_was_presented() {
    let world = World::new().await;
    let made = world.post(json!({"access_token": GIVEN, "refresh_token": REFRESH, "ttl": 600})).await;
    let before = world.row(GIVEN).await.unwrap();
    world.clock.advance(10);

    let changed = world.patched(&clear(GIVEN), json!({"scope": "new", "created_at": 123})).await;
    assert_eq!((&changed["access_token"], &changed["refresh_token"]), (&json!(GIVEN), &Value::Null));
    assert_eq!((&changed["scope"], &changed["created_at"], &changed["ttl"]), (&json!("new"), &json!(123), &json!(590)));
    let expected = Token { scope: Some("new".into()), created_at: 123, ..before };
    assert_eq!(world.row(GIVEN).await, Some(expected.clone()));

    // What a client has read by id, sent back unchanged.
    let key = Key::Id(id_of(&made));
    let read = world.get(&key).await.unwrap();
    let again = world.patched(&key, json!({"access_token": null, "refresh_token": null, "scope": read["scope"]})).await;
    assert_eq!(again, read);
    assert_eq!(world.row(GIVEN).await, Some(expected.clone()));

    let longer = world.patched(&key, json!({"ttl": 1000})).await;
    assert_eq!(longer["ttl"], json!(1000));
    assert_eq!(world.row(GIVEN).await, Some(Token { ttl: Some(NOW + 1010), ..expected }));
    assert_eq!(world.patched(&key, json!({"ttl": 0})).await["ttl"], Value::Null);
}

#[tokio::test]
async fn a_patched_token_takes_the_place_of_the_old_one() {
    let world = World::new().await;
    world.post(json!({"access_token": GIVEN, "refresh_token": REFRESH})).await;
    let changes = json!({"access_token": "a-new-access-token-9999", "refresh_token": "another", "token_hint": "mine"});
    let changed = world.patched(&clear(GIVEN), changes).await;
    assert_eq!(changed["access_token"], json!("a-new-access-token-9999"));
    assert_eq!((&changed["refresh_token"], &changed["token_hint"]), (&json!("another"), &json!("9999")));
    assert_eq!(world.get(&clear(GIVEN)).await, None);
    let row = world.row("a-new-access-token-9999").await.unwrap();
    assert_eq!((row.refresh_token, row.token_hint.as_str()), (Some(Digest::of("another")), "9999"));
}

#[tokio::test]
async fn a_patch_of_a_missing_token_or_against_the_schema_changes_nothing() {
    let world = World::new().await;
    assert!(world.patch(&clear(GIVEN), json!({"scope": "a"})).await.unwrap().is_none());
    world.post(json!({"access_token": GIVEN})).await;
    let before = world.row(GIVEN).await;
    let error = world.patch(&clear(GIVEN), json!({"token_type": "mac"})).await.unwrap_err();
    assert_eq!(error.fields(), json!({"token_type": "expected one of: bearer"}));
    assert_eq!(world.row(GIVEN).await, before);
}

#[tokio::test]
async fn no_concurrent_patch_is_lost() {
    let world = World::new().await;
    let key = Key::Id(id_of(&world.post(json!({"scope": "-"})).await));
    let append = |letter: char| {
        let (world, key) = (&world, &key);
        async move {
            let merge = move |stored: &Document| {
                let mut document = stored.clone();
                document["scope"] = json!(format!("{}{letter}", stored["scope"].as_str().unwrap()));
                Ok(document)
            };
            world.tokens.update(key, &merge).await.unwrap().unwrap()
        }
    };
    futures::future::join_all("abcdef".chars().map(append)).await;
    let document = world.get(&key).await.unwrap();
    let mut letters: Vec<char> = document["scope"].as_str().unwrap().chars().collect();
    letters.sort_unstable();
    assert_eq!(letters, ['-', 'a', 'b', 'c', 'd', 'e', 'f']);
}

#[tokio::test]
async fn a_put_by_token_adds_it_or_replaces_it_and_keeps_its_id() {
    let world = World::new().await;
    let added = world.put(&clear(GIVEN), json!({"refresh_token": REFRESH, "scope": "a", "ttl": 60})).await;
    assert_eq!((&added["access_token"], &added["refresh_token"]), (&json!(GIVEN), &json!(REFRESH)));
    world.clock.advance(5);
    let replaced = world.put(&clear(GIVEN), json!({})).await;
    assert_eq!((&replaced["id"], &replaced["access_token"]), (&added["id"], &json!(GIVEN)));
    assert_eq!((&replaced["scope"], &replaced["ttl"]), (&Value::Null, &Value::Null));
    assert_eq!(replaced["created_at"], json!(NOW + 5));
    assert_eq!(world.row(GIVEN).await.unwrap().refresh_token, None);
}

#[tokio::test]
async fn a_put_by_id_without_a_token_mints_one() {
    let world = World::new().await;
    let id = SystemRandom.uuid();
    let added = world.put(&Key::Id(id), json!({"access_token": GIVEN})).await;
    assert_eq!((id_of(&added), &added["access_token"]), (id, &json!(GIVEN)));
    let replaced = world.put(&Key::Id(id), json!({})).await;
    assert_eq!(id_of(&replaced), id);
    assert_eq!(world.own_tokens.is_ours(replaced["access_token"].as_str().unwrap()), Shape::Genuine);
    assert_eq!(world.get(&clear(GIVEN)).await, None);
}

#[tokio::test]
async fn concurrent_puts_of_one_token_create_one_row() {
    let world = World::new().await;
    let key = clear(GIVEN);
    let puts = (0..6).map(|number| world.put(&key, json!({"scope": number.to_string()})));
    let written = futures::future::join_all(puts).await;
    assert!(written.iter().all(|token| token["id"] == written[0]["id"]));
    assert_eq!(world.page(Filter::All, None, 10).await.0.len(), 1);
}

#[tokio::test]
async fn a_taken_value_is_named_as_the_client_sent_it() {
    let world = World::new().await;
    let made = world.post(json!({"access_token": GIVEN, "refresh_token": REFRESH})).await;
    let other = Key::Id(id_of(&world.post(json!({})).await));
    let insert = async |given| world.tokens.insert(world.document(given)).await.unwrap_err();

    let errors = [
        (insert(json!({"access_token": GIVEN})).await, json!({"access_token": GIVEN})),
        (insert(json!({"refresh_token": REFRESH})).await, json!({"refresh_token": REFRESH})),
        (world.patch(&other, json!({"access_token": GIVEN})).await.unwrap_err(), json!({"access_token": GIVEN})),
    ];
    for (error, fields) in errors {
        assert_eq!((error.code(), error.fields()), (5, fields));
    }
    let error = insert(json!({"id": made["id"]})).await;
    assert_eq!((error.code(), error.fields()), (3, json!({"id": made["id"]})));
    assert_eq!(world.page(Filter::All, None, 10).await.0.len(), 2);
}

#[tokio::test]
async fn a_token_without_a_client_is_refused() {
    let world = World::new().await;
    let mut document = world.document(json!({}));
    let nobody = SystemRandom.uuid();
    document.insert("credential".into(), json!({"id": nobody}));
    let error = world.tokens.insert(document).await.unwrap_err();
    assert_eq!((error.code(), error.fields()), (4, json!({"credential": {"id": nobody}})));
    let error = world.tokens.insert(world.document(json!({"service": {"id": nobody}}))).await.unwrap_err();
    assert_eq!((error.code(), error.fields()), (4, json!({"service": {"id": nobody}})));
}

#[tokio::test]
async fn lists_are_in_pages_by_parent_and_without_clear_values() {
    let world = World::new().await;
    let mut all = Vec::new();
    for service in [Value::Null, json!({"id": world.service}), Value::Null] {
        all.push(id_of(&world.post(json!({"service": service})).await));
    }
    let of_service = all[1];
    all.sort_unstable();
    assert_eq!(world.page(Filter::All, None, 2).await, (all[..2].to_vec(), Some(all[1])));
    assert_eq!(world.page(Filter::All, Some(all[1]), 2).await, (all[2..].to_vec(), None));
    let child = |field, parent| Filter::Child { field, parent };
    assert_eq!(world.page(child("credential", world.credential), None, 10).await, (all, None));
    assert_eq!(world.page(child("service", world.service), None, 10).await, (vec![of_service], None));
    assert_eq!(world.page(child("credential", world.service), None, 10).await, (Vec::new(), None));
    assert_eq!(world.page(Filter::AllTags(vec!["a".into()]), None, 10).await, (Vec::new(), None));
    assert_eq!(world.page(Filter::AnyTag(vec!["a".into()]), None, 10).await, (Vec::new(), None));
}

#[tokio::test]
async fn a_token_is_deleted_by_its_value_or_its_id_once() {
    let world = World::new().await;
    let made = world.post(json!({})).await;
    world.post(json!({"access_token": GIVEN})).await;
    for key in [clear(GIVEN), Key::Id(id_of(&made))] {
        assert!(world.tokens.delete(&key).await.unwrap());
        assert!(!world.tokens.delete(&key).await.unwrap());
        assert_eq!(world.get(&key).await, None);
    }
}
