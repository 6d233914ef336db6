//! The Admin REST API (gateway.md §1–§4).
//!
//! One set of handlers serves every kind of entity: path names, references and the shape of documents all
//! come from the [`tollgate_core::registry`]. Adding a kind changes nothing here.
//!
//! 1. `frame`: limits, CORS, `OPTIONS`, `HEAD`, and the one place that turns a failure into a response.
//! 2. `path` and `resource`: the path's segments → the resource that they name.
//! 3. `input`: the body by its content type → JSON or form pairs.
//! 4. `draft`: input → a document that has passed its schema, references resolved.
//! 5. `entity`, `list`, `foreign`: the verbs on entities; `targets`, `upstream_health`: what upstreams have besides;
//!    `node`, `schemas`, `tags`, `cache`, `explain`: the rest. `catalogue` and `openapi` describe all of it.
//!
//! The page for people: `console`.
//!
//! A configuration that comes from a file: `configuration` and its port `declarations`.
//!
//! Who may call it: `browser` (what web pages may do), `admin_token` and `access`. What was called, and what it
//! changed, goes to the audit log: `audit`.

mod access;
mod admin_token;
mod audit;
mod browser;
mod cache;
mod catalogue;
mod child;
mod configuration;
mod console;
mod declarations;
mod draft;
mod entity;
mod explain;
mod foreign;
mod frame;
mod health;
mod information;
mod input;
mod list;
mod listener;
mod memory;
mod node;
mod offset;
mod openapi;
mod path;
mod peer;
mod query;
mod reader;
mod reference;
mod resource;
mod response;
mod schemas;
mod state;
mod status_guard;
mod tags;
mod targets;
#[cfg(test)]
mod tests;
mod upstream_health;
mod write_timeout;

pub use access::{Access, Authentication};
pub use admin_token::{AdminToken, AdminTokens, Role};
pub use browser::{BrowserRules, Hosts, Origins, is_loopback};
pub use declarations::{Declarations, Faults, IfIdentical, Refusal, Standing};
pub use frame::{router, status_router};
pub use health::{AddressHealth, Health, HealthReport, TargetHealth, UpstreamHealth, Weights};
pub use list::page_query;
pub use listener::{Acceptor, Admission, Bound, Bounds, Course, Listener};
pub use memory::{Memory, MemoryRegion, MemoryWorker};
pub use node::{Connections, LogLevel, Node, NotSet, SettingsStanding, Unexplained};
pub use peer::{Peer, Transport};
pub use state::{AdminState, Limits};
pub use status_guard::guard_status;

/// The version of the API, not of this program: tools parse it, here and in `Server: kong/…`, to choose which
/// API to use.
pub const API_VERSION: &str = "3.10.0";

/// [`API_VERSION`] in the `Server` header.
pub const SERVER: &str = "kong/3.10.0";
