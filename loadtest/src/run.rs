//! One run, from the scenario to the result.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Method;
use http::header::AUTHORIZATION;

use crate::admin::{Admin, AdminError};
use crate::arguments::RunArgs;
use crate::connection::{Connection, Keep, Request};
use crate::counters::Counters;
use crate::endpoint::{Endpoint, EndpointError, Protocol};
use crate::failure::Failure;
use crate::fault::{self, Breaker, Breaking, PrepareError, Prepared};
use crate::generator::{self, GeneratorError, Measured, Plan};
use crate::health::{self, Watch};
use crate::live::{self, Update, View};
use crate::outage;
use crate::outcome::{Outcome, Phase, SCHEMA_VERSION, Saturation, Step, Trial, WrongResponse};
use crate::report::{Files, ReportError};
use crate::revocation::{self, Drill};
use crate::scenario::{Load, Scenario, ScenarioError, Search};
use crate::scrape::Scraper;
use crate::state::{Entry, Journal, State, StateError, Token};
use crate::third_party::Authority;
use crate::timing::Pace;
use crate::workload::{Supply, WorkloadError};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// Too few tokens or credentials are provisioned.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// An address.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The generator.
    #[error(transparent)]
    Generator(#[from] GeneratorError),
    /// A result file.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The Admin API.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The gateway does not respond.
    #[error("no response from the gateway at {authority}: {failure}")]
    Unreachable {
        /// Host and port.
        authority: String,
        /// Why.
        failure: Failure,
    },
    /// The scenario revokes tokens, but none are left.
    #[error(
        "the scenario revokes tokens and keeps one in use, but only {0} token(s) are left: run \
         `tollgate-load provision` again, which replaces revoked ones up to --tokens"
    )]
    NothingToRevoke(usize),
    /// The third-party authority that issued the tokens cannot be served.
    #[error("cannot serve the third-party authority on {address}, where `provision` did: {source}")]
    Authority {
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The gateway and the store of the run's own.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A fault of the store could not be brought about, or not be ended.
    #[error("cannot break or repair the store: {0}")]
    Fault(String),
    /// Threads or runtimes.
    #[error("cannot start threads: {0}")]
    System(#[from] std::io::Error),
}

/// Everything that a run needs, already checked.
struct Run {
    scenario: Scenario,
    endpoint: Endpoint,
    admin: Option<Endpoint>,
    supply: Arc<Supply>,
    reserved: Vec<(usize, String)>,
    journal: Option<Journal>,
    stop: Arc<AtomicBool>,
    updates: Sender<Update>,
    scraper: Option<Scraper>,
    authority: Option<Authority>,
    breaker: Option<Box<dyn Breaker>>,
}

/// Runs a scenario, as often as it is to be repeated, and writes the result: that of all runs until the first that was
/// stopped or could not be carried out.
///
/// # Errors
/// If a run cannot be carried out, or the result cannot be written.
pub fn run(args: &RunArgs, view: View) -> Result<Vec<Outcome>, RunError> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_interrupt(&stop)?;
    let (mut files, mut outcomes) = (None, Vec::new());
    let ended = loop {
        match once(args, view, &stop, &mut files) {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => break Err(error),
        }
        if outcomes.len() >= args.repeat.get() || stop.load(Ordering::Relaxed) {
            break Ok(());
        }
    };
    // What was measured is written even if a later run could not be carried out.
    let written = files.filter(|_| !outcomes.is_empty()).map_or(Ok(()), |files| files.write(&outcomes));
    ended?;
    written?;
    Ok(outcomes)
}

/// Runs a scenario once. The first of repeated runs opens the files, once it knows that the scenario is valid.
fn once(args: &RunArgs, view: View, stop: &Arc<AtomicBool>, files: &mut Option<Files>) -> Result<Outcome, RunError> {
    let (scenario, text) = Scenario::find(&args.scenario)?;
    let mut scenario = overridden(scenario, args);
    let Prepared { args, breaker, site } = fault::prepare(args, &mut scenario)?;
    let args = &args;
    let scenario = scenario.checked("the scenario with the command line options")?;
    if files.is_none() {
        *files = Some(Files::open(args.json.as_deref(), args.html.as_deref())?);
    }
    let trust = args.trust.trust();
    let protocol = if args.http2 { Protocol::Http2 } else { Protocol::Http1 };
    let endpoint = Endpoint::new(&args.proxy, protocol, &trust)?;
    let needs_admin = scenario.revoke.is_some() || scenario.forget_cache;
    let admin = needs_admin.then(|| Endpoint::new(&args.admin, Protocol::Http1, &trust)).transpose()?;
    let state = match &args.token {
        Some(token) => State::of_token(token.clone(), &args.path),
        None => State::load(&args.state)?,
    };
    let reserved = reserved(&scenario, &state)?;
    let journal = if reserved.is_empty() { None } else { Some(Journal::open(&args.state)?) };
    let supply = Supply::new(&scenario, state, reserved.len())?;
    let authority = authority(supply.state())?;
    let echoes = preflight(&endpoint, supply.state(), scenario.timeout.0)?;
    let supply = Arc::new(if echoes { supply } else { supply.without_identities() });

    let (updates, shown) = channel();
    let screen = live::start(view, shown, Arc::clone(stop))?;
    let metrics = args.metrics.as_deref().map(|address| Endpoint::new(address, Protocol::Http1, &trust)).transpose()?;
    let scraper = metrics.map(Scraper::start).transpose()?;
    let stop = Arc::clone(stop);
    let mut run =
        Run { scenario, endpoint, admin, supply, reserved, journal, stop, updates, scraper, authority, breaker };
    let mut outcome = run.measure(&args.proxy)?;
    outcome.scenario_text = text;
    outcome.options = args.changes();
    let refreshed = run.supply.refreshed();
    // The display ends when the sender is dropped.
    drop(run);
    drop(site);
    let _ = screen.join();
    keep(&args.state, refreshed)?;
    Ok(outcome)
}

/// Serves the third party that issued the tokens, as `provision` did.
fn authority(state: &State) -> Result<Option<Authority>, RunError> {
    let Some((order, mut issuer)) = state.order.as_ref().zip(state.third_party().cloned()) else { return Ok(None) };
    let address = issuer.address;
    let authority = issuer.serve(order.holders(&issuer));
    Ok(Some(authority.map_err(|source| RunError::Authority { address, source })?))
}

/// Records the tokens that replaced refreshed ones, for the next run.
fn keep(state: &Path, refreshed: BTreeMap<usize, Token>) -> Result<(), StateError> {
    if refreshed.is_empty() {
        return Ok(());
    }
    let mut journal = Journal::open(state)?;
    refreshed.into_iter().try_for_each(|(place, token)| journal.append(&Entry::Refreshed { place, token }))
}

fn overridden(mut scenario: Scenario, args: &RunArgs) -> Scenario {
    if let Some(rate) = args.rate {
        scenario.load = Load { rate: Some(rate), ..Load::default() };
    }
    if let Some(factor) = args.rate_factor {
        scenario.multiply_rates(factor);
    }
    if let Some(duration) = args.duration {
        scenario.last(duration.0);
    }
    scenario.warm_up = args.warm_up.unwrap_or(scenario.warm_up);
    scenario.connections = args.connections.unwrap_or(scenario.connections);
    scenario.threads = args.threads.unwrap_or(scenario.threads);
    scenario.streams = args.streams.unwrap_or(scenario.streams);
    scenario
}

/// Tokens that this run revokes, with their indices, from the end of the list; at least one is kept in use.
fn reserved(scenario: &Scenario, state: &State) -> Result<Vec<(usize, String)>, RunError> {
    let Some(revoke) = &scenario.revoke else { return Ok(Vec::new()) };
    let wanted = scenario.duration.0.as_secs_f64() / revoke.every.0.as_secs_f64().max(1e-3);
    let lasting: Vec<(usize, &Token)> = state.lasting().collect();
    let count = (wanted.ceil() as usize).min(lasting.len().saturating_sub(1));
    if count == 0 {
        return Err(RunError::NothingToRevoke(lasting.len()));
    }
    Ok(lasting.iter().rev().take(count).map(|(place, token)| (*place, token.access_token.clone())).collect())
}

/// Whether the upstream echoes identity headers. Sends one request, so that an unreachable gateway is reported
/// first.
fn preflight(endpoint: &Endpoint, state: &State, timeout: Duration) -> Result<bool, RunError> {
    let token = state.live().next().and_then(|(_, token)| format!("Bearer {}", token.access_token).try_into().ok());
    let request = Request {
        method: Method::GET,
        target: format!("{}/load", state.route_path),
        headers: token.map(|token| (AUTHORIZATION, token)).into_iter().collect(),
        body: Bytes::new(),
        keep: Keep::Everything,
    };
    let response = block_on(async { Connection::new(Rc::new(endpoint.clone()), timeout).send(&request).await })?;
    let response =
        response.map_err(|failure| RunError::Unreachable { authority: endpoint.authority.clone(), failure })?;
    // Any other status says nothing about the upstream.
    Ok(response.status != 200 || response.header("x-consumer-id").is_some())
}

fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work))
}

/// Ctrl-C stops the run, which still reports; a second one exits the program.
fn stop_on_interrupt(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    let stop = Arc::clone(stop);
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        let _ = block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if stop.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    })?;
    Ok(())
}

impl Run {
    fn measure(&mut self, target: &str) -> Result<Outcome, RunError> {
        let (watch, served) = (Watch::start(), self.authority_cpu());
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.begin(target)?;
        let mut outcome = match self.scenario.load.search {
            Some(search) => self.search(search)?,
            None => self.once()?,
        };
        let is_open = self.scenario.load.rate.is_some() || self.scenario.load.steps.is_some();
        outcome.schema_version = SCHEMA_VERSION;
        outcome.tool_version = env!("CARGO_PKG_VERSION").to_owned();
        outcome.scenario.clone_from(&self.scenario.name);
        outcome.target = target.to_owned();
        outcome.machine = health::machine();
        outcome.started_at = started_at;
        outcome.interrupted = self.stop.load(Ordering::Relaxed);
        let watch = watch.without(self.authority_cpu().saturating_sub(served));
        outcome.generator = watch.verdict(self.scenario.threads, self.scenario.connections, &outcome.total, is_open);
        Ok(outcome)
    }

    /// CPU time of the authority, which this process serves, but which is not the generator.
    fn authority_cpu(&self) -> Duration {
        self.authority.as_ref().map(Authority::cpu).unwrap_or_default()
    }

    fn begin(&self, target: &str) -> Result<(), RunError> {
        if let Some(admin) = self.admin.as_ref().filter(|_| self.scenario.forget_cache) {
            block_on(async { Admin::new(admin).delete("/cache").await })??;
        }
        let seconds = self.scenario.counted().as_secs();
        let scenario = self.scenario.name.clone();
        let _ = self.updates.send(Update::Started { scenario, target: target.to_owned(), seconds });
        Ok(())
    }

    fn plan(&self, pace: Pace, duration: Duration) -> Plan {
        Plan {
            pace,
            connections: self.scenario.connections,
            streams: self.scenario.streams,
            threads: self.scenario.threads,
            warm_up: self.scenario.warm_up.0,
            duration,
            timeout: self.scenario.timeout.0,
        }
    }

    fn send(&self, plan: &Plan) -> Result<Measured, RunError> {
        let measured = generator::run(plan, &self.endpoint, &self.supply, &self.stop, |second| {
            second.cache_hit_ratio = self.scraper.as_ref().and_then(Scraper::hit_ratio);
            let _ = self.updates.send(Update::Second(Box::new(second.clone())));
        });
        Ok(measured?)
    }

    fn once(&mut self) -> Result<Outcome, RunError> {
        let duration = self.scenario.counted();
        let pace = match (&self.scenario.load.steps, self.scenario.load.rate) {
            (Some(steps), _) => Pace::Open(steps.iter().map(|step| (step.rate, step.duration.0)).collect()),
            (None, Some(rate)) => Pace::Open(vec![(rate, duration)]),
            (None, None) => Pace::Closed,
        };
        let drill = self.drill(duration)?;
        let breaking = self.break_store(duration)?;
        let measured = self.send(&self.plan(pace, duration))?;
        let mut outcome = outcome(measured, &self.scenario)?;
        if let Some(breaking) = breaking {
            let faults = breaking.end().map_err(RunError::Fault)?;
            outcome.faults = Some(fault::judge(&faults, &outcome.steps));
        }
        if let Some(found) = drill.map(|drill| drill.join().unwrap_or_default()) {
            outcome.checks.wrong += found.wrong.len() as u64;
            let wrong =
                |found| WrongResponse { at: outcome.duration, expected: "a successful revocation".to_owned(), found };
            outcome.checks.examples.extend(found.wrong.into_iter().take(10).map(wrong));
            outcome.revocation = Some(found.revocation);
        }
        Ok(outcome)
    }

    /// Starts breaking and repairing the store, if the run does that.
    fn break_store(&mut self, duration: Duration) -> Result<Option<Breaking>, RunError> {
        let Some(breaker) = self.breaker.take() else { return Ok(None) };
        let start = Instant::now() + self.scenario.warm_up.0;
        Ok(Some(fault::start(breaker, (start, duration), self.updates.clone(), Arc::clone(&self.stop))?))
    }

    fn drill(&mut self, duration: Duration) -> Result<Option<JoinHandle<revocation::Found>>, RunError> {
        let journal = self.journal.take();
        let (Some(revoke), Some(admin), Some(journal)) = (self.scenario.revoke, &self.admin, journal) else {
            return Ok(None);
        };
        let start = Instant::now() + self.scenario.warm_up.0;
        let drill = Drill {
            proxy: self.endpoint.clone(),
            admin: admin.clone(),
            target: format!("{}/load", self.supply.state().route_path),
            tokens: self.reserved.clone(),
            journal: RefCell::new(journal),
            revoke,
            start,
            end: start + duration,
            timeout: self.scenario.timeout.0,
        };
        Ok(Some(revocation::start(drill, Arc::clone(&self.stop))?))
    }

    /// Doubles the rate until the bound breaks, then bisects the interval down to a twentieth.
    fn search(&self, search: Search) -> Result<Outcome, RunError> {
        let bound = search.p99.0.as_secs_f64() * 1e6;
        let (mut total, mut seconds, mut trials) = (Counters::default(), Vec::new(), Vec::new());
        let (mut kept, mut broken, mut rate) = (None, None, search.from);
        let mut spent = Duration::ZERO;
        while !self.stop.load(Ordering::Relaxed) {
            let measured = self.send(&self.plan(Pace::Open(vec![(rate, search.trial.0)]), search.trial.0))?;
            let summary = measured.counters.summary(measured.duration).map_err(GeneratorError::from)?;
            // The offered requests must also get responses in time.
            let held = summary.latency.p99 <= bound && summary.failures() == 0 && summary.rate >= 0.95 * rate;
            let verdict = if held { "kept" } else { "broken" };
            let note = format!("{rate:.0}/s: p99 {}, {verdict}", live::duration(summary.latency.p99));
            let _ = self.updates.send(Update::Note(note));
            spent += measured.duration;
            total.merge(&measured.counters);
            let offset = seconds.len() as f64;
            seconds.extend(measured.seconds.into_iter().map(|mut second| {
                second.at += offset;
                second
            }));
            trials.push(Trial { rate, summary, held });
            if held {
                kept = Some(rate)
            } else {
                broken = Some(rate)
            }
            rate = match (kept, broken) {
                (Some(kept), None) if kept < search.to => (kept * 2.0).min(search.to),
                (Some(kept), Some(broken)) if broken > kept * 1.05 => f64::midpoint(kept, broken),
                _ => break,
            };
        }
        let mut outcome = summarized(&total, spent)?;
        outcome.seconds = seconds;
        outcome.saturation = Some(Saturation { bound, rate: kept, trials });
        Ok(outcome)
    }
}

fn summarized(counters: &Counters, duration: Duration) -> Result<Outcome, RunError> {
    Ok(Outcome {
        duration: duration.as_secs_f64(),
        total: counters.summary(duration).map_err(GeneratorError::from)?,
        phases: counters.kinds(duration).map(|(kind, summary)| Phase { name: kind.to_owned(), summary }).collect(),
        checks: counters.checks().clone(),
        ..Outcome::default()
    })
}

fn outcome(measured: Measured, scenario: &Scenario) -> Result<Outcome, RunError> {
    let mut outcome = summarized(&measured.counters, measured.duration)?;
    outcome.outage = scenario.timeline.then(|| outage::of(&measured.endings));
    outcome.seconds = measured.seconds;
    let mut left = measured.duration;
    for (number, step) in scenario.load.steps.iter().flatten().enumerate() {
        // The last step may have been cut short.
        let took = step.duration.0.min(left);
        left -= took;
        let name = step.name.clone().unwrap_or_else(|| format!("step {}", number + 1));
        let summary = measured.counters.step(number, took).map_err(GeneratorError::from)?;
        let kinds = measured.counters.step_kinds(number, took);
        let kinds = kinds.map(|(kind, summary)| Phase { name: kind.to_owned(), summary }).collect();
        outcome.steps.push(Step { name, rate: step.rate, duration: took.as_secs_f64(), summary, kinds });
    }
    Ok(outcome)
}
