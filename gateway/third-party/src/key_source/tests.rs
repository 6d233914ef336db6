use std::collections::HashMap;

use axum::Router;
use axum::extract::State as Shared;
use futures::FutureExt as _;
use futures::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tollgate_core::clock::ManualClock;
use tollgate_plugin::http_client::Client;
use tollgate_plugin::{Digest, Metrics};

use super::*;
use tollgate_jose::testing::SigningKey;

/// A server of documents by path, which counts the requests.
#[derive(Clone)]
struct Server {
    url: String,
    documents: Arc<Mutex<HashMap<String, Document>>>,
    requests: Arc<Mutex<Vec<String>>>,
    /// Without permits, responses wait.
    gate: Arc<Semaphore>,
}

#[derive(Clone)]
struct Document {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let server = Self { url, documents: Arc::default(), requests: Arc::default(), gate };
        let router = Router::new().fallback(respond).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        server
    }

    fn put(&self, path: &str, status: StatusCode, body: impl Into<String>) {
        let document = Document { status, headers: HeaderMap::new(), body: body.into() };
        self.documents.lock().unwrap().insert(path.to_owned(), document);
    }

    /// Publishes these keys, with their ids.
    fn publish(&self, keys: &[(&str, &SigningKey)]) {
        let keys: Vec<Value> = keys.iter().map(|(id, key)| key.jwk_of(id)).collect();
        self.put("/keys", StatusCode::OK, json!({"keys": keys}).to_string());
    }

    fn cache_control(&self, value: &'static str) {
        let mut documents = self.documents.lock().unwrap();
        let headers = &mut documents.get_mut("/keys").unwrap().headers;
        headers.insert(HeaderName::from_static("cache-control"), HeaderValue::from_static(value));
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn respond(Shared(server): Shared<Server>, uri: Uri) -> (StatusCode, HeaderMap, String) {
    server.requests.lock().unwrap().push(uri.to_string());
    drop(server.gate.acquire().await.unwrap());
    let document = server.documents.lock().unwrap().get(uri.path()).cloned();
    let none = Document { status: StatusCode::NOT_FOUND, headers: HeaderMap::new(), body: String::new() };
    let Document { status, headers, body } = document.unwrap_or(none);
    (status, headers, body)
}

/// A source of the keys that a server publishes, which refreshes them only when it is told to.
struct World {
    server: Server,
    clock: Arc<ManualClock>,
    registry: Registry,
    sources: KeySources,
    client: Client,
    source: KeySource,
}

impl World {
    async fn new() -> Self {
        Self::at(|url| Location::KeySet(format!("{url}/keys?secret=1"))).await
    }

    async fn at(location: impl FnOnce(&str) -> Location) -> Self {
        let (server, registry) = (Server::start().await, Registry::new());
        let clock = Arc::new(ManualClock::at(1_700_000_000));
        let client = Client::new(Handle::current(), &Registry::new()).unwrap();
        let metrics = KeySourceMetrics::register(&Metrics::new(registry.clone(), ["jwt"]), "jwt").unwrap();
        let sources = KeySources::with(clock.clone(), Handle::current(), metrics, Duration::from_millis(1));
        let source = sources.make(remote(&client, location(&server.url)));
        Self { server, clock, registry, sources, client, source }
    }

    async fn find(&self, id: &str) -> Result<Arc<PublishedKey>, String> {
        let found = self.source.find(Some(id), Algorithm::EdDSA).await;
        found.map(|keys| Arc::clone(&keys[0])).map_err(|error| error.to_string())
    }

    /// The number of times that the keys were fetched.
    fn fetched(&self) -> usize {
        self.server.requests().iter().filter(|path| path.starts_with("/keys")).count()
    }

    fn failure(&self, path: &str, why: &str) -> String {
        let place = self.server.url.trim_start_matches("http://");
        format!("the authority's keys cannot be fetched: {place}{path}: {why}")
    }

    fn metrics(&self) -> Vec<String> {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }
}

fn remote(client: &Client, location: Location) -> Remote {
    let name = "https://issuer.example".to_owned();
    Remote { name, location, profile: client.profile("jwt"), times: Times::default() }
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::EdDSA)
}

fn no_such_key() -> Result<(), String> {
    Err(NoKey::NoSuchKey.to_string())
}

/// What was found, without the key.
fn outcome(found: Result<Arc<PublishedKey>, String>) -> Result<(), String> {
    found.map(|_| ())
}

#[tokio::test]
async fn keys_are_fetched_once_for_all_who_need_them_first() {
    let world = World::new().await;
    let (one, two) = (key(), key());
    world.server.publish(&[("one", &one), ("two", &two)]);
    world.source.refresh_if_due().await;
    assert_eq!(world.fetched(), 0, "nobody needs them yet");
    let found = join_all(["one", "two", "one", "two"].map(|id| world.find(id))).await;
    let ids: Vec<_> = found.into_iter().map(|key| key.unwrap().id.clone().unwrap()).collect();
    assert_eq!(ids, ["one", "two", "one", "two"]);
    assert_eq!(world.server.requests(), ["/keys?secret=1"]);
}

#[tokio::test]
async fn unknown_keys_cause_one_fetch_in_ten_seconds() {
    let world = World::new().await;
    let (old, new) = (key(), key());
    world.server.publish(&[("old", &old)]);
    world.find("old").await.unwrap();
    world.server.publish(&[("old", &old), ("new", &new)]);
    world.clock.advance(9);
    assert_eq!(outcome(world.find("new").await), no_such_key(), "fetched just now");
    assert_eq!(world.fetched(), 1);
    world.clock.advance(1);
    let found = join_all(["a", "new", "b", "c"].map(|id| world.find(id))).await;
    let found: Vec<_> = found.into_iter().map(outcome).collect();
    assert_eq!(found, [no_such_key(), Ok(()), no_such_key(), no_such_key()]);
    for id in ["d", "e"] {
        assert_eq!(outcome(world.find(id).await), no_such_key());
    }
    assert_eq!(world.fetched(), 2);
}

#[tokio::test]
async fn a_withdrawn_key_ends_with_the_refresh() {
    let world = World::new().await;
    let (kept, gone, changed) = (key(), key(), key());
    world.server.publish(&[("kept", &kept), ("gone", &gone), ("changed", &changed)]);
    let first =
        [world.find("kept").await.unwrap(), world.find("gone").await.unwrap(), world.find("changed").await.unwrap()];
    world.server.publish(&[("kept", &kept), ("changed", &key())]);
    world.clock.advance(299);
    world.source.refresh_if_due().await;
    assert_eq!(first.each_ref().map(|key| key.is_current()), [true, true, true], "not due yet");
    world.clock.advance(1);
    world.source.refresh_if_due().await;
    assert_eq!(first.each_ref().map(|key| key.is_current()), [true, false, false]);
    assert!(Arc::ptr_eq(&first[0], &world.find("kept").await.unwrap()), "what refers to it stays valid");
    assert!(world.find("changed").await.unwrap().is_current());
    assert_eq!(outcome(world.find("gone").await), no_such_key());
    assert_eq!(world.fetched(), 2);
    world.server.publish(&[]);
    world.clock.advance(300);
    world.source.refresh_if_due().await;
    assert!(!first[0].is_current(), "an empty set is a set");
}

#[tokio::test]
async fn keys_are_used_for_an_hour_while_the_authority_is_down() {
    let world = World::new().await;
    let signing = key();
    world.server.publish(&[("key", &signing)]);
    let known = world.find("key").await.unwrap();
    world.server.put("/keys", StatusCode::BAD_GATEWAY, "");
    for _ in 0..12 {
        world.clock.advance(300);
        world.source.refresh_if_due().await;
        assert!(Arc::ptr_eq(&known, &world.find("key").await.unwrap()) && known.is_current());
    }
    let down = Err(world.failure("/keys", "unexpected status 502 Bad Gateway; check the URL"));
    assert_eq!(outcome(world.find("other").await), down, "the authority may have it by now");
    world.clock.advance(1);
    assert_eq!(outcome(world.find("key").await), down);
    world.source.refresh_if_due().await;
    assert!(!known.is_current(), "what was verified with it ends too");
    world.server.publish(&[("key", &signing)]);
    world.clock.advance(10);
    assert!(world.find("key").await.unwrap().is_current());
    assert!(!known.is_current());
}

#[tokio::test]
async fn an_authority_that_is_down_is_asked_less_and_less_often() {
    let world = World::new().await;
    world.server.put("/keys", StatusCode::NOT_FOUND, "");
    let missing = Err(world.failure("/keys", "unexpected status 404 Not Found; check the URL"));
    let mut asked = Vec::new();
    for second in 0..40 {
        let before = world.fetched();
        assert_eq!(outcome(world.find("key").await), missing);
        world.source.refresh_if_due().await;
        if world.fetched() > before {
            asked.push(second);
        }
        world.clock.advance(1);
    }
    assert_eq!(asked, [0, 1, 3, 7, 15, 25, 35]);
    assert_eq!(world.fetched(), asked.len());
}

#[tokio::test]
async fn what_is_not_a_key_set_replaces_none() {
    let world = World::new().await;
    world.server.publish(&[("key", &key())]);
    let known = world.find("key").await.unwrap();
    let place = world.server.url.clone();
    for (status, body, why) in [
        (200, "<html>".to_owned(), "the key set is malformed: not valid JSON"),
        (200, "[]".to_owned(), "the key set is malformed: not a JSON object"),
        (200, r#"{"keys":[],"keys":[]}"#.to_owned(), "the key set is malformed: a member is repeated"),
        (200, "{}".to_owned(), "the key set has no array `keys`"),
        (200, json!({"keys": vec![1; 201]}).to_string(), "the key set has more than 200 keys"),
        (302, r#"{"keys":[]}"#.to_owned(), "unexpected status 302 Found; check the URL"),
        (204, String::new(), "unexpected status 204 No Content; check the URL"),
    ] {
        world.server.put("/keys", StatusCode::from_u16(status).unwrap(), body);
        world.clock.advance(300);
        assert_eq!(outcome(world.find("other").await), Err(world.failure("/keys", why)));
        assert!(Arc::ptr_eq(&known, &world.find("key").await.unwrap()) && known.is_current(), "{why}");
    }
    world.server.put("/keys", StatusCode::OK, format!(r#"{{"keys":[],"a":"{}"}}"#, "a".repeat(1024 * 1024)));
    world.clock.advance(300);
    let large = format!("{place}/keys: response body is larger than 1048576 bytes; check the URL");
    assert_eq!(outcome(world.find("other").await), Err(format!("the authority's keys cannot be fetched: {large}")));
    assert!(known.is_current());
}

#[tokio::test]
async fn a_request_that_goes_away_does_not_end_the_fetch() {
    let world = World::new().await;
    world.server.publish(&[("key", &key())]);
    world.server.gate.forget_permits(usize::MAX);
    assert!(world.find("key").now_or_never().is_none());
    while world.fetched() == 0 {
        tokio::task::yield_now().await;
    }
    world.server.gate.add_permits(1000);
    let ended = async {
        while world.metrics().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("it ends although nobody waits");
    assert!(world.find("key").await.is_ok());
    assert_eq!(world.fetched(), 1);
}

#[tokio::test]
async fn a_shorter_age_is_followed_down_to_a_minute() {
    for (value, seconds) in [("max-age=120", 120), ("max-age=3600", 300), ("no-store", 60), ("private", 300)] {
        let world = World::new().await;
        world.server.publish(&[("key", &key())]);
        world.server.cache_control(value);
        world.find("key").await.unwrap();
        world.clock.advance(seconds - 1);
        world.source.refresh_if_due().await;
        assert_eq!(world.fetched(), 1, "{value}");
        world.clock.advance(1);
        world.source.refresh_if_due().await;
        assert_eq!(world.fetched(), 2, "{value}");
    }
}

#[tokio::test]
async fn keys_are_found_by_the_metadata_of_openid_or_rfc8414() {
    for path in ["/shop/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/shop"] {
        let world = World::at(|url| Location::Issuer(format!("{url}/shop"))).await;
        let url = &world.server.url;
        world.server.publish(&[("key", &key())]);
        let metadata = json!({"issuer": format!("{url}/shop"), "jwks_uri": format!("{url}/keys")});
        world.server.put(path, StatusCode::OK, metadata.to_string());
        world.find("key").await.unwrap();
        assert_eq!(world.server.requests().last().map(String::as_str), Some("/keys"), "{path}");
    }
}

#[tokio::test]
async fn the_metadata_of_another_issuer_is_refused() {
    let world = World::at(|url| Location::Issuer(format!("{url}/shop"))).await;
    let (url, path) = (world.server.url.clone(), "/shop/.well-known/openid-configuration");
    world.server.publish(&[("key", &key())]);
    let other = format!("{url}/shop/");
    let why = format!("the metadata is of the issuer {other:?}; configure exactly that, or another URL");
    for (document, why) in [
        (json!({"issuer": other, "jwks_uri": format!("{url}/keys")}).to_string(), &*why),
        ("<html>".to_owned(), "the issuer's metadata is malformed: not valid JSON"),
    ] {
        world.server.put(path, StatusCode::OK, document);
        assert_eq!(outcome(world.find("key").await), Err(world.failure(path, why)));
        world.clock.advance(10);
    }
    world.server.put(path, StatusCode::NOT_FOUND, "");
    let none = "/.well-known/oauth-authorization-server/shop";
    let missing = world.failure(none, "unexpected status 404 Not Found; check the URL");
    assert_eq!(outcome(world.find("key").await), Err(missing));
    assert_eq!(world.fetched(), 0);
}

#[tokio::test]
async fn a_token_is_verified_with_the_keys_of_its_authority() {
    let world = World::new().await;
    let (old, new) = (key(), key());
    world.server.publish(&[("old", &old)]);
    let token = |key: &SigningKey, header: Value| Jws::parse(&key.sign(Algorithm::EdDSA, &header, &json!({}))).unwrap();
    let verify = async |token: Jws| {
        let verified = world.source.verify(&token).await;
        verified.map(|key| key.id.clone().unwrap()).map_err(|error| error.to_string())
    };
    let refused = |error: Unverified| Err(error.to_string());
    assert_eq!(verify(token(&old, json!({"kid": "old"}))).await, Ok("old".to_owned()));
    assert_eq!(verify(token(&old, json!({}))).await, Ok("old".to_owned()), "without an id");
    assert_eq!(verify(token(&new, json!({"kid": "old"}))).await, refused(BadSignature.into()));
    assert_eq!(verify(token(&new, json!({"kid": "new"}))).await, refused(Unverified::NoSuchKey));
    let unknown = Jws::parse(&format!("{}.e30.", tollgate_jose::testing::encode(r#"{"alg":"none"}"#))).unwrap();
    assert_eq!(verify(unknown).await, refused(Unverified::NoSuchKey));
    world.server.publish(&[("old", &old), ("new", &new)]);
    assert_eq!(verify(token(&new, json!({}))).await, refused(BadSignature.into()), "fetched just now");
    world.clock.advance(10);
    assert_eq!(verify(token(&new, json!({}))).await, Ok("new".to_owned()), "none of the known keys: fetched again");
    assert_eq!(world.fetched(), 2);
    world.server.put("/keys", StatusCode::BAD_GATEWAY, "");
    world.clock.advance(10);
    let down = world.failure("/keys", "unexpected status 502 Bad Gateway; check the URL");
    assert_eq!(verify(token(&key(), json!({"kid": "other"}))).await, Err(down));
}

#[tokio::test]
async fn sources_of_equal_configuration_are_one_until_nobody_uses_it() {
    let world = World::new().await;
    world.server.publish(&[("key", &key())]);
    let configured = Digest::of("configuration");
    let make = || remote(&world.client, Location::KeySet(format!("{}/keys", world.server.url)));
    let source = world.sources.remote(configured, make);
    assert!(Arc::ptr_eq(&source, &world.sources.remote(configured, || panic!("it is there"))));
    let found = source.find(Some("key"), Algorithm::EdDSA).await.unwrap().remove(0);
    world.clock.advance(300);
    while world.fetched() < 2 {
        // In the background.
        tokio::task::yield_now().await;
    }
    drop(source);
    while found.is_current() {
        // The background task may hold it for a moment.
        tokio::task::yield_now().await;
    }
    let again = world.sources.remote(configured, make);
    assert!(again.find(Some("key"), Algorithm::EdDSA).await.unwrap().remove(0).is_current());
    let set = || KeySet::parse(json!({"keys": [key().jwk_of("fixed")]}).to_string().as_bytes()).unwrap();
    let fixed = world.sources.fixed(Digest::of("fixed"), set());
    assert!(Arc::ptr_eq(&fixed, &world.sources.fixed(Digest::of("fixed"), set())));
    let found = fixed.find(Some("fixed"), Algorithm::EdDSA).await.unwrap().remove(0);
    assert_eq!(fixed.find(Some("key"), Algorithm::EdDSA).await.unwrap_err().to_string(), NoKey::NoSuchKey.to_string());
    drop(fixed);
    assert!(!found.is_current());
}

#[tokio::test]
async fn metrics_tell_the_age_of_the_keys_and_how_refreshes_ended() {
    let world = World::new().await;
    world.server.publish(&[("one", &key()), ("two", &key())]);
    world.find("one").await.unwrap();
    let refreshes = |outcome: &str, times: usize| {
        format!(
            r#"tollgate_jwt_key_set_refreshes_total{{authority="https://issuer.example",outcome="{outcome}"}} {times}"#
        )
    };
    let gauge = |name: &str, value: i64| {
        format!(r#"tollgate_jwt_key_set_{name}{{authority="https://issuer.example"}} {value}"#)
    };
    let fetched = gauge("fetched_timestamp_seconds", 1_700_000_000);
    assert_eq!(world.metrics(), [fetched.clone(), gauge("keys", 2), refreshes("ok", 1)]);
    for (status, body) in [(StatusCode::BAD_GATEWAY, ""), (StatusCode::OK, "[]")] {
        world.server.put("/keys", status, body);
        world.clock.advance(300);
        world.source.refresh_if_due().await;
    }
    let outcomes = [refreshes("invalid", 1), refreshes("ok", 1), refreshes("unavailable", 1)];
    assert_eq!(world.metrics(), [&[fetched, gauge("keys", 2)], &outcomes[..]].concat());
    let World { source, registry, .. } = world;
    drop(source);
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(!text.contains("key_set_keys{"), "{text}");
}

#[test]
fn a_location_that_can_never_work_is_known_before() {
    for (location, is_valid) in [
        (Location::KeySet("https://issuer.example/keys?v=2".to_owned()), true),
        (Location::KeySet("issuer.example/keys".to_owned()), false),
        (Location::KeySet("ftp://issuer.example".to_owned()), false),
        (Location::Issuer("https://issuer.example/shop".to_owned()), true),
        (Location::Issuer("https://issuer.example/shop?v=2".to_owned()), false),
    ] {
        assert_eq!(location.is_valid(), is_valid, "{location:?}");
    }
}
