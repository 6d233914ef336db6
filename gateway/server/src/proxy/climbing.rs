//! Paths that an upstream may read as another route's or another service's (gateway.md §6).
//!
//! Plugins are chosen by the path in normal form, which has no dot segments. An upstream that decodes `%2F`, takes
//! a backslash for a slash, drops what follows a semicolon or decodes twice may find some (`/api/..%2Fadmin`,
//! `/api/..;/admin`) and serve what this route does not lead to. Such a request is refused, unless its service is
//! known to read paths as they are (`proxy.lenient_path_services`).

use std::sync::Arc;

use tollgate_router::MatchedPath;
use tollgate_router::path::{climb, upstream_path};

use crate::snapshot::RouteEntry;
use crate::upstream::named_services::NamedServices;

/// What the client is told.
pub(super) const MESSAGE: &str = "The path leaves its route or service by dot segments once %2F and backslashes are \
                                  read as slashes, semicolons end a segment, or escapes are decoded again";

/// What a request asked for, and where the router sends it.
pub(super) struct Asked<'r> {
    pub(super) path: &'r str,
    pub(super) matched: MatchedPath,
    pub(super) route: &'r Arc<RouteEntry>,
}

/// Where a path leads, for an upstream that reads it in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    /// To what this route leads to, or the service reads it as it is.
    WhereItSays,
    /// Perhaps elsewhere.
    Elsewhere,
}

/// Where the path leads; `find` is the route of another path.
pub(super) fn leads<'s>(
    asked: &Asked<'_>,
    lenient: &NamedServices,
    find: impl Fn(&str) -> Option<&'s Arc<RouteEntry>>,
) -> Leads {
    let service = asked.route.service.as_deref();
    if service.is_some_and(|service| lenient.contain(service.id, &service.label)) {
        return Leads::WhereItSays;
    }
    let base = service.and_then(|service| service.path.as_deref());
    let sent = upstream_path(base, asked.path, asked.matched, asked.route.strip);
    let stays =
        |path: &String| asked.is_below_prefix(path) && find(path).is_some_and(|it| Arc::ptr_eq(it, asked.route));
    if climb::leaves(base, &sent) || !climb::resolved(asked.path).iter().all(stays) {
        Leads::Elsewhere
    } else {
        Leads::WhereItSays
    }
}

impl Asked<'_> {
    /// Whether a path begins with the prefix by which the route was found; a regular expression has none.
    fn is_below_prefix(&self, path: &str) -> bool {
        let MatchedPath::Prefix(length) = self.matched else { return true };
        self.path.get(..length).is_some_and(|prefix| path.starts_with(prefix))
    }
}
