//! Both endpoints against an authorization server whose store is in memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use tollgate_core::clock::ManualClock;
use tollgate_core::error::StoreError;
use tollgate_core::random::SystemRandom;
use tollgate_core::reply::{Body, Reply};
use tollgate_core::request::{Addressed, Edits, Target};
use tollgate_core::secret::Secret;
use tollgate_plugin::audit::Event;
use tollgate_plugin::cache::Bounds;
use tollgate_plugin::testing::Feed;
use tollgate_plugin::{Consumers, Credentials as KnownCredentials};

use super::*;
use crate::cache::{TokenCache, TokenSource};
use crate::client_secret::{self, ClientSecret};
use crate::config::tests::config;
use crate::entity::credential::{ClientType, Credential};
use crate::guesses;
use crate::metrics::Metrics;
use crate::registrar::Registrar;
use crate::signing_keys::{SigningKeys, testing};
use crate::store::memory::MemoryCollection;
use crate::token::{Digest, OwnTokens};
use crate::user_code::UserCodeKey;
use ledger::Ledger;

mod audit;
mod authorize;
mod bound;
mod device;
mod introspect;
mod ledger;
mod limits;
mod metadata;
mod pushed;
mod refresh_grace;
mod revoke;
mod signed;
mod token;
mod two_ways;

/// Those of [`clients`] that may introspect.
const RESOURCE_SERVERS: [&str; 2] = ["api", "open-api"];

const NOW: i64 = 1_700_000_000;
const MISMATCH: &str = "Invalid redirect_uri that does not match with any redirect_uri created with the application";

const PADDED: (u16, &str, &str) =
    (400, "invalid_authenticated_userid", "authenticated_userid must not begin or end with white space");

/// A POST over TLS.
pub(crate) struct Post {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RequestBody,
    pub(crate) target: Target,
    client: IpAddr,
    path: String,
    query: String,
}

impl Post {
    pub(crate) fn new(path: &str, query: &str) -> Self {
        Self {
            method: Method::POST,
            headers: HeaderMap::new(),
            body: RequestBody::Read(Bytes::new()),
            target: Target { route_id: Uuid::nil(), service_id: Some(Uuid::from_u128(1)) },
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            path: path.to_owned(),
            query: query.to_owned(),
        }
    }

    fn json(path: &str, members: &Value) -> Self {
        let mut post = Self::new(path, "");
        post.body = RequestBody::Read(Bytes::from(members.to_string()));
        post.headers.insert("content-type", HeaderValue::from_static("application/json"));
        post
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            path: &self.path,
            query: Some(self.query.as_str()).filter(|query| !query.is_empty()),
            headers: &self.headers,
            http2: false,
            tls: true,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            client: self.client,
            peer_trusted: false,
            addressed: Addressed::default(),
            certificate: None,
            arrival: &(),
            target: &self.target,
            body: self.body.clone(),
            edits: Edits::default(),
            response: Vec::new(),
            identity: None,
            served_stale: None,
            notes: None,
        }
    }
}

#[derive(Default)]
struct Clients(HashMap<String, Arc<Credential>>);

#[async_trait]
impl Credentials for Clients {
    async fn by_client_id(&self, client_id: &str) -> Result<Option<Arc<Credential>>, StoreError> {
        Ok(self.0.get(client_id).cloned())
    }

    async fn by_id(&self, id: Uuid) -> Result<Option<Arc<Credential>>, StoreError> {
        Ok(self.0.values().find(|credential| credential.id == id).cloned())
    }
}

/// An authorization server with clients `shoe` (secret `fly`), `other` (secret `other`), `hashed`
/// (secret `tofu`, hashed), `app` (public), `bare` (no redirect URIs) and `a-b` (secret `c d`).
struct World {
    server: AuthorizationServer,
    ledger: Arc<Ledger>,
    clock: Arc<ManualClock>,
    plugin_id: Uuid,
    events: Arc<Events>,
}

/// The events of the audit log, as lines.
#[derive(Default)]
struct Events(Mutex<Vec<Value>>);

impl AuditLog for Events {
    fn write(&self, event: &Event) {
        self.0.lock().unwrap().push(serde_json::to_value(event).unwrap());
    }
}

impl Events {
    /// The events since the last call.
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn deviations() -> IntCounterVec {
    IntCounterVec::new(prometheus::Opts::new("deviations", "deviations"), &["behaviour", "credential"]).unwrap()
}

impl World {
    fn new() -> Self {
        Self::with(guesses::Limits { per_name_and_address: 0, per_address: 0, per_name: 0, ..guesses::tests::LIMITS })
    }

    /// With limits for guesses.
    fn with(limits: guesses::Limits) -> Self {
        let ledger = Arc::new(Ledger::default());
        let events = Arc::new(Events::default());
        let clock = Arc::new(ManualClock::at(NOW));
        let labels = &["grant", "outcome"];
        let own_tokens = OwnTokens::new([1; 32], Vec::new());
        let issuer = Issuer {
            tokens: Arc::<Ledger>::clone(&ledger),
            waiting: Arc::<Ledger>::clone(&ledger),
            signing_keys: testing::keys(&own_tokens, &clock),
            user_codes: UserCodeKey::new([2; 32]),
            own_tokens,
            clock: Arc::<ManualClock>::clone(&clock),
            random: Arc::new(SystemRandom),
        };
        let consumers = Consumers::new(MemoryCollection::new("consumers"), Feed::new());
        let registrar = Arc::new(Registrar {
            rows: Arc::<Ledger>::clone(&ledger),
            credentials: MemoryCollection::new("oauth2_credentials"),
            consumers,
            own_tokens: issuer.own_tokens.clone(),
            network_key: [3; 32],
            clock: Arc::<ManualClock>::clone(&clock),
            random: Arc::new(SystemRandom),
        });
        let guard = guard(&ledger, &clock, &issuer.signing_keys);
        let server = AuthorizationServer {
            credentials: Arc::new(clients()),
            verifier: SecretVerifier::default(),
            guesses: guesses::tests::guesses(limits, Arc::clone(&clock) as _),
            guard: Arc::clone(&guard),
            introspections: IntrospectionRate::new(3),
            introspections_limited: IntCounter::new("introspections", "introspections").unwrap(),
            proofs: Arc::new(crate::sender::tests::proofs(Arc::clone(&clock) as _)),
            registrar,
            waiting_limit: guesses::tests::guesses(limits, Arc::clone(&clock) as _),
            callers: Callers::new(guard.cache.source().credentials().clone()),
            overloaded: IntCounter::new("overloaded", "overloaded").unwrap(),
            issued: IntCounterVec::new(prometheus::Opts::new("issued", "issued"), labels).unwrap(),
            deviations: Arc::new(Deviations::new(deviations(), Arc::clone(&clock) as _)),
            audit_log: Arc::clone(&events) as _,
            issuer,
        };
        Self { server, ledger, clock, plugin_id: Uuid::from_u128(7), events }
    }

    async fn send(&self, config: &Config, post: &Post) -> Response {
        let endpoint = Endpoint::of_path(&post.path).or_else(|| Endpoint::named(config, &post.request())).unwrap();
        match self.server.respond(self.plugin_id, config, endpoint, &post.request()).await {
            Verdict::Reply(reply) => Response::of(&reply),
            other => panic!("no response: {other:?}"),
        }
    }

    async fn token(&self, config: &Config, members: Value) -> Response {
        self.send(config, &Post::json("/oauth2/token", &members)).await
    }

    async fn authorize(&self, config: &Config, members: Value) -> Response {
        let mut all = json!({"provision_key": "provision123", "authenticated_userid": "clark"});
        merge(&mut all, members);
        self.send(config, &Post::json("/stepon/oauth2/authorize", &all)).await
    }

    /// A code of client `shoe` for the user clark.
    async fn code(&self, config: &Config, more: Value) -> String {
        let mut members = json!({"client_id": "shoe", "response_type": "code"});
        merge(&mut members, more);
        let response = self.authorize(config, members).await;
        let uri = response.body["redirect_uri"].as_str().unwrap().to_owned();
        uri.split_once("code=").unwrap().1.split('&').next().unwrap().to_owned()
    }
}

/// What guards know of the ledger's tokens.
fn guard(ledger: &Arc<Ledger>, clock: &Arc<ManualClock>, signing_keys: &Arc<SigningKeys>) -> Arc<guard::Shared> {
    let (credentials, consumers) = (MemoryCollection::new("oauth2_credentials"), MemoryCollection::new("consumers"));
    consumers.put(Uuid::from_u128(100), json!({"username": "bob"}));
    for credential in clients().0.values() {
        let document = json!({"client_id": credential.client_id, "consumer": {"id": credential.consumer_id}});
        credentials.put(credential.id, document);
    }
    let feed = Feed::new();
    let known = KnownCredentials::new(credentials, "client_id", Consumers::new(consumers, feed.clone()));
    let metrics = tollgate_plugin::Metrics::new(prometheus::Registry::new(), crate::metrics::PREFIXES);
    let metrics = Metrics::register(&metrics).unwrap();
    let source = TokenSource::new(ledger.clone(), known, clock.clone());
    let bounds = Bounds { bytes: 1 << 20, negative_millis: 5_000 };
    Arc::new(guard::Shared {
        cache: TokenCache::new(bounds, source, feed, clock.clone(), metrics.cache.clone()),
        own_tokens: OwnTokens::new([1; 32], Vec::new()),
        signing_keys: Arc::clone(signing_keys),
        foreign_tokens: Arc::default(),
        unproven: Arc::new(tokio::sync::Semaphore::new(2)),
        clock: clock.clone(),
        deviations: Arc::new(Deviations::new(deviations(), clock.clone())),
        metrics,
    })
}

fn clients() -> Clients {
    let hashed = ClientSecret::hashed(&client_secret::hash("tofu"));
    let plain = |secret: &str| ClientSecret::Plain(Secret::new(secret));
    let uris: &[&str] = &["http://google.test/kong?foo=bar&code=123", "myapp://cb"];
    let mut clients = Clients::default();
    for (number, client_id, secret, client_type, redirect_uris) in [
        (1, "shoe", plain("fly"), ClientType::Confidential, uris),
        (2, "other", plain("other"), ClientType::Confidential, uris),
        (3, "hashed", hashed, ClientType::Confidential, uris),
        (4, "app", plain("unused"), ClientType::Public, uris),
        (5, "bare", plain("bare"), ClientType::Confidential, &[]),
        (6, "a-b", plain("c d"), ClientType::Confidential, uris),
        (7, "api", plain("api"), ClientType::Confidential, &[]),
        (8, "open-api", plain("unused"), ClientType::Public, &[]),
    ] {
        let credential = Credential {
            id: Uuid::from_u128(number),
            client_id: client_id.to_owned(),
            secret,
            client_type,
            redirect_uris: redirect_uris.iter().map(|uri| (*uri).to_owned()).collect(),
            previous_secret: None,
            allowed_scopes: None,
            consumer_id: Uuid::from_u128(100),
            name: client_id.to_owned(),
            resource_server: RESOURCE_SERVERS.contains(&client_id),
            registered: Default::default(),
            grant_types: None,
        };
        clients.0.insert(client_id.to_owned(), Arc::new(credential));
    }
    clients
}

fn merge(into: &mut Value, more: Value) {
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        into[name] = value;
    }
}

/// A reply as seen by the client.
#[derive(Debug)]
struct Response {
    status: u16,
    body: Value,
    challenge: Option<String>,
    retry_after: Option<String>,
    reason: &'static str,
    headers: HeaderMap,
}

impl Response {
    fn of(reply: &Reply) -> Self {
        let header = |wanted| {
            let found = reply.headers.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        Self {
            status: reply.status.as_u16(),
            body: match &reply.body {
                Body::Json(bytes) => serde_json::from_slice(bytes).unwrap(),
                Body::Message(message) => json!({"message": message}),
                Body::Raw(content) => json!(String::from_utf8_lossy(content)),
                Body::Empty => Value::Null,
            },
            challenge: header(http::header::WWW_AUTHENTICATE),
            retry_after: header(http::header::RETRY_AFTER),
            reason: reply.reason,
            headers: reply.headers.iter().cloned().collect(),
        }
    }

    fn error(&self) -> (u16, &str, &str) {
        let text = |name: &str| self.body[name].as_str().unwrap_or_default();
        (self.status, text("error"), text("error_description"))
    }

    fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("no {name}: {self:?}")).to_owned()
    }
}

#[test]
fn endpoints_are_recognised_by_the_end_of_the_path() {
    for (path, endpoint) in [
        ("/oauth2/token", Some(Endpoint::Token)),
        ("/a/b/oauth2/token/", Some(Endpoint::Token)),
        ("/oauth2/authorize", Some(Endpoint::Authorize)),
        ("/somepath/oauth2/authorize/", Some(Endpoint::Authorize)),
        ("/xoauth2/token", None),
        ("/oauth2/Token", None),
        ("/oauth2/token/x", None),
        ("/oauth2/tokens", None),
        ("/", None),
        ("", None),
    ] {
        assert_eq!(Endpoint::of_path(path), endpoint, "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_refused_before_anything_else() {
    let world = World::new();
    let mut post = Post::new("/oauth2/token", "");
    for method in [Method::GET, Method::OPTIONS, Method::PUT] {
        post.method = method.clone();
        let response = world.send(&config(&json!({"realm": "R"})), &post).await;
        let text = format!("The HTTP method {method} is invalid for the token endpoint");
        assert_eq!(response.error(), (405, "invalid_method", text.as_str()));
        let challenge = format!("Bearer realm=\"R\", error=\"invalid_method\", error_description=\"{text}\"");
        assert_eq!(response.challenge, Some(challenge));
    }
}

#[tokio::test]
async fn a_body_is_requested_and_a_huge_one_refused() {
    let world = World::new();
    let mut post = Post::new("/oauth2/token", "");
    post.body = RequestBody::Unread;
    let verdict = world.server.respond(world.plugin_id, &config(&json!({})), Endpoint::Token, &post.request()).await;
    assert!(matches!(verdict, Verdict::NeedBody { limit: BODY_LIMIT, terminal: true }));
    post.body = RequestBody::TooLarge;
    assert_eq!(world.send(&config(&json!({})), &post).await.status, 413);
}

#[tokio::test]
async fn an_unavailable_store_is_not_a_refusal() {
    let world = World::new();
    let config = config(&json!({}));
    let code = world.code(&config, json!({})).await;
    world.ledger.down.store(true, Ordering::SeqCst);
    let exchange =
        json!({"client_id": "shoe", "client_secret": "fly", "grant_type": "authorization_code", "code": code});
    assert_eq!(world.token(&config, exchange.clone()).await.status, 503);
    let authorize = json!({"client_id": "shoe", "response_type": "code"});
    assert_eq!(world.authorize(&config, authorize).await.status, 503);
    world.ledger.down.store(false, Ordering::SeqCst);
    assert_eq!(world.token(&config, exchange).await.status, 200);
}

#[tokio::test]
async fn no_clear_value_is_stored() {
    let world = World::new();
    let config = config(&json!({}));
    let code = world.code(&config, json!({})).await;
    assert_eq!(world.ledger.codes.lock().unwrap()[0].code, Digest::of(&code));
    let response = world
        .token(
            &config,
            json!({"client_id": "shoe", "client_secret": "fly", "grant_type": "authorization_code", "code": code}),
        )
        .await;
    let row = world.ledger.tokens.lock().unwrap()[0].clone();
    assert_eq!(row.access_token, Digest::of(&response.text("access_token")));
    assert_eq!(row.refresh_token, Some(Digest::of(&response.text("refresh_token"))));
    assert!(response.text("access_token").ends_with(&row.token_hint));
}
