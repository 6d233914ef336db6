use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::clock::ManualClock;
use tollgate_core::random::SystemRandom;
use tollgate_core::request::{Addressed, Edits, RequestBody, Target};
use tollgate_plugin::own_token::OwnTokens;
use tollgate_plugin::testing::{Entities, Feed};
use tollgate_plugin::{Access, Consumers, Handler, HeaderEdit, Kind, Schema};
use uuid::Uuid;

use super::*;
use crate::authority::{Active, Identity as AuthorityIdentity, Said, Verifier};
use crate::cannot_tell::CannotTell;
use crate::claim_path::ClaimPath;
use crate::config::{Common, Specifics};
use crate::tokens::{Candidate, of_test};
use tollgate_jose::claims::Claims;

const NOW: i64 = 1_000_000;
const BOB: Uuid = Uuid::from_u128(2);

/// An authority whose word the test chooses.
#[derive(Default)]
struct Word {
    /// The claims of its tokens; those that it does not know are inactive.
    tokens: Mutex<HashMap<String, Value>>,
    /// Every question, in order.
    asked: Mutex<Vec<String>>,
    down: AtomicBool,
    /// Held back until it is notified.
    gate: Mutex<Option<Arc<Notify>>>,
}

impl Word {
    fn says(&self, token: &str, claims: Value) {
        self.tokens.lock().unwrap().insert(token.to_owned(), claims);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

struct Asked(Arc<Word>);

#[async_trait]
impl Verifier for Asked {
    async fn verify(&self, query: &Query) -> Result<Said, CannotTell> {
        let line = query.request.as_ref().map(|line| format!(" {} {}", line.method, line.path)).unwrap_or_default();
        self.0.asked.lock().unwrap().push(format!("{}{line}", query.token.expose()));
        let gate = self.0.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        if self.0.down.load(Ordering::SeqCst) {
            return Err(CannotTell::malformed("authority", "stopped by the test"));
        }
        let tokens = self.0.tokens.lock().unwrap();
        let Some(claims) = tokens.get(query.token.expose()) else { return Ok(Said::Inactive) };
        let claims = Claims::from(claims.as_object().unwrap().clone());
        Ok(Said::Active(Active { claims, signed_by: None }))
    }
}

struct World {
    consumers: Arc<Entities>,
    known: Consumers,
    feed: Arc<Feed>,
    clock: Arc<ManualClock>,
    tokens: Arc<ThirdPartyTokens>,
    word: Arc<Word>,
}

fn claims_of_bob() -> Value {
    json!({"username": "bob", "scope": "read write", "aud": ["api", "b"], "exp": NOW + 1000, "n": {"x": 7}})
}

impl World {
    /// The authority knows one token of Bob's.
    fn new() -> Self {
        let consumers = Entities::new(Kind::new("consumers", Schema::default()));
        consumers.put(BOB, json!({"username": "bob"}));
        let (feed, clock) = (Feed::new(), Arc::new(ManualClock::at(NOW)));
        let known = Consumers::new(consumers.clone(), feed.clone());
        let tokens = of_test(known.clone(), clock.clone(), feed.clone(), prometheus::Registry::new());
        let word = Arc::new(Word::default());
        word.says("bobs", claims_of_bob());
        Self { consumers, known, feed, clock, tokens, word }
    }

    fn candidate(&self, name: &str, word: &Arc<Word>, issuer: Option<&str>) -> Candidate {
        let identity = AuthorityIdentity::of("test", &json!(name));
        let consumer_by = Some(ClaimPath::parse("username").unwrap());
        let make = || Ok::<_, std::convert::Infallible>(Box::new(Asked(Arc::clone(word))) as Box<dyn Verifier>);
        let authority = self.tokens.authority(identity, name, consumer_by, make).unwrap();
        Candidate { authority, issuer: issuer.map(Into::into) }
    }

    fn specifics(&self) -> Specifics {
        Specifics {
            candidates: vec![self.candidate("one", &self.word, None)],
            ttl: Some(30.0),
            clock_skew: 0,
            request_line: RequestLineUse::Untold,
        }
    }

    fn instance(&self, patch: Value) -> Arc<dyn Handler> {
        self.instance_of(self.specifics(), patch)
    }

    fn instance_of(&self, specifics: Specifics, patch: Value) -> Arc<dyn Handler> {
        let mut config = json!({
            "custom_claims_forward": [], "hide_credentials": true, "run_on_preflight": true, "anonymous": null, "realm": null,
            "required_scopes": [], "required_scopes_match": "all", "scope_claim": "scope", "required_audience": [],
            "required_claims": [], "serve_stale_for": 0.0,
        });
        config.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        let common: Common = serde_json::from_value(config).unwrap();
        common.handler(specifics, &self.tokens).unwrap()
    }

    /// A consumer is written, or deleted.
    async fn write_consumer(&self, id: Uuid, username: Option<&str>) {
        match username {
            Some(name) => self.consumers.put(id, json!({"username": name})),
            None => self.consumers.remove(id),
        }
        let kind = "consumers".to_owned();
        let change = Change { kind, operation: Operation::Updated, id, key: Vec::new(), document: None };
        self.known.apply(&[change]).await.unwrap();
    }
}

/// What an instance does with a request.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// It goes upstream with these headers.
    Passed(Vec<String>),
    /// Status, and `WWW-Authenticate` or reason.
    Refused(u16, String),
}

use Outcome::{Passed, Refused};

async fn request(instance: &Arc<dyn Handler>, token: Option<&str>) -> Outcome {
    request_for(instance, token, "/").await
}

async fn request_for(instance: &Arc<dyn Handler>, token: Option<&str>, path: &'static str) -> Outcome {
    through(&[instance], token, path).await
}

/// A request to a route with these instances, in this order.
async fn through(instances: &[&Arc<dyn Handler>], token: Option<&str>, path: &'static str) -> Outcome {
    let value = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    with_headers(instances, &value.into_iter().map(|value| (AUTHORIZATION, value)).collect(), path).await
}

async fn with_headers(instances: &[&Arc<dyn Handler>], headers: &HeaderMap, path: &'static str) -> Outcome {
    let target = Target { route_id: Uuid::nil(), service_id: None };
    let mut request = Request {
        method: &Method::GET,
        path,
        query: None,
        headers,
        http2: false,
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
    for instance in instances {
        let verdict = match instance.access(&mut request) {
            Access::Ready(verdict) => verdict,
            Access::Pending(verdict) => verdict.await,
        };
        match verdict.unwrap() {
            Verdict::Continue => {}
            Verdict::Reply(reply) => {
                let challenge = reply.headers.iter().find(|(name, _)| name == "www-authenticate");
                let text = challenge.map_or(reply.reason, |(_, value)| value.to_str().unwrap());
                return Refused(reply.status.as_u16(), text.to_owned());
            }
            Verdict::NeedBody { .. } => panic!("there is no body"),
        }
    }
    Passed(sent(&request.edits))
}

/// The headers that go upstream, in order, without the dashes and prefixes that all have.
fn sent(edits: &Edits) -> Vec<String> {
    let mut sent: Vec<(String, String)> = Vec::new();
    for edit in &edits.headers {
        match edit {
            HeaderEdit::Apply(block) => {
                let names: Vec<String> = block.names().map(ToString::to_string).collect();
                sent.retain(|(name, _)| !names.contains(name));
                for line in std::str::from_utf8(block.lines()).unwrap().lines() {
                    let (name, value) = line.split_once(": ").unwrap();
                    sent.push((name.to_ascii_lowercase(), value.to_owned()));
                }
            }
            HeaderEdit::Remove(name) => sent.retain(|(known, _)| known != name.as_str()),
            HeaderEdit::Set(name, value) | HeaderEdit::Append(name, value) => {
                sent.push((name.to_string(), value.to_str().unwrap().to_owned()));
            }
        }
    }
    let mut lines: Vec<String> =
        sent.iter().map(|(name, value)| format!("{}={value}", name.strip_prefix("x-").unwrap())).collect();
    lines.sort();
    lines
}

fn of_bob() -> Outcome {
    passed(&[
        &format!("consumer-id={BOB}"),
        "consumer-username=bob",
        "credential-aud=api,b",
        &format!("credential-exp={}", NOW + 1000),
        "credential-identifier=bob",
        "credential-scope=read write",
    ])
}

fn passed(lines: &[&str]) -> Outcome {
    let mut lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
    lines.sort();
    Passed(lines)
}

fn invalid() -> Outcome {
    let challenge = r#"Bearer error="invalid_token", error_description="The access token is invalid or has expired""#;
    Refused(401, challenge.to_owned())
}

#[tokio::test]
async fn a_token_is_asked_about_once_and_passes_with_its_claims_in_headers() {
    let world = World::new();
    let instance = world.instance(json!({}));
    for _ in 0..3 {
        assert_eq!(request(&instance, Some("bobs")).await, of_bob());
    }
    assert_eq!(world.word.asked(), ["bobs"]);
    assert_eq!(request(&instance, None).await, Refused(401, "Bearer".to_owned()));
    assert_eq!(request(&instance, Some("unknown")).await, invalid());
    assert_eq!(request(&instance, Some("unknown")).await, invalid());
    assert_eq!(world.word.asked(), ["unknown"], "unknown tokens are cached too");
    world.clock.advance(6);
    world.word.says("unknown", json!({"sub": "late"}));
    assert_eq!(request(&instance, Some("unknown")).await, passed(&["credential-sub=late"]), "but briefly");
}

#[tokio::test]
async fn cached_tokens_do_not_keep_an_authority_that_no_instance_has() {
    let world = World::new();
    let instance = world.instance(json!({}));
    assert_eq!(request(&instance, Some("bobs")).await, of_bob());
    assert_eq!((Arc::strong_count(&world.word), world.word.asked()), (2, vec!["bobs".to_owned()]));
    drop(instance);
    assert_eq!(Arc::strong_count(&world.word), 1, "what fetches its keys, for instance, has ended");
    let again = world.instance(json!({}));
    assert_eq!(request(&again, Some("bobs")).await, of_bob());
    assert_eq!(world.word.asked(), ["bobs"], "and is asked again when it is back");
}

#[tokio::test]
async fn an_authority_is_asked_again_after_ttl_and_a_token_ends_at_its_own_exp() {
    let world = World::new();
    let (instance, lasting) = (world.instance(json!({})), Specifics { ttl: None, ..world.specifics() });
    let lasting = world.instance_of(lasting, json!({}));
    request(&instance, Some("bobs")).await;
    world.clock.advance(29);
    assert_eq!(request(&instance, Some("bobs")).await, of_bob());
    assert_eq!(world.word.asked(), ["bobs"]);
    world.clock.advance(1);
    assert_eq!(request(&lasting, Some("bobs")).await, of_bob(), "what is too old for one is not for the other");
    assert_eq!(world.word.asked(), [""; 0]);
    assert_eq!(request(&instance, Some("bobs")).await, of_bob());
    assert_eq!(world.word.asked(), ["bobs"]);
    // Revoked there: refused here after ttl.
    world.word.tokens.lock().unwrap().clear();
    assert_eq!(request(&instance, Some("bobs")).await, of_bob());
    world.clock.advance(30);
    assert_eq!(request(&instance, Some("bobs")).await, invalid());
    world.word.says("short", json!({"exp": NOW + 70}));
    assert_eq!(request(&lasting, Some("short")).await, passed(&[&format!("credential-exp={}", NOW + 70)]));
    world.clock.advance(10);
    assert_eq!(request(&lasting, Some("short")).await, invalid());
    world.word.says("early", json!({"nbf": NOW + 75}));
    assert_eq!(request(&lasting, Some("early")).await, invalid());
    world.clock.advance(5);
    assert_eq!(request(&lasting, Some("early")).await, passed(&[&format!("credential-nbf={}", NOW + 75)]));
    assert_eq!(world.word.asked(), ["bobs", "short", "early"]);
}

#[tokio::test]
async fn a_token_that_is_found_revoked_ends_for_all_instances() {
    let world = World::new();
    let instance = world.instance(json!({}));
    let unlimited = world.instance_of(Specifics { ttl: None, ..world.specifics() }, json!({}));
    assert_eq!(request(&unlimited, Some("bobs")).await, of_bob());
    world.word.tokens.lock().unwrap().clear();
    world.clock.advance(31);
    assert_eq!(request(&unlimited, Some("bobs")).await, of_bob());
    assert_eq!(request(&instance, Some("bobs")).await, invalid());
    assert_eq!(request(&unlimited, Some("bobs")).await, invalid());
}

#[tokio::test]
async fn clocks_may_differ_by_the_configured_skew() {
    let world = World::new();
    let instance = world.instance_of(Specifics { clock_skew: 5, ..world.specifics() }, json!({}));
    world.word.says("a", json!({"exp": NOW - 4, "nbf": NOW + 5}));
    world.word.says("b", json!({"exp": NOW - 5}));
    world.word.says("c", json!({"nbf": NOW + 6}));
    assert!(matches!(request(&instance, Some("a")).await, Passed(_)));
    assert_eq!([request(&instance, Some("b")).await, request(&instance, Some("c")).await], [invalid(), invalid()]);
}

#[tokio::test]
async fn what_an_authority_cannot_tell_is_503_and_is_not_cached() {
    let world = World::new();
    let instance = world.instance(json!({}));
    world.word.down.store(true, Ordering::SeqCst);
    let unavailable = || Refused(503, "authority_response_malformed".to_owned());
    assert_eq!(request(&instance, Some("bobs")).await, unavailable());
    assert_eq!(request(&instance, Some("bobs")).await, unavailable());
    assert_eq!(world.word.asked(), ["bobs", "bobs"]);
    world.word.down.store(false, Ordering::SeqCst);
    assert_eq!(request(&instance, Some("bobs")).await, of_bob());
    world.word.down.store(true, Ordering::SeqCst);
    world.clock.advance(29);
    assert_eq!(request(&instance, Some("bobs")).await, of_bob(), "a cached token goes on within ttl");
    world.clock.advance(1);
    assert_eq!(request(&instance, Some("bobs")).await, unavailable());
    world.consumers.stop();
    world.word.down.store(false, Ordering::SeqCst);
    world.word.says("eves", json!({"username": "eve"}));
    assert_eq!(request(&instance, Some("eves")).await, Refused(503, "consumer_store_unavailable".to_owned()));
}

#[tokio::test]
async fn a_cached_token_may_be_served_stale_for_a_while_but_not_beyond_its_exp() {
    let world = World::new();
    let instance = world.instance(json!({"serve_stale_for": 60.0}));
    world.word.says("short", json!({"exp": NOW + 40}));
    for token in ["bobs", "short"] {
        assert!(matches!(request(&instance, Some(token)).await, Passed(_)));
    }
    world.word.down.store(true, Ordering::SeqCst);
    world.clock.advance(35);
    assert!(matches!(request(&instance, Some("short")).await, Passed(_)));
    world.clock.advance(54);
    assert_eq!(request(&instance, Some("short")).await, invalid());
    assert_eq!(request(&instance, Some("bobs")).await, of_bob());
    world.clock.advance(1);
    assert_eq!(request(&instance, Some("bobs")).await, Refused(503, "authority_response_malformed".to_owned()));
    // An authority that can tell is believed at once.
    world.word.down.store(false, Ordering::SeqCst);
    world.word.tokens.lock().unwrap().clear();
    assert_eq!(request(&instance, Some("bobs")).await, invalid());
}

#[tokio::test]
async fn only_a_token_that_is_accepted_counts_as_stale() {
    let world = World::new();
    let open = world.instance(json!({"serve_stale_for": 60.0}));
    let closed = world.instance(json!({"serve_stale_for": 60.0, "required_scopes": ["admin"]}));
    assert_eq!(request(&open, Some("bobs")).await, of_bob());
    world.word.down.store(true, Ordering::SeqCst);
    world.clock.advance(35);
    let authority = world.candidate("one", &world.word, None).authority;
    let counted = || authority.facts().metrics.stale.get();
    assert!(matches!(request(&closed, Some("bobs")).await, Refused(403, _)));
    assert_eq!(counted(), 0);
    assert_eq!(request(&open, Some("bobs")).await, of_bob());
    assert_eq!(counted(), 1);
}

#[tokio::test]
async fn a_consumer_follows_its_changes_without_another_question_to_the_authority() {
    let world = World::new();
    let instance = world.instance(json!({}));
    world.word.says("eves", json!({"username": "eve"}));
    let nobody = || passed(&["credential-identifier=eve"]);
    assert_eq!(request(&instance, Some("eves")).await, nobody());
    assert_eq!(request(&instance, Some("bobs")).await, of_bob());
    let eve = Uuid::from_u128(3);
    world.write_consumer(eve, Some("eve")).await;
    let of_eve = passed(&[&format!("consumer-id={eve}"), "consumer-username=eve", "credential-identifier=eve"]);
    assert_eq!(request(&instance, Some("eves")).await, of_eve);
    world.write_consumer(eve, Some("adam")).await;
    assert_eq!(request(&instance, Some("eves")).await, nobody());
    world.write_consumer(BOB, None).await;
    let Passed(lines) = request(&instance, Some("bobs")).await else { panic!("bob's token is valid") };
    assert!(!lines.iter().any(|line| line.starts_with("consumer")), "{lines:?}");
    assert_eq!(world.word.asked(), ["eves", "bobs"]);
    request(&instance, Some("eves")).await;
    let before = world.consumers.asked();
    for _ in 0..3 {
        request(&instance, Some("eves")).await;
    }
    assert_eq!(world.consumers.asked(), before, "consumers are not queried for each request");
}

#[tokio::test]
async fn what_is_required_is_decided_for_each_instance_on_every_request() {
    let world = World::new();
    // With it the authority lasts.
    let _other = world.instance(json!({}));
    let insufficient = |description: &str, scope: &str| {
        let text = format!(r#"Bearer error="insufficient_scope", error_description="{description}"{scope}"#);
        Refused(403, text)
    };
    let lacks_scope = |scope| insufficient("The access token lacks a required scope", &format!(", scope=\"{scope}\""));
    let lacks_claim = || insufficient("The access token lacks a required claim", "");
    let other_audience = || insufficient("The access token is not intended for this API", "");
    for (patch, refused) in [
        (json!({"required_scopes": ["read", "write"]}), None),
        (json!({"required_scopes": ["read", "admin"]}), Some(lacks_scope("read admin"))),
        (json!({"required_scopes": ["read", "admin"], "required_scopes_match": "any"}), None),
        (json!({"required_scopes": ["rea"], "required_scopes_match": "any"}), Some(lacks_scope("rea"))),
        (json!({"required_audience": ["x", "api"]}), None),
        (json!({"required_audience": ["x"]}), Some(other_audience())),
        (json!({"required_claims": [{"claim": "n.x", "values": ["7"]}]}), None),
        (json!({"required_claims": [{"claim": "n.x", "values": ["8"]}]}), Some(lacks_claim())),
        (json!({"required_claims": [{"claim": "username", "values": []}]}), None),
        (json!({"required_claims": [{"claim": "other", "values": []}]}), Some(lacks_claim())),
        (json!({"anonymous": "bob", "required_scopes": ["admin"]}), Some(lacks_scope("admin"))),
    ] {
        let instance = world.instance(patch.clone());
        let expected = refused.unwrap_or_else(of_bob);
        assert_eq!(request(&instance, Some("bobs")).await, expected, "{patch}");
        assert_eq!(request(&instance, Some("bobs")).await, expected, "{patch}, from the cache");
    }
    // Once, and once for each claim that no instance had named before.
    assert_eq!(world.word.asked().len(), 3);
}

#[tokio::test]
async fn custom_claims_are_forwarded_and_what_no_header_carries_is_left_out() {
    let world = World::new();
    let claims = json!({"n": {"x": 7, "list": ["a", 2, true]}, "https://x.test/t": "t", "bad": "a\nb", "o": {"a": 1}, "comma": ["a,b"]});
    world.word.says("custom", claims);
    let custom = ["n.x", "n.list", "https://x.test/t", "bad", "o", "comma", "absent"];
    let instance = world.instance(json!({"custom_claims_forward": custom}));
    let expected = passed(&["credential-n-x=7", "credential-n-list=a,2,true", "credential-https-x-test-t=t"]);
    assert_eq!(request(&instance, Some("custom")).await, expected);
    let left_out = |claim: &str| world.tokens.metrics().left_out_count("one", claim);
    assert_eq!(["bad", "o", "comma", "n.x"].map(left_out), [1, 1, 1, 0]);
}

#[tokio::test]
async fn an_authority_never_runs_out_of_claims_however_often_instances_change() {
    let world = World::new();
    let claims = |number: usize| (0..20).map(|claim| format!("c{number}x{claim}")).collect::<Vec<_>>();
    let first = world.instance(json!({"custom_claims_forward": claims(0)}));
    assert_eq!(request(&first, Some("bobs")).await, of_bob());
    for number in 1..40 {
        let changed = world.instance(json!({"custom_claims_forward": claims(number)}));
        assert_eq!(request(&changed, Some("bobs")).await, of_bob(), "{number}");
    }
    world.word.asked();
    assert_eq!(request(&first, Some("bobs")).await, of_bob());
    assert_eq!(world.word.asked(), [""; 0], "what is cached for the first instance stays");
}

#[tokio::test]
async fn this_gateways_own_tokens_are_sent_to_no_authority() {
    let world = World::new();
    let own = OwnTokens::new([7; 32], Vec::new()).mint(&SystemRandom);
    let (strict, lenient) = (world.instance(json!({})), world.instance(json!({"anonymous": "bob"})));
    assert_eq!(request(&strict, Some(own.expose())).await, invalid());
    let anonymous = passed(&["anonymous-consumer=true", &format!("consumer-id={BOB}"), "consumer-username=bob"]);
    assert_eq!(request(&lenient, Some(own.expose())).await, anonymous);
    assert_eq!(request(&lenient, None).await, anonymous);
    assert_eq!(world.word.asked(), [""; 0]);
}

#[tokio::test]
async fn credentials_of_other_schemes_are_sent_to_no_authority() {
    let world = World::new();
    let instance = world.instance(json!({}));
    for value in ["Basic a2F0ZTpzZWNyZXQ=", r#"Digest username="kate""#, "Bearer a b"] {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap())]);
        assert_eq!(with_headers(&[&instance], &headers, "/").await, invalid(), "{value}");
    }
    assert_eq!(world.word.asked(), [""; 0]);
}

#[tokio::test]
async fn an_object_never_passes_for_the_value_that_it_spells() {
    let world = World::new();
    let spelled = |text: &str| json!({"$serde_json::private::RawValue": text});
    for (token, roles) in [
        ("element", json!([spelled(r#""admin""#)])),
        ("value", spelled(r#""admin""#)),
        ("array", spelled(r#"["admin"]"#)),
    ] {
        world.word.says(token, json!({"roles": roles}));
        let forwarding = world.instance(json!({"custom_claims_forward": ["roles"]}));
        assert_eq!(request(&forwarding, Some(token)).await, passed(&[]), "{token}");
        for patch in [
            json!({"required_claims": [{"claim": "roles", "values": ["admin"]}]}),
            json!({"scope_claim": "roles", "required_scopes": ["admin"]}),
        ] {
            let Refused(403, _) = request(&world.instance(patch), Some(token)).await else { panic!("{token}") };
        }
    }
}

#[tokio::test]
async fn either_of_two_plugins_may_accept_a_token_and_its_claims_stay() {
    let world = World::new();
    let second = Arc::new(Word::default());
    second.says("seconds", json!({"sub": "second"}));
    let candidates = vec![world.candidate("two", &second, None)];
    let lenient = json!({"anonymous": "bob"});
    let first = world.instance(lenient.clone());
    let second = world.instance_of(Specifics { candidates, ..world.specifics() }, lenient);
    assert_eq!(through(&[&first, &second], Some("bobs"), "/").await, of_bob());
    assert_eq!(through(&[&first, &second], Some("seconds"), "/").await, passed(&["credential-sub=second"]));
    let anonymous = passed(&["anonymous-consumer=true", &format!("consumer-id={BOB}"), "consumer-username=bob"]);
    assert_eq!(through(&[&first, &second], Some("nobodys"), "/").await, anonymous);
}

/// A token with this issuer, signed by nobody.
fn jwt(issuer: &str) -> String {
    use base64::Engine;
    let part = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(json!({"alg": "RS256"})), part(json!({"iss": issuer})))
}

#[tokio::test]
async fn several_authorities_are_chosen_by_issuer_or_asked_in_order_with_one_verdict() {
    let world = World::new();
    let second = Arc::new(Word::default());
    let candidates = vec![
        world.candidate("one", &world.word, Some("https://one.test")),
        world.candidate("two", &second, Some("https://two.test")),
    ];
    let instance = world.instance_of(Specifics { candidates, ..world.specifics() }, json!({}));
    let (of_one, of_two, of_three) = (jwt("https://one.test"), jwt("https://two.test"), jwt("https://three.test"));
    second.says(&of_two, json!({"sub": "two"}));
    second.says("opaque", json!({"sub": "opaque"}));
    assert_eq!(request(&instance, Some(&of_one)).await, invalid());
    assert_eq!(request(&instance, Some(&of_two)).await, passed(&["credential-sub=two"]));
    assert_eq!(request(&instance, Some(&of_three)).await, invalid());
    assert_eq!((world.word.asked(), second.asked()), (vec![of_one.clone()], vec![of_two.clone()]));
    assert_eq!(request(&instance, Some("opaque")).await, passed(&["credential-sub=opaque"]));
    assert_eq!((world.word.asked(), second.asked()), (vec!["opaque".to_owned()], vec!["opaque".to_owned()]));
    // One that cannot tell might know it.
    world.word.down.store(true, Ordering::SeqCst);
    assert_eq!(request(&instance, Some("x")).await, Refused(503, "authority_response_malformed".to_owned()));
    second.says("y", json!({"sub": "y"}));
    assert_eq!(request(&instance, Some("y")).await, passed(&["credential-sub=y"]));
}

#[tokio::test]
async fn an_authority_that_is_told_about_requests_is_asked_for_each_path() {
    let world = World::new();
    let told = Specifics { request_line: RequestLineUse::Told, ..world.specifics() };
    let instance = world.instance_of(told, json!({}));
    for path in ["/a", "/b", "/a"] {
        assert_eq!(request_for(&instance, Some("bobs"), path).await, of_bob());
    }
    assert_eq!(world.word.asked(), ["bobs GET /a", "bobs GET /b"]);
}

#[tokio::test]
async fn concurrent_requests_share_one_question() {
    let world = World::new();
    let instance = world.instance(json!({}));
    let gate = Arc::new(Notify::new());
    *world.word.gate.lock().unwrap() = Some(gate.clone());
    let mut all: Vec<_> = (0..100).map(|_| Box::pin(request(&instance, Some("bobs")))).collect();
    for each in &mut all {
        assert!(futures::poll!(each).is_pending());
    }
    gate.notify_one();
    assert!(futures::future::join_all(all).await.iter().all(|outcome| *outcome == of_bob()));
    assert_eq!(world.word.asked(), ["bobs"]);
}

#[tokio::test]
async fn a_word_that_took_longer_than_ttl_counts_for_all_who_waited_for_it() {
    let world = World::new();
    let instance = world.instance(json!({}));
    let gate = Arc::new(Notify::new());
    *world.word.gate.lock().unwrap() = Some(gate.clone());
    let mut first = Box::pin(request(&instance, Some("bobs")));
    assert!(futures::poll!(&mut first).is_pending());
    world.clock.advance(20);
    let mut second = Box::pin(request(&instance, Some("bobs")));
    assert!(futures::poll!(&mut second).is_pending());
    world.clock.advance(20);
    *world.word.gate.lock().unwrap() = None;
    gate.notify_one();
    assert_eq!(futures::future::join(first, second).await, (of_bob(), of_bob()));
    assert_eq!(world.word.asked(), ["bobs"]);
    assert_eq!(request(&instance, Some("bobs")).await, of_bob());
    assert_eq!(world.word.asked(), ["bobs"], "but not for who comes later");
}

#[tokio::test]
async fn while_the_store_is_away_a_token_needs_its_authority_and_a_consumer_that_is_cached() {
    let world = World::new();
    let (open, never) = (world.instance(json!({})), world.instance(json!({"serve_cached_for": 0})));
    world.word.says("others", claims_of_bob());
    world.word.says("eves", json!({"username": "eve"}));
    world.word.says("nobodys", json!({}));
    assert_eq!(request(&open, Some("bobs")).await, of_bob());
    world.consumers.stop();
    world.feed.lose_store(std::time::Duration::from_secs(60));
    assert_eq!(request(&open, Some("bobs")).await, of_bob());
    assert_eq!(world.word.asked(), ["bobs"], "it is cached");
    world.clock.advance(31);
    assert_eq!(request(&open, Some("bobs")).await, of_bob());
    assert_eq!(world.word.asked(), ["bobs"], "older than ttl");
    assert_eq!(request(&open, Some("others")).await, of_bob(), "its authority knows it, and its consumer is cached");
    let unavailable = || Refused(503, "consumer_store_unavailable".to_owned());
    assert_eq!(request(&open, Some("eves")).await, unavailable());
    assert_eq!(request(&never, Some("bobs")).await, unavailable());
    assert!(matches!(request(&never, Some("nobodys")).await, Passed(_)), "the store is not asked about it");
}

#[tokio::test]
async fn nothing_cached_is_used_while_the_change_feed_is_stale() {
    let world = World::new();
    let instance = world.instance(json!({}));
    request(&instance, Some("bobs")).await;
    world.feed.stop();
    assert_eq!(request(&instance, Some("bobs")).await, of_bob());
    assert_eq!(world.word.asked(), ["bobs", "bobs"]);
}
