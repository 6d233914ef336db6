//! Access control by consumer group (docs/compatibility/gateway.md §5, §9).
//!
//! 1. An authentication plugin, which runs earlier, identifies the consumer. A request without a consumer gets
//!    401 `Unauthorized`.
//! 2. The consumer's groups are its `acls` entities. With `allow`, the consumer must be in one of the listed
//!    groups; with `deny`, in none of them. Otherwise the request gets 403 `You cannot consume this service`.
//!    The anonymous consumer has groups like any other.
//! 3. The upstream receives all groups of the consumer as `X-Consumer-Groups: a, b`, in the order of the ids of
//!    the `acls` entities, unless `hide_groups_header` is set. The header of a client is always removed.
//!
//! # Limits
//!
//! The cache of groups is limited to 64 MiB. A consumer may be in 1000 groups, whose names, joined as in the
//! header, may have 32 KiB. Beyond that the plugin cannot tell whether the consumer may pass: every request of
//! that consumer gets 503, and the log names the consumer and the limit.
//!
//! # Differences from Kong
//!
//! - `always_use_authenticated_groups` is accepted and has no effect. It would prefer groups reported by an
//!   authentication plugin over those of the consumer; no plugin here reports any. As in Kong, the consumer's own
//!   groups apply then, and a request without a consumer gets 401.
//! - A consumer without groups, let through by `deny`: the header is absent instead of empty.
//! - A group name must not contain control characters or begin or end with white space, since it becomes part of
//!   a header. As in Kong it may contain a comma, which upstreams that split the header take for two groups.
//! - A consumer with more groups than the limits allow is rejected.
//!
//! # Metrics
//!
//! | name | labels |
//! |---|---|
//! | `tollgate_acl_groups_lookups_total` | `result`: `hit`, `miss`, `stale`, `coalesced` |
//! | `tollgate_acl_groups_lookup_seconds` | `source`: `cache`, `store` |
//! | `tollgate_acl_groups_cache_entries`, `…_weight_bytes`, `…_evictions_total` | |

mod config;
mod entity;
mod groups;
mod handler;
mod listener;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use tollgate_plugin::cache::{Bounds, CacheMetrics, Known};
use tollgate_plugin::{
    Collection, EntityCheck, Factory, Handler, Host, Instance, Plugin, PluginError, Schema, StartError,
};
use uuid::Uuid;

use crate::config::Config;
use crate::groups::{GroupCache, GroupSource};
use crate::handler::AccessControl;
use crate::listener::Listener;

/// The plugin's name.
pub const NAME: &str = "acl";

/// Runs after every authentication plugin.
const PRIORITY: i32 = 950;

/// Limits of the cache. There are no unknown keys to remember: a consumer without `acls` is in no group.
const BOUNDS: Bounds = Bounds { bytes: 64 << 20, negative_millis: 0 };

/// Prefix of the keys of `/cache/{key}`: `acls:<consumer id>:::::<workspace>`.
const CACHE_KEY: &str = "acls:";

/// Creates the plugin.
pub struct AclFactory;

#[async_trait]
impl Factory for AclFactory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn priority(&self) -> i32 {
        PRIORITY
    }

    fn config_schema(&self) -> Schema {
        config::schema()
    }

    fn checks(&self) -> Vec<EntityCheck> {
        config::checks()
    }

    fn identity_headers(&self) -> &'static [&'static str] {
        &["x-consumer-groups"]
    }

    async fn start(&self, host: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        let metrics = CacheMetrics::register(&host.metrics, "acl_groups", "groups of consumers")?;
        let collection = host.store.documents(Arc::new(entity::kind()));
        let source = GroupSource::new(Arc::clone(&collection));
        let groups = GroupCache::new(BOUNDS, source, host.trust(), Arc::clone(&host.clock), metrics);
        host.spawn(groups.clone().keep_measuring());
        host.store.feed().subscribe(Arc::new(Listener { groups: groups.clone() }));
        Ok(Arc::new(Acl { collection, groups }))
    }
}

/// The plugin.
struct Acl {
    collection: Arc<dyn Collection>,
    groups: GroupCache,
}

impl Plugin for Acl {
    fn collections(&self) -> Vec<Arc<dyn Collection>> {
        vec![Arc::clone(&self.collection)]
    }

    fn cached(&self, key: &str) -> Option<Value> {
        let (id, _) = key.strip_prefix(CACHE_KEY)?.split_once(":::::")?;
        match self.groups.get(&Uuid::parse_str(id).ok()?)? {
            Known::Fact(groups) => Some(json!({"groups": groups.names().collect::<Vec<_>>()})),
            Known::Unknown => None,
        }
    }

    fn forget_cached(&self, key: Option<&str>) {
        // Forgetting too much is harmless.
        if key.is_none_or(|key| key.starts_with(CACHE_KEY)) {
            self.groups.forget_all();
        }
    }

    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let config = Config::try_from(instance.config);
        let config = config.map_err(|error| PluginError { plugin: NAME, source: Box::new(error) })?;
        Ok(Arc::new(AccessControl { config, groups: self.groups.clone() }))
    }
}
