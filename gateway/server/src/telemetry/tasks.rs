//! How many tasks the process has, by runtime. Each connection and each background job is one: a number that keeps
//! growing is a leak.
//!
//! Each thread of the proxy has a runtime of its own. A runtime becomes known when a connection is served on it.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use tokio::runtime::Handle;

thread_local! {
    /// Whether the runtime of this thread is known.
    static KNOWN: Cell<bool> = const { Cell::new(false) };
}

/// A kind of runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// That of the Admin API, the status listener, the store and background jobs.
    Control,
    /// One of the proxy.
    Proxy,
}

impl Runtime {
    const ALL: [Self; 2] = [Self::Control, Self::Proxy];

    fn label(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Proxy => "proxy",
        }
    }
}

/// The gauges. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    gauges: IntGaugeVec,
    runtimes: Arc<Mutex<Vec<(Runtime, Handle)>>>,
}

impl Tasks {
    /// Without runtimes.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let about = "Tasks that have not ended, by runtime.";
        let gauges = IntGaugeVec::new(Opts::new("tollgate_tasks", about), &["runtime"])?;
        Ok(Self { gauges, runtimes: Arc::default() })
    }

    /// Counts the tasks of a runtime from now on.
    pub fn add(&self, kind: Runtime, runtime: Handle) {
        self.lock().push((kind, runtime));
    }

    /// Waits until each runtime that is known has run a task: none of them is stuck.
    pub async fn all_run(&self) {
        let runtimes: Vec<Handle> = self.lock().iter().map(|(_, runtime)| runtime.clone()).collect();
        for runtime in runtimes {
            // One that has ended is not stuck.
            let _ended = runtime.spawn(async {}).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Runtime, Handle)>> {
        self.runtimes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts those of the runtime of this thread, which belongs to the proxy, if it is not known yet.
    pub(crate) fn add_this_thread(&self) {
        if !KNOWN.replace(true) {
            self.add(Runtime::Proxy, Handle::current());
        }
    }
}

impl Collector for Tasks {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let runtimes = self.lock();
        for kind in Runtime::ALL {
            let alive = |(_, runtime): &(Runtime, Handle)| runtime.metrics().num_alive_tasks();
            let tasks: usize = runtimes.iter().filter(|(known, _)| *known == kind).map(alive).sum();
            self.gauges.with_label_values(&[kind.label()]).set(i64::try_from(tasks).unwrap_or(i64::MAX));
        }
        drop(runtimes);
        self.gauges.collect()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::*;

    #[tokio::test]
    async fn tasks_count_until_they_end() {
        let (registry, tasks) = (Registry::new(), Tasks::new().unwrap());
        registry.register(Box::new(tasks.clone())).unwrap();
        let text = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        tasks.add_this_thread();
        tasks.add_this_thread();
        let running: Vec<_> = (0..3).map(|_| tokio::spawn(std::future::pending::<()>())).collect();
        for line in ["tollgate_tasks{runtime=\"control\"} 0\n", "tollgate_tasks{runtime=\"proxy\"} 3\n"] {
            assert!(text().contains(line), "{line} is missing in {}", text());
        }
        for task in running {
            task.abort();
            assert!(task.await.is_err());
        }
        assert!(text().contains("tollgate_tasks{runtime=\"proxy\"} 0\n"), "{}", text());
    }
}
