//! Access control by consumer group: which requests pass, what the upstream receives, and that every change takes
//! effect at once.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Findings, Gateway, Reply, Upstream};

const NOT_ALLOWED: &str = "You cannot consume this service";

/// An API with oauth2 and acl, and a client with a token for it.
struct World<'g> {
    gateway: &'g Gateway,
    api: Api,
    token: String,
    _upstream: Upstream,
}

impl<'g> World<'g> {
    async fn new(gateway: &'g Gateway, config: Value) -> Self {
        let upstream = Upstream::start().await;
        let api = Api::protected(gateway, "api", &upstream, json!({})).await;
        gateway.create("/services/api/plugins", json!({"name": "acl", "config": config})).await;
        let client = Application::register(gateway, "bob", json!({})).await;
        let tokens = api.tokens(gateway, &client).await;
        let token = tokens["access_token"].as_str().unwrap().to_owned();
        Self { gateway, api, token, _upstream: upstream }
    }

    async fn get(&self) -> Reply {
        self.api.get(self.gateway, &self.token).await
    }

    /// The groups that the upstream received.
    async fn received(&self) -> Value {
        groups(&self.get().await.expect(200))
    }
}

/// The groups that the upstream received with this request.
fn groups(reply: &Reply) -> Value {
    reply.json()["headers"]["x-consumer-groups"].clone()
}

/// Status and body of a refusal, whose request id must be that of the response (gateway.md §7.3b).
fn refusal(reply: &Reply) -> (u16, Value) {
    let mut body = reply.json();
    let id = body.as_object_mut().unwrap().remove("request_id");
    assert_eq!(id.as_ref().and_then(Value::as_str).map(str::to_owned), reply.header("x-kong-request-id"));
    (reply.status, body)
}

fn refused(status: u16, message: &str) -> (u16, Value) {
    (status, json!({"message": message}))
}

fn path(row: &Value) -> String {
    format!("/acls/{}", row["id"].as_str().unwrap())
}

on_both_stores! {
    async fn every_change_of_a_group_is_in_force_with_its_response(gateway: Gateway) {
        let world = World::new(&gateway, json!({"allow": ["admin"]})).await;
        assert_eq!(refusal(&world.get().await), refused(403, NOT_ALLOWED));
        let row = gateway.create("/consumers/bob/acls", json!({"group": "admin"})).await;
        assert_eq!(world.received().await, json!(["admin"]));
        // The groups are cached before each write.
        gateway.change(&path(&row), json!({"group": "users"})).await;
        assert_eq!(refusal(&world.get().await), refused(403, NOT_ALLOWED));
        gateway.admin(Method::PUT, &path(&row), json!({"group": "admin", "consumer": {"username": "bob"}})).await.expect(200);
        assert_eq!(world.received().await, json!(["admin"]));
        gateway.create("/consumers", json!({"username": "eve"})).await;
        gateway.change(&path(&row), json!({"consumer": {"username": "eve"}})).await;
        assert_eq!(refusal(&world.get().await), refused(403, NOT_ALLOWED));
        gateway.change(&path(&row), json!({"consumer": {"username": "bob"}})).await;
        assert_eq!(world.received().await, json!(["admin"]));
        gateway.delete("/consumers/bob/acls/admin").await;
        assert_eq!(refusal(&world.get().await), refused(403, NOT_ALLOWED));
        gateway.admin(Method::PUT, "/consumers/bob/acls/admin", json!({})).await.expect(200);
        assert_eq!(world.received().await, json!(["admin"]));
    }

    async fn a_consumer_that_was_deleted_and_created_again_has_no_groups(gateway: Gateway) {
        let world = World::new(&gateway, json!({"deny": ["banned"]})).await;
        let anonymous = gateway.create("/consumers", json!({"username": "anyone"})).await;
        let plugin = format!("/plugins/{}", world.api.plugin["id"].as_str().unwrap());
        gateway.change(&plugin, json!({"config": {"anonymous": anonymous["id"]}})).await;
        gateway.create("/consumers/anyone/acls", json!({"group": "guests"})).await;
        let ask = || async { gateway.send(gateway.request(Method::GET, "/api/x")).await.expect(200) };
        assert_eq!(groups(&ask().await), json!(["guests"]));
        let consumer = format!("/consumers/{}", anonymous["id"].as_str().unwrap());
        gateway.delete(&consumer).await;
        assert_eq!(gateway.admin_get("/acls").await.expect(200).json()["data"], json!([]), "groups are deleted with their consumer");
        gateway.admin(Method::PUT, &consumer, json!({"username": "anyone"})).await.expect(200);
        assert_eq!(groups(&ask().await), Value::Null);
    }

    async fn groups_are_managed_under_their_own_path_and_below_their_consumer(gateway: Gateway) {
        let consumer = gateway.create("/consumers", json!({"username": "bob"})).await;
        gateway.create("/consumers", json!({"username": "alice"})).await;
        let row = gateway.create("/consumers/bob/acls", json!({"group": "hello", "tags": ["t"]})).await;
        let expected = json!({
            "id": row["id"], "created_at": row["created_at"], "consumer": {"id": consumer["id"]}, "group": "hello",
            "tags": ["t"],
        });
        assert_eq!(row, expected);
        let nested = format!("/consumers/bob{}", path(&row));
        let of_another = format!("/consumers/alice{}", path(&row));
        let mut findings = Findings::new();
        for (found, status) in [
            (path(&row), 200),
            (nested.clone(), 200),
            ("/consumers/bob/acls/hello".to_owned(), 200),
            (of_another, 404),
            ("/consumers/alice/acls/hello".to_owned(), 404),
            ("/acls/hello".to_owned(), 400),
        ] {
            let reply = gateway.admin_get(&found).await;
            findings.compare(&found, &status, &reply.status);
            if status == 200 {
                findings.compare(&found, &row, &reply.json());
            }
        }
        for list in ["/acls", "/consumers/bob/acls", "/acls?tags=t"] {
            findings.compare(list, &json!([row]), &gateway.admin_get(list).await.expect(200).json()["data"]);
        }
        findings.compare("consumer", &consumer, &gateway.admin_get(&format!("{}/consumer", path(&row))).await.json());
        let again = gateway.admin(Method::POST, "/consumers/bob/acls", json!({"group": "hello"})).await.expect(409);
        let taken = json!({"consumer": {"id": consumer["id"]}, "group": "hello"});
        findings.compare("twice", &taken, &again.json()["fields"]);
        gateway.create("/consumers/alice/acls", json!({"group": "hello"})).await;
        for (body, fields) in [
            (json!({}), json!({"group": "required field missing"})),
            (json!({"group": 123}), json!({"group": "expected a string"})),
            (json!({"group": "a\r\nX-Consumer-ID: 1"}), json!({"group": "must not contain control characters"})),
        ] {
            let reply = gateway.admin(Method::POST, "/consumers/bob/acls", body.clone()).await;
            findings.compare(&body.to_string(), &(400, fields), &(reply.status, reply.json()["fields"].clone()));
        }
        gateway.delete(&nested).await;
        gateway.admin(Method::DELETE, "/consumers/bob/acls/hello", Value::Null).await.expect(404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_receives_the_groups_of_the_consumer_and_none_of_the_client() {
    let gateway = Gateway::on_sqlite().await;
    let world = World::new(&gateway, json!({"deny": ["banned"]})).await;
    let ask = || async {
        let request = gateway.request(Method::GET, "/api/x").bearer_auth(&world.token);
        let request = request.header("X-Consumer-Groups", "admin").header("x_consumer_groups", "admin");
        let reply = gateway.send(request).await.expect(200);
        (groups(&reply), reply.json()["headers"]["x_consumer_groups"].clone())
    };
    assert_eq!(ask().await, (Value::Null, Value::Null), "a consumer without groups");
    // In the order of their ids.
    for (id, group) in [(2, "a"), (1, "z"), (3, "münchen")] {
        let row = format!("/consumers/bob/acls/00000000-0000-4000-8000-00000000000{id}");
        gateway.admin(Method::PUT, &row, json!({"group": group})).await.expect(200);
    }
    assert_eq!(ask().await, (json!(["z, a, münchen"]), Value::Null));
    let plugins = gateway.admin_get("/services/api/plugins").await.expect(200).json();
    let acl = plugins["data"].as_array().unwrap().iter().find(|plugin| plugin["name"] == "acl").unwrap();
    let acl = format!("/plugins/{}", acl["id"].as_str().unwrap());
    gateway.change(&acl, json!({"config": {"hide_groups_header": true}})).await;
    assert_eq!(ask().await, (Value::Null, Value::Null), "hidden");
    // The client's header is removed on every route.
    gateway.delete(&acl).await;
    assert_eq!(ask().await, (Value::Null, Value::Null), "without the plugin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_consumer_is_unauthorized_and_the_anonymous_consumer_has_groups() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "open", &upstream).await;
    let config = json!({"deny": ["banned"], "always_use_authenticated_groups": true});
    gateway.create("/services/open/plugins", json!({"name": "acl", "config": config})).await;
    let ask = |path: &'static str| async { gateway.send(gateway.request(Method::GET, path)).await };
    assert_eq!(refusal(&ask("/open/x").await), refused(401, "Unauthorized"));
    let text = gateway.send(gateway.request(Method::GET, "/open/x").header("accept", "text/plain")).await;
    assert!(text.body.starts_with("Unauthorized\nrequest_id: "), "{}", text.body);

    gateway.create("/consumers", json!({"username": "anyone"})).await;
    Api::protected(&gateway, "api", &upstream, json!({"anonymous": "anyone"})).await;
    gateway.create("/services/api/plugins", json!({"name": "acl", "config": {"allow": ["guests"]}})).await;
    assert_eq!(refusal(&ask("/api/x").await), refused(403, NOT_ALLOWED));
    gateway.create("/consumers/anyone/acls", json!({"group": "guests"})).await;
    assert_eq!(groups(&ask("/api/x").await.expect(200)), json!(["guests"]));
    assert_eq!(upstream.requests(), 1, "refused requests do not reach the upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_can_read_that_it_is_refused() {
    let gateway = Gateway::on_sqlite().await;
    let world = World::new(&gateway, json!({"allow": ["admin"]})).await;
    gateway.create("/services/api/plugins", json!({"name": "cors", "config": {"origins": ["https://app.test"]}})).await;
    let request = gateway.request(Method::GET, "/api/x").bearer_auth(&world.token).header("origin", "https://app.test");
    let reply = gateway.send(request).await;
    assert_eq!(refusal(&reply), refused(403, NOT_ALLOWED));
    assert_eq!(reply.header("access-control-allow-origin").as_deref(), Some("https://app.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_requests_do_not_query_the_store() {
    let gateway = Gateway::on_sqlite().await;
    let world = World::new(&gateway, json!({"allow": ["admin"]})).await;
    gateway.create("/consumers/bob/acls", json!({"group": "admin"})).await;
    for _ in 0..20 {
        assert_eq!(world.received().await, json!(["admin"]));
    }
    let lookups = async |result| gateway.metric("tollgate_acl_groups_lookups_total", &[result]).await;
    assert_eq!((lookups("\"miss\"").await, lookups("\"hit\"").await), (1.0, 19.0));
    let id = gateway.admin_get("/consumers/bob").await.json()["id"].as_str().unwrap().to_owned();
    let cached = format!("/cache/acls:{id}:::::");
    assert_eq!(gateway.admin_get(&cached).await.expect(200).json(), json!({"groups": ["admin"]}));
    gateway.delete(&cached).await;
    gateway.admin_get(&cached).await.expect(404);
    assert_eq!(world.received().await, json!(["admin"]));
    assert_eq!(lookups("\"miss\"").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_is_rejected() {
    let gateway = Gateway::on_sqlite().await;
    gateway.create("/consumers", json!({"username": "bob"})).await;
    let lists = "of these fields must be non-empty: 'config.allow', 'config.deny'";
    let both = json!({"@entity": [format!("exactly one {lists}")]});
    let none = json!({"@entity": [format!("exactly one {lists}"), format!("at least one {lists}")]});
    let mut findings = Findings::new();
    for (fields, expected) in [
        (json!({}), none.clone()),
        (json!({"config": {"allow": []}}), none),
        (json!({"config": {"allow": ["a"], "deny": ["b"]}}), both),
        (json!({"config": {"allow": "a"}}), json!({"config": {"allow": "expected an array"}})),
        (json!({"config": {"deny": ["a"], "whitelist": []}}), json!({"config": {"whitelist": "unknown field"}})),
        (
            json!({"config": {"allow": ["a"]}, "consumer": {"username": "bob"}}),
            json!({"consumer": "value must be null"}),
        ),
    ] {
        let plugin = tollgate_tests::scenario::laid_over(json!({"name": "acl"}), fields.clone());
        let reply = gateway.admin(Method::POST, "/plugins", plugin).await.expect(400);
        findings.compare(&fields.to_string(), &expected, &reply.json()["fields"]);
    }
    let plugin = gateway.create("/plugins", json!({"name": "acl", "config": {"allow": ["a"]}})).await;
    let plugin = format!("/plugins/{}", plugin["id"].as_str().unwrap());
    gateway.admin(Method::PATCH, &plugin, json!({"config": {"deny": ["b"]}})).await.expect(400);
    let changed = gateway.change(&plugin, json!({"config": {"allow": null, "deny": ["b"]}})).await;
    let config = json!({
        "allow": null, "deny": ["b"], "hide_groups_header": false, "serve_cached_for": null, "always_use_authenticated_groups": false,
    });
    findings.compare("from allow to deny", &config, &changed["config"]);
}

/// How long a change may take to reach another node.
const BOUND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_groups_on_one_node_is_in_force_on_the_other_within_a_second() {
    let one = Gateway::on_postgres().await;
    let other = one.another_node().await;
    let world = World::new(&one, json!({"allow": ["admin"]})).await;
    let within_a_second = async |status: u16, what: &str| {
        let begun = Instant::now();
        while world.api.get(&other, &world.token).await.status != status {
            assert!(begun.elapsed() < BOUND, "{what}: not {status} after {:?}", begun.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within_a_second(403, "the plugin").await;
    let row = one.create("/consumers/bob/acls", json!({"group": "admin"})).await;
    within_a_second(200, "a new group").await;
    one.change(&path(&row), json!({"group": "users"})).await;
    within_a_second(403, "a renamed group").await;
    one.change(&path(&row), json!({"group": "admin"})).await;
    within_a_second(200, "and back").await;
    one.delete(&path(&row)).await;
    within_a_second(403, "a deleted group").await;
    one.create("/consumers/bob/acls", json!({"group": "admin"})).await;
    within_a_second(200, "a group created again").await;
    one.create("/consumers", json!({"username": "eve"})).await;
    one.change("/consumers/bob/acls/admin", json!({"consumer": {"username": "eve"}})).await;
    within_a_second(403, "a group moved to another consumer").await;
}
