//! The status listener, which probes reach without credentials: who may read it, and who may drain the node.
//!
//! 1. No page of another origin changes anything.
//! 2. A listener on loopback is addressed by a loopback name or an allowed one, as the Admin API is.
//! 3. Draining is for this machine, or for an admin token with the role `write`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::{self, Next};
use axum::response::Response as HttpResponse;
use http::request::Parts;
use http::{Method, Request};
use tollgate_core::audit::{Action, Event, Outcome};

use crate::access::{self, Authentication};
use crate::browser::BrowserRules;
use crate::peer::Peer;
use crate::response::{Failure, Head, Response};
use crate::state::AdminState;

/// Adds the checks to the paths of the status listener; `rules` are those of its address.
pub fn guard_status(router: Router, state: Arc<AdminState>, rules: BrowserRules) -> Router {
    let rules = Arc::new(rules);
    router.layer(middleware::from_fn(move |request, next| {
        let (state, rules) = (Arc::clone(&state), Arc::clone(&rules));
        async move { guard(&state, &rules, request, next).await }
    }))
}

async fn guard(state: &AdminState, rules: &BrowserRules, request: Request<Body>, next: Next) -> HttpResponse {
    let peer = Peer::of(request.extensions()).cloned();
    let reads = is_read(request.method());
    let (parts, body) = request.into_parts();
    let caller = match judge(state, rules, &parts, peer.as_ref()).await {
        Ok(caller) => caller,
        Err(failure) => {
            if let Some(event) = access::refusal(&failure, None, peer.as_ref()) {
                state.audit.write(&event);
            }
            return Response::from(failure).into_response(Head::AndBody);
        }
    };
    // A body that does not come would hold the connection.
    let work = next.run(Request::from_parts(parts, body));
    let Ok(response) = tokio::time::timeout(state.limits.body_timeout, work).await else {
        return Response::from(Failure::BodyTimeout).into_response(Head::AndBody);
    };
    if !reads && response.status().is_success() {
        let action = response.extensions().get().copied().unwrap_or(Action::NodeDraining);
        let mut event = Event::new(action, Outcome::Done);
        event.actor = Some(caller);
        event.client = peer.as_ref().map(Peer::ip);
        state.audit.write(&event);
    }
    response
}

/// The name of the caller for the audit log.
pub(crate) async fn judge(
    state: &AdminState,
    rules: &BrowserRules,
    request: &Parts,
    peer: Option<&Peer>,
) -> Result<String, Failure> {
    let anonymous = || "anonymous".to_owned();
    if is_read(&request.method) {
        rules.check_host(&request.uri, &request.headers)?;
        return Ok(anonymous());
    }
    rules.judge(&request.uri, &request.headers, peer)?;
    if peer.is_none_or(|peer| peer.ip().is_loopback()) {
        return Ok(anonymous());
    }
    let Authentication::Tokens(_) = &state.access.authentication else { return Err(Failure::PeerNotLocal) };
    let caller = state.access.caller(&request.headers, peer).await?;
    caller.require_write()?;
    Ok(caller.name)
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}
