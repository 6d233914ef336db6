//! Observations of Tollgate other than CPU time: store look-ups, and time to readiness.

use std::net::SocketAddr;
use std::time::Duration;

use super::Stage;
use super::gateway::{AMPLE, settings};
use crate::database::Database;
use crate::error::Result;
use crate::figure::Figure;
use crate::load::{Step, Wire};
use crate::program::{Tollgate, metric};
use crate::row::{Ask, Subject};

impl Stage<'_> {
    /// A gateway's time from start to ready on an existing database; the gateway is stopped then.
    pub async fn start_on(&self, database_url: &str) -> Result<Duration> {
        let settings = settings("starting", &Database::Postgres(database_url.to_owned()), AMPLE);
        Ok(Tollgate::start(self.path(), &self.options.tollgate, &settings, &self.certificate).await?.started_in)
    }

    /// Call before the rounds.
    pub async fn note_misses(&mut self) -> Result<()> {
        if let Some(status) = self.ready(Subject::Tollgate).and_then(|ready| ready.status) {
            self.misses = Some(misses(status).await?);
        }
        Ok(())
    }

    /// Store look-ups during the rounds, in which every token should be cached.
    pub async fn late_misses(&self) -> Result<Option<Figure>> {
        let status = self.ready(Subject::Tollgate).and_then(|ready| ready.status);
        let Some((status, before)) = status.zip(self.misses) else { return Ok(None) };
        let late = misses(status).await? - before;
        Ok(Some(Figure::new("late-misses", "warm rows: tokens that were not cached", late, "")))
    }

    /// Sends forged tokens for a second, and returns the number of store look-ups.
    pub async fn store_calls_by_forged_tokens(&self) -> Result<Option<Figure>> {
        let Some(ready) = self.ready(Subject::Tollgate) else { return Ok(None) };
        let (Some(status), Some(address), Some(requests)) =
            (ready.status, ready.proxy.http, ready.requests(Ask::Forged))
        else {
            return Ok(None);
        };
        let before = misses(status).await?;
        let duration = Duration::from_secs(1);
        let step = Step { address, wire: Wire::Plain, requests, duration, start: 0, folder: self.folder() };
        step.run(&[]).await?;
        let calls = misses(status).await? - before;
        Ok(Some(Figure::new("forged-store-calls", "store look-ups for forged tokens", calls, "")))
    }
}

/// A gateway's number of store look-ups.
pub(super) async fn misses(status: SocketAddr) -> Result<f64> {
    metric(status, "tollgate_token_lookups_total", "result=\"miss\"").await
}
