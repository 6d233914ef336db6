//! See gateway.md §2.2 and §4.

use super::*;

const ABSENT: &str = "c0ffee00-0000-4000-8000-000000000000";

#[tokio::test]
async fn an_entity_supports_all_verbs() {
    let admin = Admin::new();
    let (status, made) = admin.json("POST", "/services", json!({ "name": "s", "url": "https://h.test/x" })).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!((&made["protocol"], &made["port"], &made["path"]), (&json!("https"), &json!(443), &json!("/x")));
    assert_eq!((&made["created_at"], &made["tags"]), (&json!(1_700_000_000), &Value::Null));
    assert_eq!(admin.get("/services/s").await, (200, made.clone()));

    let (status, patched) = admin.json("PATCH", "/services/s", json!({ "retries": 2, "path": null })).await;
    assert_eq!((status, &patched["retries"], &patched["path"]), (200, &json!(2), &Value::Null));
    assert_eq!(patched["id"], made["id"]);

    let (status, put) = admin.json("PUT", "/services/s", json!({ "host": "other.test" })).await;
    assert_eq!((status, &put["id"], &put["retries"]), (200, &made["id"], &json!(5)));
    assert_eq!((&put["name"], &put["protocol"]), (&json!("s"), &json!("http")));

    assert_eq!(admin.delete("/services/s").await, (204, Value::Null));
    assert_eq!(admin.get("/services/s").await, not_found());
    assert_eq!(admin.delete("/services/s").await, (204, Value::Null));
    assert_eq!(admin.delete(&format!("/services/{ABSENT}")).await, (204, Value::Null));
}

#[tokio::test]
async fn put_creates_with_the_id_of_the_path() {
    let admin = Admin::new();
    let (status, made) = admin.json("PUT", &format!("/services/{ABSENT}"), json!({ "id": "x", "host": "h" })).await;
    assert_eq!((status, &made["id"]), (200, &json!(ABSENT)));
    let (status, made) = admin.json("PUT", "/consumers/bob", json!({ "username": "eve" })).await;
    assert_eq!((status, &made["username"]), (200, &json!("bob")));
}

#[tokio::test]
async fn each_error_has_its_code() {
    let admin = Admin::new();
    let id = admin.made("/consumers", json!({ "username": "bob" })).await;
    let taken = json!({
        "code": 5, "name": "unique constraint violation",
        "message": "UNIQUE violation detected on '{username=\"bob\"}'", "fields": { "username": "bob" },
    });
    assert_eq!(admin.json("POST", "/consumers", json!({ "username": "bob" })).await, (409, taken));
    let (status, body) = admin.json("POST", "/consumers", json!({ "username": "x", "id": id })).await;
    assert_eq!((status, &body["code"], &body["fields"]), (400, &json!(3), &json!({ "id": id })));
    let (status, body) = admin.json("PATCH", "/consumers/eve", json!({ "custom_id": "x" })).await;
    let missing = "could not find the entity with '{username=\"eve\"}'";
    assert_eq!((status, &body["code"], &body["message"]), (404, &json!(6), &json!(missing)));
    let (status, body) = admin.json("PATCH", &format!("/consumers/{ABSENT}"), json!({ "custom_id": "x" })).await;
    assert_eq!((status, &body["code"], &body["fields"]), (404, &json!(6), &json!({ "id": ABSENT })));
    let (status, body) = admin.get("/services/a%20b").await;
    assert_eq!((status, &body["code"], &body["name"]), (400, &json!(10), &json!("invalid unique name")));
    let (status, body) = admin.json("POST", "/consumers", json!({ "username": 7 })).await;
    assert_eq!((status, &body["code"], &body["fields"]["username"]), (400, &json!(2), &json!("expected a string")));
}

#[tokio::test]
async fn references_are_resolved_by_id_or_unique_name() {
    let admin = Admin::new();
    let id = admin.made("/services", json!({ "name": "s", "host": "h" })).await;
    for service in [json!({ "id": id }), json!({ "id": id, "name": "zz", "x": 1 }), json!({ "name": "s" })] {
        let (status, route) = admin.json("POST", "/routes", json!({ "paths": ["/"], "service": service })).await;
        assert_eq!((status, &route["service"]), (201, &json!({ "id": id })), "{route}");
    }
    assert_eq!(admin.form("POST", "/routes", "paths=/&service.name=s").await.1["service"], json!({ "id": id }));
    assert_eq!(admin.form("POST", "/routes", &format!("paths=/&service.id={id}")).await.0, 201);

    let (status, body) = admin.json("POST", "/routes", json!({ "paths": ["/"], "service": { "name": "zz" } })).await;
    let text = "foreign key unresolved (service.name: the foreign key cannot be resolved with '{name=\"zz\"}' for an \
                existing 'services' entity)";
    assert_eq!((status, &body["code"], &body["message"]), (400, &json!(13), &json!(text)));
    let (status, body) = admin.json("POST", "/routes", json!({ "paths": ["/"], "service": { "id": ABSENT } })).await;
    let text = format!("the foreign key '{{id=\"{ABSENT}\"}}' does not reference an existing 'services' entity.");
    assert_eq!((status, &body["code"], &body["message"]), (400, &json!(4), &json!(text)));
    for bad in [json!({ "id": "x" }), json!({}), json!("x"), json!({ "id": null })] {
        let (status, body) = admin.json("POST", "/routes", json!({ "paths": ["/"], "service": bad })).await;
        assert_eq!((status, &body["code"]), (400, &json!(2)), "{body}");
    }
}

#[tokio::test]
async fn a_service_with_routes_is_not_deleted() {
    let admin = Admin::new();
    admin.made("/services", json!({ "name": "s", "host": "h" })).await;
    admin.made("/services/s/routes", json!({ "paths": ["/"] })).await;
    let (status, body) = admin.delete("/services/s").await;
    assert_eq!((status, &body["code"], &body["fields"]), (400, &json!(4), &json!({ "@referenced_by": "routes" })));
}

#[tokio::test]
async fn nested_paths_address_the_children_of_one_parent() {
    let admin = Admin::new();
    let first = admin.made("/services", json!({ "name": "one", "host": "h" })).await;
    let second = admin.made("/services", json!({ "name": "two", "host": "h" })).await;
    let body = json!({ "name": "r", "paths": ["/"], "service": { "id": second } });
    let (status, route) = admin.json("POST", "/services/one/routes", body.clone()).await;
    assert_eq!((status, &route["service"]["id"]), (201, &json!(first)));
    assert_eq!(admin.json("POST", "/services/zz/routes", body).await, not_found());

    assert_eq!(admin.get("/services/one/routes/r").await, (200, route.clone()));
    assert_eq!(admin.get("/services/two/routes/r").await, not_found());
    assert_eq!(admin.json("PATCH", "/services/two/routes/r", json!({ "hosts": ["a"] })).await, not_found());
    assert_eq!(admin.json("PATCH", "/services/one/routes/r", json!({ "hosts": ["a"] })).await.0, 200);
    assert_eq!(admin.json("PUT", "/services/zz/routes/r", json!({ "paths": ["/"] })).await, not_found());
    let (status, moved) = admin.json("PUT", "/services/two/routes/r", json!({ "paths": ["/"] })).await;
    assert_eq!((status, &moved["id"], &moved["service"]["id"]), (200, &route["id"], &json!(second)));

    for path in ["/services/one/routes/r", "/services/zz/routes/r", "/services/two/routes/zz"] {
        assert_eq!(admin.delete(path).await, not_found(), "{path}");
    }
    assert_eq!(admin.delete("/services/two/routes/r").await, (204, Value::Null));
}

#[tokio::test]
async fn a_foreign_sub_path_acts_on_the_referenced_entity() {
    let admin = Admin::new();
    admin.made("/routes", json!({ "name": "r", "paths": ["/"] })).await;
    for method in ["GET", "DELETE"] {
        assert_eq!(admin.bare(method, "/routes/r/service").await.status_and_body(), not_found(), "{method}");
    }
    assert_eq!(admin.json("PATCH", "/routes/r/service", json!({ "host": "h" })).await, not_found());
    assert_eq!(admin.json("PUT", "/routes/zz/service", json!({ "host": "h" })).await, not_found());

    let (status, made) = admin.json("PUT", "/routes/r/service", json!({ "name": "s", "host": "h" })).await;
    assert_eq!((status, &made["name"]), (200, &json!("s")));
    assert_eq!(admin.get("/routes/r").await.1["service"], json!({ "id": made["id"] }));
    assert_eq!(admin.get("/routes/r/service").await, (200, made.clone()));
    let (status, patched) = admin.json("PATCH", "/routes/r/service", json!({ "retries": 1 })).await;
    assert_eq!((status, &patched["retries"]), (200, &json!(1)));
    let (status, replaced) = admin.json("PUT", "/routes/r/service", json!({ "host": "i" })).await;
    assert_eq!((status, &replaced["id"], &replaced["name"]), (200, &made["id"], &Value::Null));
    assert_eq!(admin.delete("/routes/r/service").await, not_allowed());
}

#[tokio::test]
async fn a_plugin_entity_has_the_schema_of_its_plugin() {
    let admin = Admin::new();
    let (status, plugin) = admin.form("POST", "/plugins", "name=guard&config.key_names[1]=k&config[hide]=true").await;
    assert_eq!(status, 201, "{plugin}");
    assert_eq!(plugin["config"], json!({ "key_names": ["k"], "hide": true, "ttl_bound": 5 }));
    let path = format!("/plugins/{}", plugin["id"].as_str().unwrap());
    let (status, patched) = admin.form("PATCH", &path, "config.ttl_bound=7&instance_name=mine").await;
    assert_eq!(status, 200, "{patched}");
    assert_eq!(patched["config"], json!({ "key_names": ["k"], "hide": true, "ttl_bound": 7 }));
    assert_eq!(admin.get("/plugins/mine").await, (200, patched));

    let violation = |name: &str| {
        (
            400,
            json!({ "code": 2, "name": "schema violation", "message": format!("schema violation (name: {name})"), "fields": { "name": name } }),
        )
    };
    let unknown = "plugin 'zz' not enabled; the plugins that exist here are: guard";
    assert_eq!(admin.json("POST", "/plugins", json!({ "name": "zz" })).await, violation(unknown));
    assert_eq!(admin.json("POST", "/plugins", json!({})).await, violation("required field missing"));
    assert_eq!(admin.json("PATCH", &path, json!({ "name": "zz" })).await, violation(unknown));
    let (_, body) = admin.json("PATCH", &path, json!({ "config": { "zz": 1 } })).await;
    assert_eq!(body["fields"], json!({ "config": { "zz": "unknown field" } }));
    assert_eq!(admin.json("PATCH", "/plugins/zz", json!({ "enabled": false })).await, not_found());
    assert_eq!(admin.json("PATCH", &format!("/plugins/{ABSENT}"), json!({})).await, not_found());
}

#[tokio::test]
async fn a_configuration_that_the_running_plugin_objects_to_is_refused_in_every_write() {
    let admin = Admin::new();
    let config = |bound: u64| json!({ "name": "guard", "config": { "ttl_bound": bound } });
    let (_, stored) = admin.json("POST", "/plugins", config(12)).await;
    let path = format!("/plugins/{}", stored["id"].as_str().unwrap());
    for (method, path) in
        [("POST", "/plugins"), ("PUT", &path), ("PATCH", &path), ("POST", "/schemas/plugins/validate")]
    {
        let (status, body) = admin.json(method, path, config(13)).await;
        let refused = json!({ "config": { "ttl_bound": "this gateway does not count to 13" } });
        assert_eq!((status, &body["fields"]), (400, &refused), "{method} {path}");
    }
    assert_eq!(admin.get(&path).await, (200, stored));
}

#[tokio::test]
async fn a_plugin_shares_a_protocol_with_its_route_or_service() {
    let admin = Admin::new();
    admin.made("/services", json!({ "name": "s", "host": "h" })).await;
    let plugin = json!({ "name": "guard", "protocols": ["grpc"] });
    let on_empty = admin.made("/services/s/plugins", plugin.clone()).await;
    admin.made("/services/s/routes", json!({ "name": "r", "paths": ["/"] })).await;
    let fields = |response: (u16, Value)| (response.0, response.1["fields"]["protocols"].clone());
    let of_route = (400, json!("must match the associated route's protocols"));
    let of_service = (400, json!("must match the protocols of at least one route pointing to this Plugin's service"));
    assert_eq!(fields(admin.json("POST", "/routes/r/plugins", plugin.clone()).await), of_route);
    let path = format!("/services/s/plugins/{on_empty}");
    assert_eq!(fields(admin.json("PUT", &path, plugin).await), of_service);
    assert_eq!(fields(admin.json("PATCH", &path, json!({ "enabled": false })).await), of_service);
    assert_eq!(admin.json("PATCH", &path, json!({ "protocols": ["http"] })).await.0, 200);
}

#[tokio::test]
async fn kinds_that_expire_accept_a_ttl() {
    let admin = Admin::new();
    admin.made("/consumers", json!({ "username": "bob" })).await;
    let (status, made) = admin.json("POST", "/consumers/bob/guard", json!({ "client_id": "c", "ttl": 60 })).await;
    assert_eq!((status, &made["ttl"]), (201, &json!(60)), "{made}");
    let (status, patched) = admin.form("PATCH", "/guards/c", "ttl=30").await;
    assert_eq!((status, &patched["ttl"]), (200, &json!(30)));
    for bad in [json!(-1), json!("soon"), json!(100_000_001)] {
        let (status, body) = admin.json("PATCH", "/guards/c", json!({ "ttl": bad })).await;
        assert_eq!((status, &body["code"]), (400, &json!(2)), "{body}");
    }
    let (status, body) = admin.json("POST", "/consumers", json!({ "username": "x", "ttl": 60 })).await;
    assert_eq!((status, &body["fields"]), (400, &json!({ "ttl": "unknown field" })));
    assert_eq!(admin.get("/guards/c/consumer").await.1["username"], json!("bob"));
    assert_eq!(admin.delete("/consumers/bob/guard/c").await.0, 204);
    assert_eq!(admin.delete("/consumers/bob/guard/c").await, not_found());
}

#[tokio::test]
async fn the_entities_of_a_list_of_ids_must_exist() {
    let admin = Admin::new();
    let id = "00000000-0000-4000-8000-00000000000a";
    let service = json!({ "url": "https://a.test", "ca_certificates": [id] });
    let (status, body) = admin.json("POST", "/services", service).await;
    assert_eq!(status, 400);
    let text = format!("the foreign key '{{id=\"{id}\"}}' does not reference an existing 'ca_certificates' entity.");
    let expected = json!({
        "code": 4, "name": "foreign key violation", "message": text, "fields": { "ca_certificates": { "id": id } },
    });
    assert_eq!(body, expected);
    let (status, _) = admin.json("POST", "/services", json!({ "url": "https://a.test", "ca_certificates": [] })).await;
    assert_eq!(status, 201);
}

#[tokio::test]
async fn an_entity_that_cannot_be_referenced_is_not_created_through_a_foreign_field() {
    let admin = Admin::new();
    let plugin = admin.made("/plugins", json!({ "name": "guard" })).await;
    let (status, body) = admin.json("PUT", &format!("/plugins/{plugin}/consumer"), json!({ "username": "bob" })).await;
    assert_eq!((status, &body["fields"]), (400, &json!({ "consumer": "value must be null" })));
    assert_eq!(admin.get("/consumers").await, (200, json!({ "data": [], "next": null })));
    let route = admin.made("/routes", json!({ "paths": ["/a"] })).await;
    let path = format!("/routes/{route}/service");
    let (one, other) = tokio::join!(
        admin.json("PUT", &path, json!({ "name": "one", "host": "a.test" })),
        admin.json("PUT", &path, json!({ "name": "other", "host": "a.test" })),
    );
    assert_eq!((one.0, other.0), (200, 200));
    let (_, services) = admin.get("/services").await;
    assert_eq!(services["data"].as_array().map(Vec::len), Some(1), "{services}");
}

#[tokio::test]
async fn names_sent_in_headers_must_be_unpadded_when_written_but_not_in_lookups() {
    let admin = Admin::new();
    let padded = "must not begin or end with white space";
    for (method, path, body) in [
        ("POST", "/consumers", json!({ "username": " bob" })),
        ("POST", "/consumers", json!({ "username": "bob\u{a0}" })),
        ("PUT", "/consumers/bob%20", json!({})),
    ] {
        let (status, response) = admin.json(method, path, body.clone()).await;
        assert_eq!((status, &response["fields"]["username"]), (400, &json!(padded)), "{method} {path} {body}");
    }
    assert_eq!(admin.get("/consumers/bob%20").await, not_found());
    assert_eq!(admin.json("POST", "/consumers", json!({ "username": "b o b" })).await.0, 201);
}
