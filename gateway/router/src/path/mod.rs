//! Request paths: into the form routing works on, and out to the upstream.
//!
//! Reserved characters (`!*'();:@&=+$,/?%#[]`) mean something to an upstream and are never
//! encoded or decoded here. All others are decoded for matching ([`normalise`], which routes are
//! checked with too) and, where a request line cannot hold them, encoded again on the way out.

mod upstream;

pub use tollgate_core::path::{Malformed, normalise};
pub use upstream::{Strip, as_sent, escape, upstream_path};
