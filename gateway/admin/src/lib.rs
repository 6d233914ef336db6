//! The Admin REST API (gateway.md §1–§4).
//!
//! One set of handlers serves every kind of entity: path names, references and the shape of documents all
//! come from the [`tollgate_core::registry`]. Adding a kind changes nothing here.
//!
//! 1. `frame`: limits, CORS, `OPTIONS`, `HEAD`, and the one place that turns a failure into a response.
//! 2. `path` and `resource`: the path's segments → the resource that they name.
//! 3. `input`: the body by its content type → JSON or form pairs.
//! 4. `draft`: input → a document that has passed its schema, references resolved.
//! 5. `entity`, `list`, `foreign`: the verbs on entities; `node`, `schemas`, `tags`, `cache`: the rest.
//!
//! The API has no users. Anyone who can reach its listener can change everything, so bind it to loopback or
//! put it behind an authenticating proxy. A browser on the same machine can reach loopback too; the
//! operator's guide shows how to prevent that.

mod cache;
mod catalogue;
mod child;
mod draft;
mod entity;
mod foreign;
mod frame;
mod information;
mod input;
mod list;
mod memory;
mod node;
mod offset;
mod path;
mod query;
mod reference;
mod resource;
mod response;
mod schemas;
mod state;
mod tags;
#[cfg(test)]
mod tests;

pub use frame::{router, status_router};
pub use list::page_query;
pub use memory::{Memory, MemoryRegion, MemoryWorker};
pub use node::{Connections, LogLevel, Node};
pub use state::{AdminState, Limits};

/// The version of the API, not of this program: tools parse it, here and in `Server: kong/…`, to choose which
/// API to use.
pub const API_VERSION: &str = "3.10.0";

/// [`API_VERSION`] in the `Server` header.
pub const SERVER: &str = "kong/3.10.0";
