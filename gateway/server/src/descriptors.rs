//! File descriptors: their limit, and what happens when they run out.
//!
//! 1. At start the limit is raised as far as possible ([`raise_limit`]).
//! 2. Client connections are accepted up to a bound below it ([`Descriptors`] as a filter of
//!    connections); beyond it they wait in the listener's queue until others are closed.
//! 3. Connections to upstreams may use some more; those beyond are closed, and their requests are
//!    refused with 503.
//! 4. The rest is for the Admin API, the status listener, the store and the logs, which therefore
//!    still work when the proxy has no descriptors left.
//!
//! A new descriptor gets the lowest free number (POSIX `dup`, `socket`, `accept`), so its number
//! shows that at least as many are open, and no counting is needed.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::listeners::ConnectionFilter;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The maximum number of descriptors reserved for everything but the proxy.
const MOST_RESERVED: u64 = 256;
/// Fewer descriptors than this for connections cause a warning at start.
const FEW: u64 = 512;
/// The interval between checks for a free descriptor.
const POLL: Duration = Duration::from_millis(20);
/// The minimum interval between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Raises the limit of open files to the maximum for this process; returns the limit in force.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            let error = io::Error::from(error);
            tracing::warn!(current, maximum, %error, "cannot raise the limit of open files (RLIMIT_NOFILE)");
            current.unwrap_or(u64::MAX)
        }
    }
}

/// Whether an error means that no descriptors are left, in this process or in the system.
pub(crate) fn are_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// The descriptors that clients and upstreams may use.
#[derive(Debug)]
pub struct Descriptors {
    limit: u64,
    /// Set when the first client connects: by then the worker threads have opened their own descriptors.
    bounds: OnceLock<Bounds>,
    /// Duplicated to find the lowest free number.
    probe: File,
    clients: Shortage,
    upstreams: Shortage,
}

/// Descriptor numbers from which on a new descriptor is over the bound for its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    clients: u64,
    upstreams: u64,
}

impl Bounds {
    /// Bounds for a `limit` when `open` descriptors stay open: clients leave a quarter of the rest free,
    /// upstreams up to an eighth.
    fn new(limit: u64, open: u64) -> Self {
        let room = limit.saturating_sub(open);
        Self { clients: limit - room / 4, upstreams: limit - (room / 8).min(MOST_RESERVED) }
    }
}

/// Counts shortages, and logs them at a limited rate.
#[derive(Debug)]
struct Shortage {
    counter: IntCounter,
    logged: Mutex<Option<Instant>>,
}

impl Shortage {
    fn new(counter: IntCounter) -> Self {
        Self { counter, logged: Mutex::new(None) }
    }

    /// Whether the shortage is to be logged as well.
    fn count(&self) -> bool {
        self.counter.inc();
        let now = Instant::now();
        let Ok(mut logged) = self.logged.lock() else { return false };
        let due = logged.is_none_or(|before| now.duration_since(before) >= LOG_INTERVAL);
        if due {
            *logged = Some(now);
        }
        due
    }
}

/// Why descriptors cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No descriptor can be opened even now.
    #[error("cannot open /dev/null")]
    Probe(#[from] io::Error),
    /// A metric is registered twice.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
}

impl Descriptors {
    /// Create this when nearly everything except connections is open.
    pub fn new(limit: u64, registry: &Registry) -> Result<Self, Error> {
        let probe = File::open("/dev/null")?;
        let about = "File descriptor shortages: a client connection waited, or a request was refused with 503 because \
            there was none for its upstream connection.";
        let shortages = IntCounterVec::new(Opts::new("tollgate_descriptors_exhausted_total", about), &["connection"])?;
        let shortage = |connection| Shortage::new(shortages.with_label_values(&[connection]));
        let (clients, upstreams) = (shortage("client"), shortage("upstream"));
        registry.register(Box::new(shortages))?;
        let this = Self { limit, bounds: OnceLock::new(), probe, clients, upstreams };
        let open = this.open();
        if limit.saturating_sub(open) < FEW {
            tracing::warn!(limit, open, "few file descriptors for connections: raise the limit of open files");
        }
        Ok(this)
    }

    fn bounds(&self) -> Bounds {
        *self.bounds.get_or_init(|| Bounds::new(self.limit, self.open()))
    }

    fn open(&self) -> u64 {
        open_files().or_else(|| lowest_free(&self.probe)).unwrap_or(self.limit)
    }

    /// Whether a new upstream connection's descriptor is one of those reserved. Counts a shortage.
    pub(crate) fn is_reserved(&self, descriptor: RawFd) -> bool {
        let reserved = u64::try_from(descriptor).is_ok_and(|number| number >= self.bounds().upstreams);
        if reserved && self.upstreams.count() {
            tracing::warn!(
                "no file descriptor left for an upstream connection; request refused: raise the limit of open files"
            );
        }
        reserved
    }

    fn has_one_for_a_client(&self) -> bool {
        lowest_free(&self.probe).is_some_and(|number| number < self.bounds().clients)
    }
}

/// Accepts a client connection only if there is a descriptor for the next one. Pingora accepts none
/// meanwhile.
#[async_trait]
impl ConnectionFilter for Descriptors {
    async fn should_accept(&self, _address: Option<&std::net::SocketAddr>) -> bool {
        if self.has_one_for_a_client() {
            return true;
        }
        if self.clients.count() {
            tracing::warn!(
                "no file descriptor left for clients; connections wait until others close: raise the limit of open files"
            );
        }
        while !self.has_one_for_a_client() {
            tokio::time::sleep(POLL).await;
        }
        true
    }
}

/// `None`: there is none.
fn lowest_free(probe: &File) -> Option<u64> {
    let duplicate = rustix::io::fcntl_dupfd_cloexec(probe, 0).ok()?;
    u64::try_from(duplicate.as_raw_fd()).ok()
}

/// `None` if the system does not report it.
fn open_files() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    // One of them is the directory's own.
    u64::try_from(entries.count().saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_bounded_before_upstreams_and_those_before_the_limit() {
        let rows = [
            (1024, 24, Bounds { clients: 774, upstreams: 899 }),
            (1_048_576, 76, Bounds { clients: 786_451, upstreams: 1_048_320 }),
            (64, 40, Bounds { clients: 58, upstreams: 61 }),
            (8, 40, Bounds { clients: 8, upstreams: 8 }),
        ];
        for (limit, open, expected) in rows {
            assert_eq!(Bounds::new(limit, open), expected, "{limit} {open}");
        }
    }

    #[test]
    fn every_shortage_is_counted_and_logged_at_a_limited_rate() {
        let shortage = Shortage::new(IntCounter::new("name", "about").unwrap());
        assert_eq!([shortage.count(), shortage.count(), shortage.count()], [true, false, false]);
        assert_eq!(shortage.counter.get(), 3);
    }

    #[test]
    fn numbers_near_the_limit_are_reserved() {
        let descriptors = Descriptors::new(1000, &Registry::new()).unwrap();
        assert!(descriptors.has_one_for_a_client());
        assert!(!descriptors.is_reserved(4) && descriptors.is_reserved(999));
        assert!(are_exhausted(&io::Error::from_raw_os_error(24)) && !are_exhausted(&io::Error::from_raw_os_error(2)));
    }
}
