use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::clock::ManualClock;
use tollgate_core::collection::{Merge, Page};
use tollgate_core::error::{DaoError, StoreError};
use tollgate_core::request::{Addressed, Edits};
use tollgate_plugin::cache::{Bounds, CacheMetrics};
use tollgate_plugin::testing::Feed;
use tollgate_plugin::{
    Collection, Credential, Document, Filter, HeaderEdit, Identity, Key, Kind, Metrics, PageQuery, RequestBody, Target,
};
use uuid::Uuid;

use super::*;
use crate::groups::{GroupSource, MOST_BYTES, MOST_GROUPS};
use crate::listener::Listener;

type Hook = Box<dyn FnOnce() + Send>;

/// Rows of `acls` in memory; only pages below a consumer are read.
struct Rows {
    kind: Kind,
    rows: Mutex<BTreeMap<Uuid, (Uuid, String)>>,
    down: AtomicBool,
    reads: AtomicUsize,
    /// Runs once, between reading a page and returning it.
    meanwhile: Mutex<Option<Hook>>,
}

#[async_trait]
impl Collection for Rows {
    fn kind(&self) -> &Kind {
        &self.kind
    }

    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("it is down".into()));
        }
        let Filter::Child { field: "consumer", parent } = query.filter else { panic!("{query:?}") };
        let read = self.below(parent);
        let more = read.len() > query.size;
        let documents: Vec<Document> = read.into_iter().take(query.size).collect();
        let next = documents.last().filter(|_| more).and_then(Document::id);
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        Ok(Page { documents, next })
    }

    async fn find(&self, _: &Key) -> Result<Option<Document>, StoreError> {
        unimplemented!()
    }

    async fn insert(&self, _: Document) -> Result<Document, DaoError> {
        unimplemented!()
    }

    async fn upsert(&self, _: &Key, _: Document) -> Result<Document, DaoError> {
        unimplemented!()
    }

    async fn update(&self, _: &Key, _: &Merge<'_>) -> Result<Option<Document>, DaoError> {
        unimplemented!()
    }

    async fn delete(&self, _: &Key) -> Result<bool, DaoError> {
        unimplemented!()
    }
}

impl Rows {
    fn document(id: Uuid, consumer: Uuid, group: &str) -> Document {
        json!({"id": id, "consumer": {"id": consumer}, "group": group}).try_into().unwrap()
    }

    fn below(&self, consumer: Uuid) -> Vec<Document> {
        let rows = self.rows.lock().unwrap();
        let below = rows.iter().filter(|(_, (parent, _))| *parent == consumer);
        below.map(|(id, (parent, group))| Self::document(*id, *parent, group)).collect()
    }
}

#[derive(Clone)]
struct World {
    rows: Arc<Rows>,
    feed: Arc<Feed>,
    groups: GroupCache,
    listener: Arc<Listener>,
}

const BOB: Uuid = Uuid::from_u128(1);
const EVE: Uuid = Uuid::from_u128(2);

impl World {
    fn new() -> Self {
        let rows = Arc::new(Rows {
            kind: crate::entity::kind(),
            rows: Mutex::default(),
            down: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
            meanwhile: Mutex::default(),
        });
        let feed = Feed::new();
        let metrics = Metrics::new(prometheus::Registry::new(), [crate::NAME]);
        let metrics = CacheMetrics::register(&metrics, "acl_groups", "groups").unwrap();
        let bounds = Bounds { bytes: 1 << 20, negative_millis: 0 };
        let source = GroupSource::new(rows.clone());
        let groups = GroupCache::new(bounds, source, feed.clone(), Arc::new(ManualClock::at(1)), metrics);
        let listener = Arc::new(Listener { groups: groups.clone() });
        Self { rows, feed, groups, listener }
    }

    /// In which Bob is in these groups.
    fn of(groups: &[&str]) -> Self {
        let world = Self::new();
        for (id, group) in (100..).zip(groups) {
            world.put(id, BOB, group);
        }
        world
    }

    fn put(&self, id: u128, consumer: Uuid, group: &str) {
        self.rows.rows.lock().unwrap().insert(Uuid::from_u128(id), (consumer, group.to_owned()));
    }

    fn remove(&self, id: u128) {
        self.rows.rows.lock().unwrap().remove(&Uuid::from_u128(id));
    }

    /// Reports a change of a row, which is as it is now, to the listener.
    fn report(&self, id: u128, operation: Operation) {
        let id = Uuid::from_u128(id);
        let row = self.rows.rows.lock().unwrap().get(&id).cloned();
        let document = row.map(|(consumer, group)| Rows::document(id, consumer, &group));
        self.listener.apply_one(&Change {
            kind: crate::entity::NAME.to_owned(),
            operation,
            id,
            key: Vec::new(),
            document,
        });
    }

    fn handler(&self, config: Value) -> AccessControl {
        let mut stored = json!({"allow": null, "deny": null, "hide_groups_header": false});
        stored.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        AccessControl { config: Config::try_from(&stored).unwrap(), groups: self.groups.clone() }
    }

    fn reads(&self) -> usize {
        self.rows.reads.load(Ordering::SeqCst)
    }

    /// The outcome of a request of this consumer.
    async fn judge(&self, config: Value, consumer: Option<Uuid>) -> Outcome {
        let identity = consumer.map(|consumer| Identity { consumer: Some(consumer), credential: None });
        judged(&self.handler(config), identity).await
    }

    /// Whether Bob is in a group.
    async fn bob_is_in(&self, group: &str) -> bool {
        matches!(self.judge(json!({"allow": [group]}), Some(BOB)).await, Outcome::Passed(_))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// With these header lines for the upstream.
    Passed(String),
    Refused(u16, String),
}

fn outcome(verdict: Verdict, edits: &Edits) -> Outcome {
    match verdict {
        Verdict::Continue => {
            let lines = edits.headers.iter().map(|edit| match edit {
                HeaderEdit::Apply(block) => String::from_utf8(block.lines().to_vec()).unwrap(),
                other => panic!("{other:?}"),
            });
            Outcome::Passed(lines.collect())
        }
        Verdict::Reply(reply) => Outcome::Refused(reply.status.as_u16(), format!("{:?}", reply.body)),
        other => panic!("{other:?}"),
    }
}

/// What a request borrows.
struct Head {
    headers: HeaderMap,
    target: Target,
}

impl Head {
    fn new() -> Self {
        Self { headers: HeaderMap::new(), target: Target { route_id: Uuid::nil(), service_id: None } }
    }

    fn request(&self, identity: Option<Identity>) -> Request<'_> {
        Request {
            method: &Method::GET,
            path: "/",
            query: None,
            headers: &self.headers,
            http2: false,
            tls: true,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            peer_trusted: false,
            addressed: Addressed::default(),
            certificate: None,
            arrival: &(),
            target: &self.target,
            body: RequestBody::Unread,
            edits: Edits::default(),
            response: Vec::new(),
            identity,
            served_stale: None,
            notes: None,
        }
    }
}

async fn judged(handler: &AccessControl, identity: Option<Identity>) -> Outcome {
    let head = Head::new();
    let mut request = head.request(identity);
    let verdict = match handler.access(&mut request) {
        Access::Ready(verdict) => verdict,
        Access::Pending(waiting) => waiting.await,
    };
    outcome(verdict.unwrap(), &request.edits)
}

fn unauthorized() -> Outcome {
    Outcome::Refused(401, "Message(\"Unauthorized\")".to_owned())
}

fn forbidden() -> Outcome {
    Outcome::Refused(403, "Message(\"You cannot consume this service\")".to_owned())
}

fn unavailable() -> Outcome {
    Outcome::Refused(503, "Message(\"The authorization state is currently unavailable\")".to_owned())
}

fn passed(groups: &str) -> Outcome {
    Outcome::Passed(format!("X-Consumer-Groups: {groups}\r\n"))
}

#[tokio::test]
async fn a_consumer_passes_by_its_groups() {
    for (config, groups, expected) in [
        (json!({"allow": ["admin"]}), &["admin"] as &[&str], passed("admin")),
        (json!({"allow": ["admin"]}), &[], forbidden()),
        (json!({"allow": ["admin"]}), &["Admin", "admins"], forbidden()),
        (json!({"allow": ["admin", "pro"]}), &["hello", "pro"], passed("hello, pro")),
        (json!({"allow": ["admin", "pro"]}), &["free", "hello"], forbidden()),
        (json!({"deny": ["admin"]}), &["admin"], forbidden()),
        (json!({"deny": ["admin"]}), &[], Outcome::Passed(String::new())),
        (json!({"deny": ["admin", "pro"]}), &["free", "hello"], passed("free, hello")),
        (json!({"deny": ["admin", "pro", "hello"]}), &["free", "hello"], forbidden()),
        (json!({"deny": ["admin"], "allow": []}), &["zz", "a"], passed("zz, a")),
        (json!({"allow": ["admin"], "hide_groups_header": true}), &["admin"], Outcome::Passed(String::new())),
        (json!({"allow": ["admin"], "hide_groups_header": true}), &["pro"], forbidden()),
    ] {
        let world = World::of(groups);
        // From the store, then the shared cache, then the thread-local cache.
        for time in 1..=3 {
            let outcome = world.judge(config.clone(), Some(BOB)).await;
            assert_eq!(outcome, expected, "{config} {groups:?}, time {time}");
        }
        assert_eq!(world.reads(), 1, "{config} {groups:?}");
    }
}

#[tokio::test]
async fn a_request_without_a_consumer_is_unauthorized() {
    for config in [
        json!({"allow": ["admin"]}),
        json!({"deny": ["admin"]}),
        json!({"deny": ["admin"], "always_use_authenticated_groups": true}),
    ] {
        let world = World::of(&["admin"]);
        assert_eq!(world.judge(config.clone(), None).await, unauthorized(), "{config}");
        assert_eq!(world.reads(), 0);
    }
}

#[tokio::test]
async fn groups_are_the_consumers_own() {
    let world = World::of(&["admin"]);
    let eve = Some(Identity { consumer: Some(EVE), credential: Some(Credential::Entity(BOB)) });
    let handler = world.handler(json!({"allow": ["admin"]}));
    assert_eq!(judged(&handler, eve).await, forbidden());
    assert!(world.bob_is_in("admin").await);
    assert_eq!(judged(&handler, eve).await, forbidden());
}

#[tokio::test]
async fn every_change_of_a_row_takes_effect_at_once() {
    let world = World::of(&["a"]);
    assert!(world.bob_is_in("a").await && !world.bob_is_in("b").await);
    world.put(200, BOB, "b");
    world.report(200, Operation::Created);
    assert!(world.bob_is_in("a").await && world.bob_is_in("b").await);
    world.put(100, BOB, "c");
    world.report(100, Operation::Updated);
    assert!(!world.bob_is_in("a").await && world.bob_is_in("c").await);
    // A deletion reports only the id.
    world.remove(100);
    world.report(100, Operation::Deleted);
    assert!(!world.bob_is_in("c").await && world.bob_is_in("b").await);
    // The change of a row that was moved does not report its previous consumer.
    world.put(200, EVE, "b");
    world.report(200, Operation::Updated);
    assert!(!world.bob_is_in("b").await);
    assert_eq!(world.judge(json!({"allow": ["b"]}), Some(EVE)).await, passed("b"));
}

#[tokio::test]
async fn a_change_affects_no_other_consumer() {
    let world = World::of(&["a"]);
    world.put(200, EVE, "a");
    for consumer in [BOB, EVE] {
        assert_eq!(world.judge(json!({"allow": ["a"]}), Some(consumer)).await, passed("a"));
    }
    world.remove(200);
    world.report(200, Operation::Deleted);
    assert!(world.bob_is_in("a").await);
    assert_eq!(world.reads(), 2);
}

#[tokio::test]
async fn what_was_read_before_a_change_is_not_kept_after_it() {
    type Write = fn(&World);
    let delete: Write = |world| {
        world.remove(100);
        world.report(100, Operation::Deleted);
    };
    let rename: Write = |world| {
        world.put(100, BOB, "b");
        world.report(100, Operation::Updated);
    };
    let move_away: Write = |world| {
        world.put(100, EVE, "a");
        world.report(100, Operation::Updated);
    };
    for write in [delete, rename, move_away] {
        let world = World::of(&["a"]);
        let meanwhile = world.clone();
        *world.rows.meanwhile.lock().unwrap() = Some(Box::new(move || write(&meanwhile)));
        // This request is concurrent to the write and may see either state.
        world.bob_is_in("a").await;
        assert!(!world.bob_is_in("a").await);
        assert_eq!(world.reads(), 2);
    }
}

#[tokio::test]
async fn a_row_that_was_added_while_groups_were_read_is_found() {
    let world = World::of(&["a"]);
    let meanwhile = world.clone();
    *world.rows.meanwhile.lock().unwrap() = Some(Box::new(move || {
        meanwhile.put(200, BOB, "b");
        meanwhile.report(200, Operation::Created);
    }));
    assert!(world.bob_is_in("a").await);
    assert!(world.bob_is_in("b").await);
}

#[tokio::test]
async fn a_reset_forgets_everything() {
    let world = World::of(&["a"]);
    assert!(world.bob_is_in("a").await);
    let eve = Some(EVE);
    assert_eq!(world.judge(json!({"allow": ["a"]}), eve).await, forbidden());
    world.put(100, EVE, "a");
    assert!(world.bob_is_in("a").await, "the change was not reported");
    world.listener.reset().await.unwrap();
    assert!(!world.bob_is_in("a").await);
    assert_eq!(world.judge(json!({"allow": ["a"]}), eve).await, passed("a"));
}

#[tokio::test]
async fn without_the_change_feed_the_store_is_asked() {
    let world = World::of(&["a"]);
    assert!(world.bob_is_in("a").await);
    world.remove(100);
    world.feed.stop();
    assert!(!world.bob_is_in("a").await);
}

#[tokio::test]
async fn while_the_store_is_down_only_cached_groups_let_requests_pass() {
    let world = World::of(&["a"]);
    world.rows.down.store(true, Ordering::SeqCst);
    for config in [json!({"allow": ["a"]}), json!({"deny": ["b"]})] {
        assert_eq!(world.judge(config, Some(BOB)).await, unavailable());
    }
    world.rows.down.store(false, Ordering::SeqCst);
    assert!(world.bob_is_in("a").await);
    world.rows.down.store(true, Ordering::SeqCst);
    assert!(world.bob_is_in("a").await, "cached groups need no store");
}

#[tokio::test]
async fn a_consumer_beyond_the_limits_does_not_pass() {
    let many: Vec<String> = (0..MOST_GROUPS).map(|number| number.to_string()).collect();
    let world = World::of(&many.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(world.bob_is_in("999").await);
    world.put(1, BOB, "one-too-many");
    world.report(1, Operation::Created);
    for config in [json!({"allow": ["one-too-many"]}), json!({"deny": ["none"]})] {
        assert_eq!(world.judge(config, Some(BOB)).await, unavailable());
    }
    world.remove(500 + 100);
    world.report(500 + 100, Operation::Deleted);
    assert!(world.bob_is_in("one-too-many").await && !world.bob_is_in("500").await);

    let long = "x".repeat(MOST_BYTES - ", y".len());
    let world = World::of(&[&long, "y"]);
    assert!(world.bob_is_in("y").await);
    world.put(101, BOB, "yy");
    world.report(101, Operation::Updated);
    assert_eq!(world.judge(json!({"deny": ["none"]}), Some(BOB)).await, unavailable());
}

#[tokio::test]
async fn a_consumer_with_a_group_that_cannot_be_sent_does_not_pass() {
    let world = World::of(&["a\r\nX-Consumer-ID: 1"]);
    assert_eq!(world.judge(json!({"deny": ["none"]}), Some(BOB)).await, unavailable());
}

#[tokio::test]
async fn a_warm_request_allocates_nothing() {
    let world = World::of(&["a", "b"]);
    let handler = world.handler(json!({"allow": ["b"]}));
    let identity = Some(Identity { consumer: Some(BOB), credential: None });
    let head = Head::new();
    let ask = || {
        let mut request = head.request(identity);
        let mut passed = false;
        let spent = allocation_counter::measure(|| {
            passed = matches!(handler.access(&mut request), Access::Ready(Ok(Verdict::Continue)));
        });
        (passed, spent.count_total)
    };
    judged(&handler, identity).await;
    // Copies the fact from the shared cache to the thread-local one.
    ask();
    for _ in 0..10 {
        assert_eq!(ask(), (true, 0));
    }
    assert_eq!(world.reads(), 1);
}
