//! The plugin kit: everything a plugin author needs.
//!
//! A plugin is a crate with a [`Factory`]. The gateway asks it for settings and migrations, starts it with
//! a [`Host`], and has it compile a [`Handler`] for every configured instance; requests only reach handlers.
//!
//! Contents:
//!
//! | for | use |
//! |---|---|
//! | what a plugin declares before it runs | [`Factory`]: name, priority, schema of `config`, settings, migrations, identity headers, metric names |
//! | what the gateway provides | [`Host`]: clock, randomness, store, consumers, outbound HTTP, metrics, background tasks |
//! | requests and responses | [`Handler`], [`Needs`] (body, response phase), [`Request::edits`], [`Request::response`], [`Reply`] |
//! | rules that fields of `config` share | [`config_rules`] |
//! | entities of its own | [`Kind`], [`Schema`]; [`Plugin::collections`] puts them into the Admin API |
//! | authentication | [`authentication`]: a plugin reports what it found; AND, OR and `anonymous` are enforced for it. [`Consumers`], [`Credentials`] |
//! | credentials in headers, queries and bodies | [`presented`]: finding them by name, and hiding them from the upstream; [`bearer`]: the same for bearer tokens |
//! | telling the gateway's own tokens from others | [`own_token`] |
//! | refusals of gRPC calls | [`grpc`] |
//! | what metrics tell of a route's traffic | [`Handler::traffic_metrics`] |
//! | a body whose length is not known yet | [`Edits::body_limit`](tollgate_core::request::Edits::body_limit) |
//! | look-ups on every request | [`cache`]: exact after every change, bounded, single flight |
//! | what several plugins share | [`Host::shared`]; [`token_cache`]: the memory for tokens of all kinds |
//! | telling auditors what was issued or refused | [`Host::audit_log`], [`audit`] |
//! | changes | a [`ChangeListener`] on the feed of [`Host::store`] |
//! | other servers | [`http_client`] |
//!
//! A complete plugin, which refuses requests without a header and marks every response that it checked:
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use http::{HeaderName, HeaderValue, StatusCode};
//! use serde_json::Value;
//! use tollgate_plugin::{Access, Factory, Field, Handler, Host, Instance, Plugin};
//! use tollgate_plugin::{HeaderEdit, PluginError, Reply, Request, Schema, StartError, Verdict};
//!
//! /// Before it runs: what the gateway has to know about it.
//! struct TicketFactory;
//!
//! #[async_trait]
//! impl Factory for TicketFactory {
//!     fn name(&self) -> &'static str {
//!         "ticket"
//!     }
//!
//!     fn priority(&self) -> i32 {
//!         500
//!     }
//!
//!     fn config_schema(&self) -> Schema {
//!         Schema::new(vec![Field::string("header").default("x-ticket").required()])
//!     }
//!
//!     fn consumer_scoped(&self) -> bool {
//!         true
//!     }
//!
//!     async fn start(&self, _host: &Host) -> Result<Arc<dyn Plugin>, StartError> {
//!         Ok(Arc::new(TicketPlugin))
//!     }
//! }
//!
//! /// Running: it compiles instances.
//! struct TicketPlugin;
//!
//! impl Plugin for TicketPlugin {
//!     fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
//!         let name = instance.config.get("header").and_then(Value::as_str).unwrap_or_default();
//!         let header = HeaderName::try_from(name);
//!         let header = header.map_err(|error| PluginError { plugin: "ticket", source: Box::new(error) })?;
//!         Ok(Arc::new(Ticket { header }))
//!     }
//! }
//!
//! /// An instance: what handles requests.
//! struct Ticket {
//!     header: HeaderName,
//! }
//!
//! impl Handler for Ticket {
//!     fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
//!         let seen = (HeaderName::from_static("x-ticket-seen"), HeaderValue::from_static("yes"));
//!         request.response.push(HeaderEdit::Set(seen.0, seen.1));
//!         let verdict = if request.headers.contains_key(&self.header) {
//!             Verdict::Continue
//!         } else {
//!             // A refusal is a verdict; an error is for failures on our side.
//!             Verdict::Reply(Reply::message(StatusCode::FORBIDDEN, "ticket_missing", "No ticket"))
//!         };
//!         Access::Ready(Ok(verdict))
//!     }
//! }
//! ```
//!
//! A line in `gateway/server/src/plugins.rs` makes it part of the gateway.

pub mod arguments;
pub mod authentication;
pub mod authority_call;
pub mod bearer;
pub mod cache;
pub mod config_rules;
mod consumers;
mod credentials;
mod digest;
mod factory;
pub mod grpc;
mod host;
mod hosts;
pub mod json_object;
mod metrics;
pub mod multipart;
pub mod own_token;
pub mod presented;
pub mod protection;
mod shared;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod token_cache;

pub use cache::outage::OutageLimit;
pub use consumers::{ConsumerFacts, Consumers, NOBODY, header_value, identity_value, is_identity_value};
pub use credentials::{CredentialFacts, Credentials};
pub use digest::Digest;
pub use factory::{Factory, Remark, StartError};
pub use host::Host;
pub use hosts::Hosts;
pub use metrics::Metrics;

pub use tollgate_core::audit::{self, AuditLog};
pub use tollgate_core::change::{Change, ChangeListener, Operation};
pub use tollgate_core::clock::Clock;
pub use tollgate_core::collection::{Collection, Document, Filter, Key, PageQuery};
pub use tollgate_core::entity::{Kind, field};
pub use tollgate_core::error::StoreError;
pub use tollgate_core::explanation;
pub use tollgate_core::notes;
pub use tollgate_core::plugin::{
    Access, ConsumerNames, Explains, Handler, Instance, Needs, Plugin, PluginError, ResponsePhase, TrafficMetrics,
    Verdict,
};
pub use tollgate_core::random::Random;
pub use tollgate_core::reply::{Body, Reply, Response, Source};
pub use tollgate_core::request::{
    Arrival, BlockLine, BlockName, BlockNames, BlockPart, BodyLimit, Connection, Credential, HeaderBlock, HeaderEdit,
    Identity, Request, RequestBody, Target,
};
pub use tollgate_core::schema::{Auto, EntityCheck, Field, OnDelete, Rule, Salted, Schema, Violations};
pub use tollgate_core::secret::Secret;
pub use tollgate_core::setting::{self, Setting};
pub use tollgate_http_client as http_client;
pub use tollgate_store::{self as store, Migration};
