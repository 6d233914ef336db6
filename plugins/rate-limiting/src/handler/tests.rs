use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tollgate_core::clock::ManualClock;
use tollgate_core::request::{Addressed, Edits, RequestBody, Target};
use tollgate_store::testing::{Backend, TestDatabase};
use uuid::Uuid;

use super::*;

const NOWHERE: Scope = Scope { route: None, service: None };

fn instance(config: Value, counters: Counters) -> RateLimit {
    let mut stored = json!({"limit_by": "ip", "fault_tolerant": true, "hide_client_headers": false});
    stored.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    let config = Config::try_from(&stored).unwrap();
    let headers = Headers::new(&config.limits).unwrap();
    let counter = |name| IntCounter::new(name, name).unwrap();
    let (refused, uncounted) = (counter("refused"), counter("uncounted"));
    let clock = Arc::new(ManualClock::at(1_700_000_000));
    RateLimit { config, scope: NOWHERE, headers, counters, clock, refused, uncounted }
}

/// The reason of a refusal with its status, and whether the client hears of limits.
async fn ask(instance: &RateLimit) -> (Option<(&'static str, u16)>, bool) {
    let headers = HeaderMap::new();
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
    let verdict = match instance.access(&mut request) {
        Access::Ready(verdict) => verdict,
        Access::Pending(waiting) => waiting.await,
    };
    let refusal = match verdict.unwrap() {
        Verdict::Continue => None,
        Verdict::Reply(reply) => Some((reply.reason, reply.status.as_u16())),
        Verdict::NeedBody { .. } => panic!("no body is needed"),
    };
    (refusal, !request.response.is_empty())
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_and_counted() {
    let instance = instance(json!({"minute": 1}), Counters::Local(Arc::new(Recent::new(1000))));
    assert_eq!(ask(&instance).await, (None, true));
    assert_eq!(ask(&instance).await, (Some(("rate_limit_exceeded", 429)), true));
    assert_eq!((instance.refused.get(), instance.uncounted.get()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_cannot_count_requests_pass_only_if_the_instance_says_so() {
    // A store without the plugin's table.
    let database = TestDatabase::create(Backend::Sqlite).await;
    let store = database.open().await;
    for (tolerant, expected) in [(true, None), (false, Some(("rate_limit_store_unavailable", 503)))] {
        let config = json!({"minute": 1, "policy": "cluster", "fault_tolerant": tolerant});
        let instance = instance(config, Counters::Cluster(Arc::new(Cluster::new(&store, 1000))));
        for _ in 0..3 {
            assert_eq!(ask(&instance).await, (expected, false));
        }
        assert_eq!((instance.refused.get(), instance.uncounted.get()), (0, 3));
    }
}
