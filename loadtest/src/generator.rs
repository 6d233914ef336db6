//! The sending threads: each has its own runtime and connections, so that sending a request shares nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::connection::Connection;
use crate::counters::{Counters, Endings, Finished};
use crate::endpoint::{Endpoint, Protocol};
use crate::outcome::Second;
use crate::timing::{Alarm, Pace, Schedule};
use crate::workload::{Supply, Workload, WorkloadError};

/// How long a worker sleeps before it checks whether the run was stopped.
const TURN: Duration = Duration::from_millis(200);

/// How requests are sent.
#[derive(Debug, Clone)]
pub struct Plan {
    /// When requests are sent.
    pub pace: Pace,
    /// Connections, over all threads.
    pub connections: usize,
    /// Concurrent requests per HTTP/2 connection.
    pub streams: usize,
    /// Threads.
    pub threads: usize,
    /// Time before counting starts.
    pub warm_up: Duration,
    /// Time during which requests are counted.
    pub duration: Duration,
    /// How long a response may take.
    pub timeout: Duration,
}

/// Why requests could not be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// Too few tokens or credentials are provisioned.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The system refuses threads, timers or memory.
    #[error("cannot start the load generator: {0}")]
    System(#[from] std::io::Error),
    /// A histogram cannot be created.
    #[error("cannot allocate a histogram: {0}")]
    Figures(#[from] hdrhistogram::errors::CreationError),
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// The totals.
    pub counters: Counters,
    /// When counting started.
    pub start: Instant,
    /// How long was counted.
    pub duration: Duration,
    /// One entry for each whole second.
    pub seconds: Vec<Second>,
    /// How requests ended, for each second that had any.
    pub endings: Vec<Endings>,
}

/// A message from a thread.
struct Message {
    thread: usize,
    event: Event,
}

enum Event {
    /// The counts of a second; the last second may be incomplete.
    Second(usize, Counters),
    /// The thread has finished.
    End,
}

/// Sends until the plan is done or `stop` is set; calls `each_second` for every whole second.
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
    let (messages, received) = channel();
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
            messages: messages.clone(),
        };
        let named = std::thread::Builder::new().name(format!("load-{number}"));
        threads.push(named.spawn(move || thread.run())?);
    }
    drop(messages);
    let collected = collect(&received, plan.threads, &mut each_second);
    let ended = Instant::now();
    for thread in threads {
        thread.join().unwrap_or_else(|_| Err(std::io::Error::other("a sending thread panicked").into()))?;
    }
    let Collected { total: counters, seconds, endings, .. } = collected?;
    let duration = ended.saturating_duration_since(start).min(plan.duration);
    Ok(Measured { counters, start, duration, seconds, endings })
}

/// The threads' seconds, added up.
struct Collected {
    total: Counters,
    seconds: Vec<Second>,
    endings: Vec<Endings>,
    /// Seconds that not all threads have reported. A second's histograms are dropped once it is complete, so
    /// that a long run needs no more memory than a short one.
    open: BTreeMap<usize, Counters>,
    /// The first second that each thread has not reported yet.
    next: Vec<usize>,
}

fn collect(
    messages: &Receiver<Message>,
    threads: usize,
    each_second: &mut impl FnMut(&mut Second),
) -> Result<Collected, GeneratorError> {
    let mut collected = Collected {
        total: Counters::default(),
        seconds: Vec::new(),
        endings: Vec::new(),
        open: BTreeMap::new(),
        next: vec![0; threads],
    };
    for Message { thread, event } in messages {
        let next = match event {
            Event::Second(second, counters) => {
                collected.total.merge(&counters);
                collected.open.entry(second).or_default().merge(&counters);
                second + 1
            }
            Event::End => usize::MAX,
        };
        if let Some(known) = collected.next.get_mut(thread) {
            *known = next;
        }
        collected.emit(each_second)?;
    }
    Ok(collected)
}

impl Collected {
    /// Passes on the seconds that all threads have reported.
    fn emit(&mut self, each_second: &mut impl FnMut(&mut Second)) -> Result<(), GeneratorError> {
        let second = Duration::from_secs(1);
        let whole = self.next.iter().copied().min().unwrap_or(usize::MAX);
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() < whole) {
            let (number, counters) = entry.remove_entry();
            let mut complete = Second {
                at: number as f64,
                summary: counters.summary(second)?,
                wrong: counters.checks().wrong,
                cache_hit_ratio: None,
            };
            each_second(&mut complete);
            self.seconds.push(complete);
            self.endings.push(counters.endings());
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
    messages: Sender<Message>,
}

/// State shared by a thread's workers.
struct Shared {
    schedule: RefCell<Schedule>,
    counters: RefCell<Counters>,
    stop: Arc<AtomicBool>,
    start: Instant,
    end: Instant,
}

impl Shared {
    /// Waits until a time; `false` if the run was stopped first.
    async fn wait_until(&self, alarm: &Alarm, at: Instant) -> std::io::Result<bool> {
        loop {
            // In short sleeps, so that stopping the run does not wait for the next request.
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
        self.report(Event::End);
        sent
    }

    /// Sending fails only if the run has failed already.
    fn report(&self, event: Event) {
        let _ = self.messages.send(Message { thread: self.number, event });
    }

    async fn send_all(&self) -> Result<(), GeneratorError> {
        let end = self.start + self.plan.duration;
        let mut pace = self.plan.pace.clone();
        if let Pace::Open(steps) = &mut pace
            && let Some((_, first)) = steps.first_mut()
        {
            // The warm-up uses the first rate.
            *first += self.plan.warm_up;
        }
        let part = 1.0 / self.plan.threads as f64;
        // Threads are offset so that they do not send at the same instants.
        let offset = match &pace {
            Pace::Open(steps) => steps.first().map_or(0.0, |(rate, _)| self.number as f64 / rate),
            Pace::Closed => 0.0,
        };
        let first = self.begin + Duration::from_secs_f64(offset);
        let shared = Rc::new(Shared {
            schedule: RefCell::new(Schedule::new(pace, part, first, end)),
            counters: RefCell::default(),
            stop: Arc::clone(&self.stop),
            start: self.start,
            end,
        });
        let ticker =
            tokio::task::spawn_local(send_seconds(Rc::clone(&shared), self.number, self.messages.clone(), end));
        let mut workers = Vec::new();
        for worker in self.workers()? {
            workers.push(tokio::task::spawn_local(work(Rc::clone(&shared), worker)));
        }
        let mut outcome = Ok(());
        for worker in workers {
            outcome = outcome.and(worker.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into())));
        }
        ticker.abort();
        let second = self.start.elapsed().min(self.plan.duration).as_secs_f64().ceil() as usize;
        let counters = shared.counters.take();
        if counters.requests() > 0 {
            self.report(Event::Second(second.saturating_sub(1), counters));
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

/// Sends one request after another.
async fn work(
    shared: Rc<Shared>,
    (mut connection, mut workload): (Connection, Workload),
) -> Result<(), GeneratorError> {
    let alarm = Alarm::new()?;
    loop {
        let next = shared.schedule.borrow_mut().advance();
        let Some((intended, step)) = next else {
            // The time after the last request counts too, or the rate would be too high.
            shared.wait_until(&alarm, shared.end).await?;
            return Ok(());
        };
        if !shared.wait_until(&alarm, intended).await? {
            return Ok(());
        }
        let Some(selection) = workload.choose() else { return Ok(()) };
        let Some(request) = workload.request(selection) else { return Ok(()) };
        let sent = Instant::now();
        let received = connection.send(request).await;
        let failed = received.is_err();
        let result = received.map(|response| {
            let checked = workload.check(selection, &response);
            (response.status, checked)
        });
        if intended >= shared.start {
            let finished = Finished { kind: workload.label(selection), step, intended, sent, result };
            shared.counters.borrow_mut().add(finished, shared.start)?;
        }
        if failed {
            // If the gateway is down, the generator must not spin.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Sends the counts at the end of each second.
async fn send_seconds(shared: Rc<Shared>, thread: usize, messages: Sender<Message>, end: Instant) {
    for second in 0_usize.. {
        let at = shared.start + Duration::from_secs(second as u64 + 1);
        if at >= end {
            // The rest is sent when all requests have ended.
            return;
        }
        tokio::time::sleep_until(at.into()).await;
        if messages.send(Message { thread, event: Event::Second(second, shared.counters.take()) }).is_err() {
            return;
        }
    }
}
