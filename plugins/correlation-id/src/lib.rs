//! Gives every request an id that follows it through services, in a header of the operator's choice
//! (docs/compatibility/gateway.md §9).
//!
//! | field of `config` | default | meaning |
//! |---|---|---|
//! | `header_name` | `Kong-Request-ID` | the header |
//! | `generator` | `uuid#counter` | how a request without one gets its id |
//! | `echo_downstream` | false | whether the client gets the header too, in every response |
//!
//! | generator | id |
//! |---|---|
//! | `uuid` | a random UUID |
//! | `uuid#counter` | a UUID of this node that is new with every start, and the number of the request: `UUID#7` |
//! | `tracker` | `ADDRESS-PORT-PROCESS-CONNECTION-REQUEST-TIME`: where the request arrived, its connection's number, its number on that connection, and Unix time with milliseconds |
//!
//! A request that has a value in the header keeps it: the caller's id goes on. Whoever can send requests can choose
//! their ids, so they are for finding things, not for proving them. `X-Kong-Request-Id` is always the gateway's own.
//!
//! Differences from Kong's plugin: a name that frames a message or manages a connection, such as `Host`, is rejected
//! on write; over HTTP/2 `tracker` counts each request as a connection.

mod config;
mod generator;

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderValue;
use tollgate_plugin::{
    Access, Factory, Handler, HeaderEdit, Host, Instance, Plugin, PluginError, Request, Schema, StartError, Verdict,
};

use crate::config::{Config, Echo};
use crate::generator::Generators;

/// The plugin's name.
pub const NAME: &str = "correlation-id";

/// Runs before every other plugin, so that refusals have the id too.
const PRIORITY: i32 = 100_001;

/// Creates the plugin.
pub struct CorrelationIdFactory;

#[async_trait]
impl Factory for CorrelationIdFactory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn priority(&self) -> i32 {
        PRIORITY
    }

    fn config_schema(&self) -> Schema {
        config::schema()
    }

    /// Instances of consumers join once the consumer is known, which is after this plugin has run for the others.
    fn consumer_scoped(&self) -> bool {
        true
    }

    async fn start(&self, host: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        let generators = Generators::new(Arc::clone(&host.random), Arc::clone(&host.clock));
        Ok(Arc::new(CorrelationId { generators: Arc::new(generators) }))
    }
}

/// The plugin.
struct CorrelationId {
    generators: Arc<Generators>,
}

impl Plugin for CorrelationId {
    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let config = Config::try_from(instance.config);
        let config = config.map_err(|error| PluginError { plugin: NAME, source: Box::new(error) })?;
        Ok(Arc::new(Correlation { config, generators: Arc::clone(&self.generators) }))
    }
}

/// One configured instance.
struct Correlation {
    config: Config,
    generators: Arc<Generators>,
}

impl Handler for Correlation {
    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        let given = request.headers.get(&self.config.header).filter(|given| !given.is_empty()).cloned();
        let id = match given {
            Some(given) => given,
            None => {
                let Some(made) = self.made(request) else { return Access::Ready(Ok(Verdict::Continue)) };
                request.edits.set(self.config.header.clone(), made.clone());
                made
            }
        };
        if self.config.echo == Echo::Downstream {
            request.response.push(HeaderEdit::Set(self.config.header.clone(), id));
        }
        Access::Ready(Ok(Verdict::Continue))
    }
}

impl Correlation {
    /// Ids are ASCII; `None` cannot happen.
    fn made(&self, request: &Request<'_>) -> Option<HeaderValue> {
        HeaderValue::try_from(self.generators.id(self.config.generator, request.arrival)).ok()
    }
}

#[cfg(test)]
mod tests;
