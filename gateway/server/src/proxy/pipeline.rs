//! A route's plugins in priority order; the first reply wins. No plugin is known by name.
//!
//! The common way, every verdict at once and `Continue`, allocates nothing.

use http::{StatusCode, Version};
use pingora_core::Result;
use pingora_proxy::Session;
use serde_json::json;
use tollgate_core::plugin::{Access, PluginError, Verdict};
use tollgate_core::reply::Reply;
use tollgate_core::request::{Edits, Identity, Request, RequestBody};

use super::accept::Accepted;
use super::body::{self, Forwardable, Purpose};
use super::context::Expectation;
use super::forwarded::Scheme;
use crate::snapshot::{Chain, ChainEntry, RouteEntry};

/// What the plugins said. Not boxed: it is moved once, and the common way allocates nothing.
#[expect(clippy::large_enum_variant, reason = "short-lived, and boxing would cost each request an allocation")]
pub(crate) enum Outcome {
    /// The client is answered.
    Answer(Reply),
    /// The request goes on, edited.
    Pass(Edits, Expectation),
}

/// What one plugin leaves to the next.
struct Progress {
    body: RequestBody,
    edits: Edits,
    identity: Option<Identity>,
    forwardable: Forwardable,
}

/// Runs the route's plugins; says, too, who the request is from. The error is the client's: it
/// sent its body too slowly or went away.
pub(crate) async fn run(
    session: &mut Session,
    route: &RouteEntry,
    accepted: &Accepted,
) -> Result<(Outcome, Option<Identity>)> {
    let chain = match &route.chain {
        Chain::Ready(chain) => chain,
        Chain::Uncompilable(reason) => return Ok((Outcome::Answer(Reply::unavailable(reason)), None)),
    };
    let mut progress =
        Progress { body: RequestBody::Unread, edits: Edits::default(), identity: None, forwardable: Forwardable::Yes };
    for link in chain {
        if let Some(reply) = run_one(session, route, accepted, link, &mut progress).await? {
            return Ok((Outcome::Answer(reply), progress.identity));
        }
    }
    if progress.forwardable == Forwardable::No {
        let reply = Reply::message(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Payload too large");
        return Ok((Outcome::Answer(reply), progress.identity));
    }
    let met = progress.body != RequestBody::Unread && session.is_body_done();
    let expectation = if met { Expectation::Met } else { Expectation::Forwarded };
    Ok((Outcome::Pass(progress.edits, expectation), progress.identity))
}

/// Runs one plugin, again if it asks for the body; its reply, if it has one.
async fn run_one(
    session: &mut Session,
    route: &RouteEntry,
    accepted: &Accepted,
    link: &ChainEntry,
    progress: &mut Progress,
) -> Result<Option<Reply>> {
    match ask(session, route, accepted, link, progress).await {
        Ok(Verdict::Continue) => return Ok(None),
        Ok(Verdict::Reply(reply)) => return Ok(Some(reply)),
        Ok(Verdict::NeedBody { limit, terminal }) => {
            if progress.body == RequestBody::Unread {
                let purpose = if terminal { Purpose::Answer } else { Purpose::Forward };
                // Whatever goes wrong in reading is the client's doing.
                let reading = body::read(session, limit, purpose).await.map_err(|error| error.into_down())?;
                progress.body = reading.body;
                progress.forwardable = reading.forwardable;
            }
        }
        Err(error) => return Ok(Some(broken(link, route, &error))),
    }
    match ask(session, route, accepted, link, progress).await {
        Ok(Verdict::Continue) => Ok(None),
        Ok(Verdict::Reply(reply)) => Ok(Some(reply)),
        Ok(Verdict::NeedBody { .. }) => {
            tracing::error!(plugin = link.name, route = %route.target.route_id, "the plugin asked for the body twice");
            Ok(Some(unexpected()))
        }
        Err(error) => Ok(Some(broken(link, route, &error))),
    }
}

async fn ask(
    session: &Session,
    route: &RouteEntry,
    accepted: &Accepted,
    link: &ChainEntry,
    progress: &mut Progress,
) -> std::result::Result<Verdict, PluginError> {
    let head = session.req_header();
    let mut request = Request {
        method: &head.method,
        path: &accepted.path,
        query: head.uri.query(),
        headers: &head.headers,
        http2: head.version == Version::HTTP_2,
        tls: accepted.origin.scheme == Scheme::Https,
        peer: accepted.origin.peer,
        peer_trusted: accepted.origin.is_trusted(),
        target: &route.target,
        body: std::mem::replace(&mut progress.body, RequestBody::Unread),
        edits: std::mem::take(&mut progress.edits),
        identity: progress.identity.take(),
    };
    let verdict = match link.handler.access(&mut request) {
        Access::Ready(verdict) => verdict,
        Access::Pending(waiting) => waiting.await,
    };
    let Request { body, edits, identity, .. } = request;
    (progress.body, progress.edits, progress.identity) = (body, edits, identity);
    verdict
}

/// Logged here, where it becomes an answer; the client learns nothing of it.
fn broken(link: &ChainEntry, route: &RouteEntry, error: &PluginError) -> Reply {
    let mut causes = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes = format!("{causes}: {cause}");
        source = cause.source();
    }
    tracing::error!(plugin = link.name, route = %route.target.route_id, error = causes, "a plugin failed");
    unexpected()
}

/// The answer to a request that met a fault of ours (contract gateway.md §9).
pub(crate) fn unexpected() -> Reply {
    let body = json!({"message": "An unexpected error occurred"});
    Reply::json(StatusCode::INTERNAL_SERVER_ERROR, "plugin_error", &body)
}
