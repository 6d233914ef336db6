//! Request paths: into the form routing works on, and out to the upstream.
//!
//! Reserved characters (`!*'();:@&=+$,/?%#[]`) mean something to an upstream and are never
//! encoded or decoded here. All others are decoded for matching and, where a request line cannot
//! hold them, encoded again on the way out.

mod normalize;
mod upstream;

pub use normalize::{Malformed, normalize};
pub use upstream::{Strip, escape, upstream_path};
