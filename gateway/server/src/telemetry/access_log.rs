//! The access log: one line a request, written by a thread of its own.
//!
//! Invariant: a line never holds a query, a header value or a body, so no token, code or secret.
//! When the queue is full the line is dropped and counted: logging never slows a request.

use std::io::Write;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use prometheus::IntCounter;
use serde::Serialize;

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// `name=value` pairs after the status and the request.
    Human,
    /// One JSON object.
    Json,
}

/// What is told of a request.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// When it ended, RFC 3339 in UTC.
    pub time: String,
    /// Its id, as in `X-Kong-Request-Id`.
    pub request_id: &'a str,
    /// The client, after real-ip processing.
    pub client: Option<IpAddr>,
    /// The method.
    pub method: &'a str,
    /// The path as received, without query.
    pub path: &'a str,
    /// The status sent; 0 when the client was gone before one could be sent.
    pub status: u16,
    /// Why the gateway answered instead of the upstream; a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The matched route's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<uuid::Uuid>,
    /// Its service's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<uuid::Uuid>,
    /// The consumer's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<uuid::Uuid>,
    /// Body bytes from the client.
    pub bytes_in: usize,
    /// Body bytes to the client.
    pub bytes_out: usize,
    /// From the head to the end of the answer.
    pub total_ms: u64,
    /// Until the request went upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_ms: Option<u64>,
    /// From there to the upstream's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_ms: Option<u64>,
}

impl Line<'_> {
    fn render(&self, format: LineFormat) -> Vec<u8> {
        let mut out = Vec::with_capacity(320);
        let written = match format {
            LineFormat::Json => serde_json::to_writer(&mut out, self).map_err(std::io::Error::from),
            LineFormat::Human => self.render_human(&mut out),
        };
        if written.is_err() {
            out.clear();
        }
        out.push(b'\n');
        out
    }

    fn render_human(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        write!(out, "{} {} {} {}", self.time, self.status, self.method, self.path.escape_debug())?;
        write!(out, " request_id={} total_ms={}", self.request_id, self.total_ms)?;
        write!(out, " bytes_in={} bytes_out={}", self.bytes_in, self.bytes_out)?;
        pair(out, "client", self.client)?;
        pair(out, "reason", self.reason)?;
        pair(out, "route", self.route)?;
        pair(out, "service", self.service)?;
        pair(out, "consumer", self.consumer)?;
        pair(out, "proxy_ms", self.proxy_ms)?;
        pair(out, "upstream_ms", self.upstream_ms)
    }
}

fn pair(out: &mut Vec<u8>, name: &str, value: Option<impl std::fmt::Display>) -> std::io::Result<()> {
    value.map_or(Ok(()), |value| write!(out, " {name}={value}"))
}

enum Entry {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The way into the log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog(Option<Queue>);

#[derive(Debug, Clone)]
struct Queue {
    entries: SyncSender<Entry>,
    format: LineFormat,
    dropped: IntCounter,
}

impl AccessLog {
    /// Logs nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Logs to `destination` from a thread that this starts and that ends with the last clone.
    pub fn to_writer(
        destination: Box<dyn Write + Send>,
        format: LineFormat,
        dropped: IntCounter,
    ) -> std::io::Result<Self> {
        let (entries, queue) = sync_channel(QUEUE);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write_lines(&queue, destination))?;
        Ok(Self(Some(Queue { entries, format, dropped })))
    }

    /// Whether lines are wanted at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Queues a line, or drops it.
    pub fn write(&self, line: &Line<'_>) {
        let Some(queue) = &self.0 else { return };
        if queue.entries.try_send(Entry::Line(line.render(queue.format))).is_err() {
            queue.dropped.inc();
        }
    }

    /// Waits, for a bounded time, until what was queued before is written. For shutting down.
    pub fn flush(&self, bound: Duration) {
        let Some(queue) = &self.0 else { return };
        let (done, wait) = sync_channel(1);
        if queue.entries.try_send(Entry::Flush(done)).is_ok() {
            // Too slow or gone: shutting down goes on all the same.
            let _ = wait.recv_timeout(bound);
        }
    }
}

fn write_lines(queue: &Receiver<Entry>, mut destination: Box<dyn Write + Send>) {
    while let Ok(first) = queue.recv() {
        // One flush for all lines that wait, so that a burst costs few system calls.
        let mut batch = Vec::with_capacity(4096);
        let mut waiting = Vec::new();
        for entry in std::iter::once(first).chain(queue.try_iter().take(QUEUE)) {
            match entry {
                Entry::Line(line) => batch.extend_from_slice(&line),
                Entry::Flush(done) => waiting.push(done),
            }
        }
        if let Err(error) = destination.write_all(&batch).and_then(|()| destination.flush()) {
            tracing::warn!(%error, "the access log cannot be written");
        }
        for done in waiting {
            let _ = done.try_send(());
        }
    }
}

/// `2026-01-31T12:34:56.789Z`.
pub(crate) fn rfc3339(unix_millis: i64) -> String {
    let (days, millis) = (unix_millis.div_euclid(86_400_000), unix_millis.rem_euclid(86_400_000));
    let (year, month, day) = civil_date(days);
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The proleptic Gregorian date of a day since the Unix epoch. Years start in March here, so that
/// the leap day is the last of its year.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

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

    fn line() -> Line<'static> {
        Line {
            time: rfc3339(1_769_862_896_789),
            request_id: "00112233445566778899aabbccddeeff",
            client: Some(IpAddr::from([192, 0, 2, 1])),
            method: "GET",
            path: "/a",
            status: 401,
            reason: Some("token_expired"),
            route: None,
            service: None,
            consumer: None,
            bytes_in: 0,
            bytes_out: 12,
            total_ms: 3,
            proxy_ms: None,
            upstream_ms: None,
        }
    }

    #[test]
    fn dates_are_right_around_leap_days_and_the_epoch() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_709_164_800_000), "2024-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_769_862_896_789), "2026-01-31T12:34:56.789Z");
    }

    #[test]
    fn lines_reach_the_destination_in_both_formats() {
        let sink = Shared::default();
        let dropped = IntCounter::new("dropped_total", "Dropped.").unwrap();
        for format in [LineFormat::Json, LineFormat::Human] {
            let log = AccessLog::to_writer(Box::new(sink.clone()), format, dropped.clone()).unwrap();
            log.write(&line());
            log.flush(Duration::from_secs(5));
        }
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let (json, human) = text.split_once('\n').unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(json).unwrap()["reason"], "token_expired");
        assert_eq!(
            human,
            "2026-01-31T12:34:56.789Z 401 GET /a request_id=00112233445566778899aabbccddeeff total_ms=3 \
             bytes_in=0 bytes_out=12 client=192.0.2.1 reason=token_expired\n"
        );
        assert_eq!(dropped.get(), 0);
    }
}
