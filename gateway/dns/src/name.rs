//! A name, and what is known of it.
//!
//! A name that is in use is renewed by a task of its own when its answer expires, so that requests find a fresh one
//! and wait for none. The task ends when nobody has used the name for the lifetime of an answer; the next who does
//! waits for a moment, and goes on with the old addresses if there is no new answer by then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Guard};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::answer::{Answer, Error};
use crate::nameservers::{Families, Nameservers};

/// How long the first request after a pause waits for a new answer before it uses the old one.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long a failure is an answer: a name that does not resolve is not asked for each request.
const FAILURE: Duration = Duration::from_secs(1);

/// The longest pause between two attempts to renew an answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

type Outcome = Result<Arc<Answer>, Error>;

/// What is known of a name.
pub(crate) struct State {
    host: Arc<str>,
    families: Families,
    nameservers: Arc<Nameservers>,
    runtime: Handle,
    stale_for: Duration,
    answer: ArcSwapOption<Answer>,
    /// Whether the last look-up failed.
    failing: AtomicBool,
    /// Whether it was used since it was last renewed.
    used: AtomicBool,
    /// Whether a task renews it.
    kept: AtomicBool,
    flight: Mutex<Flight>,
    /// Advanced by each look-up that has ended.
    heard: watch::Sender<u64>,
}

/// The look-up that is under way, and how the last one ended if it failed.
#[derive(Default)]
struct Flight {
    current: Option<watch::Receiver<Option<Outcome>>>,
    failed: Option<(Instant, Error)>,
}

impl State {
    pub(crate) fn new(
        host: &str,
        families: Families,
        nameservers: Arc<Nameservers>,
        runtime: Handle,
        stale_for: Duration,
    ) -> Self {
        Self {
            host: host.into(),
            families,
            nameservers,
            runtime,
            stale_for,
            answer: ArcSwapOption::empty(),
            failing: AtomicBool::new(false),
            used: AtomicBool::new(false),
            kept: AtomicBool::new(false),
            flight: Mutex::default(),
            heard: watch::Sender::new(0),
        }
    }

    /// The last answer, unless it is too old.
    fn last(&self) -> Option<Arc<Answer>> {
        self.answer.load_full().filter(|answer| Instant::now() < answer.fresh_until + self.stale_for)
    }

    /// Begins a look-up, or joins the one that is under way.
    fn begin(self: &Arc<Self>) -> watch::Receiver<Option<Outcome>> {
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        // One that panicked has no sender any more.
        if let Some(current) = flight.current.as_ref().filter(|current| current.has_changed().is_ok()) {
            return current.clone();
        }
        let (sender, receiver) = watch::channel(None);
        if let Some((at, error)) = &flight.failed
            && at.elapsed() < FAILURE
        {
            sender.send_replace(Some(Err(error.clone())));
            return receiver;
        }
        flight.current = Some(receiver.clone());
        let state = Arc::clone(self);
        self.runtime.spawn(async move {
            let last = state.answer.load().as_ref().map(|answer| answer.source);
            let found = state.nameservers.look_up(&state.host, state.families, last).await;
            let outcome = state.land(found.map(Arc::new));
            sender.send_replace(Some(outcome));
        });
        receiver
    }

    /// Ends a look-up.
    fn land(self: &Arc<Self>, outcome: Outcome) -> Outcome {
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        flight.current = None;
        flight.failed = outcome.as_ref().err().map(|error| (Instant::now(), error.clone()));
        match &outcome {
            Ok(answer) => {
                self.answer.store(Some(Arc::clone(answer)));
                self.keep();
            }
            Err(error) if error.is_certain() => self.answer.store(None),
            Err(_) => {}
        }
        drop(flight);
        let failed = outcome.as_ref().is_err_and(|error| !error.is_certain());
        self.note(failed, &outcome);
        self.heard.send_modify(|count| *count = count.wrapping_add(1));
        outcome
    }

    /// Logs the first failure and the end of failing.
    fn note(&self, failed: bool, outcome: &Outcome) {
        if self.failing.swap(failed, Ordering::AcqRel) == failed || self.answer.load().is_none() {
            return;
        }
        match outcome {
            Err(error) => {
                let error = error as &dyn std::error::Error;
                tracing::warn!(host = %self.host, error, "cannot renew the addresses of a host; the old ones are used");
            }
            Ok(_) => tracing::info!(host = %self.host, "the addresses of a host are renewed again"),
        }
    }

    /// Renews the answer whenever it expires, for as long as the name is used.
    fn keep(self: &Arc<Self>) {
        if !self.kept.swap(true, Ordering::AcqRel) {
            self.runtime.spawn(renew(Arc::downgrade(self)));
        }
    }
}

/// See [`State::keep`].
async fn renew(state: Weak<State>) {
    let mut pause = FAILURE;
    loop {
        let Some(known) = state.upgrade() else { return };
        let due = known.answer.load().as_ref().map(|answer| answer.fresh_until);
        drop(known);
        match due {
            Some(due) if due > Instant::now() => tokio::time::sleep_until(due.into()).await,
            _ => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        let Some(known) = state.upgrade() else { return };
        if !known.used.swap(false, Ordering::AcqRel) && known.heard.receiver_count() == 0 {
            known.kept.store(false, Ordering::Release);
            return;
        }
        let mut outcome = known.begin();
        drop(known);
        if outcome.wait_for(Option::is_some).await.is_ok_and(|outcome| matches!(*outcome, Some(Ok(_)))) {
            pause = FAILURE;
        }
    }
}

/// A name. Cheap to clone.
#[derive(Clone)]
pub struct Name(Arc<State>);

impl Name {
    pub(crate) fn of(state: Arc<State>) -> Self {
        Self(state)
    }

    /// The name, in lower case.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// The answer if it is fresh. Takes no lock and allocates nothing.
    pub fn fresh(&self) -> Option<Guard<Option<Arc<Answer>>>> {
        let answer = self.0.answer.load();
        if !answer.as_ref().is_some_and(|answer| answer.is_fresh()) {
            return None;
        }
        if !self.0.used.load(Ordering::Relaxed) {
            self.0.used.store(true, Ordering::Relaxed);
        }
        Some(answer)
    }

    /// The last answer, fresh or not, without asking anybody.
    pub fn last(&self) -> Option<Arc<Answer>> {
        self.0.last()
    }

    /// The answer: a fresh one, or an old one while the name servers fail.
    ///
    /// # Errors
    /// No address is known.
    pub async fn answer(&self) -> Result<Arc<Answer>, Error> {
        self.0.used.store(true, Ordering::Relaxed);
        let last = self.0.last();
        if let Some(answer) = last.as_ref().filter(|answer| answer.is_fresh()) {
            return Ok(Arc::clone(answer));
        }
        let mut outcome = self.0.begin();
        let Some(last) = last else { return self.ended(&mut outcome).await };
        // Those who renew it have waited already.
        if self.0.failing.load(Ordering::Acquire) || self.0.kept.load(Ordering::Acquire) {
            return Ok(last);
        }
        match tokio::time::timeout(PATIENCE, self.ended(&mut outcome)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_certain() => Err(error),
            Ok(Err(_)) | Err(_) => Ok(last),
        }
    }

    /// The answer of a new look-up, or why there is none.
    ///
    /// # Errors
    /// The look-up failed.
    pub async fn renewed(&self) -> Result<Arc<Answer>, Error> {
        let mut outcome = self.0.begin();
        self.ended(&mut outcome).await
    }

    /// Told of each look-up that has ended. While somebody listens, the name is renewed.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.heard.subscribe()
    }

    async fn ended(&self, outcome: &mut watch::Receiver<Option<Outcome>>) -> Outcome {
        let stopped = || Error::Stopped { host: Arc::clone(&self.0.host) };
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(stopped())),
            Err(_) => Err(stopped()),
        }
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Name").field(&self.0.host).finish()
    }
}
