//! Limits how many requests a sender may make in a second, minute, hour, day, month or year
//! (docs/compatibility/gateway.md §9).
//!
//! | field of `config` | default | meaning |
//! |---|---|---|
//! | `second`, `minute`, `hour`, `day`, `month`, `year` | null | requests per period; at least one must be given |
//! | `limit_by` | `consumer` | what requests are counted by: `consumer`, `credential`, `ip`, `service`, `header`, `path` |
//! | `header_name`, `path` | null | the header, or the path, of the last two |
//! | `policy` | `local` | where requests are counted: on each node for itself, or in the store (`cluster`) |
//! | `fault_tolerant` | true | whether requests pass while the store cannot count them; otherwise they get 503 |
//! | `hide_client_headers` | false | whether responses say nothing about limits |
//! | `error_code`, `error_message` | 429, `API rate limit exceeded` | what a refused client hears |
//! | `redis`, `sync_rate` | | accepted for compatibility, no effect |
//!
//! A request without what is counted by (no consumer, another path) is counted by the client's address. Instances that
//! are bound to different routes or services count apart.
//!
//! Windows are those of the calendar, in UTC: a minute begins at its second 0. A request counts in all of them or, if
//! any limit is reached, in none and is refused. Every response says `RateLimit-Limit`, `RateLimit-Remaining` and
//! `RateLimit-Reset` of the limit with the least left, and `X-RateLimit-Limit-Minute` and
//! `X-RateLimit-Remaining-Minute` of each; a refusal says `Retry-After`.
//!
//! # How exact it is
//!
//! | policy | exact | beyond that |
//! |---|---|---|
//! | `local` | on one node: under any concurrency no request more than the limit passes in a window | N nodes admit N times the limit; a restart, or more senders than `rate_limiting.max_senders`, forgets counts |
//! | `cluster` | over all nodes: the store counts and admits in one statement | a window begins when the first node's clock says so: nodes whose clocks differ refuse or admit a part of a window early; what a client hears as remaining is what was left when its own request was counted |
//!
//! As with all fixed windows, twice the limit can pass within one period that spans two windows.
//!
//! `cluster` costs a request a statement, shared by requests that arrive at the same time. A sender that has reached a
//! limit costs none until its window ends.
//!
//! # Differences from Kong's plugin
//!
//! - Requests are counted before they pass, not afterwards, so concurrent requests do not share a place.
//! - `policy: redis` is rejected on write.
//! - A limit with a fraction is rounded up.
//! - `RateLimit-Reset` of a month or year is the end of the calendar's, not of one with 30 or 365 days.
//! - Without `fault_tolerant`, requests that cannot be counted get 503 with `Retry-After`, not 500.
//! - An `error_code` that is not an error is rejected on write.
//!
//! # Metrics
//!
//! | name | |
//! |---|---|
//! | `tollgate_rate_limiting_refused_total` | requests over a limit |
//! | `tollgate_rate_limiting_uncounted_total` | requests that the store could not count |

mod cluster;
mod config;
mod handler;
mod headers;
mod period;
mod recent;
mod sender;
mod usage;

use std::sync::Arc;

use async_trait::async_trait;
use prometheus::IntCounter;
use serde_json::Value;
use tollgate_plugin::store::migration;
use tollgate_plugin::{
    Clock, EntityCheck, Factory, Handler, Host, Instance, Migration, Plugin, PluginError, Schema, Setting, StartError,
    Violations, setting,
};

use crate::cluster::Cluster;
use crate::config::{Config, Policy};
use crate::handler::{Counters, RateLimit};
use crate::headers::Headers;
use crate::recent::Recent;
use crate::sender::Scope;

/// The plugin's name.
pub const NAME: &str = "rate-limiting";

/// Runs after authentication and access rules.
const PRIORITY: i32 = 910;

/// The plugin's table.
const MIGRATIONS: &[Migration] = &[migration!(1, "counters", "rate-limiting/migrations/0001_counters.sql")];

const MAX_SENDERS: &str = "rate_limiting.max_senders";

const SETTINGS: &[Setting] = &[Setting::new(
    MAX_SENDERS,
    "200000",
    "Maximum number of senders whose requests this node counts (about 200 bytes each); those not seen for longest are \
     forgotten.",
)
.checked(|text| senders(text).map(drop))];

fn senders(text: &str) -> Result<usize, String> {
    let number = usize::try_from(setting::number(text)?).ok().filter(|number| (1000..=100_000_000).contains(number));
    number.ok_or_else(|| "expected a number from 1000 to 100000000".to_owned())
}

/// Creates the plugin.
pub struct RateLimitingFactory;

#[async_trait]
impl Factory for RateLimitingFactory {
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

    fn settings(&self) -> &'static [Setting] {
        SETTINGS
    }

    fn migrations(&self) -> &'static [Migration] {
        MIGRATIONS
    }

    async fn start(&self, host: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        let most = host.settings.read(MAX_SENDERS, senders)?;
        host.store.clean(cluster::EXPIRED);
        Ok(Arc::new(RateLimiting {
            local: Arc::new(Recent::new(most)),
            cluster: Arc::new(Cluster::new(&host.store, most)),
            clock: Arc::clone(&host.clock),
            refused: host.metrics.counter("rate_limiting_refused_total", "Requests over a limit.")?,
            uncounted: host
                .metrics
                .counter("rate_limiting_uncounted_total", "Requests that the store could not count.")?,
        }))
    }
}

/// The plugin.
struct RateLimiting {
    local: Arc<Recent>,
    cluster: Arc<Cluster>,
    clock: Arc<dyn Clock>,
    refused: IntCounter,
    uncounted: IntCounter,
}

impl Plugin for RateLimiting {
    fn objections(&self, config: &Value) -> Violations {
        config::objections(config)
    }

    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let error = |source| PluginError { plugin: NAME, source };
        let config = Config::try_from(instance.config).map_err(|unreadable| error(Box::new(unreadable)))?;
        let headers = Headers::new(&config.limits).map_err(|unrendered| error(Box::new(unrendered)))?;
        let counters = match config.policy {
            Policy::Local => Counters::Local(Arc::clone(&self.local)),
            Policy::Cluster => Counters::Cluster(Arc::clone(&self.cluster)),
        };
        Ok(Arc::new(RateLimit {
            config,
            scope: Scope { route: instance.route_id, service: instance.service_id },
            headers,
            counters,
            clock: Arc::clone(&self.clock),
            refused: self.refused.clone(),
            uncounted: self.uncounted.clone(),
        }))
    }
}
