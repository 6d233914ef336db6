//! The trace that a request belongs to, as its headers say (W3C Trace Context §3.2).

use http::{HeaderMap, HeaderName};

/// Names the trace, the span of the sender, and whether they are recorded.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What tracing systems add to it; it has no meaning without `traceparent`.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parent<'h> {
    /// The trace: 32 hexadecimal digits.
    pub(crate) trace_id: &'h str,
    /// The span of the sender: 16 of them.
    pub(crate) span_id: &'h str,
    /// Whether the sender may have recorded it.
    pub(crate) is_sampled: bool,
}

/// `None`: there is no such header, or it is not valid.
pub(crate) fn parent(headers: &HeaderMap) -> Option<Parent<'_>> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = value.to_str().ok()?;
    let mut parts = text.splitn(5, '-');
    let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may have more parts; `ff` is none.
    let is_known = version == "00" && parts.next().is_none() || version != "00" && version != "ff";
    let are_valid = is_hex(version, 2) && is_hex(flags, 2) && is_id(trace_id, 32) && is_id(span_id, 16);
    let is_sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
    (is_known && are_valid).then_some(Parent { trace_id, span_id, is_sampled })
}

/// The id of the trace that `traceparent` names.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    parent(headers).map(|parent| parent.trace_id)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_id(text: &str, length: usize) -> bool {
    is_hex(text, length) && text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(values: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, http::HeaderValue::from_static(value));
        }
        trace_id(&headers).map(str::to_owned)
    }

    #[test]
    fn a_valid_traceparent_names_its_trace() {
        let trace = Some("0af7651916cd43dd8448eb211c80319c".to_owned());
        assert_eq!(found(&["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]), trace);
        assert_eq!(found(&["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes"]), trace);
    }

    #[test]
    fn the_flag_says_whether_the_sender_records() {
        for (flags, expected) in [("00", false), ("01", true), ("03", true), ("fe", false)] {
            let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            let headers = HeaderMap::from_iter([(TRACEPARENT, http::HeaderValue::from_str(&text).unwrap())]);
            let parent = parent(&headers).unwrap();
            assert_eq!((parent.span_id, parent.is_sampled), ("b7ad6b7169203331", expected), "{flags}");
        }
    }

    #[test]
    fn anything_else_names_none() {
        for values in [
            &[][..],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"],
            &["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"],
            &["00-00000000000000000000000000000000-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],
            &["00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"],
            &["\"secret\""],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"; 2],
        ] {
            assert_eq!(found(values), None, "{values:?}");
        }
    }
}
