//! What the gateway asks a plugin before it runs, and how it is started.

use std::sync::Arc;

use async_trait::async_trait;
use tollgate_core::error::StoreError;
use tollgate_core::plugin::{Definition, Plugin};
use tollgate_core::schema::{EntityCheck, Schema};
use tollgate_core::setting::{Setting, SettingError};
use tollgate_store::Migration;

use crate::host::Host;

/// Why a plugin cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A metric is registered twice, or has a bad name.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// A plugin before it is started. What it says here is known to the command line as well, which starts
/// nothing: `tollgate settings` and `tollgate migrate` work from it.
#[async_trait]
pub trait Factory: Send + Sync + 'static {
    /// The plugin's name, as in the `plugins` entity and in `sql/<store>/<name>`.
    fn name(&self) -> &'static str;

    /// Plugins run in descending priority (gateway.md §9).
    fn priority(&self) -> i32;

    /// The schema of the `config` record.
    fn config_schema(&self) -> Schema;

    /// Whether an instance may be bound to a consumer. An authentication plugin's may not: it runs before the
    /// consumer is known.
    fn consumer_scoped(&self) -> bool {
        false
    }

    /// Rules about several fields of an instance, such as `config.allow`.
    fn checks(&self) -> Vec<EntityCheck> {
        Vec::new()
    }

    /// All that together.
    fn definition(&self) -> Definition {
        Definition {
            name: self.name(),
            priority: self.priority(),
            config_schema: self.config_schema(),
            consumer_scoped: self.consumer_scoped(),
            checks: self.checks(),
        }
    }

    /// Settings of the node that it adds.
    fn settings(&self) -> &'static [Setting] {
        &[]
    }

    /// Migrations that it owns, numbered from 1. A plugin whose state is entities needs none.
    fn migrations(&self) -> &'static [Migration] {
        &[]
    }

    /// Headers by which it tells an upstream who a request is from, in lower case; one that ends in `-`
    /// stands for all that begin so. The proxy removes them from clients' requests, on every route and in
    /// every spelling that folds to one. A name has 3 to 64 lower-case letters, digits and dashes, begins
    /// with a letter, and is none that requests need; with another one the gateway does not start.
    fn identity_headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// What the names of its metrics begin with, behind `tollgate_`: by default its name, with `_` for `-`.
    fn metric_prefixes(&self) -> Vec<String> {
        vec![self.name().replace('-', "_")]
    }

    /// Starts it. Called once, in the runtime that drives the store.
    ///
    /// # Errors
    /// The gateway does not start.
    async fn start(&self, host: &Host) -> Result<Arc<dyn Plugin>, StartError>;
}
