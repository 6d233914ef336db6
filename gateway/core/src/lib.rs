//! Tollgate's vocabulary: the types that the gateway, the stores and the plugins share.
//!
//! Nothing in here names Pingora, a database driver or a particular plugin; those crates depend
//! on this one and meet only through it.
//!
//! - [`schema`], [`entity`]: entities described as data; validation, defaults and published
//!   schemas all come from that one description.
//! - [`collection`], [`change`]: the store port and what it announces.
//! - [`path`], [`host`]: the normal forms of paths and hosts, shared by validation and matching.
//! - [`plugin`], [`request`], [`reply`]: a request and its response as a plugin sees them.
//! - [`setting`]: settings of the node, the gateway's and those that plugins add.
//! - [`secret`], [`clock`], [`random`]: values that must not leak, and time and randomness as
//!   parameters.

pub mod change;
pub mod clock;
pub mod collection;
pub mod entity;
pub mod error;
pub mod host;
pub mod path;
pub mod plugin;
pub mod random;
pub mod registry;
pub mod reply;
pub mod request;
pub mod schema;
pub mod secret;
pub mod setting;
