//! File descriptors: how many there may be, and what happens when they run out.
//!
//! 1. At start the limit is raised as far as it can be ([`raise_limit`]).
//! 2. Client connections are accepted up to a bound below it ([`Descriptors`] as a filter of
//!    connections); behind it they wait in the listener's queue until others are closed.
//! 3. Connections to upstreams may take some more; those beyond are closed, and their requests are
//!    refused with 503.
//! 4. The rest is for the Admin API, the status listener, the store and the logs, which therefore
//!    respond while the proxy has no descriptors left.
//!
//! A new descriptor has the lowest number that is free (POSIX `dup`, `socket`, `accept`), so its number
//! shows that at least as many are open, and nothing has to be counted.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::listeners::ConnectionFilter;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most descriptors that are kept for what is not the proxy.
const MOST_RESERVED: u64 = 256;
/// Fewer than this many for connections are worth a warning at start.
const FEW: u64 = 512;
/// Between two looks whether a descriptor is free.
const POLL: Duration = Duration::from_millis(20);
/// Between two lines in the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Raises the limit of open files to the most that this process may have; the limit then in force.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            let error = io::Error::from(error);
            tracing::warn!(?current, ?maximum, %error, "cannot raise the limit of open files (RLIMIT_NOFILE)");
            current.unwrap_or(u64::MAX)
        }
    }
}

/// Whether an error says that there are no descriptors left, in this process or in the system.
pub(crate) fn are_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// What may be opened for clients and upstreams.
#[derive(Debug)]
pub struct Descriptors {
    limit: u64,
    /// Known once the first client comes: the threads that serve it have descriptors of their own.
    bounds: OnceLock<Bounds>,
    /// Duplicated to find the lowest number that is free.
    probe: File,
    clients: Shortage,
    upstreams: Shortage,
}

/// Numbers from which on a descriptor is not for its purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    clients: u64,
    upstreams: u64,
}

impl Bounds {
    /// Of `limit` descriptors with so many open that stay: a quarter of the rest is not for clients,
    /// and up to an eighth not for upstreams.
    fn new(limit: u64, open: u64) -> Self {
        let room = limit.saturating_sub(open);
        Self { clients: limit - room / 4, upstreams: limit - (room / 8).min(MOST_RESERVED) }
    }
}

/// Counts and, now and then, logs that there are too few.
#[derive(Debug)]
struct Shortage {
    counter: IntCounter,
    logged: Mutex<Option<Instant>>,
}

impl Shortage {
    fn new(counter: IntCounter) -> Self {
        Self { counter, logged: Mutex::new(None) }
    }

    /// Whether it is to be logged, too.
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

/// Why file descriptors cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None can be opened even now.
    #[error("cannot open /dev/null")]
    Probe(#[from] io::Error),
    /// A metric is registered twice.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
}

impl Descriptors {
    /// To be made when nearly everything but connections is open.
    pub fn new(limit: u64, registry: &Registry) -> Result<Self, Error> {
        let probe = File::open("/dev/null")?;
        let about = "Times that no file descriptor was left: for a client's connection, which waited, or for one to an \
                     upstream, whose request was refused with 503.";
        let shortages = IntCounterVec::new(Opts::new("tollgate_descriptors_exhausted_total", about), &["connection"])?;
        let shortage = |connection| Shortage::new(shortages.with_label_values(&[connection]));
        let (clients, upstreams) = (shortage("client"), shortage("upstream"));
        registry.register(Box::new(shortages))?;
        registry.register(Box::new(OpenFiles::new(limit)?))?;
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

    /// Whether a new connection to an upstream has a descriptor that is not for it. It is counted.
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

/// Lets a client's connection in when there is a descriptor for the next one. Pingora accepts none
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

/// `None` where the system does not say.
fn open_files() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    // One is that of the directory itself.
    u64::try_from(entries.count().saturating_sub(1)).ok()
}

/// `process_open_fds` and `process_max_fds`, as Prometheus' clients name them; counted on
/// export.
struct OpenFiles {
    open: IntGauge,
    limit: IntGauge,
}

impl OpenFiles {
    fn new(limit: u64) -> Result<Self, prometheus::Error> {
        let gauge = Self {
            open: IntGauge::new("process_open_fds", "Number of open file descriptors.")?,
            limit: IntGauge::new("process_max_fds", "Maximum number of open file descriptors.")?,
        };
        gauge.limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        Ok(gauge)
    }
}

impl Collector for OpenFiles {
    fn desc(&self) -> Vec<&Desc> {
        self.open.desc().into_iter().chain(self.limit.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(open) = open_files() {
            self.open.set(i64::try_from(open).unwrap_or(i64::MAX));
        }
        self.open.collect().into_iter().chain(self.limit.collect()).collect()
    }
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
    fn a_shortage_is_counted_each_time_and_logged_now_and_then() {
        let shortage = Shortage::new(IntCounter::new("name", "about").unwrap());
        assert_eq!([shortage.count(), shortage.count(), shortage.count()], [true, false, false]);
        assert_eq!(shortage.counter.get(), 3);
    }

    #[test]
    fn open_files_are_exported() {
        let registry = Registry::new();
        let descriptors = Descriptors::new(1000, &registry).unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("process_max_fds 1000\n"), "{text}");
        let open = text.lines().find_map(|line| line.strip_prefix("process_open_fds ")?.parse::<u64>().ok());
        assert!(open.is_some_and(|open| (4..1000).contains(&open)), "{text}");
        assert!(descriptors.has_one_for_a_client());
        assert!(!descriptors.is_reserved(4) && descriptors.is_reserved(999));
        assert!(are_exhausted(&io::Error::from_raw_os_error(24)) && !are_exhausted(&io::Error::from_raw_os_error(2)));
    }
}
