//! The access log: one line per request, written by a separate thread.
//!
//! Invariant: a line never holds a query, a header value or a body, so no token, code or secret. Of a token it has the
//! last characters ([`notes::hint`](tollgate_core::notes::hint)), and of a `traceparent` the id of its trace.
//! A request writes its line in thread-local memory and copies it into the buffer of a [`LineWriter`]. Only what plugins
//! note of its sender is allocated.

mod field;
mod line;
mod timestamp;

use std::cell::RefCell;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::IntCounter;
use tollgate_core::notes::Notes;

use super::line_writer::LineWriter;

pub use field::{Field, Fields};
pub use line::Line;
pub use timestamp::Timestamp;

/// The format of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// `name=value` pairs after the status and the request.
    Human,
    /// One JSON object.
    Json,
}

/// A handle to the log. Cheap to clone; the writer ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct AccessLog(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    writer: LineWriter,
    format: LineFormat,
    fields: ArcSwap<Chosen>,
}

/// What lines have; may change while lines are written.
#[derive(Debug)]
struct Chosen {
    fields: Fields,
    are_noted: bool,
}

impl From<Fields> for Chosen {
    fn from(fields: Fields) -> Self {
        Self { are_noted: fields.are_noted(), fields }
    }
}

thread_local! {
    /// The line being written.
    static RENDERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLog {
    /// A log that writes nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Logs these fields to `destination` from a new thread that ends when the last clone is dropped.
    pub fn to_writer(
        destination: Box<dyn Write + Send>,
        format: LineFormat,
        fields: Fields,
        dropped: IntCounter,
    ) -> std::io::Result<Self> {
        let writer = LineWriter::start("access-log", destination, dropped)?;
        let fields = ArcSwap::from_pointee(fields.into());
        Ok(Self(Some(Arc::new(Inner { writer, format, fields }))))
    }

    /// Has lines with these fields from now on.
    pub fn set_fields(&self, fields: Fields) {
        if let Some(inner) = &self.0 {
            inner.fields.store(Arc::new(fields.into()));
        }
    }

    /// Whether lines are written at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// What a request takes with it for plugins to note its sender in; `None`: no field needs it.
    pub fn notes(&self) -> Option<Box<Notes>> {
        self.0.as_ref().filter(|inner| inner.fields.load().are_noted).map(|_| Box::default())
    }

    /// Adds a line, or drops it.
    pub fn write(&self, line: &Line<'_>) {
        let Some(inner) = &self.0 else { return };
        RENDERED.with_borrow_mut(|rendered| {
            rendered.clear();
            line.render(inner.format, &inner.fields.load().fields, rendered);
            inner.writer.add(rendered);
        });
    }

    /// Waits, for a limited time, until earlier lines are written. For shutdown.
    pub fn flush(&self, bound: Duration) {
        if let Some(inner) = &self.0 {
            inner.writer.flush(bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tollgate_core::notes::Caller;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn line(caller: &Caller) -> Line<'_> {
        Line {
            time: Timestamp::new(1_769_862_896_789),
            request_id: "00112233445566778899aabbccddeeff",
            trace_id: None,
            client: Some([192, 0, 2, 1].into()),
            tls: None,
            method: "GET",
            path: "/a",
            status: 401,
            reason: Some("token_expired"),
            route: None,
            service: None,
            labels: None,
            caller,
            upstream: None,
            retries: None,
            bytes_in: 0,
            bytes_out: 12,
            total_ms: 3,
            proxy_ms: None,
            upstream_ms: None,
            served_stale: None,
        }
    }

    #[test]
    fn lines_reach_the_destination_in_both_formats() {
        let sink = Shared::default();
        let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
        for format in [LineFormat::Json, LineFormat::Human] {
            let (sink, fields) = (Box::new(sink.clone()), Fields::default());
            let log = AccessLog::to_writer(sink, format, fields, dropped.clone()).unwrap();
            log.write(&line(&Caller::default()));
            log.flush(Duration::from_secs(5));
        }
        assert_eq!(
            String::from_utf8(sink.0.lock().unwrap().clone()).unwrap(),
            "{\"time\":\"2026-01-31T12:34:56.789Z\",\"request_id\":\"00112233445566778899aabbccddeeff\",\
             \"client\":\"192.0.2.1\",\"method\":\"GET\",\"path\":\"/a\",\"status\":401,\"reason\":\"token_expired\",\
             \"bytes_in\":0,\"bytes_out\":12,\"total_ms\":3}\n\
             2026-01-31T12:34:56.789Z 401 GET /a request_id=00112233445566778899aabbccddeeff client=192.0.2.1 \
             reason=token_expired bytes_in=0 bytes_out=12 total_ms=3\n"
        );
        assert_eq!(dropped.get(), 0);
    }

    #[test]
    fn senders_are_noted_if_the_log_is_on_and_says_who_they_are() {
        let log = |fields: &str| {
            let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
            AccessLog::to_writer(Box::new(std::io::sink()), LineFormat::Json, fields.parse().unwrap(), dropped).unwrap()
        };
        assert!(log("all").notes().is_some());
        assert!(log("time, path").notes().is_none());
        assert!(AccessLog::off().notes().is_none());
    }

    /// A destination that blocks until released.
    struct Stuck(Arc<Mutex<()>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _held = self.0.lock().unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_destination_costs_lines_and_not_requests() {
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().unwrap();
        let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
        let stuck = Box::new(Stuck(Arc::clone(&gate)));
        let log = AccessLog::to_writer(stuck, LineFormat::Json, Fields::default(), dropped.clone()).unwrap();
        let caller = Caller::default();
        while dropped.get() == 0 {
            log.write(&line(&caller));
        }
        log.flush(Duration::from_millis(20));
        drop(held);
        log.flush(Duration::from_secs(5));
        let before = dropped.get();
        log.write(&line(&caller));
        assert_eq!(dropped.get(), before);
    }
}
