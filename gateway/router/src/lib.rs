//! Route matching and upstream paths.
//!
//! 1. [`path::normalise`] normalises the request's path.
//! 2. [`Router::find`] picks the route: of those whose criteria all hold, the first in priority
//!    order (gateway.md §6).
//! 3. [`path::upstream_path`] joins the service's path and the rest of the request's.
//!
//! Invariant: a lookup does not allocate, and its cost depends on the number of routes that share the
//! request's host and path prefix, not on the total. Nothing in here does I/O or knows what a route leads to:
//! the router is generic over that.

pub mod path;

mod criteria;
mod fast_hash;
mod header;
mod host;
mod index;
mod priority;
#[cfg(test)]
mod reference;
mod router;
mod spec;

pub use criteria::{MatchedPath, Query};
pub use host::Ports;
pub use router::{CompileError, CompiledRoute, Match, Router};
pub use spec::RouteSpec;
