//! Limits the size of request bodies (docs/compatibility/gateway.md §9).
//!
//! | field of `config` | default | meaning |
//! |---|---|---|
//! | `allowed_payload_size` | 128 | the largest body |
//! | `size_unit` | `megabytes` | its unit: `megabytes` (1,048,576 bytes), `kilobytes` (1024) or `bytes` |
//! | `require_content_length` | false | whether a request without `Content-Length` is refused, unless its body is chunked |
//!
//! | request | response |
//! |---|---|
//! | `Content-Length` above the limit | 413 `Request size limit exceeded`, before anything of it is read |
//! | the same, and the client waits with `Expect: 100-continue` | 417 with the same message |
//! | a body without a declared length that turns out to be longer | 413, once the limit is passed |
//! | no `Content-Length` where it is required | 411 `A valid Content-Length header is required` |
//!
//! Refusals are messages (gateway.md §7.3b).
//!
//! Differences from Kong's plugin: a body without a declared length is not collected before it is sent on, so the
//! upstream receives its beginning, and never an end that reads as complete; a limit below 0 is rejected on write.

mod config;

use std::sync::Arc;

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, StatusCode};
use tollgate_plugin::{
    Access, BodyLimit, Factory, Handler, Host, Instance, Plugin, PluginError, Reply, Request, Schema, StartError,
    Verdict, grpc,
};

use crate::config::{Config, Length};

/// The plugin's name.
pub const NAME: &str = "request-size-limiting";

/// Runs after authentication.
const PRIORITY: i32 = 951;

const EXCEEDED: &str = "Request size limit exceeded";

/// Creates the plugin.
pub struct RequestSizeLimitingFactory;

#[async_trait]
impl Factory for RequestSizeLimitingFactory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn priority(&self) -> i32 {
        PRIORITY
    }

    fn config_schema(&self) -> Schema {
        config::schema()
    }

    fn consumer_scoped(&self) -> bool {
        true
    }

    async fn start(&self, _: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        Ok(Arc::new(RequestSizeLimiting))
    }
}

/// The plugin, which has no state.
struct RequestSizeLimiting;

impl Plugin for RequestSizeLimiting {
    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let config = Config::try_from(instance.config);
        let config = config.map_err(|error| PluginError { plugin: NAME, source: Box::new(error) })?;
        Ok(Arc::new(config))
    }
}

impl Handler for Config {
    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        let verdict = match self.refusal(request.headers) {
            Some(reply) => Verdict::Reply(grpc::refusal(reply, request)),
            None => {
                // The lowest of several limits holds, should another plugin set one.
                let limit = BodyLimit { bytes: self.bytes, message: EXCEEDED };
                let lower = request.edits.body_limit.filter(|known| known.bytes <= limit.bytes);
                request.edits.body_limit = Some(lower.unwrap_or(limit));
                Verdict::Continue
            }
        };
        Access::Ready(Ok(verdict))
    }
}

impl Config {
    /// By the head of the request alone.
    fn refusal(&self, headers: &HeaderMap) -> Option<Reply> {
        match declared(headers) {
            Some(length) if length > self.bytes => {
                let waits = is(headers, &EXPECT, "100-continue");
                let status = if waits { StatusCode::EXPECTATION_FAILED } else { StatusCode::PAYLOAD_TOO_LARGE };
                Some(Reply::message(status, "body_too_large", EXCEEDED))
            }
            None if self.length == Length::Required && !is(headers, &TRANSFER_ENCODING, "chunked") => {
                let message = "A valid Content-Length header is required";
                Some(Reply::message(StatusCode::LENGTH_REQUIRED, "length_required", message))
            }
            _ => None,
        }
    }
}

/// The gateway has refused a length that is not a number; one beyond all limits is above this one too.
fn declared(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(CONTENT_LENGTH)?.to_str().ok()?;
    Some(length.trim().parse().unwrap_or(u64::MAX))
}

fn is(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    headers.get(name).is_some_and(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn refusal(length: Length, headers: &[(HeaderName, &'static str)]) -> Option<(u16, Reply)> {
        let config = Config { bytes: 10, length };
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        config.refusal(&headers.collect()).map(|reply| (reply.status.as_u16(), reply))
    }

    #[test]
    fn a_declared_length_is_judged_before_the_body_is_read() {
        let status = |headers: &[_]| refusal(Length::Optional, headers).map(|(status, _)| status);
        assert_eq!(status(&[(CONTENT_LENGTH, "10")]), None);
        assert_eq!(status(&[(CONTENT_LENGTH, "11")]), Some(413));
        assert_eq!(status(&[(CONTENT_LENGTH, "99999999999999999999999")]), Some(413));
        assert_eq!(status(&[(CONTENT_LENGTH, "11"), (EXPECT, "100-Continue")]), Some(417));
        assert_eq!(status(&[(TRANSFER_ENCODING, "chunked")]), None);
        assert_eq!(status(&[]), None);
    }

    #[test]
    fn a_length_is_required_of_bodies_that_are_not_chunked() {
        let status = |headers: &[_]| refusal(Length::Required, headers).map(|(status, _)| status);
        assert_eq!(status(&[]), Some(411));
        assert_eq!(status(&[(TRANSFER_ENCODING, "chunked")]), None);
        assert_eq!(status(&[(CONTENT_LENGTH, "1")]), None);
        let (_, reply) = refusal(Length::Required, &[]).unwrap();
        let message = "A valid Content-Length header is required";
        assert_eq!(reply, Reply::message(StatusCode::LENGTH_REQUIRED, "length_required", message));
    }
}
