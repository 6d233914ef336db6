//! A line, and its two formats. It is written in parts: `std::fmt` takes several times as long.

use std::net::{IpAddr, SocketAddr};

use tollgate_core::notes::Caller;
use uuid::Uuid;

use super::field::{Field, Fields};
use super::{LineFormat, Timestamp};
use crate::telemetry::route_metrics::Labels;

/// The record of a request; see [`Field`].
#[derive(Debug)]
pub struct Line<'a> {
    /// See [`Field::Time`].
    pub time: Timestamp,
    /// See [`Field::RequestId`].
    pub request_id: &'a str,
    /// See [`Field::TraceId`].
    pub trace_id: Option<&'a str>,
    /// See [`Field::Client`].
    pub client: Option<IpAddr>,
    /// See [`Field::Tls`].
    pub tls: Option<&'a str>,
    /// See [`Field::Method`].
    pub method: &'a str,
    /// See [`Field::Path`].
    pub path: &'a str,
    /// See [`Field::Status`].
    pub status: u16,
    /// See [`Field::Reason`].
    pub reason: Option<&'a str>,
    /// See [`Field::Route`].
    pub route: Option<Uuid>,
    /// See [`Field::Service`].
    pub service: Option<Uuid>,
    /// The names of both.
    pub labels: Option<&'a Labels>,
    /// Who sent it.
    pub caller: &'a Caller,
    /// See [`Field::Upstream`].
    pub upstream: Option<SocketAddr>,
    /// See [`Field::Retries`].
    pub retries: Option<u32>,
    /// See [`Field::BytesIn`].
    pub bytes_in: usize,
    /// See [`Field::BytesOut`].
    pub bytes_out: usize,
    /// See [`Field::TotalMs`].
    pub total_ms: u64,
    /// See [`Field::ProxyMs`].
    pub proxy_ms: Option<u64>,
    /// See [`Field::UpstreamMs`].
    pub upstream_ms: Option<u64>,
    /// See [`Field::ServedStale`].
    pub served_stale: Option<u64>,
}

/// The value of a field.
enum Value<'v> {
    /// Text without characters that need escaping.
    Plain(&'v str),
    /// Any text.
    Text(&'v str),
    Number(u64),
    Id(Uuid),
    Address(IpAddr),
    Socket(SocketAddr),
}

impl Line<'_> {
    /// Adds the line, with its line feed.
    pub(super) fn render(&self, format: LineFormat, fields: &Fields, out: &mut Vec<u8>) {
        match format {
            LineFormat::Json => self.render_json(fields.all(), out),
            LineFormat::Human => self.render_human(fields.of_text(), out),
        }
        out.push(b'\n');
    }

    fn value(&self, field: Field) -> Option<Value<'_>> {
        let labels = self.labels;
        let count = |number: usize| Value::Number(u64::try_from(number).unwrap_or(u64::MAX));
        Some(match field {
            Field::Time => Value::Plain(self.time.as_str()),
            Field::RequestId => Value::Plain(self.request_id),
            Field::TraceId => Value::Plain(self.trace_id?),
            Field::Client => Value::Address(self.client?),
            Field::Tls => Value::Text(self.tls?),
            Field::Method => Value::Text(self.method),
            Field::Path => Value::Text(self.path),
            Field::Status => Value::Number(self.status.into()),
            Field::Reason => Value::Plain(self.reason?),
            Field::Route => Value::Id(self.route?),
            Field::RouteName => Value::Text(labels.map(|labels| &*labels.route).filter(|name| !name.is_empty())?),
            Field::Service => Value::Id(self.service?),
            Field::ServiceName => Value::Text(labels.map(|labels| &*labels.service).filter(|name| !name.is_empty())?),
            Field::Consumer => Value::Id(self.caller.consumer?),
            Field::ConsumerName => Value::Text(self.caller.consumer_name.as_deref()?),
            Field::Credential => Value::Id(self.caller.credential?),
            Field::ClientId => Value::Text(self.caller.client_id.as_deref()?),
            Field::TokenHint => Value::Text(self.caller.token_hint.as_deref()?),
            Field::Upstream => Value::Socket(self.upstream?),
            Field::Retries => Value::Number(self.retries?.into()),
            Field::BytesIn => count(self.bytes_in),
            Field::BytesOut => count(self.bytes_out),
            Field::TotalMs => Value::Number(self.total_ms),
            Field::ProxyMs => Value::Number(self.proxy_ms?),
            Field::UpstreamMs => Value::Number(self.upstream_ms?),
            Field::ServedStale => Value::Number(self.served_stale?),
        })
    }

    fn render_json(&self, fields: &[Field], out: &mut Vec<u8>) {
        let start = out.len();
        for field in fields {
            let Some(value) = self.value(*field) else { continue };
            put(field.json_key(), out);
            match value {
                Value::Text(text) => put_quoted(text, out),
                Value::Number(number) => put(itoa::Buffer::new().format(number), out),
                plain => {
                    out.push(b'"');
                    plain.put(out);
                    out.push(b'"');
                }
            }
        }
        match out.get_mut(start) {
            // In place of the first comma.
            Some(first) => *first = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
    }

    /// The time, the status and the request, then `name=value` pairs.
    fn render_human(&self, (head, rest): (&[Field], &[Field]), out: &mut Vec<u8>) {
        let start = out.len();
        for field in head {
            out.push(b' ');
            match self.value(*field) {
                Some(Value::Text(text)) => put_escaped(text, out),
                Some(value) => value.put(out),
                None => {}
            }
        }
        for field in rest {
            let Some(value) = self.value(*field) else { continue };
            put(field.text_key(), out);
            match value {
                Value::Text(text) if !is_plain(text) => put_quoted(text, out),
                value => value.put(out),
            }
        }
        // No blank precedes the first.
        if out.len() > start {
            out.remove(start);
        }
    }
}

impl Value<'_> {
    /// As it is, without quotes.
    fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Plain(text) | Self::Text(text) => put(text, out),
            Self::Number(number) => put(itoa::Buffer::new().format(number), out),
            Self::Id(id) => put(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()), out),
            Self::Address(address) => put_address(address, out),
            Self::Socket(SocketAddr::V4(socket)) => {
                put_address((*socket.ip()).into(), out);
                out.push(b':');
                put(itoa::Buffer::new().format(socket.port()), out);
            }
            Self::Socket(socket) => put(&socket.to_string(), out),
        }
    }
}

fn put(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
}

fn put_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            let [first, others @ ..] = address.octets();
            put(itoa::Buffer::new().format(first), out);
            for octet in others {
                out.push(b'.');
                put(itoa::Buffer::new().format(octet), out);
            }
        }
        IpAddr::V6(address) => put(&address.to_string(), out),
    }
}

/// Whether a text cannot look like the rest of a line, or like another line.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\'))
}

fn put_escaped(path: &str, out: &mut Vec<u8>) {
    if is_plain(path) { put(path, out) } else { put(&path.escape_debug().to_string(), out) }
}

/// As a JSON string.
fn put_quoted(text: &str, out: &mut Vec<u8>) {
    if is_plain(text) {
        out.push(b'"');
        put(text, out);
        out.push(b'"');
    } else {
        put(&serde_json::Value::from(text).to_string(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(caller: &'a Caller, labels: &'a Labels) -> Line<'a> {
        Line {
            time: Timestamp::new(1_769_862_896_789),
            request_id: "00112233445566778899aabbccddeeff",
            trace_id: Some("0af7651916cd43dd8448eb211c80319c"),
            client: Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])),
            tls: Some("TLSv1.3"),
            method: "GET",
            path: "/a\n\"b\" \u{e9}",
            status: 502,
            reason: Some("upstream_refused"),
            route: Some(Uuid::from_u128(1)),
            service: Some(Uuid::from_u128(0xab)),
            labels: Some(labels),
            caller,
            upstream: Some(SocketAddr::from(([192, 0, 2, 7], 8080))),
            retries: Some(2),
            bytes_in: 0,
            bytes_out: 12,
            total_ms: 3,
            proxy_ms: Some(1),
            upstream_ms: Some(18_446_744_073_709_551_615),
            served_stale: Some(7),
        }
    }

    fn bob() -> Caller {
        Caller {
            consumer: Some(Uuid::from_u128(u128::MAX)),
            consumer_name: Some("Bob \"the\"\nBuilder".into()),
            credential: Some(Uuid::from_u128(2)),
            client_id: Some("client-1".into()),
            token_hint: Some("wxyz".into()),
        }
    }

    fn labels() -> Labels {
        Labels { service: "orders".to_owned(), route: "orders v2".to_owned() }
    }

    fn rendered(line: &Line<'_>, format: LineFormat, fields: &str) -> String {
        let mut out = Vec::new();
        line.render(format, &fields.parse().unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_text_line_has_every_field_and_nothing_in_it_looks_like_another() {
        let (caller, labels) = (bob(), labels());
        assert_eq!(
            rendered(&line(&caller, &labels), LineFormat::Human, "all"),
            "2026-01-31T12:34:56.789Z 502 GET /a\\n\\\"b\\\" \u{e9} request_id=00112233445566778899aabbccddeeff \
             trace_id=0af7651916cd43dd8448eb211c80319c client=2001:db8::1 tls=TLSv1.3 reason=upstream_refused \
             route=00000000-0000-0000-0000-000000000001 route_name=\"orders v2\" \
             service=00000000-0000-0000-0000-0000000000ab service_name=orders \
             consumer=ffffffff-ffff-ffff-ffff-ffffffffffff consumer_name=\"Bob \\\"the\\\"\\nBuilder\" \
             credential=00000000-0000-0000-0000-000000000002 client_id=client-1 token_hint=wxyz \
             upstream=192.0.2.7:8080 retries=2 bytes_in=0 bytes_out=12 total_ms=3 proxy_ms=1 \
             upstream_ms=18446744073709551615 served_stale=7\n"
        );
    }

    #[test]
    fn a_json_line_has_every_field_in_order() {
        let (caller, labels) = (bob(), labels());
        let text = rendered(&line(&caller, &labels), LineFormat::Json, "all");
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        let of = |name: &str| parsed[name].clone();
        assert_eq!(of("path"), "/a\n\"b\" \u{e9}");
        assert_eq!(of("consumer_name"), "Bob \"the\"\nBuilder");
        assert_eq!((of("client"), of("upstream")), ("2001:db8::1".into(), "192.0.2.7:8080".into()));
        assert_eq!((of("retries"), of("upstream_ms")), (2.into(), 18_446_744_073_709_551_615_u64.into()));
        let positions = Field::ALL.map(|field| text.find(&format!("\"{}\":", field.name())));
        assert!(positions.iter().all(Option::is_some) && positions.is_sorted(), "{text}");
    }

    #[test]
    fn only_the_chosen_fields_that_a_request_has_are_written() {
        let (caller, labels) = (Caller::default(), Labels { service: String::new(), route: String::new() });
        let line = Line { reason: None, trace_id: None, upstream: None, ..line(&caller, &labels) };
        let fields = "trace_id, path, reason, service_name, client_id, total_ms";
        assert_eq!(rendered(&line, LineFormat::Json, fields), "{\"path\":\"/a\\n\\\"b\\\" \u{e9}\",\"total_ms\":3}\n");
        assert_eq!(rendered(&line, LineFormat::Human, "status, total_ms"), "502 total_ms=3\n");
        assert_eq!(rendered(&line, LineFormat::Json, "reason"), "{}\n");
    }
}
