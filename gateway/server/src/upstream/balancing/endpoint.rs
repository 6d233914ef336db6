//! An endpoint: one address of a target.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::health::Health;

/// After this time a latency counts for a third of what it did.
const DECAY: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Endpoint {
    /// Where requests go.
    pub address: SocketAddr,
    /// Its host: the name of its target, or of its SRV record.
    pub host: Arc<str>,
    /// Its target, as it is stored.
    pub target: Arc<str>,
    pub(super) health: Health,
    open: AtomicUsize,
    latency: Latency,
    /// When it is to be probed, in milliseconds since `made`.
    pub(super) next_probe: AtomicU64,
    made: Instant,
}

/// A mean of latencies in which those of long ago count less.
#[derive(Debug, Default)]
struct Latency {
    /// Seconds, as bits.
    mean: AtomicU64,
    /// When it was last updated, in milliseconds.
    touched: AtomicU64,
}

impl Endpoint {
    /// Healthy, without requests. Until it has served some, it counts as fast as `latency`, in seconds.
    pub(super) fn new(address: SocketAddr, host: Arc<str>, target: Arc<str>, latency: f64) -> Self {
        let latency = Latency { mean: AtomicU64::new(latency.to_bits()), touched: AtomicU64::new(0) };
        Self {
            address,
            host,
            target,
            health: Health::default(),
            open: AtomicUsize::new(0),
            latency,
            next_probe: AtomicU64::new(0),
            made: Instant::now(),
        }
    }

    /// Whether it gets requests.
    pub fn is_healthy(&self) -> bool {
        self.health.is_healthy()
    }

    /// The requests under way.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Milliseconds of its life.
    pub(super) fn age(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long a response takes, in seconds, as far as is known.
    pub(super) fn latency(&self) -> f64 {
        let mean = f64::from_bits(self.latency.mean.load(Ordering::Relaxed));
        mean * self.kept()
    }

    fn observe_latency(&self, latency: Duration) {
        let kept = self.kept();
        self.latency.touched.store(self.age(), Ordering::Relaxed);
        let update = |mean| Some((f64::from_bits(mean) * kept + latency.as_secs_f64() * (1.0 - kept)).to_bits());
        // It never fails: it always has a new value.
        let _ = self.latency.mean.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }

    /// How much of what was known still counts: less with time, and never all of it.
    fn kept(&self) -> f64 {
        let since = Duration::from_millis(self.age().saturating_sub(self.latency.touched.load(Ordering::Relaxed)));
        (-since.as_secs_f64() / DECAY.as_secs_f64()).exp().min(0.9)
    }
}

/// A request under way at an endpoint.
#[derive(Debug)]
pub struct Lease {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    since: Instant,
}

impl Lease {
    /// Counts a request.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.open.fetch_add(1, Ordering::AcqRel);
        Self { endpoint, since: Instant::now() }
    }

    /// The head of its response has arrived.
    pub fn responded(&self) {
        self.endpoint.observe_latency(self.since.elapsed());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.open.fetch_sub(1, Ordering::AcqRel);
    }
}
