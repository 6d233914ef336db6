//! Kinds whose collection and nested path differ, and whose entities are addressed below their consumer
//! (gateway.md §2.1, §2.2).

use super::*;

/// As in an API key plugin: a generated key that may replace the id, and rows that expire.
fn keys() -> Kind {
    let schema = Schema::new(vec![
        field::id(),
        field::created_at(),
        Field::foreign("consumer", "consumers", OnDelete::Cascade).required(),
        Field::string("key").unique().auto(Auto::RandomString),
    ]);
    Kind::new("keyauth_credentials", schema).nested_segment("key-auth").segment("key-auths").second_key("key").ttl()
}

/// As in an access control plugin: a group is unique only within its consumer.
fn groups() -> Kind {
    let schema = Schema::new(vec![
        field::id(),
        field::created_at(),
        Field::foreign("consumer", "consumers", OnDelete::Cascade).required(),
        Field::string("group").required(),
    ]);
    Kind::new("acls", schema).unique_together(&["consumer", "group"])
}

struct World {
    admin: Admin,
    bob: String,
}

impl World {
    async fn new() -> Self {
        let admin = Admin::with_kinds(vec![keys(), groups()]);
        let bob = admin.made("/consumers", json!({ "username": "bob" })).await;
        admin.made("/consumers", json!({ "username": "eve" })).await;
        Self { admin, bob }
    }
}

#[tokio::test]
async fn a_key_replaces_the_id_in_both_paths() {
    let World { admin, bob } = World::new().await;
    let (status, made) = admin.json("POST", "/consumers/bob/key-auth", json!({ "key": "k", "ttl": 60 })).await;
    let document = json!({
        "id": made["id"], "created_at": 1_700_000_000, "consumer": { "id": bob }, "key": "k", "ttl": 60,
    });
    assert_eq!((status, &made), (201, &document));
    for path in ["/key-auths/k", "/consumers/bob/key-auth/k"] {
        assert_eq!(admin.get(path).await, (200, document.clone()), "{path}");
    }
    for path in ["/key-auth/k", "/consumers/bob/key-auths/k", "/consumers/eve/key-auth/k"] {
        assert_eq!(admin.get(path).await, not_found(), "{path}");
    }
    assert_eq!(admin.get("/key-auths/k/consumer").await.1["username"], "bob");
    assert_eq!(admin.delete("/consumers/bob/key-auth/k").await, (204, Value::Null));
    assert_eq!(admin.get("/key-auths").await.1["data"], json!([]));
}

#[tokio::test]
async fn a_group_replaces_the_id_only_below_its_consumer() {
    let World { admin, bob } = World::new().await;
    let (status, made) = admin.json("POST", "/consumers/bob/acls", json!({ "group": "admins" })).await;
    let document =
        json!({ "id": made["id"], "created_at": 1_700_000_000, "consumer": { "id": bob }, "group": "admins" });
    assert_eq!((status, &made), (201, &document));
    assert_eq!(admin.get("/consumers/bob/acls/admins").await, (200, document.clone()));
    let id = made["id"].as_str().unwrap();
    for path in [format!("/acls/{id}"), format!("/consumers/bob/acls/{id}")] {
        assert_eq!(admin.get(&path).await, (200, document.clone()), "{path}");
    }
    let (status, body) = admin.get("/acls/admins").await;
    assert_eq!((status, &body["code"], &body["name"]), (400, &json!(1), &json!("invalid primary key")));
    for path in ["/consumers/eve/acls/admins".to_owned(), format!("/consumers/eve/acls/{id}")] {
        assert_eq!(admin.get(&path).await, not_found(), "{path}");
        assert_eq!(admin.json("PATCH", &path, json!({ "group": "users" })).await, not_found(), "{path}");
        assert_eq!(admin.delete(&path).await, not_found(), "{path}");
    }
}

#[tokio::test]
async fn a_group_is_written_by_its_name() {
    let World { admin, bob } = World::new().await;
    let (status, made) = admin.json("PUT", "/consumers/bob/acls/admins", json!({})).await;
    let document =
        json!({ "id": made["id"], "created_at": 1_700_000_000, "consumer": { "id": bob }, "group": "admins" });
    assert_eq!((status, &made), (200, &document));
    // The path takes precedence over the body.
    assert_eq!(admin.json("PUT", "/consumers/bob/acls/admins", json!({ "group": "x" })).await, (200, document));
    let (status, renamed) = admin.json("PATCH", "/consumers/bob/acls/admins", json!({ "group": "users" })).await;
    assert_eq!((status, &renamed["id"], &renamed["group"]), (200, &made["id"], &json!("users")));
    assert_eq!(admin.delete("/consumers/bob/acls/admins").await, not_found());
    assert_eq!(admin.delete("/consumers/bob/acls/users").await, (204, Value::Null));
    assert_eq!(admin.get("/consumers/bob/acls").await.1["data"], json!([]));
}

#[tokio::test]
async fn a_consumer_is_in_a_group_once() {
    let World { admin, bob } = World::new().await;
    for consumer in ["bob", "eve"] {
        admin.made(&format!("/consumers/{consumer}/acls"), json!({ "group": "admins" })).await;
    }
    let (status, body) = admin.json("POST", "/consumers/bob/acls", json!({ "group": "admins" })).await;
    assert_eq!((status, &body["code"]), (409, &json!(5)));
    assert_eq!(body["fields"], json!({ "consumer": { "id": bob }, "group": "admins" }));
}

#[tokio::test]
async fn the_paths_of_such_kinds_are_listed() {
    let World { admin, .. } = World::new().await;
    let (_, body) = admin.get("/endpoints").await;
    for path in [
        "/key-auths",
        "/key-auths/{keyauth_credentials}",
        "/key-auths/{keyauth_credentials}/consumer",
        "/consumers/{consumers}/key-auth",
        "/consumers/{consumers}/key-auth/{keyauth_credentials}",
        "/acls",
        "/acls/{acls}",
        "/acls/{acls}/consumer",
        "/consumers/{consumers}/acls",
        "/consumers/{consumers}/acls/{acls}",
    ] {
        assert!(body["data"].as_array().unwrap().contains(&json!(path)), "{path}");
    }
}
