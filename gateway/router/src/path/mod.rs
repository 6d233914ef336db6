//! Request paths: normalised for routing, and escaped for the upstream.
//!
//! Reserved characters (`!*'();:@&=+$,/?%#[]`) are significant to an upstream and are never encoded or
//! decoded here. All others are decoded for matching ([`normalise`], which also checks routes) and, where a
//! request line cannot contain them, encoded again for the upstream.

pub mod climb;
mod upstream;

pub use tollgate_core::path::{Dots, Malformed, Normal, normalise, read};
pub use upstream::{Strip, as_sent, escape, upstream_path};
