//! The gateway's token cache hit ratio, read from its metrics during a run.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::connection::{Connection, Keep, Request};
use crate::endpoint::Endpoint;

const TIMEOUT: Duration = Duration::from_secs(2);
const FAMILY: &str = "tollgate_token_lookups_total";

/// Scrapes once per second, on its own thread, until dropped.
pub struct Scraper {
    latest: Arc<Mutex<Option<f64>>>,
    stop: Arc<AtomicBool>,
}

impl Scraper {
    /// Starts scraping `/metrics` of an address.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(endpoint: Endpoint) -> std::io::Result<Self> {
        let (latest, stop) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let scraper = Self { latest: Arc::clone(&latest), stop: Arc::clone(&stop) };
        std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(ask(endpoint, &latest, &stop));
        })?;
        Ok(scraper)
    }

    /// The ratio in the last second, 0 to 1; `None` if unknown.
    pub fn hit_ratio(&self) -> Option<f64> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn ask(endpoint: Endpoint, latest: &Mutex<Option<f64>>, stop: &AtomicBool) {
    let mut connection = Connection::new(Rc::new(endpoint), TIMEOUT);
    let request = Request {
        method: Method::GET,
        target: "/metrics".to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
        keep: Keep::Everything,
    };
    let mut before: Option<Lookups> = None;
    while !stop.load(Ordering::Relaxed) {
        let response = connection.send(&request).await.ok().filter(|response| response.status == 200);
        let now = response.map(|response| Lookups::read(&String::from_utf8_lossy(&response.body)));
        let ratio = before.zip(now).and_then(|(before, now)| now.ratio_since(before));
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = ratio;
        before = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Look-ups so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Lookups {
    hits: f64,
    all: f64,
}

impl Lookups {
    fn read(metrics: &str) -> Self {
        let mut lookups = Self::default();
        for line in metrics.lines().filter(|line| line.starts_with(FAMILY)) {
            let Some(value) = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()) else { continue };
            // Tokens that do not exist say nothing about the cache.
            if line.contains("result=\"hit\"") {
                lookups.hits += value;
                lookups.all += value;
            } else if line.contains("result=\"miss\"") || line.contains("result=\"coalesced\"") {
                lookups.all += value;
            }
        }
        lookups
    }

    fn ratio_since(self, before: Self) -> Option<f64> {
        let all = self.all - before.all;
        (all > 0.0).then(|| (self.hits - before.hits) / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_covers_look_ups_since_the_last_scrape() {
        let text = |hit: u32, miss: u32, other: u32| {
            format!(
                "# TYPE {FAMILY} counter\n{FAMILY}{{result=\"hit\"}} {hit}\n{FAMILY}{{result=\"miss\"}} {miss}\n\
                 {FAMILY}{{result=\"forged\"}} {other}\n{FAMILY}{{result=\"negative\"}} {other}\n"
            )
        };
        let (before, now) = (Lookups::read(&text(10, 10, 0)), Lookups::read(&text(40, 20, 99)));
        assert_eq!(now.ratio_since(before), Some(0.75));
        assert_eq!(now.ratio_since(now), None);
    }
}
