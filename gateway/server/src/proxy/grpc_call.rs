//! gRPC calls: what is different about them.
//!
//! 1. [`open_ended`]: a call is a stream of messages in both directions, so a client that sends nothing for a while is
//!    not slow. What bounds it is that neither side sends anything (the service's `read_timeout`), and its deadline.
//! 2. [`bound`]: the deadline that the client states, should the client not end the call itself.
//! 3. [`response`]: a response of the gateway's own is status and message in headers. Its HTTP status is that of the
//!    same response to other clients (oauth2.md §4.2); gRPC clients read `grpc-status` in preference to it.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, Version};
use pingora::http::RequestHeader;
use pingora_core::upstreams::peer::PeerOptions;
use pingora_proxy::Session;
use tollgate_core::reply::Reply;
use tollgate_core::request::has_grpc_type;
use tollgate_plugin::grpc;

use crate::upstream::service::Transport;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// How long after its deadline a call is ended if the client has not done so.
const GRACE: Duration = Duration::from_secs(1);

/// Whether a request is a gRPC call.
pub(super) fn is(head: &RequestHeader) -> bool {
    head.version == Version::HTTP_2 && has_grpc_type(&head.headers)
}

/// Lets a call to a gRPC service pause.
pub(super) fn open_ended(session: &mut Session, transport: Transport) {
    if transport.is_grpc() && is(session.req_header()) {
        session.set_read_timeout(None);
        // Pingora as published has no minimum pace.
        #[cfg(pingora_patched)]
        session.set_min_body_pace(None);
    }
}

/// How long an attempt may take for a call that states a deadline.
pub(super) fn deadline(head: &RequestHeader, transport: Transport) -> Option<Duration> {
    let stated = if transport.is_grpc() { head.headers.get(GRPC_TIMEOUT) } else { None };
    stated.and_then(duration).map(|stated| stated.saturating_add(GRACE))
}

/// Limits an attempt by the call's deadline.
pub(super) fn bound(options: &mut PeerOptions, head: &RequestHeader, transport: Transport) {
    let Some(deadline) = deadline(head, transport) else { return };
    let within = |timeout: Option<Duration>| Some(timeout.map_or(deadline, |timeout| timeout.min(deadline)));
    options.connection_timeout = within(options.connection_timeout);
    options.total_connection_timeout = within(options.total_connection_timeout);
    options.read_timeout = within(options.read_timeout);
}

/// At most eight digits and a unit.
fn duration(value: &HeaderValue) -> Option<Duration> {
    let (digits, unit) = value.to_str().ok()?.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A response of the gateway's own to a gRPC call.
pub(super) fn response(reply: Reply) -> Reply {
    let status = match (reply.reason, reply.status) {
        // As a server responds to a method that it does not have.
        ("no_route", _) => Some("12"),
        (_, StatusCode::BAD_GATEWAY) => Some("14"),
        (_, StatusCode::REQUEST_TIMEOUT) => Some("4"),
        _ => None,
    };
    let mut reply = grpc::in_headers(reply);
    if let Some(status) = status {
        let given = reply.headers.iter_mut().find(|(name, _)| *name == GRPC_STATUS);
        if let Some((_, value)) = given {
            *value = HeaderValue::from_static(status);
        }
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::service::Verification;

    fn call(timeout: Option<&'static str>) -> RequestHeader {
        let mut head = RequestHeader::build("POST", b"/s/M", None).unwrap();
        head.set_version(Version::HTTP_2);
        head.insert_header("content-type", "application/grpc+proto").unwrap();
        if let Some(timeout) = timeout {
            head.insert_header(GRPC_TIMEOUT, timeout).unwrap();
        }
        head
    }

    #[test]
    fn the_deadline_that_a_call_states_limits_its_attempts() {
        let minute = Some(Duration::from_secs(60));
        let rows = [
            (None, Transport::Grpc, minute),
            (Some("1S"), Transport::Grpc, Some(Duration::from_secs(2))),
            (Some("250m"), Transport::Grpcs(Verification::On), Some(Duration::from_millis(1250))),
            (Some("2000000u"), Transport::Grpc, Some(Duration::from_secs(3))),
            (Some("99999999n"), Transport::Grpc, Some(Duration::from_nanos(1_099_999_999))),
            (Some("99999999H"), Transport::Grpc, minute),
            (Some("1M"), Transport::Grpc, minute),
            (Some("1S"), Transport::Http, minute),
            (Some("999999999m"), Transport::Grpc, minute),
            (Some("-1S"), Transport::Grpc, minute),
            (Some("S"), Transport::Grpc, minute),
            (Some(""), Transport::Grpc, minute),
            (Some("1s"), Transport::Grpc, minute),
        ];
        for (stated, transport, expected) in rows {
            let mut options = PeerOptions::new();
            options.read_timeout = minute;
            options.connection_timeout = minute;
            bound(&mut options, &call(stated), transport);
            assert_eq!(
                (options.read_timeout, options.connection_timeout),
                (expected, expected),
                "{stated:?} {transport:?}"
            );
        }
    }

    #[test]
    fn a_call_has_http2_and_the_type_of_grpc() {
        assert!(is(&call(None)));
        let mut other = call(None);
        other.set_version(Version::HTTP_11);
        assert!(!is(&other));
        other.set_version(Version::HTTP_2);
        other.insert_header("content-type", "application/json").unwrap();
        assert!(!is(&other));
    }

    #[test]
    fn the_gateways_own_responses_have_the_status_that_clients_know() {
        let rows = [
            (404, "no_route", "12"),
            (404, "not_found", "5"),
            (502, "upstream_refused", "14"),
            (503, "name_resolution", "14"),
            (504, "upstream_timeout", "4"),
            (408, "client_timeout", "4"),
            (401, "r", "16"),
        ];
        for (http, reason, expected) in rows {
            let reply = response(Reply::message(StatusCode::from_u16(http).unwrap(), reason, "text"));
            let status = reply.headers.iter().find(|(name, _)| *name == GRPC_STATUS);
            assert_eq!(status.unwrap().1, expected, "{http} {reason}");
            assert_eq!(reply.status.as_u16(), http);
        }
    }
}
