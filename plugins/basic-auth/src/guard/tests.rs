use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::clock::ManualClock;
use tollgate_core::request::{Addressed, Edits, RequestBody, Target};
use tollgate_plugin::authentication::AuthenticationHandler;
use tollgate_plugin::cache::{Bounds, CacheMetrics};
use tollgate_plugin::testing::{Entities, Feed};
use tollgate_plugin::{Access, Consumers, Credential, Credentials, HeaderEdit, Kind, Metrics, Schema};
use uuid::Uuid;

use super::*;
use crate::account::AccountSource;
use crate::config::Config;
use crate::credential::{self, PasswordHash};

const BOB: Uuid = Uuid::from_u128(2);
const CREDENTIAL: Uuid = Uuid::from_u128(3);

struct World {
    stored: Arc<Entities>,
    consumers: Consumers,
    shared: Arc<Shared>,
}

fn hash(password: &str) -> String {
    let text = format!("{:?}", openssl::sha::sha1(format!("{password}{BOB}").as_bytes()));
    let bytes: Vec<u8> = serde_json::from_str(&text).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl World {
    /// Bob's password is `kong`.
    fn new() -> Self {
        let stored = Entities::new(credential::kind());
        let consumers = Entities::new(Kind::new("consumers", Schema::default()));
        consumers.put(BOB, json!({"username": "bob"}));
        let feed = Feed::new();
        let consumers = Consumers::new(consumers, feed.clone());
        let credentials = Credentials::new(stored.clone(), "username", consumers.clone());
        let metrics = Metrics::new(prometheus::Registry::new(), ["basic_auth"]);
        let metrics = CacheMetrics::register(&metrics, "basic_auth", "usernames").unwrap();
        let bounds = Bounds { bytes: 1 << 20, negative_millis: 5_000 };
        let source = AccountSource::new(credentials);
        let accounts = Accounts::new(bounds, source, feed, Arc::new(ManualClock::at(1)), metrics);
        let shared = Arc::new(Shared { accounts, key: [7; 32], runtime: Handle::current() });
        let world = Self { stored, consumers, shared };
        world.put(&hash("kong"));
        world
    }

    fn put(&self, password: &str) {
        self.stored.put(CREDENTIAL, json!({"username": "bob", "password": password, "consumer": {"id": BOB}}));
    }

    async fn changed(&self) {
        let (kind, operation) = (credential::NAME.to_owned(), Operation::Updated);
        let change = Change { kind, operation, id: CREDENTIAL, key: Vec::new(), document: None };
        self.shared.accounts.source().credentials().apply(&[change]).await.unwrap();
    }

    async fn ask(&self, config: Value, headers: &[(HeaderName, String)]) -> Outcome {
        let mut stored =
            json!({"anonymous": null, "hide_credentials": false, "realm": "service", "serve_cached_for": null});
        stored.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let config = Config::try_from(&stored).unwrap();
        let guard = Guard {
            passwords: config.passwords,
            challenge: config.challenge,
            serve_cached: config.serve_cached,
            shared: Arc::clone(&self.shared),
        };
        let handler = AuthenticationHandler::new(guard, config.anonymous.as_deref(), &self.consumers);
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
        let target = Target { route_id: Uuid::nil(), service_id: None };
        let mut request = Request {
            method: &Method::GET,
            path: "/",
            query: None,
            headers: &headers,
            http2: false,
            tls: false,
            peer: [127, 0, 0, 1].into(),
            client: [127, 0, 0, 1].into(),
            peer_trusted: false,
            addressed: Addressed::default(),
            certificate: None,
            arrival: &(),
            target: &target,
            body: RequestBody::Unread,
            edits: Edits::default(),
            response: Vec::new(),
            identity: None,
            served_stale: None,
            notes: None,
        };
        let (ready, verdict) = match handler.access(&mut request) {
            Access::Ready(verdict) => (true, verdict),
            Access::Pending(verdict) => (false, verdict.await),
        };
        let removed = request.edits.headers.iter().filter(|edit| matches!(edit, HeaderEdit::Remove(_))).count();
        let result = match verdict.unwrap() {
            Verdict::Continue => "passed",
            Verdict::Reply(reply) => reply.reason,
            Verdict::NeedBody { .. } => "body",
        };
        Outcome { ready, result, removed, credential: request.identity.and_then(|identity| identity.credential) }
    }

    async fn bob(&self, password: &str) -> (bool, &'static str) {
        let outcome = self.ask(json!({}), &[(AUTHORIZATION, basic("bob", password))]).await;
        (outcome.ready, outcome.result)
    }
}

#[derive(Debug)]
struct Outcome {
    ready: bool,
    result: &'static str,
    removed: usize,
    credential: Option<Credential>,
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

#[tokio::test]
async fn a_password_that_was_right_once_is_compared_without_store_and_hash() {
    let world = World::new();
    // Nothing was right yet, so each is hashed; the store is asked once.
    assert_eq!(world.bob("wrong").await, (false, "basic_password_wrong"));
    let asked = world.stored.asked();
    assert_eq!(world.bob("wrong").await, (false, "basic_password_wrong"));
    assert_eq!(world.bob("kong").await, (false, "passed"));
    for _ in 0..3 {
        assert_eq!(world.bob("kong").await, (true, "passed"));
        assert_eq!(world.bob("wrong").await, (true, "basic_password_wrong"));
    }
    assert_eq!(world.stored.asked(), asked);
}

#[tokio::test]
async fn a_changed_password_is_in_force_with_its_announcement() {
    let world = World::new();
    assert_eq!(world.bob("kong").await, (false, "passed"));
    world.put(&hash("new"));
    world.changed().await;
    assert_eq!(world.bob("kong").await.1, "basic_password_wrong");
    assert_eq!(world.bob("new").await.1, "passed");
    world.stored.clear();
    world.changed().await;
    assert_eq!(world.bob("new").await.1, "basic_username_unknown");
    assert_eq!(world.bob("new").await, (true, "basic_username_unknown"), "cached as unknown");
}

#[tokio::test]
async fn what_is_stored_is_a_hash_and_nothing_else_matches() {
    let world = World::new();
    world.put("kong");
    assert!(PasswordHash::parse("kong").is_none());
    assert_eq!(world.bob("kong").await, (false, "basic_password_wrong"));
    assert_eq!(world.bob("kong").await, (true, "basic_password_wrong"));
}

#[tokio::test]
async fn the_first_header_whose_username_is_known_decides() {
    let world = World::new();
    let (bob, wrong, eve) = (basic("bob", "kong"), basic("bob", "wrong"), basic("eve", "kong"));
    for (proxy, own, result) in [
        (None, None, "basic_credentials_missing"),
        (None, Some("Bearer abc"), "basic_credentials_unreadable"),
        (None, Some(bob.as_str()), "passed"),
        (Some(bob.as_str()), None, "passed"),
        (Some(eve.as_str()), Some(bob.as_str()), "passed"),
        (Some("Basic !"), Some(bob.as_str()), "passed"),
        (Some(wrong.as_str()), Some(bob.as_str()), "basic_password_wrong"),
        (Some(bob.as_str()), Some(wrong.as_str()), "passed"),
        (Some(eve.as_str()), None, "basic_username_unknown"),
    ] {
        let of = |name, value: Option<&str>| value.map(|value| (name, value.to_owned()));
        let headers: Vec<_> = [of(PROXY_AUTHORIZATION, proxy), of(AUTHORIZATION, own)].into_iter().flatten().collect();
        // Cold, then warm.
        for _ in 0..2 {
            let outcome = world.ask(json!({"hide_credentials": true}), &headers).await;
            assert_eq!((outcome.result, outcome.removed), (result, 2), "{proxy:?} {own:?}");
            let credential = (result == "passed").then_some(Credential::Entity(CREDENTIAL));
            assert_eq!(outcome.credential, credential);
        }
    }
    assert_eq!(world.ask(json!({}), &[(AUTHORIZATION, bob)]).await.removed, 0);
}

#[tokio::test]
async fn a_store_that_is_away_is_said_to_be() {
    let world = World::new();
    world.stored.stop();
    assert_eq!(world.bob("kong").await, (false, "basic_store_unavailable"));
}
