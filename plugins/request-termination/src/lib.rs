//! Responds to requests itself, so that they reach no upstream (docs/compatibility/gateway.md §9).
//!
//! | field of `config` | default | meaning |
//! |---|---|---|
//! | `status_code` | 503 | the status, from 200 to 599 |
//! | `message` | null | sent as `{"message":"…"}`; without it, a status with a usual message has that one, any other no body |
//! | `body`, `content_type` | null | sent as they are, instead of a message |
//! | `echo` | false | sends a copy of the request as JSON: for debugging |
//! | `trigger` | null | only requests with a header or an argument of this name are responded to |
//!
//! It runs after authentication, limits and access rules, so a maintenance message is told to those who may use the
//! API. A gRPC call gets the status and the message in `grpc-status` and `grpc-message`.
//!
//! Differences from Kong's plugin: a status from 100 to 199 is rejected on write, since it ends no request; a copy of
//! a request has no `uri_captures`, and no bodies above 64 KiB.
//!
//! - [`config`]: the configuration of an instance.
//! - [`handler`]: which requests are responded to, and how.
//! - [`echo`]: the copy of a request.

mod config;
mod echo;
mod handler;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tollgate_plugin::{Factory, Handler, Host, Instance, Plugin, PluginError, Schema, StartError, Violations};

use crate::config::Config;
use crate::echo::Echo;
use crate::handler::Termination;

/// The plugin's name.
pub const NAME: &str = "request-termination";

/// Runs after nearly every other plugin.
const PRIORITY: i32 = 2;

/// Creates the plugin.
pub struct RequestTerminationFactory;

#[async_trait]
impl Factory for RequestTerminationFactory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn priority(&self) -> i32 {
        PRIORITY
    }

    fn config_schema(&self) -> Schema {
        config::schema()
    }

    fn consumer_scoped(&self) -> bool {
        true
    }

    async fn start(&self, host: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        let echo = Echo::new(host.node_id, host.routes(), host.services());
        Ok(Arc::new(RequestTermination { echo: Arc::new(echo) }))
    }
}

/// The plugin.
struct RequestTermination {
    echo: Arc<Echo>,
}

impl Plugin for RequestTermination {
    fn objections(&self, config: &Value) -> Violations {
        config::objections(config)
    }

    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let config = Config::try_from(instance.config);
        let config = config.map_err(|error| PluginError { plugin: NAME, source: Box::new(error) })?;
        Ok(Arc::new(Termination { config, echo: Arc::clone(&self.echo) }))
    }
}
