//! What the measured node uses, over time.

use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;
use tollgate_tests::Gateway;

use crate::load::Shared;
use crate::say;

/// Samples in a run.
const COUNT: u32 = 150;

/// The shortest time between two.
const LEAST: Duration = Duration::from_secs(1);

/// What a node uses at a time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the load began.
    pub at: f64,
    /// Resident memory, in KiB.
    pub memory: f64,
    /// Open file descriptors.
    pub descriptors: f64,
    /// Threads.
    pub threads: f64,
    /// Tasks of the runtimes.
    pub tasks: f64,
    /// Connections to the store, in use or idle.
    pub pool: f64,
    /// Entries of all caches.
    pub cache_entries: f64,
    /// Their weight in bytes.
    pub cache_weight: f64,
}

/// Takes samples for so long.
pub(crate) async fn run(shared: &Shared, gateway: &Gateway, duration: Duration, shown_every: Duration) -> Vec<Sample> {
    let (begin, every) = (Instant::now(), (duration / COUNT).max(LEAST));
    let (mut samples, mut shown) = (Vec::new(), begin);
    while begin.elapsed() < duration {
        tokio::time::sleep(every).await;
        let sample = Sample { at: begin.elapsed().as_secs_f64(), ..take(gateway).await };
        samples.push(sample);
        if shown.elapsed() > shown_every {
            shown = Instant::now();
            let load = shared.load.borrow();
            say(&format!(
                "{:.0} s: {} requests, {} tokens issued, {} wrong; {:.1} MiB, {} descriptors",
                sample.at,
                load.requests,
                load.issued,
                load.wrong,
                sample.memory / 1024.0,
                sample.descriptors
            ));
        }
    }
    samples
}

async fn take(gateway: &Gateway) -> Sample {
    let process = format!("/proc/{}", gateway.process_id());
    let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    };
    let metrics = gateway.metrics().await;
    let sum = |is_it: &dyn Fn(&str) -> bool| {
        let lines = metrics.lines().filter(|line| !line.starts_with('#') && is_it(line));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let name_ends = |line: &str, end: &str| line.split(['{', ' ']).next().is_some_and(|name| name.ends_with(end));
    Sample {
        at: 0.0,
        memory: field("VmRSS"),
        descriptors: fs::read_dir(format!("{process}/fd")).map_or(0.0, |open| open.count() as f64),
        threads: field("Threads"),
        tasks: sum(&|line| line.starts_with("tollgate_tasks")),
        pool: sum(&|line| line.starts_with("tollgate_store_pool_connections") && !line.contains("waiting")),
        cache_entries: sum(&|line| name_ends(line, "_cache_entries")),
        cache_weight: sum(&|line| name_ends(line, "_cache_weight_bytes")),
    }
}
