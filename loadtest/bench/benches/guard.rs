//! The guard's cost for a request: verifying a checksum, refusing a forged token, and accepting a warm token
//! with its identity headers.
//!
//! - `checksum`: verifying that this gateway issued a token.
//! - `digest`: computing the key of the cache and the store.
//! - `forged`: the guard's whole work for a forged token.
//! - `warm`: the guard's whole work for a cached token.
//! - `dpop`: what a proof of a known key (RFC 9449, ES256) adds to that: reading it and checking it. Its ratio to `warm`
//!   is what binding a token to its sender costs.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark that cannot be set up should stop")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method, header};
use openssl::sha::sha256;
use serde_json::json;
use tollgate_core::clock::{Clock, SystemClock};
use tollgate_core::collection::Collection;
use tollgate_core::plugin::{Access, Verdict};
use tollgate_core::random::SystemRandom;
use tollgate_core::request::{Addressed, Edits, Request, RequestBody, Target};
use tollgate_jose::Algorithm;
use tollgate_jose::testing::{SigningKey, encode};
use tollgate_oauth2::cache::{TokenCache, TokenSource};
use tollgate_oauth2::challenge::Challenges;
use tollgate_oauth2::deviations::Deviations;
use tollgate_oauth2::dpop::{self, Expected, KnownKeys, TargetUri};
use tollgate_oauth2::guard::{Credentials, Guard, Reach, Rules, Shared};
use tollgate_oauth2::metrics::{Metrics, PREFIXES};
use tollgate_oauth2::profile::Name;
use tollgate_oauth2::token::{Digest, OwnTokens};
use tollgate_plugin::authentication::AuthenticationHandler;
use tollgate_plugin::cache::{Bounds, ServeCached, Trust};
use tollgate_plugin::presented::CredentialHeader;
use tollgate_plugin::protection::Absence;
use tollgate_plugin::{Consumers, Credentials as KnownCredentials};
use uuid::Uuid;

#[path = "token_cache/made_up.rs"]
#[expect(dead_code, reason = "the token cache benchmark uses the rest")]
mod made_up;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A change feed that is always current.
struct UpToDate;

impl Trust for UpToDate {
    fn is_current(&self) -> bool {
        true
    }
}

fn people() -> Arc<dyn Collection> {
    Arc::new(made_up::People::new())
}

fn shared(consumers: &Consumers) -> Arc<Shared> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = tollgate_plugin::Metrics::new(prometheus::Registry::new(), PREFIXES);
    let metrics = Metrics::register(&metrics).expect("the names are free");
    let bounds = Bounds { bytes: 1 << 20, negative_millis: 5_000 };
    let credentials = KnownCredentials::new(people(), "client_id", consumers.clone());
    let source = TokenSource::new(Arc::new(made_up::Rows), credentials, Arc::clone(&clock));
    let cache = TokenCache::new(bounds, source, Arc::new(UpToDate), Arc::clone(&clock), metrics.cache.clone());
    let own_tokens = OwnTokens::new([7; 32], Vec::new());
    let unproven = Arc::new(tokio::sync::Semaphore::new(1));
    let deviations = Arc::new(Deviations::new(metrics.deviations.clone(), Arc::clone(&clock)));
    let signing_keys = tollgate_oauth2::signing_keys::sample::none(&own_tokens, Arc::clone(&clock));
    let foreign_tokens = Arc::default();
    Arc::new(Shared { cache, own_tokens, signing_keys, foreign_tokens, unproven, clock, deviations, metrics })
}

fn guard(shared: &Arc<Shared>, consumers: &Consumers) -> AuthenticationHandler<Guard> {
    let rules = Rules {
        header: CredentialHeader::parse("authorization"),
        challenges: Box::new(Challenges::new(None, &[], Name::Kong).expect("no realm is a realm")),
        absence: Absence::Refused,
        reach: Reach::Service,
        credentials: Credentials::Forward,
        serve_cached: ServeCached::AS_SET,
        extra: None,
    };
    AuthenticationHandler::new(Guard::new(rules, Arc::clone(shared)), None, consumers)
}

fn headers(token: &str) -> HeaderMap {
    let bearer = HeaderValue::try_from(format!("Bearer {token}")).expect("a token fits a header");
    HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("api.test")), (header::AUTHORIZATION, bearer)])
}

fn request<'r>(headers: &'r HeaderMap, target: &'r Target) -> Request<'r> {
    Request {
        method: &Method::GET,
        path: "/",
        query: None,
        headers,
        http2: false,
        tls: true,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        peer_trusted: false,
        addressed: Addressed::default(),
        certificate: None,
        arrival: &(),
        target,
        body: RequestBody::Unread,
        edits: Edits::default(),
        response: Vec::new(),
        identity: None,
        served_stale: None,
        notes: None,
    }
}

fn benches(criterion: &mut Criterion) {
    let consumers = Consumers::new(people(), Arc::new(UpToDate));
    let shared = shared(&consumers);
    let guard = guard(&shared, &consumers);
    let token = shared.own_tokens.mint(&SystemRandom);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    let digest = Digest::of(token.expose());
    runtime.block_on(shared.cache.load(digest, ())).expect("the store responds").expect("the token exists");
    let target = Target { route_id: Uuid::nil(), service_id: Some(Uuid::from_u128(1)) };
    let (good, forged) = (headers(token.expose()), headers("0123456789abcdefghijklmnopqrstuv"));

    let mut group = criterion.benchmark_group("guard");
    group.bench_function("checksum", |bencher| bencher.iter(|| shared.own_tokens.is_ours(black_box(token.expose()))));
    group.bench_function("digest", |bencher| bencher.iter(|| Digest::of(black_box(token.expose()))));
    group.bench_function("forged", |bencher| {
        bencher.iter(|| {
            let mut request = request(&forged, &target);
            let verdict = guard.access(&mut request);
            assert!(matches!(verdict, Access::Ready(Ok(Verdict::Reply(_)))));
        });
    });
    group.bench_function("warm", |bencher| {
        bencher.iter(|| {
            let mut request = request(&good, &target);
            let verdict = guard.access(&mut request);
            assert!(matches!(verdict, Access::Ready(Ok(Verdict::Continue))));
        });
    });
    let (proof, now) = proof(token.expose());
    let (uri, keys) = (TargetUri::parse(URI), KnownKeys::default());
    let expected = Expected { method: "GET", uri: uri.as_ref(), access_token: Some(token.expose()), now };
    group.bench_function("dpop", |bencher| {
        bencher.iter(|| assert!(dpop::check(black_box(&proof), &expected, &keys).is_ok()));
    });
    group.finish();
}

const URI: &str = "https://api.test/";

/// A proof for a request with this token, and when it was made.
fn proof(token: &str) -> (String, i64) {
    let (key, now) = (SigningKey::generate(Algorithm::ES256), 1_800_000_000);
    let header = json!({"typ": "dpop+jwt", "jwk": key.jwk()});
    let hash = encode(sha256(token.as_bytes()));
    let claims = json!({"jti": Uuid::new_v4(), "htm": "GET", "htu": URI, "iat": now, "ath": hash});
    (key.sign(Algorithm::ES256, &header, &claims), now)
}

criterion_group!(guard_benches, benches);
criterion_main!(guard_benches);
