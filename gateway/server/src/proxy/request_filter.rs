//! From a checked request to a decision: route, admission, plugins; reply or proxy.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use http::{HeaderMap, StatusCode, Uri, Version};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tollgate_core::reply::Reply;
use tollgate_core::request::Edits;
use tollgate_router::path::{Dots, Strip, as_sent, upstream_path};
use tollgate_router::{MatchedPath, Ports, Query};

use super::accept::{self, Accepted, Names};
use super::admission::{self, Arrival};
use super::buffering;
use super::client::Origin;
use super::climbing::{self, Leads};
use super::context::{Context, Course, Expectation, Outbound, Proxied};
use super::framing;
use super::grpc_call;
use super::lookalike;
use super::pipeline::{self, Asked, Outcome};
use super::reply::{self, OwnResponse};
use super::traced;
use super::trusted_peer;
use super::well_known;
use super::{Gateway, http2};
use crate::scheme::Scheme;
use crate::snapshot::RouteEntry;
use crate::upstream::service::{ServiceEntry, Transport};

/// `Ok(true)`: the gateway has replied.
///
/// A panic after this point would leave the client without a response and the request out of the log:
/// it becomes a 500 and affects nothing else.
pub(super) async fn request_filter(gateway: &Gateway, session: &mut Session, context: &mut Context) -> Result<bool> {
    traced::begin(gateway, session, context);
    let decided = AssertUnwindSafe(decide(gateway, session, context)).catch_unwind().await;
    let response = match decided {
        Ok(decided) => decided?,
        Err(_) => {
            tracing::error!(request_id = context.request_id.as_str(), "request handler panicked; request refused");
            session.set_keepalive(None);
            Some(OwnResponse::gateway(pipeline::unexpected()))
        }
    };
    let Some(response) = response else {
        begin_forwarding(session, context).await?;
        return Ok(false);
    };
    reply::send(gateway.settings.product, session, context, response).await?;
    Ok(true)
}

/// The gateway's own response; `None`: the request is to be proxied.
async fn decide(gateway: &Gateway, session: &mut Session, context: &mut Context) -> Result<Option<OwnResponse>> {
    let accepted = {
        // Read once; the guard is not held while the request waits.
        let live = gateway.settings.live.load();
        context.buffer_bytes = live.limits.buffer_bytes;
        accept::accept(session, &gateway.settings, &live)?
    };
    let accepted = match accepted {
        Ok(accepted) => accepted,
        Err(response) => {
            context.origin = Origin::of(session, &gateway.settings.live.load().trusted_ips);
            gateway.metrics.limits().count_reason(response.reply.reason);
            return Ok(Some(response));
        }
    };
    context.origin = Some(accepted.origin);
    http2::confirm_end(session).await?;
    let Some(Found { route, matched, leads, reason }) = find_route(gateway, session, &accepted) else {
        return Ok(Some(message(StatusCode::NOT_FOUND, "no_route", "no Route matched with those values")));
    };
    context.route = Some(Arc::clone(&route));
    if leads == Leads::Elsewhere {
        session.set_keepalive(None);
        return Ok(Some(message(StatusCode::BAD_REQUEST, "climbing_path", climbing::MESSAGE)));
    }
    if let Some(reply) = admission::refuse(&route, || arrival(session, &accepted)) {
        return Ok(Some(OwnResponse::gateway(reply)));
    }
    let matched_part = reason.matched(&accepted.path, matched);
    let (serving, notes) = (&context.serving, context.notes.as_deref());
    let asked = Asked { route: &route, accepted: &accepted, matched: matched_part, serving, notes };
    let judged = match context.trace.as_deref() {
        None => pipeline::run(session, asked).await?,
        Some(trace) => traced::plugins(trace, pipeline::run(session, asked)).await?,
    };
    context.consumer = judged.identity.and_then(|identity| identity.consumer);
    context.served_stale = judged.served_stale;
    context.response = judged.response;
    match judged.outcome {
        Outcome::Reply(reply) => Ok(Some(OwnResponse::gateway(reply))),
        Outcome::Pass(..) if reason == Reason::WellKnown => Ok(Some(OwnResponse::gateway(well_known::not_found()))),
        Outcome::Pass(edits, expectation) => pass(session, context, &route, accepted, matched, edits, expectation),
    }
}

/// What comes before the first attempt.
async fn begin_forwarding(session: &mut Session, context: &mut Context) -> Result<()> {
    let Some(transport) = context.proxied().map(|proxied| proxied.service.transport) else { return Ok(()) };
    grpc_call::open_ended(session, transport);
    let buffers = context.route.as_ref().is_some_and(|route| route.buffers_requests);
    if buffers && !session.is_body_empty() {
        // Boxed: most requests have no body, and each would have room for what reads one.
        Box::pin(buffering::read_request(session, transport, context.buffer_bytes.request)).await?;
    }
    Ok(())
}

/// The route of a request.
struct Found {
    route: Arc<RouteEntry>,
    matched: MatchedPath,
    leads: Leads,
    reason: Reason,
}

/// Why a request belongs to its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// Its path matches.
    Path,
    /// Its path is a well-known one of the route's.
    WellKnown,
}

impl Reason {
    /// The part of the path by which the route was found.
    fn matched(self, path: &str, matched: MatchedPath) -> &str {
        let (MatchedPath::Prefix(length) | MatchedPath::Regex { len: length }) = matched else { return "" };
        let path = match self {
            Self::Path => path,
            Self::WellKnown => well_known::rest(path),
        };
        path.get(..length).unwrap_or(path)
    }
}

fn find_route(gateway: &Gateway, session: &Session, accepted: &Accepted) -> Option<Found> {
    let head = session.req_header();
    let snapshot = gateway.snapshot.load();
    let query = Query {
        method: head.method.as_str(),
        https: accepted.origin.scheme == Scheme::Https,
        host: accepted.host.as_ref(),
        ports: Ports::new(accepted.host_port, scheme(&head.headers, accepted).default_port(), accepted.origin.port),
        path: &accepted.path,
        headers: &head.headers,
        sni: accepted.server_name.as_ref(),
    };
    let found = snapshot.router.find(&query);
    let other = |path: &str| snapshot.router.find(&Query { path, ..query });
    if let Some(found) = well_known::find(&accepted.path, found.as_ref(), other) {
        let (route, matched) = (Arc::clone(found.value), found.path);
        return Some(Found { route, matched, leads: Leads::WhereItSays, reason: Reason::WellKnown });
    }
    let found = found?;
    let leads = match accepted.dots {
        Dots::None => Leads::WhereItSays,
        Dots::Possible => {
            let asked = climbing::Asked { path: &accepted.path, matched: found.path, route: found.value };
            let other = |path: &str| snapshot.router.find(&Query { path, ..query }).map(|other| other.value);
            climbing::leads(&asked, &gateway.settings.live.load().lenient_path_services, other)
        }
    };
    Some(Found { route: Arc::clone(found.value), matched: found.path, leads, reason: Reason::Path })
}

fn arrival<'r>(session: &'r Session, accepted: &'r Accepted) -> Arrival<'r> {
    let head = session.req_header();
    let claimed = trusted_peer::host(accepted.origin.client.peer, &head.headers);
    Arrival {
        scheme: scheme(&head.headers, accepted),
        host: claimed.or_else(|| accepted.host.clone()),
        target: head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str),
        http2: head.version == Version::HTTP_2,
        headers: &head.headers,
    }
}

fn scheme(headers: &HeaderMap, accepted: &Accepted) -> Scheme {
    trusted_peer::scheme(accepted.origin.scheme, accepted.origin.client.peer, headers)
}

/// No plugin replied: the request goes to the route's service, if it can be reached.
fn pass(
    session: &Session,
    context: &mut Context,
    route: &RouteEntry,
    accepted: Accepted,
    matched: MatchedPath,
    edits: Edits,
    expectation: Expectation,
) -> Result<Option<OwnResponse>> {
    let Some(service) = &route.service else {
        let text = "no Service found with those values";
        return Ok(Some(message(StatusCode::SERVICE_UNAVAILABLE, "no_service", text)));
    };
    if service.transport == Transport::NotProxied {
        return Ok(Some(OwnResponse::gateway(admission::protocol_not_supported())));
    }
    let head = session.req_header();
    let outbound = Outbound {
        uri: upstream_uri(route, service, &accepted.path, matched, edits.query.as_deref(), &head.uri)?,
        stripped_prefix: stripped_prefix(route, &accepted.path, matched),
        headers: match accepted.names {
            Names::Plain => edits.headers,
            Names::Folding => lookalike::with_removals(&head.headers, edits.headers),
        },
        body: edits.body,
        body_limit: edits.body_limit,
        expectation,
        host: accepted.host,
    };
    context.course = Course::Proxied(Box::new(Proxied::new(Arc::clone(service), outbound)));
    Ok(None)
}

fn upstream_uri(
    route: &RouteEntry,
    service: &ServiceEntry,
    path: &str,
    matched: MatchedPath,
    edited: Option<&str>,
    original: &Uri,
) -> Result<Uri> {
    if path == framing::WHOLE_SERVER {
        return Ok(Uri::from_static(framing::WHOLE_SERVER));
    }
    let unchanged = path == original.path();
    let path = upstream_path(service.path.as_deref(), path, matched, route.strip);
    // A path without decoded escapes is sent as the client spelled it.
    let path = if unchanged { as_sent(path) } else { path };
    let query = match edited {
        // An edit that leaves an empty query removes the question mark too; the client's own is kept.
        Some(edited) => Some(edited).filter(|edited| !edited.is_empty()),
        None if path == original.path() => {
            // Nothing changes, so nothing is parsed again.
            return Ok(original.path_and_query().cloned().map_or_else(Uri::default, Uri::from));
        }
        None => original.query(),
    };
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    let parsed = Uri::try_from(target);
    parsed.map_err(|error| Error::because(ErrorType::InternalError, "invalid upstream request target", error))
}

fn stripped_prefix(route: &RouteEntry, path: &str, matched: MatchedPath) -> Option<String> {
    let length = match matched {
        MatchedPath::None => return None,
        MatchedPath::Prefix(length) | MatchedPath::Regex { len: length } => length,
    };
    let stripped = path.get(..length).filter(|_| route.strip == Strip::Matched);
    stripped.map(str::to_owned)
}

fn message(status: StatusCode, reason: &'static str, text: &str) -> OwnResponse {
    OwnResponse::gateway(Reply::message(status, reason, text))
}
