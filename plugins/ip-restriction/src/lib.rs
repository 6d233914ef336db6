//! Restricts an API to clients by address (docs/compatibility/gateway.md §9).
//!
//! | field of `config` | default | meaning |
//! |---|---|---|
//! | `allow` | null | addresses and networks of clients that may use the API; others may not |
//! | `deny` | null | addresses and networks of clients that may not, whatever `allow` says |
//! | `status` | 403 | the status of refusals, from 400 to 599 |
//! | `message` | `IP address not allowed: ADDRESS` | their message |
//!
//! At least one of the lists must be given. The client is the TCP peer, or whom a trusted peer names
//! (`proxy.trusted_ips`). A refusal is a message (gateway.md §7.3b); a gRPC call is refused in headers only.
//!
//! An IPv4 address that is written or received as an IPv6 one (`::ffff:192.0.2.1`) is the IPv4 address.
//!
//! Differences from Kong's plugin: a `status` that is not an error is rejected on write.
//!
//! - [`config`]: the configuration of an instance.
//! - [`networks`]: whether an address is in one of many networks.

mod config;
mod networks;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tollgate_plugin::{
    Access, EntityCheck, Factory, Handler, Host, Instance, Plugin, PluginError, Reply, Request, Schema, StartError,
    Verdict, Violations, grpc,
};

use crate::config::Config;

/// The plugin's name.
pub const NAME: &str = "ip-restriction";

/// Runs after authentication, before access rules and limits.
const PRIORITY: i32 = 990;

/// Creates the plugin.
pub struct IpRestrictionFactory;

#[async_trait]
impl Factory for IpRestrictionFactory {
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

    fn checks(&self) -> Vec<EntityCheck> {
        config::checks()
    }

    async fn start(&self, _: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        Ok(Arc::new(IpRestriction))
    }
}

/// The plugin, which has no state.
struct IpRestriction;

impl Plugin for IpRestriction {
    fn objections(&self, config: &Value) -> Violations {
        config::objections(config)
    }

    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let config = Config::try_from(instance.config);
        let config = config.map_err(|error| PluginError { plugin: NAME, source: Box::new(error) })?;
        Ok(Arc::new(config))
    }
}

impl Handler for Config {
    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        let client = request.client.to_canonical();
        if self.admits(client) {
            return Access::Ready(Ok(Verdict::Continue));
        }
        let message = self.message.clone().unwrap_or_else(|| format!("IP address not allowed: {client}"));
        let reply = Reply::message(self.status, "ip_not_allowed", message);
        Access::Ready(Ok(Verdict::Reply(grpc::refusal(reply, request))))
    }
}
