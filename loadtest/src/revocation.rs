//! Measures how long a revoked token is still accepted: tokens are used, revoked through the Admin API, and used
//! until they are refused.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use tokio::task::LocalSet;

use crate::admin::Admin;
use crate::connection::{Connection, Keep, Request};
use crate::endpoint::Endpoint;
use crate::outcome::Revocation;
use crate::recorder::latency_of;
use crate::scenario::Revoke;
use crate::state::{Entry, Journal};

/// A revocation drill.
pub struct Drill {
    /// Where tokens are used.
    pub proxy: Endpoint,
    /// Where they are revoked.
    pub admin: Endpoint,
    /// The protected path.
    pub target: String,
    /// The tokens with their indices in the state, each revoked once.
    pub tokens: Vec<(usize, String)>,
    /// Where revocations are recorded.
    pub journal: RefCell<Journal>,
    /// How often tokens are revoked, and how long they are watched.
    pub revoke: Revoke,
    /// When the first is revoked.
    pub start: Instant,
    /// When the last is revoked.
    pub end: Instant,
    /// How long a response may take.
    pub timeout: Duration,
}

/// The results.
#[derive(Debug, Default)]
pub struct Found {
    /// The figures.
    pub revocation: Revocation,
    /// Errors.
    pub wrong: Vec<String>,
}

/// Starts the drill on its own thread.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(drill: Drill, stop: Arc<AtomicBool>) -> std::io::Result<JoinHandle<Found>> {
    std::thread::Builder::new().name("revocation".to_owned()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => LocalSet::new().block_on(&runtime, drill.run(stop)),
            Err(error) => Found { wrong: vec![error.to_string()], ..Found::default() },
        }
    })
}

/// The result for one token.
enum Ended {
    /// It was refused; the last accepted request was sent this long after the revocation.
    Refused(Duration),
    /// It was accepted for as long as it was watched.
    Never,
}

impl Drill {
    async fn run(self, stop: Arc<AtomicBool>) -> Found {
        let drill = Rc::new(self);
        let mut watches = Vec::new();
        for (number, (place, token)) in drill.tokens.iter().enumerate() {
            let at = drill.start + drill.revoke.every.0.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
            if at >= drill.end {
                break;
            }
            tokio::time::sleep_until(at.into()).await;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            watches.push(tokio::task::spawn_local(Rc::clone(&drill).revoke(*place, token.clone())));
        }
        let mut found = Found::default();
        let Ok(mut accepted) = Histogram::<u64>::new(3) else { return found };
        for watch in watches {
            match watch.await {
                Ok(Ok(Ended::Refused(after))) => {
                    // The histogram grows as needed, so no value is out of range.
                    let _ = accepted.record(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
                    found.revocation.revoked += 1;
                }
                Ok(Ok(Ended::Never)) => {
                    found.revocation.revoked += 1;
                    found.revocation.never_refused += 1;
                }
                Ok(Err(wrong)) => found.wrong.push(wrong),
                Err(error) => found.wrong.push(error.to_string()),
            }
        }
        found.revocation.accepted_for = latency_of(&accepted);
        found
    }

    async fn revoke(self: Rc<Self>, place: usize, token: String) -> Result<Ended, String> {
        let header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| error.to_string())?;
        let request = Request {
            method: Method::GET,
            target: self.target.clone(),
            headers: vec![(AUTHORIZATION, header)],
            body: Bytes::new(),
            keep: Keep::Nothing,
        };
        let mut connection = Connection::new(Rc::new(self.proxy.clone()), self.timeout);
        let before = connection.send(&request).await.map_err(|failure| failure.to_string())?;
        if before.status != 200 {
            return Err(format!("a token got {} before it was revoked", before.status));
        }
        self.journal.borrow_mut().append(&Entry::Revoked { place }).map_err(|error| error.to_string())?;
        let mut admin = Admin::new(&self.admin);
        let (status, _) = admin
            .call(Method::DELETE, &format!("/oauth2_tokens/{token}"), None)
            .await
            .map_err(|error| error.to_string())?;
        if status != 204 {
            return Err(format!("a revocation got {status}"));
        }
        self.watch(&mut connection, &request).await
    }

    async fn watch(&self, connection: &mut Connection, request: &Request) -> Result<Ended, String> {
        let revoked = Instant::now();
        let mut last = Duration::ZERO;
        while revoked.elapsed() < self.revoke.watch.0 {
            let sent = revoked.elapsed();
            match connection.send(request).await.map(|response| response.status) {
                Ok(200) => last = sent,
                Ok(401) => return Ok(Ended::Refused(last)),
                Ok(status) => return Err(format!("a revoked token got {status}")),
                Err(failure) => return Err(failure.to_string()),
            }
        }
        Ok(Ended::Never)
    }
}
