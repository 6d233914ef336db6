//! A request that goes upstream over HTTP/2.
//!
//! 1. [`prepare`]: what a client over HTTP/1.1 expects that HTTP/2 has no way to relay.
//! 2. [`is_usable`]: gRPC goes over nothing else.
//! 3. [`was_not_processed`]: which failures say that the upstream has not acted on a request (RFC 9113 §8.7).

use http::Version;
use http::header::EXPECT;
use pingora::http::RequestHeader;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::body;
use crate::upstream::service::Transport;

/// The library does not relay 1xx of an upstream, so a client that waits for `100 Continue` gets it from the gateway.
pub(super) async fn prepare(session: &mut Session, request: &mut RequestHeader) -> Result<()> {
    if body::expects_continue(session) && session.response_written().is_none() {
        session.write_continue_response().await?;
    }
    request.remove_header(&EXPECT);
    Ok(())
}

/// Whether an upstream of this kind may get the request over this version.
///
/// # Errors
/// A gRPC upstream has chosen HTTP/1.1 in the handshake.
pub(super) fn is_usable(version: Version, transport: Transport) -> Result<()> {
    if transport.is_grpc() && version != Version::HTTP_2 {
        return Err(Error::explain(ErrorType::HandshakeError, "gRPC upstream does not speak HTTP/2").into_up());
    }
    Ok(())
}

/// Whether the upstream says itself that it has not acted on the request: it refused the stream, is shutting down, or
/// wants HTTP/1.1. Such a request is repeated whatever its method; gRPC has no HTTP/1.1 to be repeated over.
pub(super) fn was_not_processed(error: &Error, transport: Transport) -> bool {
    let reason = error.root_cause().downcast_ref::<h2::Error>().filter(|cause| cause.is_remote());
    match reason.and_then(h2::Error::reason) {
        Some(h2::Reason::REFUSED_STREAM) => true,
        Some(h2::Reason::NO_ERROR) => reason.is_some_and(h2::Error::is_go_away),
        Some(h2::Reason::HTTP_1_1_REQUIRED) => !transport.is_grpc(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::service::Verification;

    #[test]
    fn grpc_goes_over_http2_only() {
        let rows = [
            (Version::HTTP_11, Transport::Grpcs(Verification::On), false),
            (Version::HTTP_2, Transport::Grpcs(Verification::On), true),
            (Version::HTTP_2, Transport::Grpc, true),
            (Version::HTTP_11, Transport::Https(Verification::On), true),
            (Version::HTTP_11, Transport::Http, true),
        ];
        for (version, transport, expected) in rows {
            assert_eq!(is_usable(version, transport).is_ok(), expected, "{version:?} {transport:?}");
        }
    }
}
