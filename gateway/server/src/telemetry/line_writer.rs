//! Lines written by a separate thread, for the access log and the audit log.
//!
//! Invariant: adding a line never waits for its destination. When the buffer is full, lines are dropped and counted.
//!
//! A line is copied into the buffer that the writer takes periodically: a lock is held only for that copy, and there is
//! no system call, except for the first line after a pause.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

/// Bytes that may wait for the writer: some ten thousand lines.
const BUFFER: usize = 4 << 20;

/// How long the writer lets lines accumulate, so that a burst costs few system calls.
const GATHER: Duration = Duration::from_millis(10);

/// The writer of one log. It ends when it is dropped, after it has written what it has.
#[derive(Debug)]
pub(super) struct LineWriter {
    buffer: Arc<Buffer>,
    dropped: IntCounter,
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.buffer.lock().closed = true;
        self.buffer.changed.notify_all();
    }
}

/// The buffer between requests and the writer.
#[derive(Debug, Default)]
struct Buffer {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Whether the writer holds lines that it has taken and not written yet.
    writing: bool,
    /// Notifies a flush that everything was written.
    flushing: bool,
    closed: bool,
}

/// The result of adding a line.
enum Added {
    /// The buffer was empty: the writer may be asleep.
    First,
    Following,
    /// The buffer is full.
    Dropped,
}

impl Buffer {
    fn add(&self, line: &[u8]) -> Added {
        let mut state = self.lock();
        if state.lines.len() + line.len() > BUFFER {
            return Added::Dropped;
        }
        let added = if state.lines.is_empty() { Added::First } else { Added::Following };
        state.lines.extend_from_slice(line);
        added
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LineWriter {
    /// Writes to `destination` from a new thread with this name.
    pub(super) fn start(
        name: &'static str,
        destination: Box<dyn Write + Send>,
        dropped: IntCounter,
    ) -> std::io::Result<Self> {
        let buffer = Arc::new(Buffer::default());
        let filled = Arc::clone(&buffer);
        let write = move || write_lines(name, &filled, destination);
        std::thread::Builder::new().name(name.to_owned()).spawn(write)?;
        Ok(Self { buffer, dropped })
    }

    /// Adds a line, which ends in a line feed, or drops it.
    pub(super) fn add(&self, line: &[u8]) {
        match self.buffer.add(line) {
            Added::First => self.buffer.changed.notify_all(),
            Added::Following => {}
            Added::Dropped => self.dropped.inc(),
        }
    }

    /// Waits, for a limited time, until earlier lines are written. For shutdown.
    pub(super) fn flush(&self, bound: Duration) {
        let deadline = Instant::now() + bound;
        let mut state = self.buffer.lock();
        // Too slow: shutdown continues anyway.
        while (state.writing || !state.lines.is_empty()) && Instant::now() < deadline {
            state.flushing = true;
            self.buffer.changed.notify_all();
            let waiting = self.buffer.changed.wait_timeout(state, GATHER);
            state = waiting.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn write_lines(log: &'static str, buffer: &Buffer, mut destination: Box<dyn Write + Send>) {
    let mut batch = Vec::new();
    loop {
        {
            let mut state = buffer.lock();
            while state.lines.is_empty() && !state.closed {
                state = buffer.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if !(state.flushing || state.closed) {
                let gathering =
                    buffer.changed.wait_timeout_while(state, GATHER, |state| !state.flushing && !state.closed);
                state = gathering.unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.lines.is_empty() {
                return;
            }
            // The two buffers are swapped: neither is allocated again.
            std::mem::swap(&mut state.lines, &mut batch);
            state.writing = true;
            state.flushing = false;
        }
        if let Err(error) = destination.write_all(&batch).and_then(|()| destination.flush()) {
            tracing::warn!(%error, log, "cannot write log lines; they are lost");
        }
        batch.clear();
        buffer.lock().writing = false;
        buffer.changed.notify_all();
    }
}
