//! The audit log: one JSON line per event, whatever `log.format` says.
//!
//! What an event holds, and that it holds no secret, is decided in [`tollgate_core::audit`].

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use serde::Serialize;
use tollgate_core::audit::{self, Event};
use tollgate_core::clock::{Clock, SystemClock};

use super::access_log::Timestamp;
use super::line_writer::LineWriter;

/// A handle to the log. Cheap to clone; the writer ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct AuditLog(Option<Arc<LineWriter>>);

#[derive(Serialize)]
struct Line<'e> {
    time: Timestamp,
    #[serde(flatten)]
    event: &'e Event,
}

impl AuditLog {
    /// A log that writes nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Logs to `destination` from a new thread.
    pub fn to_writer(destination: Box<dyn Write + Send>, dropped: IntCounter) -> std::io::Result<Self> {
        Ok(Self(Some(Arc::new(LineWriter::start("audit-log", destination, dropped)?))))
    }

    /// Waits, for a limited time, until earlier lines are written. For shutdown.
    pub fn flush(&self, bound: Duration) {
        if let Some(writer) = &self.0 {
            writer.flush(bound);
        }
    }
}

impl audit::AuditLog for AuditLog {
    fn write(&self, event: &Event) {
        let Some(writer) = &self.0 else { return };
        let line = Line { time: Timestamp::new(SystemClock.now_millis()), event };
        if let Ok(mut line) = serde_json::to_vec(&line) {
            line.push(b'\n');
            writer.add(&line);
        }
    }
}
