//! Declarations, on both databases.

use std::sync::Arc;

use serde_json::json;
use tollgate_core::collection::{Document, Filter, Key, PageQuery};
use tollgate_core::error::DaoError;

use super::fixture::{Fixture, Recorder, document, id, reference};
use crate::testing::Backend;
use crate::{Changes, DeclareError, Declared, Extent};

const BACKENDS: [Backend; 2] = [Backend::Postgres, Backend::Sqlite];

fn whole(hash: &str) -> Extent {
    Extent::Whole { hash: hash.to_owned() }
}

/// Kinds in the order of their references.
fn entities(services: &[Document], routes: &[Document], plugins: &[Document]) -> Vec<(&'static str, Vec<Declared>)> {
    let declared = |documents: &[Document]| {
        let one = |document: &Document| Declared { document: document.clone(), left_open: Vec::new() };
        documents.iter().map(one).collect()
    };
    vec![("services", declared(services)), ("routes", declared(routes)), ("plugins", declared(plugins))]
}

async fn names(fixture: &Fixture) -> Vec<Vec<String>> {
    let mut names = Vec::new();
    for collection in [&fixture.services, &fixture.routes, &fixture.plugins, &fixture.labels] {
        let page = collection.page(&PageQuery { filter: Filter::All, after: None, size: 100 }).await.unwrap();
        let mut of_kind: Vec<_> = page.documents.iter().map(|one| one.text("name").unwrap_or("-").to_owned()).collect();
        of_kind.sort();
        names.push(of_kind);
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_written_and_announced_and_nothing_else() {
    for backend in BACKENDS {
        let fixture = Fixture::new(backend).await;
        let (a, b) = (document(json!({"name": "a", "path": null})), document(json!({"name": "b", "path": null})));
        let route = document(json!({"name": "r", "service": reference(&a), "mirrors": null}));
        let plugin = document(json!({"name": "p", "service": reference(&b)}));
        let all = || entities(&[a.clone(), b.clone()], std::slice::from_ref(&route), std::slice::from_ref(&plugin));
        let changes = fixture.store.declare(all(), whole("1")).await.unwrap();
        assert_eq!(changes, Changes { created: 4, ..Changes::default() }, "{backend:?}");
        let recorder = Arc::new(Recorder::default());
        // On PostgreSQL the feed may have read the first writes before this node announced them, and tell them once more.
        fixture.store.feed().catch_up().await.unwrap();
        fixture.store.feed().subscribe(recorder.clone());
        let changes = fixture.store.declare(all(), whole("2")).await.unwrap();
        assert_eq!(changes, Changes { unchanged: 4, ..Changes::default() }, "{backend:?}");
        assert_eq!(fixture.store.declared_hash().await.unwrap().as_deref(), Some("2"));
        // Names change hands; a route goes to another service, whose own goes.
        let (mut a2, mut b2, mut route2) = (a.clone(), b.clone(), route.clone());
        a2.insert("name".into(), "b".into());
        b2.insert("name".into(), "a".into());
        route2.insert("service".into(), reference(&b));
        let next = entities(&[a2.clone(), b2], &[route2], &[]);
        let changes = fixture.store.declare(next, whole("3")).await.unwrap();
        assert_eq!(changes, Changes { updated: 3, deleted: 1, ..Changes::default() }, "{backend:?}");
        let mut announced = recorder.summary();
        announced.sort();
        let mut expected = vec![
            ("plugins".to_owned(), "deleted", id(&plugin)),
            ("routes".to_owned(), "updated", id(&route)),
            ("services".to_owned(), "updated", id(&a)),
            ("services".to_owned(), "updated", id(&b)),
        ];
        expected.sort();
        assert_eq!(announced, expected, "{backend:?}");
        let key = Key::Unique { field: "name", value: "b".to_owned() };
        assert_eq!(fixture.services.find(&key).await.unwrap(), Some(a2), "{backend:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_have_added_stays_until_what_it_belongs_to_goes() {
    for backend in BACKENDS {
        let fixture = Fixture::new(backend).await;
        let (a, b) = (document(json!({"name": "a", "path": null})), document(json!({"name": "b", "path": null})));
        let plugins = [&a, &b].map(|service| document(json!({"name": "p", "service": reference(service)})));
        let all = entities(&[a.clone(), b.clone()], &[], &plugins);
        fixture.store.declare(all, whole("1")).await.unwrap();
        for plugin in &plugins {
            let label = document(json!({"name": plugin["id"], "plugin": reference(plugin)}));
            fixture.labels.insert(label).await.unwrap();
        }
        let [_, kept] = &plugins;
        let fewer = entities(&[b], &[], std::slice::from_ref(kept));
        let changes = fixture.store.declare(fewer, whole("2")).await.unwrap();
        assert_eq!(changes, Changes { deleted: 2, unchanged: 2, ..Changes::default() }, "{backend:?}");
        let left = vec![vec!["b".to_owned()], vec![], vec!["p".to_owned()], vec![id(kept).to_string()]];
        assert_eq!(names(&fixture).await, left, "{backend:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declaration_that_is_refused_leaves_nothing_behind() {
    for backend in BACKENDS {
        let fixture = Fixture::new(backend).await;
        let there = document(json!({"name": "taken", "path": null}));
        fixture.services.insert(there.clone()).await.unwrap();
        let before = names(&fixture).await;
        let (a, b) = (document(json!({"name": "a", "path": null})), document(json!({"name": "taken", "path": null})));
        let added = fixture.store.declare(entities(&[a.clone(), b], &[], &[]), Extent::Added).await;
        let taken = vec![("name", json!("taken"))];
        let Err(DeclareError::Dao(DaoError::Unique { fields })) = added else { panic!("{backend:?}: {added:?}") };
        assert_eq!((fields, names(&fixture).await), (taken, before.clone()), "{backend:?}");
        // A file does not take the place of what somebody else has written, unless it says the same.
        let foreign = fixture.store.declare(entities(std::slice::from_ref(&a), &[], &[]), whole("1")).await;
        assert!(matches!(foreign, Err(DeclareError::Foreign { kind: "services", count: 1 })), "{foreign:?}");
        assert_eq!(
            (names(&fixture).await, fixture.store.declared_hash().await.unwrap()),
            (before, None),
            "{backend:?}"
        );
        fixture.store.declare(entities(&[a, there], &[], &[]), whole("1")).await.unwrap();
        assert!(fixture.store.forget_declaration().await.unwrap());
        assert!(!fixture.store.forget_declaration().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_were_left_open_are_kept() {
    for backend in BACKENDS {
        let fixture = Fixture::new(backend).await;
        let mut service = document(json!({"name": "a", "path": "/generated-first"}));
        let declare = async |service: &Document| {
            let left_open = vec![vec!["created_at"], vec!["path"]];
            let declared = vec![("services", vec![Declared { document: service.clone(), left_open }])];
            fixture.store.declare(declared, Extent::Added).await.unwrap()
        };
        assert_eq!(declare(&service).await, Changes { created: 1, ..Changes::default() }, "{backend:?}");
        let first = service.clone();
        service.insert("path".into(), "/generated-again".into());
        service.insert("created_at".into(), 1_800_000_000.into());
        assert_eq!(declare(&service).await, Changes { unchanged: 1, ..Changes::default() }, "{backend:?}");
        service.insert("tags".into(), json!(["new"]));
        assert_eq!(declare(&service).await, Changes { updated: 1, ..Changes::default() }, "{backend:?}");
        let found = fixture.services.find(&Key::Id(id(&first))).await.unwrap().unwrap();
        assert_eq!(
            (&found["path"], &found["created_at"], &found["tags"]),
            (&first["path"], &first["created_at"], &json!(["new"]))
        );
    }
}
