//! The plugin port. A plugin is made once; for every configured instance it compiles a
//! [`Handler`], and requests see only handlers.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::Value;
use uuid::Uuid;

use crate::collection::Collection;
use crate::entity::{self, Kind};
use crate::reply::{Reply, Response};
use crate::request::Request;
use crate::schema::{EntityCheck, Schema};

/// A handler's decision about a request.
#[derive(Debug)]
pub enum Verdict {
    /// Let the next plugin look at it.
    Continue,
    /// Respond to the client now; later plugins do not run.
    Reply(Reply),
    /// Run this handler again once the body is read, up to `limit` bytes, or to what another handler
    /// of the route declares in its [`Needs`], whichever is more.
    NeedBody {
        /// The most bytes to read.
        limit: usize,
        /// Whether the plugin responds in any case, so that the body need not be
        /// replayed to an upstream and may be larger than the replay buffer.
        terminal: bool,
    },
}

/// A fault inside a plugin: the request is refused (architecture, invariant 1).
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin} failed")]
pub struct PluginError {
    /// The plugin's name.
    pub plugin: &'static str,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A verdict, at once or after waiting. The hot path is `Ready` and allocates nothing.
pub enum Access<'a> {
    /// Decided without waiting.
    Ready(Result<Verdict, PluginError>),
    /// Has to wait, for the store or for key derivation.
    Pending(BoxFuture<'a, Result<Verdict, PluginError>>),
}

/// Whether a handler looks at responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResponsePhase {
    /// It does not. Its changes to the response are made while it handles the request
    /// ([`Request::response`]).
    #[default]
    Skipped,
    /// [`Handler::response`] is called with the head of every response.
    Head,
}

/// What a handler needs beside the head of the request: declared once, so that a route whose handlers
/// need nothing pays for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The most bytes of the body that it may ask for; 0 when it never does.
    pub body_limit: usize,
    /// Whether it looks at responses.
    pub response: ResponsePhase,
}

/// A compiled plugin instance.
pub trait Handler: Send + Sync + 'static {
    /// What it needs. Asked once, when a route is compiled.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Looks at a request before it is proxied.
    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a>;

    /// Looks at the head of a response, the upstream's or the gateway's own, on its way to the client:
    /// only when [`Needs::response`] says so. Handlers run in the order of the request, also those
    /// behind one that has responded.
    fn response(&self, _response: &mut Response<'_>) {}
}

/// A configured instance, as it is handed to the plugin for compiling.
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

/// What a plugin is, known before it is started.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its name, as in the `plugins` entity.
    pub name: &'static str,
    /// Handlers run in descending priority.
    pub priority: i32,
    /// The schema of the `config` record.
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

/// A plugin that runs.
pub trait Plugin: Send + Sync + 'static {
    /// The kinds of entity the plugin keeps, with their stores.
    fn collections(&self) -> Vec<Arc<dyn Collection>> {
        Vec::new()
    }

    /// The kinds that only the plugin itself writes: without paths in the Admin API, but with a
    /// schema that it shows and validates by.
    fn internal_kinds(&self) -> Vec<Kind> {
        Vec::new()
    }

    /// What the plugin's caches hold under a key of the Admin API's `/cache/{key}`
    /// (oauth2.md §5), without secrets.
    fn cached(&self, _key: &str) -> Option<Value> {
        None
    }

    /// Forgets what is cached under the key, or everything when there is none.
    fn forget_cached(&self, _key: Option<&str>) {}

    /// Makes the handler of one instance.
    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError>;
}
