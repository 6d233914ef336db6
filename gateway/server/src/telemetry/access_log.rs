//! The access log: one line per request, written by a separate thread.
//!
//! Invariant: a line never holds a query, a header value or a body, so no token, code or secret.
//! A request writes its line in thread-local memory and copies it into the buffer of a [`LineWriter`], without
//! allocating.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use serde::Serialize;
use uuid::Uuid;

use super::line_writer::LineWriter;

/// The format of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// `name=value` pairs after the status and the request.
    Human,
    /// One JSON object.
    Json,
}

/// The log record of a request.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// When it ended, RFC 3339 in UTC.
    pub time: Timestamp,
    /// Its id, as in `X-Kong-Request-Id`.
    pub request_id: &'a str,
    /// The client, after real-ip processing.
    pub client: Option<IpAddr>,
    /// The method.
    pub method: &'a str,
    /// The path as received, without query.
    pub path: &'a str,
    /// The status sent; 0 if the client disconnected before one could be sent.
    pub status: u16,
    /// Why the gateway responded instead of the upstream; a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The matched route's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Uuid>,
    /// Its service's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Uuid>,
    /// The consumer's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<Uuid>,
    /// Body bytes from the client.
    pub bytes_in: usize,
    /// Body bytes to the client.
    pub bytes_out: usize,
    /// From the request's head to the end of the response.
    pub total_ms: u64,
    /// Until the request was sent upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_ms: Option<u64>,
    /// From then until the upstream's response head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_ms: Option<u64>,
    /// If it was decided on cached data while the store was away: for how many seconds no changes were heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_stale: Option<u64>,
}

impl Line<'_> {
    fn render(&self, format: LineFormat, out: &mut Vec<u8>) {
        match format {
            LineFormat::Json => {
                if serde_json::to_writer(&mut *out, self).is_err() {
                    out.clear();
                }
            }
            LineFormat::Human => self.render_human(out),
        }
        out.push(b'\n');
    }

    fn render_human(&self, out: &mut Vec<u8>) {
        for part in [self.time.as_str(), " ", itoa::Buffer::new().format(self.status), " ", self.method, " "] {
            part.put(out);
        }
        put_escaped(self.path, out);
        pair(out, " request_id=", Some(self.request_id));
        pair(out, " total_ms=", Some(self.total_ms));
        pair(out, " bytes_in=", Some(self.bytes_in));
        pair(out, " bytes_out=", Some(self.bytes_out));
        pair(out, " client=", self.client);
        pair(out, " reason=", self.reason);
        pair(out, " route=", self.route);
        pair(out, " service=", self.service);
        pair(out, " consumer=", self.consumer);
        pair(out, " proxy_ms=", self.proxy_ms);
        pair(out, " upstream_ms=", self.upstream_ms);
        pair(out, " served_stale=", self.served_stale);
    }
}

fn pair(out: &mut Vec<u8>, name: &str, value: Option<impl Part>) {
    if let Some(value) = value {
        name.put(out);
        value.put(out);
    }
}

/// A part of a text line. Parts are written one by one: `std::fmt` takes several times as long.
trait Part {
    fn put(&self, out: &mut Vec<u8>);
}

impl Part for &str {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Part for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        itoa::Buffer::new().format(*self).put(out);
    }
}

impl Part for usize {
    fn put(&self, out: &mut Vec<u8>) {
        itoa::Buffer::new().format(*self).put(out);
    }
}

impl Part for Uuid {
    fn put(&self, out: &mut Vec<u8>) {
        (&*self.hyphenated().encode_lower(&mut Uuid::encode_buffer())).put(out);
    }
}

impl Part for IpAddr {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4(address) => {
                let [first, others @ ..] = address.octets();
                itoa::Buffer::new().format(first).put(out);
                for octet in others {
                    out.push(b'.');
                    itoa::Buffer::new().format(octet).put(out);
                }
            }
            Self::V6(address) => address.to_string().as_str().put(out),
        }
    }
}

/// Escapes a path so that it cannot look like the rest of a line, or like another line.
fn put_escaped(path: &str, out: &mut Vec<u8>) {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if path.bytes().all(is_plain) {
        path.put(out);
    } else {
        path.escape_debug().to_string().as_str().put(out);
    }
}

/// A handle to the log. Cheap to clone; the writer ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct AccessLog(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    writer: LineWriter,
    format: LineFormat,
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

    /// Logs to `destination` from a new thread that ends when the last clone is dropped.
    pub fn to_writer(
        destination: Box<dyn Write + Send>,
        format: LineFormat,
        dropped: IntCounter,
    ) -> std::io::Result<Self> {
        let writer = LineWriter::start("access-log", destination, dropped)?;
        Ok(Self(Some(Arc::new(Inner { writer, format }))))
    }

    /// Whether lines are written at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a line, or drops it.
    pub fn write(&self, line: &Line<'_>) {
        let Some(inner) = &self.0 else { return };
        RENDERED.with_borrow_mut(|rendered| {
            rendered.clear();
            line.render(inner.format, rendered);
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

/// A time as `2026-01-31T12:34:56.789Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp([u8; 24]);

thread_local! {
    /// The last second formatted by this thread: most lines fall into the same second.
    static SECOND: Cell<(i64, Timestamp)> = const { Cell::new((i64::MIN, Timestamp([b'0'; 24]))) };
}

impl Timestamp {
    /// This number of milliseconds after the Unix epoch.
    pub fn new(unix_millis: i64) -> Self {
        let (second, millis) = (unix_millis.div_euclid(1000), unix_millis.rem_euclid(1000));
        let (known, mut time) = SECOND.get();
        if known != second {
            time = Self::whole(second);
            SECOND.set((second, time));
        }
        let [.., hundreds, tens, ones, _] = &mut time.0;
        let digit = |value: i64| b'0' + (value % 10) as u8;
        (*hundreds, *tens, *ones) = (digit(millis / 100), digit(millis / 10), digit(millis));
        time
    }

    /// The time as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn whole(unix_seconds: i64) -> Self {
        let (days, seconds) = (unix_seconds.div_euclid(86_400), unix_seconds.rem_euclid(86_400));
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z");
        // Years have four digits until 9999.
        Self(text.as_bytes().try_into().unwrap_or([b'0'; 24]))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
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
            time: Timestamp::new(1_769_862_896_789),
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
            served_stale: None,
        }
    }

    #[test]
    fn dates_are_right_around_leap_days_and_the_epoch() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_769_862_896_789, "2026-01-31T12:34:56.789Z"),
            (1_769_862_896_005, "2026-01-31T12:34:56.005Z"),
        ] {
            assert_eq!(Timestamp::new(millis).as_str(), expected);
        }
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

    #[test]
    fn a_text_line_has_every_part_and_an_escaped_path() {
        let line = Line {
            client: Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])),
            path: "/a\n\"b\" \u{e9}",
            reason: None,
            route: Some(Uuid::from_u128(1)),
            service: Some(Uuid::from_u128(0xab)),
            consumer: Some(Uuid::from_u128(u128::MAX)),
            proxy_ms: Some(1),
            upstream_ms: Some(18_446_744_073_709_551_615),
            served_stale: Some(7),
            ..line()
        };
        let mut written = Vec::new();
        line.render(LineFormat::Human, &mut written);
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "2026-01-31T12:34:56.789Z 401 GET /a\\n\\\"b\\\" \u{e9} request_id=00112233445566778899aabbccddeeff total_ms=3 \
             bytes_in=0 bytes_out=12 client=2001:db8::1 route=00000000-0000-0000-0000-000000000001 \
             service=00000000-0000-0000-0000-0000000000ab consumer=ffffffff-ffff-ffff-ffff-ffffffffffff \
             proxy_ms=1 upstream_ms=18446744073709551615 served_stale=7\n"
        );
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
        let log = AccessLog::to_writer(Box::new(Stuck(Arc::clone(&gate))), LineFormat::Json, dropped.clone()).unwrap();
        while dropped.get() == 0 {
            log.write(&line());
        }
        log.flush(Duration::from_millis(20));
        drop(held);
        log.flush(Duration::from_secs(5));
        let before = dropped.get();
        log.write(&line());
        assert_eq!(dropped.get(), before);
    }
}
