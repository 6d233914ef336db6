//! Kinds of entity: what the Admin API, the stores and the declarative files know about each.
//!
//! A kind is data: its file states its fields, defaults and rules once, and everything else is derived from
//! them. The gateway's own kinds are here; plugins bring theirs.

pub mod admin_token;
pub mod ca_certificate;
pub mod certificate;
pub mod consumer;
pub mod field;
mod health_checks;
mod host;
mod kind;
mod path_rule;
pub mod plugin;
mod protocol;
pub mod route;
pub mod service;
pub mod sni;
pub mod target;
pub mod upstream;

pub use kind::{InFiles, Kind, Names};
