//! Tollgate's domain types, which the gateway, the stores and the plugins share.
//!
//! Nothing in here refers to Pingora, a database driver or a particular plugin; those crates depend on this
//! one, and it is all they share.
//!
//! - [`schema`], [`entity`]: entities described as data; validation, defaults and published schemas all come
//!   from one description.
//! - [`collection`], [`change`]: the store port and what it announces.
//! - [`path`], [`host`]: the normal forms of paths and hosts, shared by validation and matching.
//! - [`network`], [`header_text`]: who counts as one sender; text that is sent in headers. [`byte_set`]: sets of bytes.
//! - [`forwarded`]: what the client addressed its request to.
//! - [`audit`]: what was changed or issued, by whom and from where.
//! - [`plugin`], [`request`], [`reply`]: a request and its response as a plugin sees them; [`notes`]: what the access
//!   log says of its sender; [`explanation`]: what becomes of a token.
//! - [`setting`]: the node's settings, the gateway's own and those of plugins.
//! - [`secret`], [`clock`], [`random`]: values that must not leak, and time and randomness as
//!   parameters.

pub mod audit;
pub mod byte_set;
pub mod change;
pub mod clock;
pub mod collection;
pub mod entity;
pub mod error;
pub mod explanation;
pub mod forwarded;
mod header_block;
pub mod header_text;
pub mod host;
mod name_filter;
pub mod network;
pub mod notes;
pub mod path;
pub mod plugin;
pub mod random;
pub mod registry;
pub mod reply;
pub mod request;
pub mod schema;
pub mod secret;
pub mod setting;
pub mod span;
