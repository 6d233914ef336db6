//! Runs a route's plugins in priority order; the first reply wins. No plugin is known by name.
//!
//! Once plugins know the consumer of the request, consumer-scoped instances join
//! those that have not run yet.
//!
//! The common case, in which every verdict is immediate and `Continue`, allocates nothing.

use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, Version};
use pingora_core::Result;
use pingora_proxy::Session;
use serde_json::json;
use tollgate_core::notes::Notes;
use tollgate_core::plugin::{Access, Handler, PluginError, Verdict};
use tollgate_core::reply::Reply;
use tollgate_core::request::{Addressed, Edits, HeaderEdit, Identity, Request, RequestBody};

use super::accept::Accepted;
use super::arrival::{Arrived, Serving};
use super::body::{self, Forwardable, Purpose};
use super::client;
use super::context::Expectation;
use crate::chain::{self, Chain, ChainEntry, Effective, Plugins};
use crate::scheme::Scheme;
use crate::snapshot::RouteEntry;

/// The plugins' verdict. Not boxed: it is moved once, and the common case allocates nothing.
#[expect(clippy::large_enum_variant, reason = "short-lived, and boxing would cost each request an allocation")]
pub(crate) enum Outcome {
    /// The gateway replies.
    Reply(Reply),
    /// The request goes on, edited.
    Pass(Edits, Expectation),
}

/// The plugins' changes to the response.
#[derive(Default)]
pub(crate) struct ResponsePlan {
    /// Edits made while handling the request, in order.
    pub(crate) edits: Vec<HeaderEdit>,
    /// Plugins with a response phase, in order.
    pub(crate) handlers: Vec<Arc<dyn Handler>>,
}

/// The request, and where it goes.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'r> {
    pub(crate) route: &'r RouteEntry,
    pub(crate) accepted: &'r Accepted,
    /// The part of the path by which the route was found.
    pub(crate) matched: &'r str,
    /// The client's connection.
    pub(crate) serving: &'r Serving,
    /// Where plugins note who sent it.
    pub(crate) notes: Option<&'r Notes>,
}

/// The state that one plugin passes to the next.
struct Progress {
    body: RequestBody,
    edits: Edits,
    response: Vec<HeaderEdit>,
    identity: Option<Identity>,
    served_stale: Option<Duration>,
    forwardable: Forwardable,
}

/// The result of the plugins.
pub(crate) struct Judged {
    pub(crate) outcome: Outcome,
    /// The identity of the request.
    pub(crate) identity: Option<Identity>,
    /// If it was decided on cached data while the store was away: for how long no changes were heard.
    pub(crate) served_stale: Option<Duration>,
    pub(crate) response: ResponsePlan,
}

/// Runs the route's plugins. The error is the client's: it sent its body too slowly or disconnected.
pub(crate) async fn run(session: &mut Session, asked: Asked<'_>) -> Result<Judged> {
    let plugins = match &asked.route.chain {
        Chain::Ready(plugins) => plugins,
        Chain::Uncompilable(reason) => return Ok(unable(reason)),
    };
    let mut progress = Progress {
        body: RequestBody::Unread,
        edits: Edits::default(),
        response: Vec::new(),
        identity: None,
        served_stale: None,
        forwardable: Forwardable::Yes,
    };
    let (reply, effective) = if plugins.varies_by_consumer() {
        run_by_consumer(session, asked, plugins, &mut progress).await?
    } else {
        let effective = Effective::Route(plugins.entries());
        (run_all(session, asked, plugins, &mut progress).await?, effective)
    };
    let response = ResponsePlan { edits: progress.response, handlers: plugins.response_phase(&effective) };
    let outcome = match reply {
        Some(reply) => Outcome::Reply(reply),
        None if progress.forwardable == Forwardable::No => {
            let text = "Payload too large";
            Outcome::Reply(Reply::message(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", text))
        }
        None => {
            let met = progress.body != RequestBody::Unread && session.is_body_done();
            Outcome::Pass(progress.edits, if met { Expectation::Met } else { Expectation::Forwarded })
        }
    };
    Ok(Judged { outcome, identity: progress.identity, served_stale: progress.served_stale, response })
}

/// A plugin that the request needs cannot run.
fn unable(reason: &'static str) -> Judged {
    let outcome = Outcome::Reply(Reply::unavailable(reason));
    Judged { outcome, identity: None, served_stale: None, response: ResponsePlan::default() }
}

async fn run_all(
    session: &mut Session,
    asked: Asked<'_>,
    plugins: &Plugins,
    progress: &mut Progress,
) -> Result<Option<Reply>> {
    for entry in plugins.entries() {
        if let Some(reply) = run_one(session, asked, (plugins, entry), progress).await? {
            return Ok(Some(reply));
        }
    }
    Ok(None)
}

/// The same, for routes with consumer-scoped instances.
async fn run_by_consumer<'p>(
    session: &mut Session,
    asked: Asked<'_>,
    plugins: &'p Plugins,
    progress: &mut Progress,
) -> Result<(Option<Reply>, Effective<'p>)> {
    let mut effective = Effective::Route(plugins.entries());
    let mut next = 0;
    while let Some(entry) = effective.entries().get(next).cloned() {
        let before = progress.identity.and_then(|identity| identity.consumer);
        let reply = run_one(session, asked, (plugins, &entry), progress).await?;
        if reply.is_some() {
            return Ok((reply, effective));
        }
        let now = progress.identity.and_then(|identity| identity.consumer);
        if now != before {
            let of_consumer =
                now.map(|id| plugins.of_consumer(id, asked.route.target.route_id, asked.route.target.service_id));
            match of_consumer.unwrap_or(Ok(Effective::Route(plugins.entries()))) {
                Ok(changed) => effective = changed,
                Err(chain::Uncompilable) => return Ok((Some(Reply::unavailable("plugin_uncompilable")), effective)),
            }
        }
        next = chain::after(effective.entries(), &entry);
    }
    Ok((None, effective))
}

/// Runs one plugin, and again if it requests the body; returns its reply, if any.
async fn run_one(
    session: &mut Session,
    asked: Asked<'_>,
    (plugins, link): (&Plugins, &ChainEntry),
    progress: &mut Progress,
) -> Result<Option<Reply>> {
    match ask(session, asked, link, progress).await {
        Ok(Verdict::Continue) => return Ok(None),
        Ok(Verdict::Reply(reply)) => return Ok(Some(reply)),
        Ok(Verdict::NeedBody { limit, terminal }) => {
            if progress.body == RequestBody::Unread {
                let purpose = if terminal { Purpose::Reply } else { Purpose::Forward };
                let allowed = progress
                    .edits
                    .body_limit
                    .map_or(usize::MAX, |allowed| allowed.bytes.try_into().unwrap_or(usize::MAX));
                let limit = plugins.body_limit(limit).min(allowed);
                // Any read error is the client's.
                let reading = body::read(session, limit, purpose).await.map_err(|error| error.into_down())?;
                progress.body = reading.body;
                progress.forwardable = reading.forwardable;
            }
        }
        Err(error) => return Ok(Some(broken(link, asked.route, &error))),
    }
    match ask(session, asked, link, progress).await {
        Ok(Verdict::Continue) => Ok(None),
        Ok(Verdict::Reply(reply)) => Ok(Some(reply)),
        Ok(Verdict::NeedBody { .. }) => {
            tracing::error!(plugin = link.name(), route = %asked.route.target.route_id, "plugin asked for the body twice; request refused");
            Ok(Some(unexpected()))
        }
        Err(error) => Ok(Some(broken(link, asked.route, &error))),
    }
}

async fn ask(
    session: &Session,
    asked: Asked<'_>,
    link: &ChainEntry,
    progress: &mut Progress,
) -> std::result::Result<Verdict, PluginError> {
    let Asked { route, accepted, matched, serving, notes } = asked;
    let head = session.req_header();
    let arrived = Arrived { session, serving };
    let mut request = Request {
        method: &head.method,
        path: &accepted.path,
        query: head.uri.query(),
        headers: &head.headers,
        http2: head.version == Version::HTTP_2,
        tls: accepted.origin.scheme == Scheme::Https,
        peer: accepted.origin.peer,
        client: accepted.origin.client.address,
        peer_trusted: accepted.origin.is_trusted(),
        addressed: Addressed { host: accepted.host.as_ref(), port: accepted.host_port, matched },
        certificate: session.digest().and_then(client::certificate),
        arrival: &arrived,
        target: &route.target,
        body: std::mem::replace(&mut progress.body, RequestBody::Unread),
        edits: std::mem::take(&mut progress.edits),
        response: std::mem::take(&mut progress.response),
        identity: progress.identity.take(),
        served_stale: progress.served_stale,
        notes,
    };
    let verdict = match link.handler.access(&mut request) {
        Access::Ready(verdict) => verdict,
        Access::Pending(waiting) => waiting.await,
    };
    let Request { body, edits, response, identity, served_stale, .. } = request;
    progress.served_stale = served_stale;
    (progress.body, progress.edits, progress.identity) = (body, edits, identity);
    progress.response = response;
    verdict
}

/// Logged here, where it becomes a response; the client sees none of it.
fn broken(link: &ChainEntry, route: &RouteEntry, error: &PluginError) -> Reply {
    let mut causes = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes = format!("{causes}: {cause}");
        source = cause.source();
    }
    tracing::error!(plugin = link.name(), route = %route.target.route_id, error = causes, "plugin failed; request refused");
    unexpected()
}

/// The reply to a request that hit an internal error (gateway.md §9).
pub(crate) fn unexpected() -> Reply {
    let body = json!({"message": "An unexpected error occurred"});
    Reply::json(StatusCode::INTERNAL_SERVER_ERROR, "plugin_error", &body)
}
