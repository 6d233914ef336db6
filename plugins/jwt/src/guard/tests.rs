mod forged;

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::clock::ManualClock;
use tollgate_core::reply::Body;
use tollgate_core::request::{Addressed, Credential, Edits, RequestBody, Target};
use tollgate_plugin::authentication::AuthenticationHandler;
use tollgate_plugin::cache::{Bounds, CacheMetrics};
use tollgate_plugin::protection::Protection;
use tollgate_plugin::testing::{Entities, Feed};
use tollgate_plugin::{Access, Consumers, Credentials, Handler, Kind, Metrics, Schema};
use uuid::Uuid;

use tollgate_jose::SignatureChecks;

use super::*;
use crate::credential;
use crate::secret::{SecretCache, SecretSource};
use crate::token::TokenSource;

const NOW: i64 = 1_000_000;
const BOB: Uuid = Uuid::from_u128(2);
const CREDENTIAL: Uuid = Uuid::from_u128(3);

struct World {
    secrets: Arc<Entities>,
    feed: Arc<Feed>,
    clock: Arc<ManualClock>,
    known_consumers: Consumers,
    shared: Arc<Shared>,
}

impl World {
    /// Bob has a credential with the key `bob` and the secret `right`.
    fn new() -> Self {
        let secrets = Entities::new(credential::kind());
        let consumers = Entities::new(Kind::new("consumers", Schema::default()));
        consumers.put(BOB, json!({"username": "bob"}));
        let (feed, clock) = (Feed::new(), Arc::new(ManualClock::at(NOW)));
        let known_consumers = Consumers::new(consumers, feed.clone());
        let credentials = Credentials::new(secrets.clone(), "key", known_consumers.clone());
        let metrics = Metrics::new(prometheus::Registry::new(), ["jwt"]);
        let of = |fact| CacheMetrics::register(&metrics, fact, "facts").unwrap();
        let bounds = Bounds { bytes: 1 << 20, negative_millis: 5_000 };
        let source = SecretSource::new(credentials);
        let cache = SecretCache::new(bounds, source, feed.clone(), clock.clone(), of("jwt_credential"));
        let tokens = TokenCache::new(
            bounds,
            TokenSource::new(cache, SignatureChecks::new(tokio::runtime::Handle::current())),
            feed.clone(),
            clock.clone(),
            of("jwt"),
        );
        let shared = Arc::new(Shared { tokens, clock: clock.clone() });
        let world = Self { secrets, feed, clock, known_consumers, shared };
        world.put(json!({}));
        world
    }

    /// Bob's credential with these fields.
    fn put(&self, patch: Value) {
        let mut document = json!({
            "key": "bob", "secret": "right", "algorithm": "HS256", "rsa_public_key": null, "consumer": {"id": BOB},
        });
        document.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        self.secrets.put(CREDENTIAL, document);
    }

    /// The same, as a change that this node receives.
    async fn change(&self, patch: Value) {
        self.put(patch);
        self.changed(credential::NAME, CREDENTIAL).await;
    }

    fn protection(&self, patch: Value) -> Protection<Guard> {
        let mut config = json!({
            "uri_param_names": ["jwt"], "cookie_names": [], "key_claim_name": "iss", "secret_is_base64": false,
            "claims_to_verify": null, "anonymous": null, "run_on_preflight": true, "maximum_expiration": 0,
            "header_names": ["authorization"], "realm": null,
        });
        config.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        let config = Config::try_from(&config).unwrap();
        let guard = Guard::new(&config, Arc::clone(&self.shared));
        let guard = AuthenticationHandler::new(guard, config.anonymous.as_deref(), &self.known_consumers);
        Protection { guard, preflight: config.preflight }
    }

    async fn changed(&self, kind: &str, id: Uuid) {
        let change =
            Change { kind: kind.to_owned(), operation: Operation::Updated, id, key: Vec::new(), document: None };
        self.known_consumers.apply(std::slice::from_ref(&change)).await.unwrap();
        let secrets = self.shared.tokens.source().secrets();
        secrets.source().credentials().apply(&[change]).await.unwrap();
    }

    fn asked(&self) -> usize {
        self.secrets.asked()
    }
}

struct Outcome {
    ready: bool,
    verdict: Verdict,
    credential: Option<Credential>,
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

    /// The body and the challenge of a refusal.
    fn refusal(&self) -> (Value, &str) {
        let Verdict::Reply(reply) = &self.verdict else { return (Value::Null, "") };
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        let Body::Json(body) = &reply.body else { panic!("JSON") };
        let [(name, value)] = &reply.headers[..] else { panic!("one header") };
        assert_eq!(name, "www-authenticate");
        (serde_json::from_slice(body).unwrap(), value.to_str().unwrap())
    }
}

/// A request with these header lines.
async fn ask(protection: &Protection<Guard>, method: Method, lines: &[(&'static str, &str)]) -> Outcome {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let target = Target { route_id: Uuid::nil(), service_id: None };
    let mut request = Request {
        method: &method,
        path: "/",
        query: None,
        headers: &headers,
        http2: true,
        tls: false,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
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
    let (ready, verdict) = match protection.access(&mut request) {
        Access::Ready(verdict) => (true, verdict),
        Access::Pending(verdict) => (false, verdict.await),
    };
    let credential = request.identity.and_then(|identity| identity.credential);
    Outcome { ready, verdict: verdict.unwrap(), credential }
}

async fn present(protection: &Protection<Guard>, token: &str) -> Outcome {
    ask(protection, Method::GET, &[("authorization", &format!("Bearer {token}"))]).await
}

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn signed(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let input = format!("{}.{}", encode(header), encode(claims));
    let signature = sign(input.as_bytes());
    format!("{input}.{}", encode(signature))
}

fn hmac(secret: &[u8], input: &[u8]) -> Vec<u8> {
    let key = PKey::hmac(secret).unwrap();
    Signer::new(MessageDigest::sha256(), &key).unwrap().sign_oneshot_to_vec(input).unwrap()
}

/// A token with these claims, signed with HS256.
fn token(claims: &Value, secret: &str) -> String {
    signed(r#"{"alg":"HS256"}"#, &claims.to_string(), |input| hmac(secret.as_bytes(), input))
}

fn of_bob() -> String {
    token(&json!({"iss": "bob"}), "right")
}

#[tokio::test]
async fn a_known_token_is_decided_without_the_store() {
    let world = World::new();
    let protection = world.protection(json!({}));
    let rows = [
        (of_bob(), "passed"),
        (token(&json!({"iss": "bob"}), "wrong"), "jwt_signature_wrong"),
        (token(&json!({"iss": "eve"}), "right"), "jwt_key_unknown"),
    ];
    for (token, result) in rows {
        let first = present(&protection, &token).await;
        assert_eq!((first.ready, first.result()), (false, result));
        let asked = world.asked();
        for _ in 0..3 {
            let again = present(&protection, &token).await;
            assert_eq!((again.ready, again.result()), (true, result));
        }
        assert_eq!(world.asked(), asked);
    }
    // Another token of a known credential.
    let asked = world.asked();
    let other = present(&protection, &token(&json!({"iss": "bob", "jti": "2"}), "right")).await;
    assert_eq!(
        (other.result(), other.credential, world.asked()),
        ("passed", Some(Credential::Entity(CREDENTIAL)), asked)
    );
    world.clock.advance(6);
    let later = present(&protection, &token(&json!({"iss": "eve"}), "right")).await;
    assert!(!later.ready, "an unknown key is not remembered for ever");
}

#[tokio::test]
async fn a_change_of_the_credential_or_its_consumer_takes_effect_at_once() {
    let world = World::new();
    let protection = world.protection(json!({}));
    let (old, new) = (of_bob(), token(&json!({"iss": "bob"}), "new"));
    let renamed = token(&json!({"iss": "robert"}), "new");
    let results = async || {
        [
            present(&protection, &old).await.result(),
            present(&protection, &new).await.result(),
            present(&protection, &renamed).await.result(),
        ]
    };
    const WRONG: &str = "jwt_signature_wrong";
    const UNKNOWN: &str = "jwt_key_unknown";
    assert_eq!(results().await, ["passed", WRONG, UNKNOWN]);
    world.change(json!({"secret": "new"})).await;
    assert_eq!(results().await, [WRONG, "passed", UNKNOWN]);
    world.change(json!({"secret": "new", "key": "robert"})).await;
    assert_eq!(results().await, [UNKNOWN, UNKNOWN, "passed"]);
    world.change(json!({"algorithm": "HS512"})).await;
    assert_eq!(results().await, ["jwt_algorithm_wrong", "jwt_algorithm_wrong", UNKNOWN]);
    world.change(json!({})).await;
    assert_eq!(results().await, ["passed", WRONG, UNKNOWN]);
    // Deleting the consumer deletes the credential.
    world.secrets.clear();
    world.changed("consumers", BOB).await;
    assert_eq!(results().await, [UNKNOWN, UNKNOWN, UNKNOWN]);
}

#[tokio::test]
async fn times_are_checked_on_every_request() {
    let world = World::new();
    let config = json!({"claims_to_verify": ["exp", "nbf"], "maximum_expiration": 100});
    let (checked, unchecked) = (world.protection(config), world.protection(json!({})));
    let token = token(&json!({"iss": "bob", "nbf": NOW + 10, "exp": NOW + 120}), "right");
    let mut seen = Vec::new();
    for _ in 0..6 {
        assert_eq!(present(&unchecked, &token).await.result(), "passed");
        seen.push(present(&checked, &token).await.refusal().0);
        world.clock.advance(10);
    }
    world.clock.advance(59);
    seen.push(present(&checked, &token).await.refusal().0);
    world.clock.advance(1);
    seen.push(present(&checked, &token).await.refusal().0);
    let (early, long) = (json!({"nbf": "token not valid yet"}), json!({"exp": "exceeds maximum allowed expiration"}));
    let expected =
        [early, long, Value::Null, Value::Null, Value::Null, Value::Null, Value::Null, json!({"exp": "token expired"})];
    assert_eq!(seen, expected);
    assert_eq!(present(&checked, &token).await.result(), "jwt_expired");
}

#[tokio::test]
async fn what_depends_on_the_instance_is_not_shared() {
    let world = World::new();
    let by_issuer = world.protection(json!({}));
    let by_subject = world.protection(json!({"key_claim_name": "sub"}));
    let by_kid = world.protection(json!({"key_claim_name": "kid"}));
    let encoded = world.protection(json!({"secret_is_base64": true}));
    world.put(json!({"secret": "cmlnaHQ"}));
    let claims = r#"{"iss":"bob","sub":"eve"}"#;
    let header = r#"{"alg":"HS256","kid":"bob","iss":"eve"}"#;
    let plain_token = signed(header, claims, |input| hmac(b"cmlnaHQ", input));
    let encoded_token = signed(header, claims, |input| hmac(b"right", input));
    for _ in 0..2 {
        for (protection, token, result) in [
            (&by_issuer, &plain_token, "passed"),
            (&by_kid, &plain_token, "passed"),
            (&by_subject, &plain_token, "jwt_key_unknown"),
            (&encoded, &plain_token, "jwt_signature_wrong"),
            (&encoded, &encoded_token, "passed"),
            (&by_issuer, &encoded_token, "jwt_signature_wrong"),
        ] {
            assert_eq!(present(protection, token).await.result(), result);
        }
    }
}

#[tokio::test]
async fn a_token_is_neither_accepted_nor_refused_while_the_store_is_unavailable() {
    let world = World::new();
    let protection = world.protection(json!({"anonymous": "bob"}));
    assert_eq!(present(&protection, &of_bob()).await.result(), "passed");
    world.secrets.stop();
    assert_eq!(present(&protection, &of_bob()).await.result(), "passed");
    // A node that does not receive changes trusts no cached fact.
    world.feed.stop();
    let outcome = present(&protection, &of_bob()).await;
    assert_eq!(outcome.result(), "jwt_store_unavailable");
    let Verdict::Reply(reply) = outcome.verdict else { panic!("a reply") };
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let message = "The authorization state is currently unavailable".to_owned();
    assert_eq!(reply.body, Body::Message(message));
}

#[tokio::test]
async fn a_preflight_passes_without_a_token_if_configured_so() {
    let world = World::new();
    let (judged, passed) = (world.protection(json!({})), world.protection(json!({"run_on_preflight": false})));
    assert_eq!(ask(&judged, Method::OPTIONS, &[]).await.result(), "jwt_missing");
    assert_eq!(ask(&passed, Method::OPTIONS, &[]).await.result(), "passed");
    assert_eq!(ask(&passed, Method::GET, &[]).await.result(), "jwt_missing");
}

#[tokio::test]
async fn a_grpc_call_is_refused_in_headers() {
    let world = World::new();
    let protection = world.protection(json!({"realm": "test-jwt"}));
    let lines = [("content-type", "application/grpc"), ("authorization", "Bearer x")];
    let Verdict::Reply(reply) = ask(&protection, Method::POST, &lines).await.verdict else { panic!("a reply") };
    let headers: Vec<_> = reply.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let challenge = "Bearer realm=\"test-jwt\", error=\"invalid_token\"";
    let expected = [("www-authenticate", challenge), ("grpc-status", "16"), ("grpc-message", "Unauthenticated")];
    assert_eq!((reply.status, &reply.body, &headers[..]), (StatusCode::UNAUTHORIZED, &Body::Empty, &expected[..]));
}

#[test]
fn what_is_kept_is_small() {
    assert_eq!((size_of::<TokenFacts>(), size_of::<crate::secret::SecretFacts>()), (8, 8));
}
