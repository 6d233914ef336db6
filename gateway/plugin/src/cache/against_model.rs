//! The cache against a model: any sequence of look-ups, changes, expiry, outages of the store and gaps of the change
//! feed, with a manual clock. The model is the store as the last request should have seen it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Method};
use proptest::prelude::*;
use tollgate_core::clock::ManualClock;
use tollgate_core::request::{Addressed, Edits, Request, RequestBody, Target};
use uuid::Uuid;

use super::outage::ServeCached;
use super::{Bounds, CacheMetrics, Fact, FactCache, Invalidation, Known, Loaded, SharedFact, SharedFacts, Source};
use crate::metrics::Metrics;
use crate::testing::Feed;
use crate::thread_cache;

const KEYS: u8 = 4;
const OWNERS: u8 = 2;
/// How long an unknown key is remembered.
const NEGATIVE: i64 = 5;
/// For how long the instance serves cached facts during an outage.
const SERVED_FOR: u32 = 60;

/// A version of a key's data, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    version: u32,
    owner: u8,
}

#[derive(Clone)]
struct Cached {
    row: Row,
    owner: Arc<Owner>,
}

struct Owner(Invalidation);

impl SharedFact for Owner {
    fn invalidation(&self) -> &Invalidation {
        &self.0
    }
}

thread_cache!(Cached);

impl Fact for Cached {
    type Key = Uuid;

    fn is_current(&self) -> bool {
        self.owner.is_current()
    }

    fn weight(&self) -> u32 {
        100
    }
}

/// The store.
#[derive(Default)]
struct Rows {
    rows: Mutex<BTreeMap<u8, Row>>,
    owners: SharedFacts<Owner>,
    is_away: Mutex<bool>,
    reads: AtomicUsize,
}

#[derive(Clone)]
struct Reader(Arc<Rows>);

impl Source<Cached> for Reader {
    type Question = u8;
    type Error = &'static str;

    async fn read(&self, _: Uuid, key: u8) -> Loaded<Option<Cached>, &'static str> {
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        if *self.0.is_away.lock().unwrap() {
            return Err(Arc::new("the store is away"));
        }
        let row = self.0.rows.lock().unwrap().get(&key).copied();
        Ok(row.map(|row| {
            let owner = self.0.owners.get_or_add(id(100 + row.owner), || Owner(Invalidation::new()));
            Cached { row, owner }
        }))
    }
}

fn id(number: u8) -> Uuid {
    // The first bytes select shard and slot.
    Uuid::from_bytes([number; 16])
}

#[derive(Debug, Clone, Copy)]
enum Step {
    LookUp(u8),
    Write {
        key: u8,
        owner: u8,
    },
    Revoke(u8),
    RevokeOwner(u8),
    Wait(i64),
    /// The store is away: nothing can be read or written, and the feed is silent.
    Outage,
    /// The feed says that it cannot be trusted; the store can be read.
    Gap,
    /// Both are back. `Missed::ByName`: the feed catches up; otherwise it has lost changes, and everything is
    /// forgotten.
    Return(Missed),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missed {
    ByName,
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..KEYS).prop_map(Step::LookUp),
        4 => (0..KEYS, 0..OWNERS).prop_map(|(key, owner)| Step::Write { key, owner }),
        2 => (0..KEYS).prop_map(Step::Revoke),
        1 => (0..OWNERS).prop_map(Step::RevokeOwner),
        2 => prop_oneof![1..10_i64, 50..70_i64].prop_map(Step::Wait),
        1 => Just(Step::Outage),
        1 => Just(Step::Gap),
        3 => prop_oneof![Just(Missed::ByName), Just(Missed::Lost)].prop_map(Step::Return),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    All,
    /// No changes since this time; the store is away.
    NothingSince(i64),
    Unknown,
}

struct World {
    rows: Arc<Rows>,
    feed: Arc<Feed>,
    clock: Arc<ManualClock>,
    cache: FactCache<Cached, Reader>,
    now: i64,
    heard: Heard,
    /// Changed, but not announced yet.
    missed: BTreeSet<Change>,
    version: u32,
    /// Keys that were found when everything was heard, and not changed since.
    known: BTreeSet<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Of(u8),
    OfOwner(u8),
}

impl World {
    fn new() -> Self {
        let (rows, feed, clock) = (Arc::<Rows>::default(), Feed::new(), Arc::new(ManualClock::at(0)));
        let metrics = Metrics::new(prometheus::Registry::new(), ["row"]);
        let metrics = CacheMetrics::register(&metrics, "row", "rows").unwrap();
        let bounds = Bounds { bytes: 1_000_000, negative_millis: NEGATIVE * 1000 };
        let cache = FactCache::new(bounds, Reader(Arc::clone(&rows)), feed.clone(), clock.clone(), metrics);
        let (missed, known) = Default::default();
        Self { rows, feed, clock, cache, now: 0, heard: Heard::All, missed, version: 0, known }
    }

    fn announce(&mut self, change: Change) {
        if self.heard != Heard::All {
            self.missed.insert(change);
            return;
        }
        match change {
            Change::Of(key) => {
                self.known.remove(&key);
                self.cache.forget(&id(key));
            }
            Change::OfOwner(owner) => {
                self.known.clear();
                self.cache.facts_ended();
                self.rows.owners.invalidate(id(100 + owner));
            }
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::LookUp(key) => return self.look_up(key).await,
            // Nothing can be written while the store is away.
            Step::Write { .. } | Step::Revoke(_) | Step::RevokeOwner(_)
                if matches!(self.heard, Heard::NothingSince(_)) => {}
            Step::Write { key, owner } => {
                self.version += 1;
                self.rows.rows.lock().unwrap().insert(key, Row { version: self.version, owner });
                self.announce(Change::Of(key));
            }
            Step::Revoke(key) => {
                self.rows.rows.lock().unwrap().remove(&key);
                self.announce(Change::Of(key));
            }
            Step::RevokeOwner(owner) => {
                self.rows.rows.lock().unwrap().retain(|_, row| row.owner != owner);
                self.announce(Change::OfOwner(owner));
            }
            Step::Wait(seconds) => {
                self.now += seconds;
                self.clock.advance(seconds);
                self.tell_age();
            }
            Step::Outage if self.heard == Heard::All => {
                *self.rows.is_away.lock().unwrap() = true;
                self.heard = Heard::NothingSince(self.now);
                self.tell_age();
            }
            Step::Gap if self.heard == Heard::All => {
                self.heard = Heard::Unknown;
                self.feed.stop();
            }
            Step::Outage | Step::Gap => {}
            Step::Return(missed) => self.come_back(missed),
        }
        Ok(())
    }

    fn tell_age(&self) {
        if let Heard::NothingSince(since) = self.heard {
            self.feed.lose_store(Duration::from_secs(u64::try_from(self.now - since).unwrap()));
        }
    }

    /// What was missed is applied before anything is trusted again.
    fn come_back(&mut self, missed: Missed) {
        *self.rows.is_away.lock().unwrap() = false;
        self.heard = Heard::All;
        let changes = std::mem::take(&mut self.missed);
        if missed == Missed::Lost {
            self.known.clear();
            self.cache.forget_all();
            self.cache.facts_ended();
            self.rows.owners.invalidate_all();
        } else {
            changes.into_iter().for_each(|change| self.announce(change));
        }
        self.feed.resume();
    }

    /// As a plugin asks on a request.
    async fn ask(&self, key: u8) -> (Result<Option<Row>, &'static str>, Option<Duration>) {
        let (headers, target) = (HeaderMap::new(), Target { route_id: Uuid::nil(), service_id: None });
        let mut request = Request {
            method: &Method::GET,
            path: "/",
            query: None,
            headers: &headers,
            http2: false,
            tls: true,
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
        if let Some(row) = self.cache.of_this_thread(&id(key), |fact| fact.row) {
            return (Ok(Some(row)), None);
        }
        let rule = ServeCached::of(Some(SERVED_FOR));
        let found = match self.cache.get_for(&id(key), rule, &mut request) {
            Some(Known::Fact(fact)) => Ok(Some(fact.row)),
            Some(Known::Unknown) => Ok(None),
            None => match self.cache.load_for(id(key), key, rule, &mut request).await {
                Ok(found) => Ok(found.map(|fact| fact.row)),
                Err(error) => Err(*error),
            },
        };
        (found, request.served_stale)
    }

    async fn look_up(&mut self, key: u8) -> Result<(), TestCaseError> {
        let stored = self.rows.rows.lock().unwrap().get(&key).copied();
        let before = self.rows.reads.load(Ordering::SeqCst);
        let (found, stale) = self.ask(key).await;
        let reads = self.rows.reads.load(Ordering::SeqCst) - before;
        match self.heard {
            Heard::All => {
                prop_assert_eq!((found, stale), (Ok(stored), None));
                prop_assert!(reads == 0 || !self.known.contains(&key), "a known fact was read again");
                if stored.is_some() {
                    self.known.insert(key);
                }
            }
            // Nothing cached is used.
            Heard::Unknown => prop_assert_eq!((found, stale, reads), (Ok(stored), None, 1)),
            Heard::NothingSince(since) => {
                let age = self.now - since;
                match found {
                    // Nothing has been written since, so this is what was last heard; absence never is.
                    Ok(row) => {
                        prop_assert!(
                            row.is_some() && row == stored && age < i64::from(SERVED_FOR),
                            "{row:?} after {age} s"
                        );
                        prop_assert_eq!(stale.map(|age| age.as_secs()), u64::try_from(age).ok());
                    }
                    Err(_) => prop_assert!(
                        age >= i64::from(SERVED_FOR) || !self.known.contains(&key),
                        "a known fact is refused"
                    ),
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn look_ups_are_those_of_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.take(step).await?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
