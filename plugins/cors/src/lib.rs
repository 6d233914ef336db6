//! Cross-origin requests (Fetch standard, "CORS protocol"; docs/compatibility/gateway.md §9).
//!
//! 1. The plugin responds to a preflight (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) before
//!    authentication: browsers send no credentials with it. With `preflight_continue` the upstream responds, and
//!    nothing is added.
//! 2. Every other response gets the headers, including refusals of later plugins: without them, a page could
//!    not even read that its token has expired.
//!
//! The browser decides whether an origin may read a response; the plugin rejects no request.

mod config;
mod handler;
mod origin;

use std::sync::Arc;

use async_trait::async_trait;
use tollgate_plugin::{Factory, Handler, Host, Instance, Plugin, PluginError, Schema, StartError};

/// The plugin's name.
pub const NAME: &str = "cors";

/// Runs before every authentication plugin.
const PRIORITY: i32 = 2000;

/// Creates the plugin.
pub struct CorsFactory;

#[async_trait]
impl Factory for CorsFactory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn priority(&self) -> i32 {
        PRIORITY
    }

    fn config_schema(&self) -> Schema {
        config::schema()
    }

    async fn start(&self, _: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        Ok(Arc::new(Cors))
    }
}

/// The plugin, which has no state.
struct Cors;

impl Plugin for Cors {
    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let config = config::Config::try_from(instance.config);
        let config = config.map_err(|error| PluginError { plugin: NAME, source: Box::new(error) })?;
        Ok(Arc::new(handler::CrossOrigin(config)))
    }
}
