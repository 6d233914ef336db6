//! The threads that send: each a runtime of its own with its connections, so that nothing is shared
//! on the way of a request.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::connection::Connection;
use crate::endpoint::{Endpoint, Protocol};
use crate::outcome::Second;
use crate::tally::{Endings, Finished, Tally};
use crate::timing::{Alarm, Pace, Schedule};
use crate::workload::{Supply, Workload, WorkloadError};

/// How long a worker sleeps before it looks whether the run was ended.
const TURN: Duration = Duration::from_millis(200);

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
    /// How requests ended in each second that had any.
    pub endings: Vec<Endings>,
}

/// What a thread tells.
struct Tick {
    thread: usize,
    told: Told,
}

enum Told {
    /// What it counted in a second; its last one may be a part of one.
    Second(usize, Tally),
    /// It sends no more.
    End,
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
    let Collected { total: tally, seconds, endings, .. } = collected?;
    let duration = ended.saturating_duration_since(start).min(plan.duration);
    Ok(Measured { tally, start, duration, seconds, endings })
}

/// The threads' seconds, added up.
struct Collected {
    total: Tally,
    seconds: Vec<Second>,
    endings: Vec<Endings>,
    /// Seconds that not all threads have told. A second's histograms are given up once it is told:
    /// a long run needs no more memory than a short one.
    open: BTreeMap<usize, Tally>,
    /// The first second that each thread has not told.
    next: Vec<usize>,
}

fn collect(
    ticks: &Receiver<Tick>,
    threads: usize,
    each_second: &mut impl FnMut(&mut Second),
) -> Result<Collected, GeneratorError> {
    let mut collected = Collected {
        total: Tally::default(),
        seconds: Vec::new(),
        endings: Vec::new(),
        open: BTreeMap::new(),
        next: vec![0; threads],
    };
    for Tick { thread, told } in ticks {
        let next = match told {
            Told::Second(second, tally) => {
                collected.total.merge(&tally);
                collected.open.entry(second).or_default().merge(&tally);
                second + 1
            }
            Told::End => usize::MAX,
        };
        if let Some(known) = collected.next.get_mut(thread) {
            *known = next;
        }
        collected.tell(each_second)?;
    }
    Ok(collected)
}

impl Collected {
    /// Tells the seconds that all threads have told.
    fn tell(&mut self, each_second: &mut impl FnMut(&mut Second)) -> Result<(), GeneratorError> {
        let second = Duration::from_secs(1);
        let whole = self.next.iter().copied().min().unwrap_or(usize::MAX);
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() < whole) {
            let (number, tally) = entry.remove_entry();
            let mut told = Second {
                at: number as f64,
                summary: tally.summary(second)?,
                wrong: tally.checks().wrong,
                cache_hit_ratio: None,
            };
            each_second(&mut told);
            self.seconds.push(told);
            self.endings.push(tally.endings());
        }
        Ok(())
    }
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
    end: Instant,
}

impl Desk {
    /// Whether that time has come; `false`: the run was ended before.
    async fn is_time(&self, alarm: &Alarm, at: Instant) -> std::io::Result<bool> {
        loop {
            // In turns, so that nobody who ends the run waits for the next request.
            alarm.until(at.min(Instant::now() + TURN)).await?;
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if Instant::now() >= at {
                return Ok(true);
            }
        }
    }
}

impl Thread {
    fn run(self) -> Result<(), GeneratorError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sent = LocalSet::new().block_on(&runtime, self.send_all());
        self.tell(Told::End);
        sent
    }

    /// Nobody listens any more only where the run has failed already.
    fn tell(&self, told: Told) {
        let _ = self.ticks.send(Tick { thread: self.number, told });
    }

    async fn send_all(&self) -> Result<(), GeneratorError> {
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
            end,
        });
        let ticker = tokio::task::spawn_local(tell_seconds(Rc::clone(&desk), self.number, self.ticks.clone(), end));
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
            self.tell(Told::Second(second.saturating_sub(1), tally));
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
        let Some((intended, step)) = next else {
            // The time after the last request counts as well, or the rate would be too high.
            desk.is_time(&alarm, desk.end).await?;
            return Ok(());
        };
        if !desk.is_time(&alarm, intended).await? {
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
            let finished = Finished { kind: workload.label(shot), step, intended, sent, result };
            desk.tally.borrow_mut().add(finished, desk.start)?;
        }
        if failed {
            // A gateway that is down must not turn the generator into a busy loop.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Hands over what was counted at the end of each second.
async fn tell_seconds(desk: Rc<Desk>, thread: usize, ticks: Sender<Tick>, end: Instant) {
    for second in 0_usize.. {
        let at = desk.start + Duration::from_secs(second as u64 + 1);
        if at >= end {
            // The rest is told when everything is answered.
            return;
        }
        tokio::time::sleep_until(at.into()).await;
        if ticks.send(Tick { thread, told: Told::Second(second, desk.tally.take()) }).is_err() {
            return;
        }
    }
}
