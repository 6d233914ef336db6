//! The breaker in front of PostgreSQL: nobody waits for a database that does not respond.
//!
//! 1. Closed: calls pass.
//! 2. Suspected, from the first sign that the database is away (a connection that cannot be made or breaks, a
//!    statement or the change feed without a response): a probe decides. New calls wait for it, but not for long.
//! 3. Open, if the probe failed or takes too long: calls fail at once, and so do those that wait for a connection.
//!    If the database is silent, those that wait for a response are released too. One probe at a time follows, after
//!    pauses that grow and are spread at random; the first that succeeds closes the breaker.
//!
//! A database that responds is not away, whatever it says: that a statement took too long, that it is read-only, that
//! its disk is full. Each of these fails the calls that it concerns.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tollgate_core::error::{BreakerOpen, StoreError};
use tollgate_core::random::{Random, SystemRandom};

use crate::metrics::Metrics;

/// How long calls wait for the first probe. It is the time without a response after which the change feed suspects
/// the database.
const PATIENCE: Duration = Duration::from_secs(1);

/// The shortest and the longest pause between probes.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Whether calls pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Suspected,
    Open(Because),
}

/// Why the breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Because {
    /// The last probe failed.
    Failed,
    /// It got no response in time.
    Silent,
}

/// The breaker of a database.
pub(crate) struct Breaker {
    phase: watch::Sender<Phase>,
    metrics: Metrics,
}

impl Breaker {
    /// Closed.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { phase: watch::Sender::new(Phase::Closed), metrics }
    }

    /// A call is about to be made.
    pub(crate) async fn admit(&self) -> Result<(), BreakerOpen> {
        match *self.phase.borrow() {
            Phase::Closed => return Ok(()),
            Phase::Open(_) => return Err(BreakerOpen),
            Phase::Suspected => {}
        }
        let mut phase = self.phase.subscribe();
        // The limit is for a breaker whose task has ended with the store.
        let decided = timeout(PATIENCE * 2, phase.wait_for(|phase| *phase != Phase::Suspected)).await;
        match decided {
            Ok(Ok(phase)) if *phase == Phase::Closed => Ok(()),
            _ => Err(BreakerOpen),
        }
    }

    /// There is a sign that the database is away.
    pub(crate) fn suspect(&self) {
        let suspected = self.phase.send_if_modified(|phase| {
            let closed = *phase == Phase::Closed;
            if closed {
                *phase = Phase::Suspected;
            }
            closed
        });
        if suspected {
            self.metrics.breaker_is(1);
        }
    }

    /// Whether calls fail at once.
    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Open(_))
    }

    /// Whether the database is silent.
    pub(crate) fn is_silent(&self) -> bool {
        *self.phase.borrow() == Phase::Open(Because::Silent)
    }

    /// Waits until calls fail at once.
    pub(crate) async fn opened(&self) {
        self.reached(|phase| matches!(phase, Phase::Open(_))).await;
    }

    /// Waits until the database is known to be silent.
    pub(crate) async fn silent(&self) {
        self.reached(|phase| *phase == Phase::Open(Because::Silent)).await;
    }

    /// Waits until calls pass.
    pub(crate) async fn closed(&self) {
        self.reached(|phase| *phase == Phase::Closed).await;
    }

    async fn reached(&self, is: impl FnMut(&Phase) -> bool) {
        // The sender is a field of `self`, so it still exists.
        let _ = self.phase.subscribe().wait_for(is).await;
    }

    /// Probes the database whenever it is suspected, until the store is closed.
    pub(crate) async fn run<F>(&self, probe: impl Fn() -> F)
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        loop {
            self.reached(|phase| *phase == Phase::Suspected).await;
            let (since, mut pause) = (Instant::now(), PAUSE.0);
            while let Err(error) = self.probed(&probe).await {
                self.open(Because::Failed, &error);
                sleep(spread(pause)).await;
                pause = (pause * 2).min(PAUSE.1);
            }
            self.close(since);
        }
    }

    async fn probed<F>(&self, probe: impl Fn() -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let mut probe = std::pin::pin!(probe());
        if let Ok(ended) = timeout(PATIENCE, &mut probe).await {
            return ended;
        }
        self.open(Because::Silent, &StoreError::Timeout(PATIENCE));
        probe.await
    }

    fn open(&self, because: Because, error: &StoreError) {
        if !matches!(self.phase.send_replace(Phase::Open(because)), Phase::Open(_)) {
            self.metrics.breaker_is(2);
            self.metrics.mark_down();
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "store is away; calls to it fail at once until it responds");
        }
    }

    fn close(&self, since: Instant) {
        let was = self.phase.send_replace(Phase::Closed);
        self.metrics.breaker_is(0);
        self.metrics.mark_up();
        if was != Phase::Suspected {
            tracing::info!(after = ?since.elapsed(), "store responds again");
        }
    }
}

/// Half of the pause to all of it: nodes that lost a database together do not return together.
pub(crate) fn spread(pause: Duration) -> Duration {
    let mut random = [0];
    SystemRandom.fill(&mut random);
    let [random] = random;
    pause / 2 + pause / 2 * u32::from(random) / 255
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt;

    use super::*;

    /// What probes find.
    #[derive(Debug, Clone, Copy)]
    enum Database {
        Responds(Duration),
        Refuses,
    }

    /// A breaker whose probes find what the test says, and their number.
    struct World {
        breaker: Arc<Breaker>,
        database: watch::Sender<Database>,
        probes: Arc<AtomicUsize>,
        under_way: Arc<AtomicUsize>,
    }

    impl World {
        fn with(database: Database) -> Self {
            let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
            let breaker = Arc::new(Breaker::new(metrics));
            let world = Self {
                breaker: Arc::clone(&breaker),
                database: watch::Sender::new(database),
                probes: Arc::default(),
                under_way: Arc::default(),
            };
            let (found, probes, under_way) =
                (world.database.subscribe(), Arc::clone(&world.probes), Arc::clone(&world.under_way));
            tokio::spawn(async move {
                let probe = || async {
                    probes.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(under_way.fetch_add(1, Ordering::SeqCst), 0, "one probe at a time");
                    let found = *found.borrow();
                    let result = match found {
                        Database::Responds(after) => {
                            sleep(after).await;
                            Ok(())
                        }
                        Database::Refuses => Err(StoreError::Unavailable("refused".into())),
                    };
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    result
                };
                breaker.run(probe).await;
            });
            world
        }

        fn probes(&self) -> usize {
            self.probes.load(Ordering::SeqCst)
        }
    }

    const AT_ONCE: Database = Database::Responds(Duration::ZERO);

    #[tokio::test(start_paused = true)]
    async fn a_suspicion_that_the_probe_does_not_confirm_fails_no_call() {
        let world = World::with(Database::Responds(Duration::from_millis(200)));
        assert!(world.breaker.admit().now_or_never().is_some_and(|admitted| admitted.is_ok()));
        world.breaker.suspect();
        let begun = Instant::now();
        world.breaker.admit().await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(200), "it waited for the probe");
        assert_eq!((world.probes(), world.breaker.is_open()), (1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_is_open_calls_fail_at_once_and_one_probe_at_a_time_is_made() {
        let world = World::with(Database::Refuses);
        world.breaker.suspect();
        world.breaker.admit().await.unwrap_err();
        let begun = Instant::now();
        for _ in 0..1000 {
            world.breaker.suspect();
            assert!(world.breaker.admit().now_or_never().is_some_and(|admitted| admitted.is_err()));
        }
        assert_eq!((begun.elapsed(), world.breaker.is_silent()), (Duration::ZERO, false));
        sleep(Duration::from_secs(60)).await;
        let probes = world.probes();
        assert!((60..=130).contains(&probes), "one or two a second: {probes}");
        world.database.send_replace(AT_ONCE);
        world.breaker.closed().await;
        assert!(begun.elapsed() <= Duration::from_secs(61), "{:?}", begun.elapsed());
        world.breaker.admit().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_database_releases_those_that_wait_for_it() {
        let world = World::with(Database::Responds(Duration::from_secs(3)));
        let begun = Instant::now();
        world.breaker.suspect();
        tokio::join!(world.breaker.silent(), world.breaker.opened());
        assert_eq!(begun.elapsed(), PATIENCE);
        world.breaker.admit().await.unwrap_err();
        // The same probe goes on: a slow database is not away for ever.
        world.breaker.closed().await;
        assert_eq!((begun.elapsed(), world.probes()), (Duration::from_secs(3), 1));
    }

    #[test]
    fn pauses_are_spread_over_half_of_them() {
        let pauses: Vec<_> = (0..100).map(|_| spread(Duration::from_millis(100))).collect();
        let (shortest, longest) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*shortest >= Duration::from_millis(50) && *longest <= Duration::from_millis(100));
        assert!(*longest - *shortest > Duration::from_millis(10), "{shortest:?} {longest:?}");
    }
}
