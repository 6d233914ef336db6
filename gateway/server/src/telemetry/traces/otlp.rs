//! OTLP's `ExportTraceServiceRequest` (opentelemetry-proto 1.x), as Protocol Buffers.
//!
//! The message has few types and is only written, so its encoding is here, in a page: field numbers are those of
//! `opentelemetry/proto/trace/v1/trace.proto`.

use tollgate_core::span::Attribute;

use super::trace::Finished;

/// `STATUS_CODE_ERROR`.
const FAILED: u64 = 2;

/// Bits of `Span.flags`: sampled, and that bit 9 says whether the parent is remote.
const SAMPLED: u32 = 1;
const KNOWS_REMOTE: u32 = 1 << 8;
const IS_REMOTE: u32 = 1 << 9;

/// Who sends spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `service.name`.
    pub service: String,
    /// `service.version`.
    pub version: String,
    /// `service.instance.id`.
    pub instance: String,
}

/// The message with these spans.
pub(super) fn request(resource: &Resource, spans: &[Finished]) -> Vec<u8> {
    let mut scope_spans = Message::default();
    let mut scope = Message::default();
    scope.text(1, "tollgate");
    scope.text(2, &resource.version);
    scope_spans.message(1, &scope);
    for span in spans {
        scope_spans.message(2, &of_span(span));
    }
    let mut described = Message::default();
    let attributes = [
        ("service.name", &resource.service),
        ("service.version", &resource.version),
        ("service.instance.id", &resource.instance),
    ];
    for (name, value) in attributes {
        described.message(1, &attribute(name, &Attribute::Text(value.clone())));
    }
    let mut resource_spans = Message::default();
    resource_spans.message(1, &described);
    resource_spans.message(2, &scope_spans);
    let mut request = Message::default();
    request.message(1, &resource_spans);
    request.0
}

fn of_span(span: &Finished) -> Message {
    let mut message = Message::default();
    message.bytes(1, &span.trace);
    message.bytes(2, &span.span);
    if let Some(state) = &span.state {
        message.text(3, state);
    }
    if let Some(parent) = &span.parent {
        message.bytes(4, parent);
    }
    message.text(5, &span.name);
    message.number(6, span.kind as u64);
    message.fixed64(7, span.began);
    message.fixed64(8, span.ended);
    for (name, value) in &span.attributes {
        message.message(9, &attribute(name, value));
    }
    if span.has_failed {
        let mut status = Message::default();
        status.number(3, FAILED);
        message.message(15, &status);
    }
    let remote = if span.has_remote_parent { IS_REMOTE } else { 0 };
    message.fixed32(16, SAMPLED | KNOWS_REMOTE | remote);
    message
}

fn attribute(name: &str, value: &Attribute) -> Message {
    let mut any = Message::default();
    match value {
        Attribute::Text(text) => any.text(1, text),
        Attribute::Number(number) => any.number(3, number.cast_unsigned()),
    }
    let mut message = Message::default();
    message.text(1, name);
    message.message(2, &any);
    message
}

/// A message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn number(&mut self, field: u32, number: u64) {
        self.tag(field, 0);
        self.varint(number);
    }

    fn fixed64(&mut self, field: u32, number: u64) {
        self.tag(field, 1);
        self.0.extend(number.to_le_bytes());
    }

    fn fixed32(&mut self, field: u32, number: u32) {
        self.tag(field, 5);
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, 2);
        self.varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend(bytes);
    }

    fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u32, message: &Self) {
        self.bytes(field, &message.0);
    }
}
