//! See gateway.md §3.

use super::*;

async fn with_consumers(count: u128) -> Admin {
    let admin = Admin::new();
    for n in 1..=count {
        let tags: &[&str] = if n % 2 == 0 { &["even", "all"] } else { &["all"] };
        let body = json!({ "id": Uuid::from_u128(n), "username": format!("u{n}"), "custom_id": format!("c{n}"), "tags": tags });
        admin.made("/consumers", body).await;
    }
    admin
}

fn names(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|row| row["username"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_empty_list_has_no_offset() {
    assert_eq!(Admin::new().get("/consumers").await, (200, json!({ "data": [], "next": null })));
}

#[tokio::test]
async fn pages_follow_each_other_in_order_of_id() {
    let admin = with_consumers(5).await;
    let (_, first) = admin.get("/consumers?size=2&tags=all").await;
    assert_eq!(names(&first), ["u1", "u2"]);
    let offset = first["offset"].as_str().unwrap();
    assert_eq!(first["next"], json!(format!("/consumers?offset={offset}&tags=all&size=2")));
    let (_, second) = admin.get(first["next"].as_str().unwrap()).await;
    assert_eq!(names(&second), ["u3", "u4"]);
    let (_, last) = admin.get(second["next"].as_str().unwrap()).await;
    assert_eq!(names(&last), ["u5"]);
    assert_eq!((last.get("offset"), &last["next"]), (None, &Value::Null));
}

#[tokio::test]
async fn tags_filter_by_all_or_any() {
    let admin = with_consumers(4).await;
    assert_eq!(names(&admin.get("/consumers?tags=even,all").await.1), ["u2", "u4"]);
    assert_eq!(names(&admin.get("/consumers?tags=even/zz").await.1), ["u2", "u4"]);
    assert_eq!(names(&admin.get("/consumers?tags=zz").await.1), [""; 0]);
}

#[tokio::test]
async fn nested_lists_drop_size_and_tags_from_the_next_url() {
    let admin = with_consumers(1).await;
    for n in 1..=2_u128 {
        admin.made("/consumers/u1/guard", json!({ "id": Uuid::from_u128(n) })).await;
    }
    let (status, page) = admin.get("/consumers/u1/guard?size=1&tags=a,b/c").await;
    let next = format!("/consumers/u1/guard?offset={}", page["offset"].as_str().unwrap());
    assert_eq!((status, &page["next"]), (200, &json!(next)));
    assert_eq!(admin.get(&next).await.1["data"].as_array().map(Vec::len), Some(1));
    for asked in
        ["/consumers/%751/guard", &format!("/consumers/{}/guard", page["data"][0]["consumer"]["id"].as_str().unwrap())]
    {
        let (_, page) = admin.get(&format!("{asked}/?size=1")).await;
        assert!(page["next"].as_str().is_some_and(|next| next.starts_with(&format!("{asked}?offset="))), "{page}");
    }
    assert_eq!(admin.get("/consumers/zz/guard").await, not_found());
}

#[tokio::test]
async fn consumers_are_found_by_custom_id() {
    let admin = with_consumers(3).await;
    let (status, found) = admin.get("/consumers?custom_id=c2").await;
    assert_eq!((status, names(&found), &found["next"]), (200, vec!["u2"], &Value::Null));
    for absent in ["zz", "%00", "a%00", "%FF", "%EF%BF%BD"] {
        let none = (200, json!({ "data": [], "next": null }));
        assert_eq!(admin.get(&format!("/consumers?custom_id={absent}")).await, none, "{absent}");
    }
    let refused = (400, json!({ "message": "custom_id must be an unempty string" }));
    assert_eq!(admin.get("/consumers?custom_id=").await, refused);
}

#[tokio::test]
async fn each_kind_of_bad_input_has_its_error() {
    let admin = Admin::new();
    for (query, code, name, message) in [
        ("size=x", 9, "invalid size", "size must be a number"),
        ("size=0", 9, "invalid size", "size must be an integer between 1 and 1000"),
        ("size=1001", 9, "invalid size", "size must be an integer between 1 and 1000"),
        ("offset=x", 7, "invalid offset", "'x' is not a valid offset: bad base64 encoding"),
        ("offset=aGVsbG8", 7, "invalid offset", "'aGVsbG8' is not a valid offset: bad json encoding"),
        ("tags=", 11, "invalid options", "invalid option (tags: cannot be null)"),
        ("tags=a,b/c", 11, "invalid options", "invalid option (tags: invalid filter syntax)"),
        ("tags=%FF", 11, "invalid options", "invalid option (tags: invalid filter syntax)"),
    ] {
        let (status, body) = admin.get(&format!("/services?{query}")).await;
        assert_eq!((status, &body["code"], &body["name"]), (400, &json!(code), &json!(name)), "{query}");
        assert_eq!(body["message"], json!(message), "{query}");
        assert_eq!(body.get("options").is_some(), code == 11, "{query}: {body}");
        assert!(code != 11 || body.get("fields").is_none(), "{query}: {body}");
    }
    let (status, body) = admin.get("/services?tags=a,b,c,d,e,f").await;
    assert_eq!((status, &body["code"]), (400, &json!(11)));
    assert!(body["message"].as_str().unwrap().contains("tags: cannot query more than 5 tags"));
    assert_eq!(admin.get("/services?unknown=1").await.0, 200);
    assert_eq!(admin.get("/guards?tags=a,b/c").await.0, 200, "a kind without tags ignores them");
}

#[tokio::test]
async fn tags_are_listed_across_kinds() {
    let admin = with_consumers(2).await;
    admin.made("/services", json!({ "id": Uuid::from_u128(9), "host": "h", "tags": ["even"] })).await;
    let entry =
        |kind: &str, n: u128, tag: &str| json!({ "entity_name": kind, "entity_id": Uuid::from_u128(n), "tag": tag });
    let (_, all) = admin.get("/tags?size=3").await;
    assert_eq!(
        all["data"],
        json!([entry("consumers", 1, "all"), entry("consumers", 2, "all"), entry("consumers", 2, "even")])
    );
    let (_, rest) = admin.get(all["next"].as_str().unwrap()).await;
    assert_eq!(rest, json!({ "data": [entry("services", 9, "even")], "next": null }));
    let (_, even) = admin.get("/tags/even").await;
    assert_eq!(even["data"], json!([entry("consumers", 2, "even"), entry("services", 9, "even")]));
    let (status, bad) = admin.get("/tags/a,b").await;
    assert_eq!((status, &bad["code"], &bad["name"]), (400, &json!(10), &json!("invalid unique tag")));
    for (method, path) in [("POST", "/tags"), ("PUT", "/tags/x"), ("PATCH", "/tags/x"), ("DELETE", "/tags/x")] {
        let (status, body) = admin.bare(method, path).await.status_and_body();
        let text = json!({ "tags": "does not support insert/upsert/update/delete operations" });
        assert_eq!((status, &body["fields"]), (400, &text), "{method}");
    }
}
