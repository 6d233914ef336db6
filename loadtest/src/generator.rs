//! The threads that send: each a runtime of its own with its connections, so that nothing is shared
//! on the way of a request.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::connection::Connection;
use crate::endpoint::{Endpoint, Protocol};
use crate::outcome::Second;
use crate::tally::{Finished, Tally};
use crate::timing::{Alarm, Pace, Schedule};
use crate::workload::{Supply, Workload, WorkloadError};

/// How requests are sent.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How fast.
    pub pace: Pace,
    /// Connections, over all threads.
    pub connections: usize,
    /// Requests under way on each connection of HTTP/2.
    pub streams: usize,
    /// Threads.
    pub threads: usize,
    /// Sent and not counted.
    pub warm_up: Duration,
    /// Sent and counted.
    pub duration: Duration,
    /// The longest an answer may take.
    pub timeout: Duration,
}

/// Why requests could not be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// What was provisioned does not suffice.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The system refuses threads, timers or memory.
    #[error("the load generator cannot start: {0}")]
    System(#[from] std::io::Error),
    /// A histogram cannot be made.
    #[error("the load generator has no memory for its figures: {0}")]
    Figures(#[from] hdrhistogram::errors::CreationError),
}

/// What came of it.
#[derive(Debug)]
pub struct Measured {
    /// All of it.
    pub tally: Tally,
    /// When counting began.
    pub start: Instant,
    /// For how long was counted.
    pub duration: Duration,
    /// One entry for each whole second.
    pub seconds: Vec<Second>,
    /// The kinds of each of those seconds.
    pub by_second: Vec<Tally>,
}

/// One thread's second; the last one of a thread may be a part of one.
struct Tick {
    second: usize,
    tally: Tally,
}

/// Sends until the plan is done or `stop` is set; `each_second` hears of every whole second.
///
/// # Errors
/// When threads cannot start.
pub fn run(
    plan: &Plan,
    endpoint: &Endpoint,
    supply: &Arc<Supply>,
    stop: &Arc<AtomicBool>,
    mut each_second: impl FnMut(&mut Second),
) -> Result<Measured, GeneratorError> {
    let begin = Instant::now();
    let start = begin + plan.warm_up;
    let (ticks, received) = channel();
    let mut threads = Vec::new();
    for number in 0..plan.threads {
        let thread = Thread {
            number,
            plan: plan.clone(),
            endpoint: endpoint.clone(),
            supply: Arc::clone(supply),
            stop: Arc::clone(stop),
            begin,
            start,
            ticks: ticks.clone(),
        };
        let named = std::thread::Builder::new().name(format!("load-{number}"));
        threads.push(named.spawn(move || thread.run())?);
    }
    drop(ticks);
    let collected = collect(&received, plan.threads, &mut each_second);
    let ended = Instant::now();
    for thread in threads {
        thread.join().unwrap_or_else(|_| Err(std::io::Error::other("a thread that sends has panicked").into()))?;
    }
    let (tally, by_second, seconds) = collected?;
    let duration = ended.saturating_duration_since(start).min(plan.duration);
    Ok(Measured { tally, start, duration, seconds, by_second })
}

type Collected = (Tally, Vec<Tally>, Vec<Second>);

/// Adds the threads' seconds up; a second is told when all threads have told theirs.
fn collect(
    ticks: &Receiver<Tick>,
    threads: usize,
    each_second: &mut impl FnMut(&mut Second),
) -> Result<Collected, GeneratorError> {
    let second = Duration::from_secs(1);
    let mut total = Tally::default();
    let mut by_second: Vec<(Tally, usize)> = Vec::new();
    let mut seconds: Vec<Second> = Vec::new();
    loop {
        let tick = match ticks.recv_timeout(second) {
            Ok(tick) => tick,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        total.merge(&tick.tally);
        if by_second.len() <= tick.second {
            by_second.resize_with(tick.second + 1, Default::default);
        }
        let Some((tally, told)) = by_second.get_mut(tick.second) else { continue };
        tally.merge(&tick.tally);
        *told += 1;
        if *told == threads && seconds.len() == tick.second {
            let summary = tally.summary(second)?;
            let mut complete = Second { at: tick.second as f64, summary, cache_hit_ratio: None };
            each_second(&mut complete);
            seconds.push(complete);
        }
    }
    Ok((total, by_second.into_iter().map(|(tally, _)| tally).collect(), seconds))
}

struct Thread {
    number: usize,
    plan: Plan,
    endpoint: Endpoint,
    supply: Arc<Supply>,
    stop: Arc<AtomicBool>,
    begin: Instant,
    start: Instant,
    ticks: Sender<Tick>,
}

/// What a thread's workers share.
struct Desk {
    schedule: RefCell<Schedule>,
    tally: RefCell<Tally>,
    stop: Arc<AtomicBool>,
    start: Instant,
}

impl Thread {
    fn run(self) -> Result<(), GeneratorError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.send_all())
    }

    async fn send_all(self) -> Result<(), GeneratorError> {
        let end = self.start + self.plan.duration;
        let mut pace = self.plan.pace.clone();
        if let Pace::Open(steps) = &mut pace
            && let Some((_, first)) = steps.first_mut()
        {
            // The warm-up is at the first rate.
            *first += self.plan.warm_up;
        }
        let part = 1.0 / self.plan.threads as f64;
        // Threads take turns instead of sending at the same instants.
        let offset = match &pace {
            Pace::Open(steps) => steps.first().map_or(0.0, |(rate, _)| self.number as f64 / rate),
            Pace::Closed => 0.0,
        };
        let first = self.begin + Duration::from_secs_f64(offset);
        let desk = Rc::new(Desk {
            schedule: RefCell::new(Schedule::new(pace, part, first, end)),
            tally: RefCell::default(),
            stop: Arc::clone(&self.stop),
            start: self.start,
        });
        let ticker = tokio::task::spawn_local(tell_seconds(Rc::clone(&desk), self.ticks.clone(), end));
        let mut workers = Vec::new();
        for worker in self.workers()? {
            workers.push(tokio::task::spawn_local(work(Rc::clone(&desk), worker)));
        }
        let mut outcome = Ok(());
        for worker in workers {
            outcome = outcome.and(worker.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into())));
        }
        ticker.abort();
        let second = self.start.elapsed().min(self.plan.duration).as_secs_f64().ceil() as usize;
        let tally = desk.tally.take();
        if tally.requests() > 0 {
            let _ = self.ticks.send(Tick { second: second.saturating_sub(1), tally });
        }
        outcome
    }

    fn workers(&self) -> Result<Vec<(Connection, Workload)>, GeneratorError> {
        let endpoint = Rc::new(self.endpoint.clone());
        let streams = if endpoint.protocol == Protocol::Http2 { self.plan.streams } else { 1 };
        let all = self.plan.connections * streams;
        let mut workers = Vec::new();
        for number in (self.number..self.plan.connections).step_by(self.plan.threads) {
            let connection = Connection::new(Rc::clone(&endpoint), self.plan.timeout);
            for stream in 0..streams {
                let workload = Workload::new(Arc::clone(&self.supply), number * streams + stream, all)?;
                workers.push((connection.share(), workload));
            }
        }
        Ok(workers)
    }
}

/// Sends one request after the other.
async fn work(desk: Rc<Desk>, (mut connection, mut workload): (Connection, Workload)) -> Result<(), GeneratorError> {
    let alarm = Alarm::new()?;
    loop {
        let next = desk.schedule.borrow_mut().advance();
        let Some(intended) = next else { return Ok(()) };
        alarm.until(intended).await?;
        if desk.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(shot) = workload.choose() else { return Ok(()) };
        let Some(request) = workload.request(shot) else { return Ok(()) };
        let sent = Instant::now();
        let answered = connection.send(request).await;
        let failed = answered.is_err();
        let result = answered.map(|answer| {
            let checked = workload.learn(shot, &answer);
            (answer.status, checked)
        });
        if intended >= desk.start {
            let finished = Finished { kind: workload.kind(shot), intended, sent, result };
            desk.tally.borrow_mut().add(finished, desk.start)?;
        }
        if failed {
            // A gateway that is down must not turn the generator into a busy loop.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Hands over what was counted at the end of each second.
async fn tell_seconds(desk: Rc<Desk>, ticks: Sender<Tick>, end: Instant) {
    for second in 0_usize.. {
        let at = desk.start + Duration::from_secs(second as u64 + 1);
        if at >= end {
            // The rest is told when everything is answered.
            return;
        }
        tokio::time::sleep_until(at.into()).await;
        if ticks.send(Tick { second, tally: desk.tally.take() }).is_err() {
            return;
        }
    }
}
