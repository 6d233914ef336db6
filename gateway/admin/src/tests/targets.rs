//! Targets below their upstreams (gateway.md §2.3).

use tollgate_core::entity::{target, upstream};

use super::*;

async fn world() -> (Admin, String) {
    let admin = Admin::with_kinds(vec![upstream::kind(), target::kind()]);
    let id = admin.made("/upstreams", json!({ "name": "api" })).await;
    admin.made("/upstreams", json!({ "name": "other" })).await;
    (admin, id)
}

#[tokio::test]
async fn a_target_is_normalised_and_exists_once() {
    let (admin, upstream) = world().await;
    let (status, made) = admin.json("POST", "/upstreams/api/targets", json!({ "target": "a.test" })).await;
    let document = json!({
        "id": made["id"], "created_at": 1_700_000_000.0, "updated_at": 1_700_000_000.0, "upstream": {"id": upstream},
        "target": "a.test:8000", "weight": 100, "tags": null,
    });
    assert_eq!((status, &made), (201, &document));
    let id = made["id"].as_str().unwrap();
    for path in [format!("/upstreams/api/targets/{id}"), "/upstreams/api/targets/a.test:8000".to_owned()] {
        assert_eq!(admin.get(&path).await, (200, document.clone()), "{path}");
    }
    let (status, refused) = admin.json("POST", "/upstreams/api/targets", json!({ "target": "a.test:8000" })).await;
    let text = format!("UNIQUE violation detected on '{{target=\"a.test:8000\",upstream={{id=\"{upstream}\"}}}}'");
    let error = json!({
        "code": 5, "name": "unique constraint violation", "message": text,
        "fields": { "target": "a.test:8000", "upstream": { "id": upstream } },
    });
    assert_eq!((status, refused), (409, error));
    assert_eq!(admin.json("POST", "/upstreams/other/targets", json!({ "target": "a.test" })).await.0, 201);
}

#[tokio::test]
async fn targets_are_served_only_below_their_upstream() {
    let (admin, _) = world().await;
    let id = admin.made("/upstreams/api/targets", json!({ "target": "a.test" })).await;
    let paths = [
        "/targets".to_owned(),
        format!("/targets/{id}"),
        format!("/targets/{id}/upstream"),
        format!("/upstreams/other/targets/{id}"),
        "/upstreams/other/targets/a.test:8000".to_owned(),
        "/upstreams/api/targets/b.test:8000".to_owned(),
        "/upstreams/api/targets/a%20b".to_owned(),
        "/upstreams/none/targets".to_owned(),
        "/upstreams/none/targets/all".to_owned(),
        "/upstreams/none/health".to_owned(),
    ];
    for path in paths {
        assert_eq!(admin.get(&path).await, not_found(), "{path}");
    }
    let put = admin.json("PUT", "/upstreams/api/targets/b.test:8000", json!({ "weight": 1 })).await;
    assert_eq!(put, not_found(), "a PUT changes, and makes nothing");
    assert_eq!(admin.json("PUT", "/upstreams/other/targets/a.test:8000/healthy", json!({})).await, not_found());
}

#[tokio::test]
async fn a_put_changes_a_target_like_a_patch() {
    let (admin, _) = world().await;
    let id = admin.made("/upstreams/api/targets", json!({ "target": "a.test", "weight": 5, "tags": ["x"] })).await;
    for (method, path) in
        [("PUT", format!("/upstreams/api/targets/{id}")), ("PATCH", "/upstreams/api/targets/a.test:8000".to_owned())]
    {
        let (status, changed) = admin.json(method, &path, json!({ "weight": 7 })).await;
        assert_eq!((status, &changed["weight"], &changed["tags"]), (200, &json!(7), &json!(["x"])), "{method}");
    }
    assert_eq!(admin.delete("/upstreams/api/targets/a.test:8000").await.0, 204);
    assert_eq!(admin.delete("/upstreams/api/targets/a.test:8000").await, not_found());
}

#[tokio::test]
async fn lists_are_in_pages_by_position() {
    let (admin, _) = world().await;
    for name in ["a", "b", "c"] {
        admin.made("/upstreams/api/targets", json!({ "target": name })).await;
    }
    let (status, first) = admin.get("/upstreams/api/targets?size=2").await;
    assert_eq!((status, first["data"].as_array().unwrap().len()), (200, 2));
    assert_eq!((&first["offset"], &first["next"]), (&json!("2"), &json!("/upstreams/api/targets?offset=2")));
    let (_, rest) = admin.get("/upstreams/api/targets?size=2&offset=2").await;
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["next"], rest.get("offset")), (1, &Value::Null, None));
    let (_, bad) = admin.get("/upstreams/api/targets?offset=x").await;
    assert_eq!(bad["message"], "'x' is not a valid offset: bad base64 encoding");
    let (_, all) = admin.get("/upstreams/api/targets/all").await;
    let ids: Vec<_> = all["data"].as_array().unwrap().iter().map(|target| target["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted() && ids.len() == 3, "in the order in which they are stored: {ids:?}");
}

#[tokio::test]
async fn a_node_that_does_not_know_an_upstream_says_so() {
    let (admin, _) = world().await;
    admin.made("/upstreams/api/targets", json!({ "target": "a.test" })).await;
    let (status, shown) = admin.get("/upstreams/api/health").await;
    let target = &shown["data"][0];
    assert_eq!((status, &target["health"], &target["data"]), (200, &json!("DNS_ERROR"), &Value::Null));
    assert_eq!(shown["node_id"], json!(Uuid::from_u128(1)));
    let refused = admin.json("PUT", "/upstreams/api/targets/a.test:8000/unhealthy", json!({})).await;
    assert_eq!(refused, (400, json!({ "message": "this node has no upstreams" })));
    let refused = admin.json("PUT", "/upstreams/api/targets/a.test:8000/nowhere/healthy", json!({})).await;
    assert_eq!(refused, (400, json!({ "message": "invalid address: nowhere" })));
    assert_eq!(admin.get("/upstreams/api/targets/a.test:8000/healthy").await.0, 405);
}
