//! The change feed: applies committed changes on this node and on the others.
//!
//! A write of this node is announced after its commit and before it returns ([`Store::transaction`]). A
//! background task (`postgres`, `sqlite`) also reads committed changes from the table `changes`: the writes
//! of other nodes, and those of this node that it could not announce because it never learnt whether they
//! were committed. Each row names its write, so that announced changes are not applied again.
//!
//! Invariants: listeners receive entities in their current state, one call after another, so that of two
//! changes to one entity the later one prevails. A change that a listener could not apply is kept and
//! retried. If that lasts longer than the bound, or the feed cannot be read for longer than the bound, or the
//! outcome of a write is unknown, [`Feed::is_current`] returns false; [`Feed::outage`] says whether that is because the
//! store is away (`standing`).
//!
//! [`Store::transaction`]: crate::Store::transaction

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::clock::Clock;
use tollgate_core::collection::Document;
use tollgate_core::error::{BreakerOpen, StoreError};
use uuid::Uuid;

use crate::database::Database;
use crate::entity::read::find_many;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::postgres::{Breaker, Replicas};
use lag::Lag;
use pending::Pending;
use reading::Readings;
use standing::{Hearing, Signs, Standing};
pub(crate) use write::Write;

mod lag;
mod pending;
pub(crate) mod postgres;
mod reading;
pub(crate) mod sqlite;
mod standing;
mod unknown_outcome;
mod write;

/// How often failed changes are retried and the age of the last reading is checked.
const TICK: Duration = Duration::from_millis(50);

/// The change feed of a store. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    kinds: Kinds,
    clock: Arc<dyn Clock>,
    bound: Duration,
    /// How long to wait for a reading, or for the outcome of a write.
    wait_limit: Duration,
    /// The time within which the database has ended every running statement.
    longest_statement: Duration,
    /// After this time without a reading, rows may be gone: shorter than they are kept.
    kept: Duration,
    metrics: Metrics,
    lag: Lag,
    listeners: RwLock<Vec<Arc<dyn ChangeListener>>>,
    pending: Mutex<Pending>,
    /// Held while listeners apply changes.
    turn: tokio::sync::Mutex<()>,
    /// Notified after writes of this node.
    written: Notify,
    readings: Readings,
    /// Announced writes whose rows have not been read yet.
    announced: Mutex<HashSet<Uuid>>,
    /// Since when the outcome of a write is unknown: of the last one, if there are several.
    unknown_since: watch::Sender<Option<Instant>>,
    /// When this was made.
    made: Instant,
    /// Whether other nodes write to the store: otherwise a silent feed proves nothing.
    is_shared: bool,
    /// When their changes were last read, in nanoseconds since it was made: exactly, since a time before that at which the
    /// database was heard would mean that it was heard and not read.
    last_read: AtomicU64,
    /// When the database last responded to the feed, and what came of the last attempt.
    heard: Mutex<(Instant, Hearing)>,
    standing: watch::Sender<Standing>,
    /// Whether the standing is current.
    current: AtomicBool,
}

impl Feed {
    pub(crate) fn new(database: Database, kinds: Kinds, options: &Options, metrics: Metrics) -> Self {
        let (made, is_shared) = (Instant::now(), matches!(database, Database::Postgres(_)));
        let inner = Inner {
            database,
            kinds,
            clock: Arc::clone(&options.clock),
            bound: options.feed_bound,
            wait_limit: options.acquire_timeout + options.feed_bound,
            longest_statement: options.statement_timeout * 2,
            // The database rounds to whole seconds.
            kept: options.change_retention.saturating_sub(Duration::from_secs(1)) * 5 / 6,
            lag: Lag::new(metrics.clone()),
            metrics,
            listeners: RwLock::default(),
            pending: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            written: Notify::new(),
            readings: Readings::default(),
            announced: Mutex::default(),
            unknown_since: watch::Sender::new(None),
            made,
            is_shared,
            last_read: AtomicU64::new(0),
            heard: Mutex::new((made, Hearing::Heard)),
            standing: watch::Sender::new(Standing::Current),
            current: AtomicBool::new(true),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Adds a listener after the existing ones. A listener must not write to the store: the write would wait
    /// for the listener.
    pub fn subscribe(&self, listener: Arc<dyn ChangeListener>) {
        self.inner.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Reports at every scrape how long ago other nodes' changes were last read.
    pub(crate) fn watch_age(&self, metrics: &Metrics) {
        // The registry outlives the store.
        let feed = Arc::downgrade(&self.inner);
        metrics.watch_feed_age(move || {
            let inner = feed.upgrade()?;
            Some(Feed { inner }.last_read().elapsed())
        });
    }

    /// Whether this node has read all changes that were committed longer ago than the bound, and knows the
    /// outcome of its own writes. One relaxed atomic read.
    pub fn is_current(&self) -> bool {
        self.inner.current.load(Ordering::Relaxed)
    }

    /// While the store is away: for how long this node has not heard of changes. What is cached was true then.
    /// `None`: caches are current, or must not be used at all.
    pub fn outage(&self) -> Option<Duration> {
        (*self.inner.standing.borrow() == Standing::Outage).then(|| self.last_read().elapsed())
    }

    /// For how long this node has not heard of changes, 0 while caches are current: for a metric, which must not keep
    /// the store open.
    pub(crate) fn unheard(&self) -> impl Fn() -> Duration + Send + Sync + 'static {
        let feed = Arc::downgrade(&self.inner);
        move || match feed.upgrade().map(|inner| Self { inner }) {
            Some(feed) if !feed.is_current() => feed.last_read().elapsed(),
            _ => Duration::ZERO,
        }
    }

    /// How long ago this node last heard of changes: what it has cached was true then. 0 if no other node can change
    /// anything.
    pub fn age(&self) -> Duration {
        if self.inner.is_shared { self.last_read().elapsed() } else { Duration::ZERO }
    }

    fn last_read(&self) -> Instant {
        self.inner.made + Duration::from_nanos(self.inner.last_read.load(Ordering::Relaxed))
    }

    /// Applies changes of this node or others.
    pub(crate) async fn receive(&self, changes: &[Change]) -> Result<(), StoreError> {
        let entities = changes.iter().any(|change| self.inner.kinds.get(&change.kind).is_some());
        if entities {
            let ticket = self.pending().push(changes);
            return self.settle(ticket).await;
        }
        // Changes that only drop cache entries need no order, and do not wait for those that do.
        let result = self.apply(changes).await;
        if result.is_err() {
            let mut pending = self.pending();
            pending.push(changes);
            pending.failed();
        }
        result
    }

    /// Makes every listener drop everything: changes may have been missed.
    pub(crate) async fn reset(&self) -> Result<(), StoreError> {
        let ticket = self.pending().require_reset();
        self.settle(ticket).await
    }

    /// Returns when this node has applied everything that was committed before the call. For a write that
    /// changes nothing because another writer, or an attempt that seemed to fail, made the change: the
    /// response reveals that change, so it must be in force here. Returns an error on timeout, and at once while the
    /// store is away.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let limit = self.inner.wait_limit;
        tokio::select! {
            biased;
            () = self.store_is_away() => Err(BreakerOpen.into()),
            read = tokio::time::timeout(limit, self.inner.readings.next()) => {
                read.map_err(|_| StoreError::Timeout(limit))
            }
        }
    }

    /// Waits until the store is away.
    async fn store_is_away(&self) {
        // The sender is a field of `self`, so it still exists.
        let _ = self.inner.standing.subscribe().wait_for(|standing| *standing == Standing::Outage).await;
    }

    /// Applies all pending changes unless another caller has. The holder of the turn takes everything that
    /// waits, so that many concurrent writes cost one round of the listeners.
    async fn settle(&self, ticket: u64) -> Result<(), StoreError> {
        let _turn = self.inner.turn.lock().await;
        let batch = {
            let pending = self.pending();
            if pending.is_done(ticket) {
                return Ok(());
            }
            pending.batch()
        };
        let result = if batch.reset {
            self.reset_listeners().await
        } else {
            match self.refresh(batch.changes).await {
                Ok(changes) => self.apply(&changes).await,
                Err(error) => Err(error),
            }
        };
        let mut pending = self.pending();
        match result {
            Ok(()) => {
                pending.finished(batch.upto, batch.count);
                self.inner.lag.caught_up();
            }
            Err(_) => pending.failed(),
        }
        result
    }

    /// The changes with the current entities. A deleted entity may exist again, and a changed one may be
    /// gone.
    async fn refresh(&self, changes: Vec<Change>) -> Result<Vec<Change>, StoreError> {
        if self.listeners().is_empty() {
            return Ok(changes);
        }
        let mut wanted: BTreeMap<&'static str, BTreeSet<Uuid>> = BTreeMap::new();
        for change in &changes {
            if let Some(kind) = self.inner.kinds.get(&change.kind) {
                wanted.entry(kind.name).or_default().insert(change.id);
            }
        }
        let mut documents: HashMap<(&'static str, Uuid), Document> = HashMap::new();
        for (name, ids) in &wanted {
            let Some(kind) = self.inner.kinds.get(name) else { continue };
            let ids: Vec<Uuid> = ids.iter().copied().collect();
            let (shown, now) = (Arc::clone(&kind), self.inner.clock.now());
            let read =
                self.inner.database.read((kind, ids), async |(kind, ids), session| find_many(session, kind, ids).await);
            let there = read.await?.into_iter().filter(|found| found.is_there(now));
            documents.extend(there.map(|found| ((*name, found.id), found.shown(&shown, now))));
        }
        let complete = |mut change: Change| {
            let Some(kind) = self.inner.kinds.get(&change.kind) else { return change };
            change.document = documents.get(&(kind.name, change.id)).cloned();
            change.operation = match (&change.document, change.operation) {
                (None, _) => Operation::Deleted,
                (Some(_), Operation::Deleted) => Operation::Updated,
                (Some(_), operation) => operation,
            };
            change
        };
        Ok(changes.into_iter().map(complete).collect())
    }

    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        for listener in self.listeners() {
            listener.apply(changes).await?;
        }
        Ok(())
    }

    async fn reset_listeners(&self) -> Result<(), StoreError> {
        self.inner.metrics.feed_reset();
        for listener in self.listeners() {
            listener.reset().await?;
        }
        Ok(())
    }

    fn replicas(&self) -> Option<&Replicas> {
        match &self.inner.database {
            Database::Postgres(postgres) => postgres.replicas(),
            Database::Sqlite(_) => None,
        }
    }

    fn listeners(&self) -> Vec<Arc<dyn ChangeListener>> {
        self.inner.listeners.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a reading: it will include everything committed by now.
    pub(crate) fn reading_begins(&self) -> u64 {
        self.inner.readings.begin()
    }

    /// Records that everything that was committed when this reading began was read and passed to the
    /// listeners.
    pub(crate) fn reading_ends(&self, reading: u64) {
        let elapsed = u64::try_from(self.inner.made.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.inner.last_read.store(elapsed, Ordering::Relaxed);
        // Changes that a listener could not apply were read, but are not in force.
        if self.pending().failing_since().is_none() {
            self.inner.readings.finish(reading);
        }
        self.update_current();
    }

    /// Waits until a reading is needed.
    pub(crate) async fn reading_is_wanted(&self) {
        self.inner.readings.wanted().await;
    }

    /// Waits until this node has written something.
    pub(crate) async fn written_here(&self) {
        self.inner.written.notified().await;
    }

    /// The database has responded to the feed.
    pub(crate) fn mark_heard(&self) {
        *self.lock_heard() = (Instant::now(), Hearing::Heard);
    }

    /// The feed cannot be read, because of this. Returns whether that is new.
    pub(crate) fn mark_unheard(&self, error: &StoreError) -> bool {
        let hearing = if error.is_transient() { Hearing::Lost } else { Hearing::Unusable };
        let before = std::mem::replace(&mut self.lock_heard().1, hearing);
        self.update_current();
        before != hearing
    }

    fn lock_heard(&self) -> MutexGuard<'_, (Instant, Hearing)> {
        self.inner.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Determines what the caches are worth. Serialised by a lock, so that the last caller has the latest
    /// information.
    fn update_current(&self) {
        let heard = self.lock_heard();
        let now = Instant::now();
        let breaker = self.inner.database.breaker();
        let signs = Signs {
            bound: self.inner.bound,
            last_read: self.inner.is_shared.then(|| self.last_read()),
            heard: *heard,
            away: breaker.is_some_and(Breaker::is_open),
            failing_since: self.pending().failing_since(),
            outcome_unknown: self.inner.unknown_since.borrow().is_some(),
        };
        let before = *self.inner.standing.borrow();
        let standing = signs.standing(before, now);
        if standing == before {
            return;
        }
        self.inner.standing.send_replace(standing);
        self.inner.current.store(standing == Standing::Current, Ordering::Relaxed);
        match standing {
            Standing::Current => tracing::info!("change feed is current again"),
            Standing::Outage => {
                tracing::warn!("change feed is stale; serving what is cached while the store is away");
            }
            Standing::Untrusted => tracing::warn!("change feed is stale; bypassing caches"),
        }
        if standing == Standing::Outage
            && let Some(breaker) = breaker
        {
            // If it is silent, others wait for it too.
            breaker.suspect();
        }
    }

    /// Retries failed changes, checks the age of the last reading, and determines the outcome of writes,
    /// until the store is closed.
    pub(crate) async fn watch(self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let retry = async {
            loop {
                tokio::time::sleep(TICK).await;
                let waiting = self.pending().waiting();
                if let Some(ticket) = waiting
                    && let Err(error) = self.settle(ticket).await
                {
                    report(&error);
                }
            }
        };
        let check = async {
            loop {
                tick.tick().await;
                self.update_current();
            }
        };
        tokio::join!(retry, check, self.resolve_unknown_outcomes());
    }
}

/// Logs why changes cannot be applied, unless the breaker has.
fn report(error: &StoreError) {
    if !error.is_reported() {
        tracing::warn!(error = error as &dyn std::error::Error, "cannot apply changes; retrying");
    }
}
