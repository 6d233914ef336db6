//! The plugin port. A plugin is created once; for every configured instance it compiles a [`Handler`], which
//! handles the requests.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::HeaderName;
use serde_json::Value;
use uuid::Uuid;

use crate::collection::Collection;
use crate::entity::{self, Kind};
use crate::reply::{Reply, Response};
use crate::request::Request;
use crate::schema::{EntityCheck, Schema, Violations};

/// A handler's decision about a request.
#[derive(Debug)]
pub enum Verdict {
    /// Continue with the next plugin.
    Continue,
    /// Respond to the client now; later plugins do not run.
    Reply(Reply),
    /// Run this handler again once the body has been read, up to `limit` bytes or the limit that another
    /// handler of the route declares in its [`Needs`], whichever is larger.
    NeedBody {
        /// The maximum number of bytes to read.
        limit: usize,
        /// Whether the plugin always responds itself, so that the body need not be replayed to an upstream
        /// and may be larger than the replay buffer.
        terminal: bool,
    },
}

/// A failure inside a plugin: the request is refused with 500 (architecture, invariant 1). It is for faults of the
/// plugin: if the store cannot be read, the plugin logs that and replies [`Reply::unavailable`].
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin} failed")]
pub struct PluginError {
    /// The plugin's name.
    pub plugin: &'static str,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A verdict, immediate or after waiting. The hot path is `Ready` and does not allocate.
pub enum Access<'a> {
    /// Decided without waiting.
    Ready(Result<Verdict, PluginError>),
    /// Waits for the store or for key derivation.
    Pending(BoxFuture<'a, Result<Verdict, PluginError>>),
}

/// Whether a handler processes responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResponsePhase {
    /// It does not. It changes the response while it handles the request ([`Request::response`]).
    #[default]
    Skipped,
    /// [`Handler::response`] is called with the head of every response.
    Head,
}

/// What a handler needs besides the request head: declared once, so that a route whose handlers need nothing
/// pays nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The most bytes of the body that it may request; 0 if it never does.
    pub body_limit: usize,
    /// Whether it processes responses.
    pub response: ResponsePhase,
}

/// Names of consumers, for metrics.
pub trait ConsumerNames: Send + Sync + 'static {
    /// The username, as far as it is known without asking the store.
    fn username(&self, consumer: Uuid) -> Option<String>;
}

/// What is exported of a route's traffic under the names that existing dashboards use (gateway.md §11).
#[derive(Clone)]
pub struct TrafficMetrics {
    /// Requests by status.
    pub statuses: bool,
    /// Latencies.
    pub latencies: bool,
    /// Bytes of bodies.
    pub bandwidth: bool,
    /// The health of upstreams' targets; by no route, so one instance that wants it is enough.
    pub target_health: bool,
    /// Requests and bytes are counted by consumer, under these names.
    pub consumers: Option<Arc<dyn ConsumerNames>>,
}

impl Default for TrafficMetrics {
    /// Everything, but not by consumer.
    fn default() -> Self {
        Self { statuses: true, latencies: true, bandwidth: true, target_health: true, consumers: None }
    }
}

/// How an instance takes part when an operator asks what becomes of a token on a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explains {
    /// Not at all: it says nothing about tokens, or handling a request has effects.
    Nothing,
    /// It looks for tokens in this header; `None`: in the query.
    Token(Option<HeaderName>),
    /// It decides on the consumer that the token belongs to.
    Caller,
}

/// A compiled plugin instance.
pub trait Handler: Send + Sync + 'static {
    /// What it needs. Called once, when a route is compiled.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// The names below `/.well-known/` (RFC 8615) that this instance serves for its route. A client that knows a
    /// resource as `https://host/path` looks for `https://host/.well-known/NAME/path` (RFC 8414 §3.1): such a request
    /// is handled by the plugins of the route that `/path` leads to, with the whole path, if one of them serves the
    /// name. It is never proxied.
    fn well_known(&self) -> &[&'static str] {
        &[]
    }

    /// Handles a request before it is proxied.
    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a>;

    /// Handles the head of a response, the upstream's or the gateway's own, before it is sent to the client:
    /// only if [`Needs::response`] says so. Handlers run in the order of the request, including those after
    /// one that has responded.
    fn response(&self, _response: &mut Response<'_>) {}

    /// How it takes part when an operator asks what becomes of a token: the instance then handles a request that
    /// presents the token, goes nowhere, and has a place for what its checks find ([`Request::explain`]).
    fn explains(&self) -> Explains {
        Explains::Nothing
    }

    /// What is exported of the traffic of the routes that it is bound to. The first handler of a route that says
    /// something decides. Called once, when a route is compiled.
    fn traffic_metrics(&self) -> Option<TrafficMetrics> {
        None
    }
}

/// A configured instance, passed to the plugin for compiling.
#[derive(Debug, Clone)]
pub struct Instance<'a> {
    /// The instance's id.
    pub id: Uuid,
    /// The service it is bound to.
    pub service_id: Option<Uuid>,
    /// The route it is bound to.
    pub route_id: Option<Uuid>,
    /// Its configuration: validated, defaults filled in.
    pub config: &'a Value,
}

/// A plugin's static description, known before it is started.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its name, as in the `plugins` entity.
    pub name: &'static str,
    /// Handlers run in descending priority.
    pub priority: i32,
    /// The schema of `config`.
    pub config_schema: Schema,
    /// Whether an instance may be bound to a consumer (gateway.md §9).
    pub consumer_scoped: bool,
    /// Rules about several fields of an instance, such as `config.allow`.
    pub checks: Vec<EntityCheck>,
}

impl Definition {
    /// The schema of `plugins` entities that configure this plugin.
    pub fn instance_schema(&self) -> Schema {
        let schema = entity::plugin::schema(self.config_schema.clone(), self.consumer_scoped);
        self.checks.iter().cloned().fold(schema, Schema::entity_check)
    }
}

/// The key of what a plugin has cached: a digest of what a client presents.
pub type CacheDigest = [u8; 32];

/// The reading of what was cached elsewhere.
pub type Warming<'a> = BoxFuture<'a, ()>;

/// A running plugin.
pub trait Plugin: Send + Sync + 'static {
    /// The kinds of entity that the plugin stores, with their collections.
    fn collections(&self) -> Vec<Arc<dyn Collection>> {
        Vec::new()
    }

    /// Kinds that only the plugin itself writes: they have no paths in the Admin API, but it shows their
    /// schemas and validates with them.
    fn internal_kinds(&self) -> Vec<Kind> {
        Vec::new()
    }

    /// The plugin's cache entry for a key of the Admin API's `/cache/{key}` (oauth2.md §5), without secrets.
    fn cached(&self, _key: &str) -> Option<Value> {
        None
    }

    /// Drops the cache entry for the key, or all entries if there is no key.
    fn forget_cached(&self, _key: Option<&str>) {}

    /// The keys of what the plugin has cached and could read again by them, at most so many: another process that takes
    /// the place of this one is told, so that it need not begin with empty caches.
    fn cached_keys(&self, _most: usize) -> Vec<CacheDigest> {
        Vec::new()
    }

    /// Reads what has these keys, in batches, so that it is cached.
    fn warm(&self, _keys: Vec<CacheDigest>) -> Warming<'_> {
        Box::pin(std::future::ready(()))
    }

    /// What this gateway has against a `config` that its schema accepts, such as an address that it must not call:
    /// faults of fields of `config`. Asked when a configuration is written, never of a stored one.
    fn objections(&self, _config: &Value) -> Violations {
        Violations::new()
    }

    /// What the client that writes a `config` has perhaps not meant, although its schema accepts it. Without values.
    fn warnings(&self, _config: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Creates the handler of one instance.
    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError>;
}
