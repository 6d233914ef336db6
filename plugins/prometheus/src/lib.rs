//! Chooses which metrics tell of a route's traffic under the names that existing dashboards use
//! (docs/compatibility/gateway.md §11).
//!
//! | field of `config` | default | exports |
//! |---|---|---|
//! | `status_code_metrics` | false | `kong_http_requests_total` |
//! | `bandwidth_metrics` | false | `kong_bandwidth_bytes` |
//! | `latency_metrics` | false | `kong_kong_latency_ms`, `kong_upstream_latency_ms`, `kong_request_latency_ms` |
//! | `per_consumer` | false | the first two also by consumer: `consumer` is the username |
//! | `upstream_health_metrics` | false | `kong_upstream_target_health`, for all upstreams if any instance says so |
//! | `ai_metrics`, `wasm_metrics` | false | accepted for compatibility, no effect |
//!
//! An instance decides for the routes that it is bound to, by route, by service or globally. A route without one exports
//! all of them, without consumers. `tollgate_*` metrics are always exported; the gateway counts in any case, so a
//! switch costs requests nothing, except `per_consumer`.
//!
//! With `per_consumer`, what was counted before stays under the empty consumer, and so does what comes after the first
//! 10,000 consumers of a route: each is a series. A consumer that is renamed keeps its name here until the gateway
//! starts again.
//!
//! Differences from Kong's plugin: without it the metrics are exported; an instance of a consumer is rejected, since
//! what is exported is decided by route.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use tollgate_plugin::{
    Access, ConsumerNames, Factory, Field, Handler, Host, Instance, Plugin, PluginError, Request, Schema, StartError,
    TrafficMetrics, Verdict,
};

/// The plugin's name.
pub const NAME: &str = "prometheus";

/// Runs after the plugins that decide on requests (gateway.md §9).
const PRIORITY: i32 = 13;

const SWITCHES: [(&str, &str); 7] = [
    ("per_consumer", "Whether requests and bytes are exported by consumer."),
    ("status_code_metrics", "Whether requests are exported by status."),
    ("ai_metrics", "Accepted for compatibility, no effect."),
    ("latency_metrics", "Whether latencies are exported."),
    ("bandwidth_metrics", "Whether bytes are exported."),
    ("upstream_health_metrics", "Whether the health of upstreams' targets is exported."),
    ("wasm_metrics", "Accepted for compatibility, no effect."),
];

/// Creates the plugin.
pub struct PrometheusFactory;

#[async_trait]
impl Factory for PrometheusFactory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn priority(&self) -> i32 {
        PRIORITY
    }

    fn config_schema(&self) -> Schema {
        let switch = |(name, _)| Field { required: false, ..Field::boolean(name, false) };
        Schema::new(SWITCHES.map(switch).into()).describe(&SWITCHES)
    }

    async fn start(&self, host: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        Ok(Arc::new(Prometheus { names: Arc::new(host.consumers.clone()) }))
    }
}

/// The plugin.
struct Prometheus {
    names: Arc<dyn ConsumerNames>,
}

impl Plugin for Prometheus {
    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let stored = Stored::deserialize(instance.config);
        let stored = stored.map_err(|error| PluginError { plugin: NAME, source: Box::new(Unreadable(error)) })?;
        Ok(Arc::new(Switches(TrafficMetrics {
            statuses: stored.status_code_metrics.unwrap_or_default(),
            latencies: stored.latency_metrics.unwrap_or_default(),
            bandwidth: stored.bandwidth_metrics.unwrap_or_default(),
            target_health: stored.upstream_health_metrics.unwrap_or_default(),
            consumers: stored.per_consumer.unwrap_or_default().then(|| Arc::clone(&self.names)),
        })))
    }
}

/// The stored configuration does not match its schema.
#[derive(Debug, thiserror::Error)]
#[error("stored configuration does not match its schema")]
struct Unreadable(#[source] serde_json::Error);

#[derive(Deserialize)]
struct Stored {
    per_consumer: Option<bool>,
    status_code_metrics: Option<bool>,
    latency_metrics: Option<bool>,
    bandwidth_metrics: Option<bool>,
    upstream_health_metrics: Option<bool>,
}

/// One configured instance.
struct Switches(TrafficMetrics);

impl Handler for Switches {
    fn access<'a>(&'a self, _: &'a mut Request<'_>) -> Access<'a> {
        Access::Ready(Ok(Verdict::Continue))
    }

    fn traffic_metrics(&self) -> Option<TrafficMetrics> {
        Some(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tollgate_core::clock::ManualClock;
    use tollgate_core::random::SystemRandom;
    use tollgate_core::schema::Makers;

    use super::*;

    #[derive(Debug)]
    struct Nobody;

    impl ConsumerNames for Nobody {
        fn username(&self, _: uuid::Uuid) -> Option<String> {
            None
        }
    }

    #[test]
    fn each_switch_has_its_family() {
        let makers = Makers { clock: &ManualClock::at(1), random: &SystemRandom };
        let compiled = |config: Value| {
            let config = PrometheusFactory.config_schema().process_insert(config.try_into().unwrap(), &makers).unwrap();
            let config = Value::from(config);
            let instance = Instance { id: uuid::Uuid::nil(), service_id: None, route_id: None, config: &config };
            let handler = Prometheus { names: Arc::new(Nobody) }.compile(&instance).unwrap();
            let metrics = handler.traffic_metrics().unwrap();
            (metrics.statuses, metrics.latencies, metrics.bandwidth, metrics.target_health, metrics.consumers.is_some())
        };
        for (config, expected) in [
            (json!({}), (false, false, false, false, false)),
            (json!({"status_code_metrics": true}), (true, false, false, false, false)),
            (json!({"latency_metrics": true}), (false, true, false, false, false)),
            (json!({"bandwidth_metrics": true}), (false, false, true, false, false)),
            (json!({"per_consumer": true}), (false, false, false, false, true)),
            (json!({"upstream_health_metrics": true, "ai_metrics": null}), (false, false, false, true, false)),
        ] {
            assert_eq!(compiled(config.clone()), expected, "{config}");
        }
    }
}
