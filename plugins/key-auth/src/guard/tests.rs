use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::clock::ManualClock;
use tollgate_core::reply::Body;
use tollgate_core::request::{Addressed, Edits, RequestBody, Target};
use tollgate_plugin::authentication::AuthenticationHandler;
use tollgate_plugin::cache::{Bounds, CacheMetrics};
use tollgate_plugin::protection::Protection;
use tollgate_plugin::testing::{Entities, Feed};
use tollgate_plugin::{Access, Consumers, Credential, Credentials, Handler, HeaderEdit, Kind, Metrics, Schema};
use uuid::Uuid;

use super::*;
use crate::cache::KeySource;
use crate::config::Config;
use crate::credential;

const NOW: i64 = 1_000_000;
const BOB: Uuid = Uuid::from_u128(2);
const CREDENTIAL: Uuid = Uuid::from_u128(3);

struct World {
    keys: Arc<Entities>,
    feed: Arc<Feed>,
    clock: Arc<ManualClock>,
    known_consumers: Consumers,
    shared: Arc<Shared>,
}

impl World {
    /// Bob has the key `right`.
    fn new() -> Self {
        let keys = Entities::new(credential::kind());
        let consumers = Entities::new(Kind::new("consumers", Schema::default()));
        consumers.put(BOB, json!({"username": "bob"}));
        keys.put(CREDENTIAL, json!({"key": "right", "consumer": {"id": BOB}, "ttl": null}));
        let (feed, clock) = (Feed::new(), Arc::new(ManualClock::at(NOW)));
        let known_consumers = Consumers::new(consumers, feed.clone());
        let credentials = Credentials::new(keys.clone(), "id", known_consumers.clone());
        let metrics = Metrics::new(prometheus::Registry::new(), ["key_auth"]);
        let metrics = CacheMetrics::register(&metrics, "key_auth", "API keys").unwrap();
        let expired = metrics.result("expired");
        let bounds = Bounds { bytes: 1 << 20, negative_millis: 5_000 };
        let source = KeySource::new(credentials, clock.clone());
        let cache = KeyCache::new(bounds, source, feed.clone(), clock.clone(), metrics);
        let shared = Arc::new(Shared { cache, clock: clock.clone(), expired });
        Self { keys, feed, clock, known_consumers, shared }
    }

    fn protection(&self, patch: Value) -> Protection<Guard> {
        let mut config = json!({
            "key_names": ["apikey"], "hide_credentials": false, "anonymous": null, "key_in_header": true,
            "key_in_query": true, "key_in_body": false, "run_on_preflight": true, "realm": null,
        });
        config.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        let config = Config::try_from(&config).unwrap();
        let guard = Guard {
            places: config.places,
            keys: config.keys,
            absence: Absence::of(config.anonymous.as_deref()),
            serve_cached: config.serve_cached,
            challenge: config.challenge,
            shared: Arc::clone(&self.shared),
        };
        let guard = AuthenticationHandler::new(guard, config.anonymous.as_deref(), &self.known_consumers);
        Protection { guard, preflight: config.preflight }
    }

    async fn changed(&self, kind: &str, id: Uuid) {
        let change =
            Change { kind: kind.to_owned(), operation: Operation::Updated, id, key: Vec::new(), document: None };
        self.known_consumers.apply(std::slice::from_ref(&change)).await.unwrap();
        self.shared.cache.source().credentials().apply(&[change]).await.unwrap();
    }

    fn asked(&self) -> usize {
        self.keys.asked()
    }
}

/// A request, with the parts that matter to a guard.
#[derive(Default)]
struct Call {
    query: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    body: Option<&'static str>,
    edits: Edits,
}

struct Outcome {
    ready: bool,
    verdict: Verdict,
    removed: Vec<String>,
    query: Option<String>,
    body: Option<Bytes>,
    credential: Option<Credential>,
}

impl Call {
    fn header(name: &'static str, value: &'static str) -> Self {
        Self { headers: vec![(name, value)], ..Self::default() }
    }

    fn query(query: &'static str) -> Self {
        Self { query: Some(query), ..Self::default() }
    }

    fn body(mut self, content_type: &'static str, body: &'static str) -> Self {
        self.headers.push(("content-type", content_type));
        self.body = Some(body);
        self
    }

    async fn at(self, protection: &Protection<Guard>) -> Outcome {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let target = Target { route_id: Uuid::nil(), service_id: None };
        let mut request = Request {
            method: &Method::POST,
            path: "/",
            query: self.query,
            headers: &headers,
            http2: false,
            tls: false,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            peer_trusted: false,
            addressed: Addressed::default(),
            certificate: None,
            arrival: &(),
            target: &target,
            body: self.body.map_or(RequestBody::Unread, |body| RequestBody::Read(Bytes::from_static(body.as_bytes()))),
            edits: self.edits,
            response: Vec::new(),
            identity: None,
            served_stale: None,
            notes: None,
        };
        let (ready, verdict) = match protection.access(&mut request) {
            Access::Ready(verdict) => (true, verdict),
            Access::Pending(verdict) => (false, verdict.await),
        };
        let removed = request.edits.headers.iter().filter_map(|edit| match edit {
            HeaderEdit::Remove(name) => Some(name.to_string()),
            _ => None,
        });
        Outcome {
            ready,
            verdict: verdict.unwrap(),
            removed: removed.collect(),
            query: request.edits.query,
            body: request.edits.body,
            credential: request.identity.and_then(|identity| identity.credential),
        }
    }
}

impl Outcome {
    /// `passed`, or the reason of the reply.
    fn result(&self) -> &'static str {
        match &self.verdict {
            Verdict::Continue => "passed",
            Verdict::Reply(reply) => reply.reason,
            Verdict::NeedBody { .. } => "body",
        }
    }
}

#[tokio::test]
async fn a_warm_key_and_an_unknown_one_are_decided_without_the_store() {
    let world = World::new();
    let protection = world.protection(json!({}));
    for (key, result) in [("right", "passed"), ("wrong", "key_unknown")] {
        let first = Call::header("apikey", key).at(&protection).await;
        assert_eq!((first.ready, first.result()), (false, result));
        let asked = world.asked();
        for _ in 0..3 {
            let again = Call::header("apikey", key).at(&protection).await;
            assert_eq!((again.ready, again.result()), (true, result));
        }
        assert_eq!(world.asked(), asked);
    }
    assert_eq!(Call::header("apikey", "right").at(&protection).await.credential, Some(Credential::Entity(CREDENTIAL)));
    world.clock.advance(6);
    let later = Call::header("apikey", "wrong").at(&protection).await;
    assert!(!later.ready, "an unknown key is not remembered for ever");
}

#[tokio::test]
async fn a_change_of_the_key_or_its_consumer_takes_effect_at_once() {
    let world = World::new();
    let protection = world.protection(json!({}));
    let result = async |key| Call::header("apikey", key).at(&protection).await.result();
    assert_eq!((result("right").await, result("new").await), ("passed", "key_unknown"));
    world.keys.put(CREDENTIAL, json!({"key": "new", "consumer": {"id": BOB}}));
    world.changed(credential::NAME, CREDENTIAL).await;
    assert_eq!((result("right").await, result("new").await), ("key_unknown", "passed"));
    // Deleting the consumer deletes the key.
    world.keys.clear();
    world.changed("consumers", BOB).await;
    assert_eq!(result("new").await, "key_unknown");
}

#[tokio::test]
async fn a_cached_key_expires_when_its_row_does() {
    let world = World::new();
    let protection = world.protection(json!({}));
    world.keys.put(CREDENTIAL, json!({"key": "right", "consumer": {"id": BOB}, "ttl": 10}));
    let result = async || Call::header("apikey", "right").at(&protection).await.result();
    assert_eq!(result().await, "passed");
    world.clock.advance(10);
    assert_eq!(result().await, "passed");
    world.clock.advance(1);
    world.keys.clear();
    assert_eq!(result().await, "key_expired");
    // With a longer life, it is read again.
    world.keys.put(CREDENTIAL, json!({"key": "right", "consumer": {"id": BOB}, "ttl": null}));
    world.changed(credential::NAME, CREDENTIAL).await;
    assert_eq!(result().await, "passed");
    world.clock.advance(1_000_000);
    assert_eq!(result().await, "passed");
    world.keys.put(CREDENTIAL, json!({"key": "right", "consumer": {"id": BOB}, "ttl": 0}));
    world.changed(credential::NAME, CREDENTIAL).await;
    assert_eq!(result().await, "passed");
    world.clock.advance(1);
    world.keys.clear();
    assert_eq!(result().await, "key_expired");
}

#[tokio::test]
async fn the_key_of_an_expired_credential_may_be_used_for_another_one() {
    const SECOND: Uuid = Uuid::from_u128(4);
    let world = World::new();
    let protection = world.protection(json!({}));
    world.keys.put(CREDENTIAL, json!({"key": "right", "consumer": {"id": BOB}, "ttl": 1}));
    let ask = async || Call::header("apikey", "right").at(&protection).await;
    assert_eq!(ask().await.credential, Some(Credential::Entity(CREDENTIAL)));
    world.clock.advance(2);
    // Swept, without a change record.
    world.keys.clear();
    assert_eq!(ask().await.result(), "key_expired");
    let again = ask().await;
    assert_eq!((again.ready, again.result()), (true, "key_unknown"), "the store is queried once");
    world.keys.put(SECOND, json!({"key": "right", "consumer": {"id": BOB}}));
    world.changed(credential::NAME, SECOND).await;
    assert_eq!(ask().await.credential, Some(Credential::Entity(SECOND)));
    // The same without a request in between.
    world.keys.put(SECOND, json!({"key": "right", "consumer": {"id": BOB}, "ttl": 1}));
    world.changed(credential::NAME, SECOND).await;
    assert_eq!(ask().await.credential, Some(Credential::Entity(SECOND)));
    world.clock.advance(2);
    world.keys.clear();
    world.keys.put(CREDENTIAL, json!({"key": "right", "consumer": {"id": BOB}}));
    world.changed(credential::NAME, CREDENTIAL).await;
    assert_eq!(ask().await.credential, Some(Credential::Entity(CREDENTIAL)));
}

#[tokio::test]
async fn a_key_is_neither_accepted_nor_refused_while_the_store_is_unavailable() {
    let world = World::new();
    let protection = world.protection(json!({"anonymous": "bob"}));
    assert_eq!(Call::header("apikey", "right").at(&protection).await.result(), "passed");
    world.keys.stop();
    assert_eq!(Call::header("apikey", "right").at(&protection).await.result(), "passed");
    // A node that does not receive changes trusts no cached fact.
    world.feed.stop();
    let outcome = Call::header("apikey", "right").at(&protection).await;
    assert_eq!(outcome.result(), "key_store_unavailable");
    let Verdict::Reply(reply) = outcome.verdict else { panic!("a reply") };
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let message = "The authorization state is currently unavailable".to_owned();
    assert_eq!(reply.body, Body::Message(message));
}

#[tokio::test]
async fn names_are_tried_in_order_and_the_first_text_wins() {
    let world = World::new();
    let config = json!({"key_names": ["first", "api_key"], "key_in_body": true});
    let protection = world.protection(config);
    let (form, json) = ("application/x-www-form-urlencoded; charset=utf-8", "application/json");
    let two = |first, second| Call { headers: vec![("first", first), ("api-key", second)], ..Call::default() };
    let rows = [
        (two("right", "wrong"), "passed"),
        (two("wrong", "right"), "key_unknown"),
        (two("", "right"), "key_missing"),
        (Call::header("api-key", "right"), "passed"),
        (Call::header("api_key", "right"), "passed"),
        (Call::header("API_Key", "right"), "passed"),
        (Call { headers: vec![("api-key", "right"), ("api_key", "right")], ..Call::default() }, "key_repeated"),
        (Call { query: Some("first=wrong"), ..Call::header("api-key", "right") }, "key_unknown"),
        (Call::query("first&api_key=right"), "passed"),
        (Call::query("api-key=right"), "key_missing"),
        (Call::query("API_KEY=right"), "key_missing"),
        (Call::query("api%5Fkey=r%69ght"), "passed"),
        (Call::query("api_key=%ff"), "key_unknown"),
        (Call::query("api_key=right%00"), "key_unknown"),
        (Call::default().body(json, r#"{"first":1,"api_key":"right"}"#), "passed"),
        (Call::default().body(json, r#"{"first":null,"api_key":"right"}"#), "passed"),
        (Call::default().body(json, r#"{"first":["right"]}"#), "key_repeated"),
        (Call::default().body(json, r#"{"first":{"a":"right"}}"#), "key_repeated"),
        (Call::default().body(json, r#"["first"]"#), "key_missing"),
        (Call::default().body(form, "first[]=right&first[1]=right"), "key_missing"),
        (Call::default().body(form, "first=right"), "passed"),
        (Call::default().body(form, "first=right&first=right"), "key_repeated"),
        (Call::default().body("text/plain", "first=right"), "key_missing"),
        (Call { body: None, ..Call::default().body(form, "") }, "body"),
        (Call { body: None, ..Call::header("first", "right").body(form, "") }, "passed"),
    ];
    for (number, (call, result)) in rows.into_iter().enumerate() {
        assert_eq!(call.at(&protection).await.result(), result, "row {number}");
    }
}

#[tokio::test]
async fn keys_are_hidden_under_every_name_and_other_plugins_edits_stay() {
    let world = World::new();
    let config = json!({"key_names": ["apikey", "x-key"], "key_in_body": true, "hide_credentials": true});
    let protection = world.protection(config);
    let form = "application/x-www-form-urlencoded";
    let call = Call { query: Some("z=1&apikey=a&x-key=b&a=2&access_token=t"), ..Call::header("x_key", "right") };
    let edits = Edits { query: Some("z=1&apikey=a&a=2".to_owned()), ..Edits::default() };
    let outcome = Call { edits, ..call }.at(&protection).await;
    assert_eq!(outcome.result(), "key_unknown", "the first name has another value");
    let call = Call { query: Some("z=1&x-key=b&a=2&access_token=t"), ..Call::header("apikey", "right") };
    let edits = Edits { query: Some("z=1&x-key=b&a=2".to_owned()), ..Edits::default() };
    let call = Call { edits, ..call }.body(form, "z=1&apikey=q&a=2&x-key=r");
    let outcome = call.at(&protection).await;
    assert_eq!(outcome.result(), "passed");
    assert_eq!(outcome.removed, ["apikey"]);
    assert_eq!(outcome.query.as_deref(), Some("z=1&a=2"), "what an earlier plugin removed stays removed");
    assert_eq!(outcome.body.as_deref(), Some(b"a=2&z=1".as_slice()));
}
