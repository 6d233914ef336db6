use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::clock::ManualClock;
use tollgate_core::plugin::Access;
use tollgate_core::random::SystemRandom;
use tollgate_core::reply::Body;
use tollgate_core::request::{Addressed, Credential, HeaderEdit, Identity, RequestBody, Target};
use tollgate_plugin::authentication::AuthenticationHandler;
use tollgate_plugin::cache::Bounds;
use tollgate_plugin::testing::Feed;
use tollgate_plugin::{Consumers, Credentials as KnownCredentials};
use uuid::Uuid;

use super::*;
use crate::cache::TokenSource;
use crate::profile;
use crate::signing_key::{Algorithm, SigningKey};
use crate::signing_keys::{self, testing::MemoryKeys};
use crate::store::Token;
use crate::store::memory::{MemoryCollection, MemoryTokens};

const NOW: i64 = 1_000_000;

pub(super) struct World {
    pub(super) tokens: Arc<MemoryTokens>,
    pub(super) keys: Arc<MemoryKeys>,
    pub(super) credentials: Arc<MemoryCollection>,
    pub(super) consumers: Arc<MemoryCollection>,
    pub(super) feed: Arc<Feed>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) known_consumers: Consumers,
    pub(super) shared: Arc<Shared>,
    pub(super) service: Uuid,
    pub(super) consumer: Uuid,
    pub(super) credential: Uuid,
}

impl World {
    pub(super) fn new() -> Self {
        let tokens = MemoryTokens::new();
        let (credentials, consumers) =
            (MemoryCollection::new("oauth2_credentials"), MemoryCollection::new("consumers"));
        let feed = Feed::new();
        let known_consumers = Consumers::new(consumers.clone(), feed.clone());
        let known_credentials = KnownCredentials::new(credentials.clone(), "client_id", known_consumers.clone());
        let clock = Arc::new(ManualClock::at(NOW));
        let names = crate::metrics::PREFIXES;
        let metrics = tollgate_plugin::Metrics::new(prometheus::Registry::new(), names);
        let metrics = Metrics::register(&metrics).unwrap();
        let bounds = Bounds { bytes: 1 << 20, negative_millis: 5_000 };
        let source = TokenSource::new(tokens.clone(), known_credentials, clock.clone());
        let cache = TokenCache::new(bounds, source, feed.clone(), clock.clone(), metrics.cache.clone());
        let own_tokens = OwnTokens::new([1; 32], Vec::new());
        let keys = Arc::default();
        let signing_keys = signing_keys::testing::of_node(&keys, &own_tokens, clock.clone());
        let shared = Arc::new(Shared {
            cache,
            own_tokens,
            signing_keys,
            foreign_tokens: Arc::default(),
            unproven: Arc::new(tokio::sync::Semaphore::new(2)),
            clock: clock.clone(),
            deviations: Arc::new(Deviations::new(metrics.deviations.clone(), clock.clone())),
            metrics,
        });
        let (service, consumer, credential) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        consumers.put(consumer, json!({"username": "bob", "custom_id": "b-1"}));
        credentials.put(credential, json!({"client_id": "client", "consumer": {"id": consumer}}));
        Self {
            tokens,
            keys,
            credentials,
            consumers,
            feed,
            clock,
            known_consumers,
            shared,
            service,
            consumer,
            credential,
        }
    }

    pub(super) fn row(&self, clear: &str) -> Token {
        Token {
            id: Uuid::new_v4(),
            access_token: Digest::of(clear),
            refresh_token: None,
            token_hint: String::new(),
            credential_id: self.credential,
            service_id: Some(self.service),
            expires_in: 7200,
            created_at: NOW,
            ttl: Some(NOW + 10_000),
            authenticated_userid: Some("alice".to_owned()),
            scope: Some("email profile".to_owned()),
            family: None,
            binding: None,
        }
    }

    /// A valid token of the service, modified by the test.
    pub(super) fn token(&self, change: impl FnOnce(&mut Token)) -> String {
        let clear = self.shared.own_tokens.mint(&SystemRandom).expose().to_owned();
        let mut row = self.row(&clear);
        change(&mut row);
        self.tokens.rows.lock().unwrap().insert(row.access_token, row);
        clear
    }

    pub(super) fn guard(&self, change: impl FnOnce(&mut Rules)) -> AuthenticationHandler<Guard> {
        AuthenticationHandler::new(self.authenticator(change), None, &self.known_consumers)
    }

    /// A guard that lets requests fall through to this consumer.
    pub(super) fn guard_or(&self, anonymous: &str, change: impl FnOnce(&mut Rules)) -> AuthenticationHandler<Guard> {
        let tolerant = |rules: &mut Rules| {
            rules.absence = Absence::Tolerated;
            change(rules);
        };
        AuthenticationHandler::new(self.authenticator(tolerant), Some(anonymous), &self.known_consumers)
    }

    fn authenticator(&self, change: impl FnOnce(&mut Rules)) -> Guard {
        let mut rules = Rules {
            header: CredentialHeader::parse("authorization"),
            challenges: Box::new(Challenges::new(None, &[], profile::Name::Kong).unwrap()),
            absence: Absence::Refused,
            reach: Reach::Service,
            credentials: Credentials::Forward,
            serve_cached: ServeCached::AS_SET,
            extra: None,
        };
        change(&mut rules);
        Guard::new(rules, self.shared.clone())
    }

    /// Applies changes to the shared facts.
    pub(super) async fn hear(&self, changes: &[Change]) {
        self.known_consumers.apply(changes).await.unwrap();
        self.shared.cache.source().credentials().apply(changes).await.unwrap();
    }

    pub(super) async fn reset(&self) {
        self.known_consumers.reset().await.unwrap();
        self.shared.cache.source().credentials().reset().await.unwrap();
    }

    pub(super) async fn credential_changed(&self) {
        self.hear(&[change("oauth2_credentials", self.credential)]).await;
    }

    pub(super) async fn consumer_changed(&self, id: Uuid) {
        self.hear(&[change("consumers", id)]).await;
    }

    /// Reports an entity that may have been deleted.
    pub(super) fn service_changed(&self) {
        self.shared.cache.facts_ended();
        self.shared.cache.source().service_changed(self.service);
    }

    pub(super) fn call(&self) -> Call {
        Call {
            method: Method::GET,
            query: None,
            headers: HeaderMap::new(),
            http2: false,
            target: Target { route_id: Uuid::nil(), service_id: Some(self.service) },
            body: RequestBody::Unread,
            identity: None,
        }
    }

    pub(super) fn bearer(&self, token: &str) -> Call {
        self.call().header("authorization", &format!("Bearer {token}"))
    }
}

fn change(kind: &str, id: Uuid) -> Change {
    Change { kind: kind.to_owned(), operation: Operation::Updated, id, key: Vec::new(), document: None }
}

#[derive(Clone)]
pub(super) struct Call {
    method: Method,
    query: Option<String>,
    headers: HeaderMap,
    http2: bool,
    target: Target,
    body: RequestBody,
    identity: Option<Identity>,
}

/// The result of a call: whether it was decided at once, the verdict, and what goes upstream.
pub(super) struct Outcome {
    ready: bool,
    verdict: Verdict,
    headers: Vec<HeaderEdit>,
    query: Option<String>,
    body: Option<Bytes>,
    identity: Option<Identity>,
    served_stale: Option<Duration>,
}

impl Call {
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub(super) fn query(mut self, query: &str) -> Self {
        self.query = Some(query.to_owned());
        self
    }

    pub(super) fn body(mut self, content_type: &str, body: &str) -> Self {
        self.method = Method::POST;
        self.body = RequestBody::Read(Bytes::copy_from_slice(body.as_bytes()));
        self.header("content-type", content_type)
    }

    pub(super) async fn at(&self, guard: &AuthenticationHandler<Guard>) -> Outcome {
        let mut request = Request {
            method: &self.method,
            path: "/",
            query: self.query.as_deref(),
            headers: &self.headers,
            http2: self.http2,
            tls: false,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            peer_trusted: false,
            addressed: Addressed::default(),
            certificate: None,
            arrival: &(),
            target: &self.target,
            body: self.body.clone(),
            edits: tollgate_core::request::Edits::default(),
            response: Vec::new(),
            identity: self.identity,
            served_stale: None,
            notes: None,
        };
        let (ready, verdict) = match guard.access(&mut request) {
            Access::Ready(verdict) => (true, verdict),
            Access::Pending(verdict) => (false, verdict.await),
        };
        Outcome {
            ready,
            verdict: verdict.unwrap(),
            headers: request.edits.headers.to_vec(),
            query: request.edits.query,
            body: request.edits.body,
            identity: request.identity,
            served_stale: request.served_stale,
        }
    }
}

impl Outcome {
    pub(super) fn passed(&self) -> bool {
        matches!(self.verdict, Verdict::Continue)
    }

    /// The status of the reply, if there is one.
    fn refused_with(&self) -> Option<u16> {
        match &self.verdict {
            Verdict::Reply(reply) => Some(reply.status.as_u16()),
            Verdict::Continue | Verdict::NeedBody { .. } => None,
        }
    }

    pub(super) fn reply(&self) -> &Reply {
        let Verdict::Reply(reply) = &self.verdict else { panic!("no reply but {:?}", self.verdict) };
        reply
    }

    pub(super) fn reason(&self) -> &'static str {
        self.reply().reason
    }

    /// Status, description and challenge.
    pub(super) fn refusal(&self) -> (u16, String, String) {
        let reply = self.reply();
        let Body::Json(body) = &reply.body else { panic!("no JSON but {:?}", reply.body) };
        let body: Value = serde_json::from_slice(body).unwrap();
        let challenge = reply.headers[0].1.to_str().unwrap().to_owned();
        (reply.status.as_u16(), format!("{} {}", body["error"], body["error_description"]).replace('"', ""), challenge)
    }

    pub(super) fn upstream(&self, name: &str) -> Option<Option<&str>> {
        self.headers.iter().rev().find_map(|edit| match edit {
            HeaderEdit::Apply(block) if block.names().any(|known| known == name) => {
                let mut lines = std::str::from_utf8(block.lines()).unwrap().lines();
                Some(lines.find_map(|line| {
                    let (key, value) = line.split_once(": ")?;
                    key.eq_ignore_ascii_case(name).then_some(value)
                }))
            }
            HeaderEdit::Set(set, value) if set == name => Some(Some(value.to_str().unwrap())),
            HeaderEdit::Remove(removed) if removed == name => Some(None),
            _ => None,
        })
    }
}

#[tokio::test]
async fn a_valid_token_passes_with_its_identity_and_without_waiting_the_second_time() {
    let world = World::new();
    let (guard, call) = (world.guard(|_| {}), world.bearer(&world.token(|_| {})));
    for ready in [false, true] {
        let result = call.at(&guard).await;
        assert!(result.passed());
        assert_eq!(result.ready, ready);
        let id = world.consumer.to_string();
        for (name, value) in [
            ("x-consumer-id", Some(id.as_str())),
            ("x-consumer-username", Some("bob")),
            ("x-consumer-custom-id", Some("b-1")),
            ("x-credential-identifier", Some("client")),
            ("x-anonymous-consumer", None),
            ("x-authenticated-scope", Some("email profile")),
            ("x-authenticated-userid", Some("alice")),
        ] {
            assert_eq!(result.upstream(name), Some(value), "{name}");
        }
        let identity = result.identity.unwrap();
        assert_eq!(
            (identity.consumer, identity.credential),
            (Some(world.consumer), Some(Credential::Entity(world.credential)))
        );
    }
    assert_eq!(world.tokens.asked(), 1);
}

#[tokio::test]
async fn the_token_is_found_where_the_table_says() {
    let world = World::new();
    let guard = world.guard(|_| {});
    let t = world.token(|_| {});
    let form = "application/x-www-form-urlencoded";
    let call = || world.call();
    for (case, call, passes) in [
        ("bearer", call().header("authorization", &format!("bEaReR {t}")), true),
        ("token", call().header("authorization", &format!("TOKEN   {t}")), true),
        ("raw", call().header("authorization", &t), true),
        ("three words", call().header("authorization", &format!("Bearer {t} x")), false),
        (
            "basic masks the query",
            call().header("authorization", "Basic abc").query(&format!("access_token={t}")),
            false,
        ),
        ("empty masks the query", call().header("authorization", "").query(&format!("access_token={t}")), false),
        ("two", call().header("authorization", &t).header("authorization", "x"), false),
        ("query", call().query(&format!("a=b&access_token={t}")), true),
        ("repeated in the query", call().query(&format!("access_token={t}&access_token={t}")), false),
        ("form", call().body(form, &format!("access_token={t}")), true),
        ("body wins", call().query(&format!("access_token={t}")).body(form, "access_token=x"), false),
        ("json", call().body("application/json", &json!({ "access_token": t }).to_string()), true),
        (
            "json number wins",
            call().query(&format!("access_token={t}")).body("application/json", "{\"access_token\":1}"),
            false,
        ),
        ("bad json is ignored", call().query(&format!("access_token={t}")).body("application/json", "{"), true),
        ("text body is ignored", call().body("text/plain", &format!("access_token={t}")), false),
        (
            "multipart",
            call().body(
                "multipart/form-data; boundary=B",
                &format!("--B\r\nContent-Disposition: form-data; name=\"access_token\"\r\n\r\n{t}\r\n--B--\r\n"),
            ),
            true,
        ),
    ] {
        assert_eq!(call.at(&guard).await.passed(), passes, "{case}");
    }
}

#[tokio::test]
async fn the_body_is_requested_only_if_it_can_hold_the_token() {
    let world = World::new();
    let guard = world.guard(|_| {});
    for (method, content_type, header, asked) in [
        (Method::POST, "application/json; charset=utf-8", false, true),
        (Method::PUT, "application/x-www-form-urlencoded", false, true),
        (Method::PATCH, "multipart/form-data; boundary=x", false, true),
        (Method::POST, "text/plain", false, false),
        (Method::GET, "application/json", false, false),
        (Method::POST, "application/json", true, false),
    ] {
        let mut call = world.call().header("content-type", content_type);
        call.method = method;
        if header {
            call = call.header("authorization", "x");
        }
        let result = call.at(&guard).await;
        let needs = matches!(result.verdict, Verdict::NeedBody { limit: 65_536, terminal: false });
        assert_eq!(needs, asked, "{content_type}");
    }
}

#[tokio::test]
async fn another_header_name_is_found_with_dashes_and_underscores() {
    let world = World::new();
    let guard = world.guard(|rules| rules.header = CredentialHeader::parse("X-My-Auth"));
    let t = world.token(|_| {});
    for name in ["x-my-auth", "x_my_auth", "x-my_auth"] {
        assert!(world.call().header(name, &t).at(&guard).await.passed(), "{name}");
    }
    assert!(!world.bearer(&t).at(&guard).await.passed());
}

#[tokio::test]
async fn a_token_is_presented_once_rfc6750_3_1() {
    let world = World::new();
    world.consumers.put(Uuid::from_u128(9), json!({"username": "anyone"}));
    let t = world.token(|_| {});
    let bearer = format!("Bearer {t}");
    type Row<'r> = (&'r str, &'r [(&'static str, String)], bool);
    let rows: [Row<'_>; 12] = [
        ("authorization", &[("authorization", bearer.clone())], true),
        // Equal lines are one value; those of `Authorization` are refused before.
        ("authorization", &[("authorization", bearer.clone()), ("authorization", bearer.clone())], true),
        ("authorization", &[("authorization", bearer.clone()), ("authorization", String::new())], false),
        ("authorization", &[("authorization", format!("{bearer}, {bearer}"))], false),
        ("authorization", &[("authorization", format!("{t},Bearer x"))], false),
        ("authorization", &[("authorization", format!("Basic eDp5, {bearer}"))], false),
        ("x-my-auth", &[("x-my-auth", t.clone()), ("x_my-auth", t.clone())], true),
        ("x-my-auth", &[("x-my-auth", t.clone()), ("x-my-auth", "x".to_owned())], false),
        ("x-my-auth", &[("x-my-auth", t.clone()), ("x-other", t.clone())], true),
        ("apikey", &[("apikey", t.clone()), ("apikey", t.clone())], true),
        ("apikey", &[("apikey", t.clone()), ("apikey", t.clone()), ("apikey", "x".to_owned())], false),
        ("apikey", &[("apikey", t.clone()), ("authorization", t.clone())], true),
    ];
    for anonymous in [None, Some("anyone")] {
        for (name, sent, passes) in &rows {
            let change = |rules: &mut Rules| rules.header = CredentialHeader::parse(name);
            let guard = match anonymous {
                None => world.guard(change),
                Some(anonymous) => world.guard_or(anonymous, change),
            };
            let call = sent.iter().fold(world.call(), |call, (name, value)| call.header(name, value));
            let result = call.at(&guard).await;
            assert_eq!(result.passed(), *passes, "{name} {sent:?}");
            if !passes {
                let text = "The access token must be presented once";
                let body = format!("invalid_request {text}");
                let challenge = format!(r#"Bearer error="invalid_request", error_description="{text}""#);
                assert_eq!(result.refusal(), (400, body, challenge), "{name} {sent:?}");
                assert_eq!(result.reason(), "repeated_credentials");
            }
        }
    }
    // Parameters of another scheme are not a list of credentials.
    let digest = world.call().header("authorization", r#"Digest username="bearer", realm="x""#);
    assert_eq!(digest.at(&world.guard(|_| {})).await.reason(), "token_of_other_scheme");
}

#[tokio::test]
async fn every_refusal_has_its_text_and_challenge() {
    let world = World::new();
    let invalid = "invalid_token The access token is invalid or has expired";
    let global =
        "invalid_token The access token is global, but the current plugin is configured without 'global_credentials'";
    let parameters = "error=\"invalid_token\", error_description=\"The access token is invalid or has expired\"";
    let bearer = |call: &str| world.bearer(call);
    for (reason, call, text) in [
        ("token_missing", world.call(), "invalid_request The access token is missing"),
        ("token_forged", bearer("made-up"), invalid),
        ("token_unknown", bearer(world.shared.own_tokens.mint(&SystemRandom).expose()), invalid),
        ("token_global", bearer(&world.token(|row| row.service_id = None)), global),
        ("token_of_other_service", bearer(&world.token(|row| row.service_id = Some(Uuid::max()))), invalid),
        ("token_expired", bearer(&world.token(|row| row.created_at = NOW - 7201)), invalid),
    ] {
        for realm in [None, Some("R")] {
            let guard =
                world.guard(|rules| *rules.challenges = Challenges::new(realm, &[], profile::Name::Kong).unwrap());
            let result = call.at(&guard).await;
            assert_eq!(result.reason(), reason);
            let challenge = match (reason, realm) {
                ("token_missing", None) => "Bearer".to_owned(),
                ("token_missing", Some(_)) => "Bearer realm=\"R\"".to_owned(),
                (_, None) => format!("Bearer {parameters}"),
                (_, Some(_)) => format!("Bearer realm=\"R\", {parameters}"),
            };
            assert_eq!(result.refusal(), (401, text.to_owned(), challenge), "{reason}");
        }
    }
}

#[tokio::test]
async fn a_forged_token_touches_neither_cache_nor_store() {
    let world = World::new();
    let result = world.bearer(&"a".repeat(32)).at(&world.guard(|_| {})).await;
    assert_eq!(result.reason(), "token_forged");
    assert!(result.ready);
    assert_eq!(world.tokens.asked(), 0);
    assert_eq!(world.shared.metrics.forged.get(), 1);
}

#[tokio::test]
async fn a_signed_token_is_looked_up_as_any_other_and_a_forged_signature_is_not() {
    let world = World::new();
    let guard = world.guard(|_| ());
    // Another node's key, which this one has not heard of.
    let other = signing_keys::testing::of_node(&world.keys, &world.shared.own_tokens, world.clock.clone());
    let signing = other.signing(NOW + 100).await.unwrap();
    let sign = |number: u32| signing.key.token(&json!({"number": number})).unwrap().expose().to_owned();
    let (token, unknown) = (sign(1), sign(2));
    let row = world.row(&token);
    world.tokens.rows.lock().unwrap().insert(row.access_token, row.clone());
    assert!(world.bearer(&token).at(&guard).await.passed());
    assert_eq!((world.bearer(&token).at(&guard).await.passed(), world.tokens.asked()), (true, 1), "it is cached");
    let mut forged = token.clone();
    forged.replace_range(
        forged.len() - 10..forged.len() - 9,
        if token.as_bytes()[token.len() - 10] == b'A' { "B" } else { "A" },
    );
    assert_eq!((world.bearer(&forged).at(&guard).await.reason(), world.tokens.asked()), ("token_forged", 1));
    assert_eq!((world.bearer(&unknown).at(&guard).await.reason(), world.tokens.asked()), ("token_unknown", 2));
    // Revoked.
    world.tokens.rows.lock().unwrap().clear();
    world.shared.cache.forget(&row.access_token);
    assert_eq!(world.bearer(&token).at(&guard).await.reason(), "token_unknown");
    // A key of nobody's, with an id that has our checksum.
    let key_id = world.shared.own_tokens.mint(&SystemRandom).expose().to_owned();
    let made_up = SigningKey::generate(key_id, Algorithm::Es256).unwrap().token(&json!({})).unwrap();
    let asked = world.tokens.asked();
    assert_eq!(
        (world.bearer(made_up.expose()).at(&guard).await.reason(), world.tokens.asked()),
        ("token_forged", asked)
    );
    world.shared.foreign_tokens.store(true, Ordering::SeqCst);
    assert_eq!(world.bearer(made_up.expose()).at(&guard).await.reason(), "token_unknown");
    assert_eq!(world.bearer(&forged).at(&guard).await.reason(), "token_forged");
}

#[tokio::test]
async fn every_token_is_looked_up_while_imported_ones_exist() {
    let world = World::new();
    let row = world.row("imported");
    world.tokens.rows.lock().unwrap().insert(row.access_token, row);
    let guard = world.guard(|_| {});
    assert_eq!(world.bearer("imported").at(&guard).await.reason(), "token_forged");
    world.shared.foreign_tokens.store(true, Ordering::SeqCst);
    assert!(world.bearer("imported").at(&guard).await.passed());
}

#[tokio::test]
async fn tokens_without_our_checksum_are_looked_up_a_few_at_once_and_delay_no_others() {
    let world = World::new();
    world.shared.foreign_tokens.store(true, Ordering::SeqCst);
    let guard = world.guard(|_| {});
    let turns = Arc::clone(&world.shared.unproven).acquire_many_owned(2).await.unwrap();
    let result = world.bearer("made up").at(&guard).await;
    assert_eq!((result.reason(), result.ready), ("token_lookups_limited", true));
    assert!(world.bearer(&world.token(|_| {})).at(&guard).await.passed(), "one with our checksum is looked up");
    drop(turns);
    for _ in 0..5 {
        assert_eq!(world.bearer("made up").at(&guard).await.reason(), "token_unknown", "turns are given back");
    }
    assert_eq!(world.shared.unproven.available_permits(), 2);
}

#[tokio::test]
async fn a_token_expires_while_it_is_cached_and_not_a_second_early() {
    let world = World::new();
    let (guard, call) = (world.guard(|_| {}), world.bearer(&world.token(|row| row.expires_in = 10)));
    assert!(call.at(&guard).await.passed());
    world.clock.advance(10);
    assert!(call.at(&guard).await.passed());
    world.clock.advance(1);
    let result = call.at(&guard).await;
    assert_eq!((result.reason(), result.ready), ("token_expired", true));
    let call = world.bearer(&world.token(|row| (row.expires_in, row.ttl) = (0, Some(NOW + 20))));
    assert!(call.at(&guard).await.passed());
    world.clock.advance(10);
    assert_eq!(call.at(&guard).await.reason(), "token_expired");
}

#[tokio::test]
async fn a_grpc_call_is_refused_in_headers() {
    let world = World::new();
    let mut call = world.call().header("content-type", "application/grpc+proto");
    call.http2 = true;
    let result = call.at(&world.guard(|_| {})).await;
    let reply = result.reply();
    assert_eq!((reply.status.as_u16(), &reply.body), (401, &Body::Empty));
    let header = |name: &str| reply.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    assert_eq!(header("grpc-status").unwrap(), "16");
    assert_eq!(header("grpc-message").unwrap(), "Unauthenticated");
}

#[tokio::test]
async fn any_failure_but_a_global_token_falls_through_to_the_anonymous_consumer() {
    let world = World::new();
    let anonymous = Uuid::from_u128(9);
    world.consumers.put(anonymous, json!({"username": "nobody"}));
    for name in [anonymous.to_string(), "nobody".to_owned()] {
        let guard = world.guard_or(&name, |_| {});
        for call in
            [world.call(), world.bearer("x"), world.bearer(world.shared.own_tokens.mint(&SystemRandom).expose())]
        {
            let result = call.at(&guard).await;
            assert!(result.passed());
            assert_eq!(result.upstream("x-consumer-id"), Some(Some(anonymous.to_string().as_str())));
            assert_eq!(result.upstream("x-consumer-custom-id"), Some(None));
            assert_eq!(result.upstream("x-anonymous-consumer"), Some(Some("true")));
            assert_eq!(result.upstream("x-credential-identifier"), Some(None));
            assert_eq!(result.identity.unwrap().credential, None);
        }
        let global = world.bearer(&world.token(|row| row.service_id = None));
        assert_eq!(global.at(&guard).await.reason(), "token_global");
    }
}

#[tokio::test]
async fn a_missing_anonymous_consumer_is_a_server_error() {
    let world = World::new();
    let guard = world.guard_or("ghost", |_| {});
    let result = world.call().at(&guard).await;
    let message = Body::Message("anonymous consumer ghost is configured but doesn't exist".to_owned());
    assert_eq!((result.reply().status.as_u16(), &result.reply().body), (500, &message));
}

#[tokio::test]
async fn the_identity_of_an_earlier_plugin_is_accepted_only_where_anonymous_is_set() {
    let world = World::new();
    let mut call = world.call();
    call.identity = Some(Identity { consumer: Some(Uuid::nil()), credential: Some(Credential::Entity(Uuid::nil())) });
    let alternative = call.at(&world.guard_or("ghost", |_| {})).await;
    assert!(alternative.passed());
    assert_eq!(alternative.upstream("x-authenticated-userid"), Some(None));
    assert_eq!(alternative.upstream("x-consumer-id"), None);
    assert_eq!(call.at(&world.guard(|_| {})).await.reason(), "token_missing");
}

#[tokio::test]
async fn a_name_that_the_upstream_would_read_as_another_is_not_sent() {
    let world = World::new();
    let guard = world.guard(|_| {});
    world.consumers.put(world.consumer, json!({"username": " bob", "custom_id": "b\u{a0}"}));
    let result = world.bearer(&world.token(|_| {})).at(&guard).await;
    assert!(result.passed());
    assert_eq!([result.upstream("x-consumer-username"), result.upstream("x-consumer-custom-id")], [Some(None); 2]);
    for padded in [" alice", "alice\t", "\u{2003}alice"] {
        let token = world.token(|row| row.authenticated_userid = Some(padded.to_owned()));
        assert_eq!(world.bearer(&token).at(&guard).await.reason(), "token_store_unavailable", "{padded:?}");
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn hidden_credentials_do_not_reach_the_upstream() {
    let world = World::new();
    let guard = world.guard(|rules| rules.credentials = Credentials::Hide);
    let t = world.token(|_| {});
    let result = world.bearer(&t).query("access_token=z&b=1").at(&guard).await;
    assert_eq!((result.upstream("authorization"), result.query.as_deref()), (Some(None), Some("b=1")));
    let result = world.call().header("authorization", &t).query(&format!("b=1&access_token={t}&a=2")).at(&guard).await;
    assert_eq!((result.upstream("authorization"), result.query.as_deref()), (Some(None), Some("a=2&b=1")));
    let result = world.call().query(&format!("access_token={t}")).at(&guard).await;
    assert_eq!(result.query.as_deref(), Some(""));
    let result = world.call().query("b=%7e").header("authorization", &t).at(&guard).await;
    assert_eq!(result.query, None, "a query with nothing to hide is not rewritten");

    let form = format!("z=a b&access_token={t}&a=1");
    let result = world.call().body(FORM, &form).at(&guard).await;
    assert_eq!(result.body.as_deref(), Some("a=1&z=a%20b".as_bytes()));
    let result = world.bearer(&t).body(FORM, &form).at(&guard).await;
    assert_eq!(result.body.as_deref(), Some("a=1&z=a%20b".as_bytes()));
    let many: Vec<String> = (100..300).map(|number| format!("a{number}=1")).collect();
    let result = world.bearer(&t).body(FORM, &format!("{}&access_token={t}", many.join("&"))).at(&guard).await;
    assert_eq!(result.body.as_deref(), Some(many.join("&").as_bytes()));
}

#[tokio::test]
async fn members_and_parts_of_bodies_are_hidden_as_well() {
    let world = World::new();
    let guard = world.guard(|rules| rules.credentials = Credentials::Hide);
    let t = world.token(|_| {});
    let part =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let end = "--b--\r\n";
    let multipart = "multipart/form-data; boundary=b";
    let json = |token: &str| format!(r#"{{"n":1.50, "access_token" :"{token}","a":[ ]}}"#);
    let parts = |token: &str| part("a", "1") + &part("access_token", token) + end;
    for (content_type, body, left) in [
        ("application/json", json(&t), r#"{"n":1.50,"a":[ ]}"#.to_owned()),
        (multipart, parts(&t), part("a", "1") + end),
    ] {
        let result = world.call().body(content_type, &body).at(&guard).await;
        assert_eq!((result.passed(), result.body.as_deref()), (true, Some(left.as_bytes())), "{body}");
        let length = body.len().to_string();
        let result = world.bearer(&t).body(content_type, &body).header("content-length", &length).at(&guard).await;
        assert_eq!(
            (result.passed(), result.body.as_deref()),
            (true, Some(left.as_bytes())),
            "a copy, token also in the header"
        );
        let result = world.bearer(&t).body(content_type, &body).at(&guard).await;
        assert!(result.passed() && result.body.is_none(), "a body of unknown length is not searched");
    }
    // An application value with the same name.
    for (content_type, body) in [("application/json", json("other")), (multipart, parts("other"))] {
        let result = world.bearer(&t).body(content_type, &body).header("content-length", "100").at(&guard).await;
        assert!(result.passed() && result.body.is_none(), "{body}");
    }
    let broken = part("a", "1") + &part("access_token", &t) + "--b\r\nx";
    assert_eq!(world.call().body(multipart, &broken).at(&guard).await.reply().status.as_u16(), 415);
    let twice = format!(r#"{{"access_token":"{t}","access_token":"{t}"}}"#);
    let result = world.call().body("application/json", &twice).at(&guard).await;
    assert_eq!(result.reply().status.as_u16(), 401);
}

#[tokio::test]
async fn a_form_that_cannot_be_searched_is_refused_where_credentials_are_hidden() {
    let world = World::new();
    let guard = world.guard(|rules| rules.credentials = Credentials::Hide);
    let t = world.token(|_| {});
    for method in [Method::POST, Method::DELETE, Method::GET] {
        let form = |body| Call { method: method.clone(), body, ..world.bearer(&t).header("content-type", FORM) };
        let unread = form(RequestBody::Unread).at(&guard).await;
        assert!(matches!(unread.verdict, Verdict::NeedBody { terminal: false, .. }));
        assert!(unread.headers.is_empty() && unread.query.is_none());
        let large = form(RequestBody::TooLarge).at(&guard).await;
        assert_eq!((large.reply().status.as_u16(), large.reason()), (413, "form_too_large_to_hide_token"));
        let encoded = form(RequestBody::Read(Bytes::from("x"))).header("content-encoding", "gzip").at(&guard).await;
        assert_eq!((encoded.reply().status.as_u16(), encoded.reason()), (415, "body_unreadable_to_hide_token"));
    }
    let second = world.bearer(&t).header("content-type", "text/plain").body(FORM, &format!("access_token={t}"));
    assert_eq!(second.at(&guard).await.body.as_deref(), Some(&b""[..]));
    let large = Call { body: RequestBody::TooLarge, ..world.bearer(&t).body("application/json", "") };
    assert!(large.at(&guard).await.passed(), "an application body may be large");
    // A token in the query may be in the body as well.
    let in_query = |body: &str| world.call().query(&format!("access_token={t}")).body("application/json", body);
    let large = Call { body: RequestBody::TooLarge, ..in_query("") }.at(&guard).await;
    assert_eq!(large.reply().status.as_u16(), 413);
    let copy = format!("{{\"access_token\":\"{t}\"");
    for body in [copy.clone(), format!("\u{feff}{copy}}}"), format!("[{copy}}}]")] {
        assert_eq!(in_query(&body).at(&guard).await.reply().status.as_u16(), 415, "{body}");
    }
    assert!(in_query("").at(&guard).await.passed());
    let shown = world.guard(|_| {});
    let large = Call { body: RequestBody::TooLarge, ..world.bearer(&t).body(FORM, "") };
    assert!(large.at(&shown).await.passed());
}

#[tokio::test]
async fn credentials_of_an_anonymous_request_are_hidden_as_well() {
    let world = World::new();
    let anonymous = Uuid::from_u128(9);
    world.consumers.put(anonymous, json!({"username": "nobody"}));
    let guard = world.guard_or("nobody", |rules| rules.credentials = Credentials::Hide);
    let result = world.call().header("authorization", "").query("a=1&access_token=z").at(&guard).await;
    assert_eq!((result.upstream("authorization"), result.query.as_deref()), (Some(None), Some("a=1")));
    let result = world.call().query("access_token=y&a=1&access_token=z").at(&guard).await;
    assert_eq!(result.query.as_deref(), Some("a=1"));
}

#[tokio::test]
async fn an_unavailable_store_is_503_and_is_not_remembered() {
    let world = World::new();
    let (guard, call) = (world.guard(|_| {}), world.bearer(&world.token(|_| {})));
    world.tokens.down.store(true, Ordering::SeqCst);
    let result = call.at(&guard).await;
    assert_eq!((result.reply().status.as_u16(), result.reason()), (503, "token_store_unavailable"));
    world.tokens.down.store(false, Ordering::SeqCst);
    assert!(call.at(&guard).await.passed());
    world.feed.stop();
    world.tokens.down.store(true, Ordering::SeqCst);
    assert_eq!(call.at(&guard).await.reply().status.as_u16(), 503, "without the feed the cache is not trusted");
}

#[tokio::test]
async fn an_unknown_token_is_remembered_until_it_is_created_or_the_entry_expires() {
    let world = World::new();
    let guard = world.guard(|_| {});
    let clear = world.shared.own_tokens.mint(&SystemRandom).expose().to_owned();
    let call = world.bearer(&clear);
    for _ in 0..3 {
        assert_eq!(call.at(&guard).await.reason(), "token_unknown");
    }
    assert_eq!((world.tokens.asked(), world.shared.metrics.cache.negative.get()), (1, 2));
    world.clock.advance(5);
    assert_eq!(call.at(&guard).await.reason(), "token_unknown");
    assert_eq!(world.tokens.asked(), 2);
    let row = world.row(&clear);
    world.tokens.rows.lock().unwrap().insert(row.access_token, row);
    world.shared.cache.forget(&Digest::of(&clear));
    assert!(call.at(&guard).await.passed());
}

#[tokio::test]
async fn concurrent_misses_for_one_token_are_one_lookup() {
    let world = World::new();
    let (guard, call) = (world.guard(|_| {}), world.bearer(&world.token(|_| {})));
    world.tokens.gate.forget_permits(Semaphore::MAX_PERMITS);
    let mut calls = Box::pin(join_all((0..50).map(|_| call.at(&guard))));
    assert!(futures::poll!(&mut calls).is_pending());
    world.tokens.gate.add_permits(1);
    let results = calls.await;
    assert!(results.iter().all(Outcome::passed));
    assert_eq!(world.tokens.asked(), 1);
    assert_eq!((world.shared.metrics.cache.miss.get(), world.shared.metrics.cache.coalesced.get()), (1, 49));
}

/// Starts a look-up that has read its row, runs `change`, and lets the look-up finish.
async fn change_during_lookup(world: &World, token: &str, change: impl FnOnce()) -> Vec<bool> {
    let (guard, call) = (world.guard(|_| {}), world.bearer(token));
    world.tokens.gate.forget_permits(Semaphore::MAX_PERMITS);
    let mut first = Box::pin(call.at(&guard));
    assert!(futures::poll!(&mut first).is_pending());
    change();
    let mut second = Box::pin(call.at(&guard));
    assert!(futures::poll!(&mut second).is_pending());
    world.tokens.gate.add_permits(100);
    let (first, second) = futures::join!(first, second);
    vec![first.passed(), second.passed(), call.at(&guard).await.passed()]
}

#[tokio::test]
async fn a_lookup_that_began_before_a_revocation_is_neither_joined_nor_kept() {
    let world = World::new();
    let token = world.token(|_| {});
    let digest = Digest::of(&token);
    let passed = change_during_lookup(&world, &token, || {
        world.tokens.rows.lock().unwrap().remove(&digest);
        world.shared.cache.forget(&digest);
    });
    let passed = passed.await;
    assert_eq!(passed[1..], [false, false]);
}

#[tokio::test]
async fn a_lookup_that_began_before_its_service_was_deleted_is_not_kept() {
    let world = World::new();
    let token = world.token(|_| {});
    let passed = change_during_lookup(&world, &token, || {
        world.tokens.rows.lock().unwrap().clear();
        world.service_changed();
    });
    assert_eq!(passed.await[1..], [false, false]);
}

#[tokio::test]
async fn changes_of_credential_and_consumer_are_seen_at_once() {
    let world = World::new();
    let (guard, call) = (world.guard(|_| {}), world.bearer(&world.token(|_| {})));
    assert!(call.at(&guard).await.passed());
    world.credentials.put(world.credential, json!({"client_id": "renamed", "consumer": {"id": world.consumer}}));
    world.credential_changed().await;
    assert_eq!(call.at(&guard).await.upstream("x-credential-identifier"), Some(Some("renamed")));
    world.consumers.put(world.consumer, json!({"username": "robert"}));
    world.consumer_changed(world.consumer).await;
    let result = call.at(&guard).await;
    assert_eq!(result.upstream("x-consumer-username"), Some(Some("robert")));
    assert_eq!(result.upstream("x-consumer-custom-id"), Some(None));
    assert!(call.at(&guard).await.ready);
    world.credentials.documents.lock().unwrap().clear();
    world.credential_changed().await;
    assert_eq!(call.at(&guard).await.reason(), "token_unknown");
}

/// All levels: looked up, found in the shared cache, found in the thread-local cache.
async fn warm(call: &Call, guard: &AuthenticationHandler<Guard>) {
    for _ in 0..5 {
        assert!(call.at(guard).await.passed());
    }
}

#[tokio::test]
async fn a_change_is_seen_at_once_even_if_the_thread_has_just_seen_the_token() {
    let world = World::new();
    let token = world.token(|row| row.expires_in = 10);
    let (guard, call, digest) = (world.guard(|_| {}), world.bearer(&token), Digest::of(&token));

    warm(&call, &guard).await;
    world.tokens.rows.lock().unwrap().get_mut(&digest).unwrap().scope = Some("email".to_owned());
    world.shared.cache.forget(&digest);
    assert_eq!(call.at(&guard).await.upstream("x-authenticated-scope"), Some(Some("email")));

    warm(&call, &guard).await;
    world.consumers.put(world.consumer, json!({"username": "robert"}));
    world.consumer_changed(world.consumer).await;
    assert_eq!(call.at(&guard).await.upstream("x-consumer-username"), Some(Some("robert")));

    warm(&call, &guard).await;
    world.credentials.put(world.credential, json!({"client_id": "renamed", "consumer": {"id": world.consumer}}));
    world.credential_changed().await;
    assert_eq!(call.at(&guard).await.upstream("x-credential-identifier"), Some(Some("renamed")));

    warm(&call, &guard).await;
    let mut elsewhere = call.clone();
    elsewhere.target.service_id = Some(Uuid::from_u128(99));
    assert_eq!(elsewhere.at(&guard).await.reason(), "token_of_other_service");

    warm(&call, &guard).await;
    world.feed.stop();
    assert!(!call.at(&guard).await.ready, "without the change feed no cached data is used");
    world.feed.resume();

    warm(&call, &guard).await;
    world.clock.advance(11);
    assert_eq!(call.at(&guard).await.reason(), "token_expired");
    world.clock.advance(-11);

    warm(&call, &guard).await;
    world.tokens.rows.lock().unwrap().clear();
    world.shared.cache.forget(&digest);
    assert_eq!(call.at(&guard).await.reason(), "token_unknown");
}

#[tokio::test]
async fn everything_is_forgotten_even_if_the_thread_has_just_seen_the_token() {
    let world = World::new();
    let (guard, call) = (world.guard(|_| {}), world.bearer(&world.token(|_| {})));
    warm(&call, &guard).await;
    world.tokens.rows.lock().unwrap().clear();
    world.shared.cache.forget_all();
    assert_eq!(call.at(&guard).await.reason(), "token_unknown");
}

#[tokio::test]
async fn tokens_of_a_deleted_service_are_looked_up_again() {
    let world = World::new();
    let (guard, call) = (world.guard(|_| {}), world.bearer(&world.token(|_| {})));
    assert!(call.at(&guard).await.passed());
    world.tokens.rows.lock().unwrap().clear();
    world.service_changed();
    assert_eq!(call.at(&guard).await.reason(), "token_unknown");
}

#[tokio::test]
async fn without_the_change_feed_no_cached_credential_or_consumer_is_used() {
    let world = World::new();
    let (guard, call) = (world.guard_or("bob", |_| {}), world.call());
    let token = world.bearer(&world.token(|_| {}));
    warm(&token, &guard).await;
    warm(&call, &guard).await;
    world.feed.stop();
    // On another node.
    world.credentials.put(world.credential, json!({"client_id": "renamed", "consumer": {"id": world.consumer}}));
    world.consumers.put(world.consumer, json!({"username": "bob", "custom_id": "b-2"}));
    let result = token.at(&guard).await;
    assert_eq!(result.upstream("x-credential-identifier"), Some(Some("renamed")));
    assert_eq!(result.upstream("x-consumer-custom-id"), Some(Some("b-2")));
    assert_eq!(call.at(&guard).await.upstream("x-consumer-custom-id"), Some(Some("b-2")));
    // What was cached before does not return with the feed, which has not reported anything yet.
    world.feed.resume();
    assert_eq!(token.at(&guard).await.upstream("x-credential-identifier"), Some(Some("renamed")));
    assert_eq!(call.at(&guard).await.upstream("x-consumer-custom-id"), Some(Some("b-2")));
}

#[tokio::test]
async fn while_the_store_is_away_what_is_cached_goes_on_and_is_said_to_be_stale() {
    let world = World::new();
    let (guard, never) = (world.guard(|_| {}), world.guard(|rules| rules.serve_cached = ServeCached::of(Some(0))));
    let a_minute = world.guard(|rules| rules.serve_cached = ServeCached::of(Some(60)));
    let (cached, unknown) = (world.bearer(&world.token(|_| {})), world.bearer(&world.token(|_| {})));
    let short = world.bearer(&world.token(|token| token.expires_in = 10));
    let stranger = world.bearer(world.shared.own_tokens.mint(&SystemRandom).expose());
    for call in [&cached, &short] {
        warm(call, &guard).await;
    }
    assert_eq!(stranger.at(&guard).await.refused_with(), Some(401));
    world.tokens.down.store(true, Ordering::SeqCst);
    let age = Duration::from_secs(59);
    world.feed.lose_store(age);
    let outcome = cached.at(&guard).await;
    assert!(outcome.passed() && outcome.ready);
    assert_eq!(outcome.served_stale, Some(age));
    assert!(cached.at(&a_minute).await.passed());
    // Neither what is not cached, nor what the store did not know a moment ago.
    for call in [&unknown, &stranger] {
        assert_eq!((call.at(&guard).await.refused_with(), call.at(&guard).await.served_stale), (Some(503), None));
    }
    assert_eq!(cached.at(&never).await.refused_with(), Some(503));
    assert_eq!(world.bearer(&"x".repeat(32)).at(&guard).await.refused_with(), Some(401), "forged");
    world.clock.advance(11);
    assert_eq!(short.at(&guard).await.refused_with(), Some(401), "expired");
    world.feed.lose_store(Duration::from_secs(60));
    assert_eq!((cached.at(&guard).await.passed(), cached.at(&a_minute).await.refused_with()), (true, Some(503)));
    // What is heard ends it all the same.
    world.credential_changed().await;
    assert_eq!(cached.at(&guard).await.refused_with(), Some(503));
    world.feed.stop();
    assert_eq!(short.at(&guard).await.refused_with(), Some(503), "not an outage: nothing cached is used");
}

#[tokio::test]
async fn an_anonymous_consumer_is_named_by_id_before_username() {
    let world = World::new();
    let id = Uuid::from_u128(77);
    world.consumers.put(world.consumer, json!({"username": id.to_string()}));
    let (guard, call) = (world.guard_or(&id.to_string(), |_| {}), world.call());
    for _ in 0..2 {
        let consumer = world.consumer.to_string();
        assert_eq!(call.at(&guard).await.upstream("x-consumer-id"), Some(Some(consumer.as_str())));
    }
    world.consumers.put(id, json!({"username": "another"}));
    world.consumer_changed(id).await;
    assert_eq!(call.at(&guard).await.upstream("x-consumer-username"), Some(Some("another")));
}

#[tokio::test]
async fn a_revoked_token_is_unknown_to_the_cache_even_if_its_entry_could_not_be_removed() {
    let world = World::new();
    let token = world.token(|_| {});
    let (guard, call, digest) = (world.guard(|_| {}), world.bearer(&token), Digest::of(&token));
    // A load that has read the token, and caches it after it was revoked.
    world.tokens.gate.forget_permits(Semaphore::MAX_PERMITS);
    let mut load = Box::pin(world.shared.cache.load(digest, ()));
    assert!(futures::poll!(&mut load).is_pending());
    world.tokens.rows.lock().unwrap().remove(&digest);
    world.shared.cache.forget(&digest);
    world.tokens.gate.add_permits(100);
    assert!(load.await.unwrap().is_some(), "a request from before the revocation may get the token");
    for asked in [2, 2, 2] {
        assert_eq!(call.at(&guard).await.reason(), "token_unknown");
        assert_eq!(world.tokens.asked(), asked, "and that it is unknown is remembered");
    }
}

/// The allocations of the hot path. More than this is more work for every request: find out what it
/// buys before raising the number.
#[tokio::test]
async fn a_warm_token_costs_only_the_allocation_of_its_user_id() {
    let world = World::new();
    let token = world.token(|_| {});
    let (guard, call) = (world.guard(|_| {}), world.bearer(&token));
    for _ in 0..100 {
        assert!(call.at(&guard).await.passed());
    }
    let mut request = Request {
        method: &call.method,
        path: "/",
        query: None,
        headers: &call.headers,
        http2: false,
        tls: false,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        peer_trusted: false,
        addressed: Addressed::default(),
        certificate: None,
        arrival: &(),
        target: &call.target,
        body: RequestBody::Unread,
        edits: tollgate_core::request::Edits::default(),
        response: Vec::new(),
        identity: None,
        served_stale: None,
        notes: None,
    };
    let allocated = allocation_counter::measure(|| {
        let verdict = guard.access(&mut request);
        assert!(matches!(verdict, Access::Ready(Ok(Verdict::Continue))));
    });
    assert_eq!(allocated.count_total, 1, "{allocated:?}");
    let forged = world.bearer(&"x".repeat(32));
    let mut request = Request {
        headers: &forged.headers,
        edits: tollgate_core::request::Edits::default(),
        response: Vec::new(),
        ..request
    };
    let allocated = allocation_counter::measure(|| {
        assert!(matches!(guard.access(&mut request), Access::Ready(Ok(Verdict::Reply(_)))));
    });
    assert!(allocated.count_total <= 6, "{allocated:?}");
}
