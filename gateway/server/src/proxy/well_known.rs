//! Well-known paths of routes (RFC 8615, RFC 8414 §3.1): `/.well-known/NAME/path` belongs to the route that `/path`
//! leads to, if one of that route's plugins serves the name.
//!
//! A route whose own path begins with `/.well-` is the operator's choice and comes first; one that matches any path
//! does not. Without a plugin that serves the name, the request goes where it would go anyway.

use std::sync::Arc;

use http::StatusCode;
use tollgate_core::reply::Reply;
use tollgate_router::{Match, MatchedPath};

use crate::chain::Chain;
use crate::snapshot::RouteEntry;

/// The beginning of all well-known paths.
const PREFIX: &str = "/.well-known/";

/// The route whose plugins serve this well-known path, if the request is not another route's. `as_is` is the route of
/// the path itself, `find` that of another path.
pub(super) fn find<'s>(
    path: &str,
    as_is: Option<&Match<'s, Arc<RouteEntry>>>,
    find: impl Fn(&str) -> Option<Match<'s, Arc<RouteEntry>>>,
) -> Option<Match<'s, Arc<RouteEntry>>> {
    let (name, rest) = split(path)?;
    match as_is.map(|found| found.path) {
        Some(MatchedPath::Regex { .. }) => return None,
        Some(MatchedPath::Prefix(length)) if length > 1 => return None,
        Some(MatchedPath::Prefix(_) | MatchedPath::None) | None => {}
    }
    let serves = |found: &Match<'_, Arc<RouteEntry>>| {
        let Chain::Ready(plugins) = &found.value.chain else { return false };
        plugins.entries().iter().any(|entry| entry.handler.well_known().contains(&name))
    };
    let of_rest = || find(if rest.is_empty() { "/" } else { rest }).filter(serves);
    // A route's path may end in a slash that its name as a resource does not have.
    let below = || (!rest.ends_with('/')).then(|| find(&format!("{rest}/"))).flatten().filter(serves);
    let found = of_rest().or_else(below)?;
    // A route that also has the path itself needs no special treatment.
    as_is.is_none_or(|as_is| !Arc::ptr_eq(as_is.value, found.value)).then_some(found)
}

/// What follows the name in a well-known path.
pub(super) fn rest(path: &str) -> &str {
    split(path).map_or("", |(_, rest)| rest)
}

/// The name of a well-known path, and what follows.
fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix(PREFIX)?;
    Some(path.split_at(path.find('/').unwrap_or(path.len())))
}

/// None of the route's plugins has replied to a well-known path.
pub(super) fn not_found() -> Reply {
    Reply::message(StatusCode::NOT_FOUND, "well_known_not_served", "Not found")
}
