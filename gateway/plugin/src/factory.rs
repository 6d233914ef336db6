//! Plugin factories: what the gateway needs to know before a plugin runs, and how it is started.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tollgate_core::error::StoreError;
use tollgate_core::plugin::{Definition, Plugin};
use tollgate_core::schema::{EntityCheck, Schema};
use tollgate_core::setting::{Setting, SettingError, SettingValues};
use tollgate_store::Migration;

use crate::host::Host;

/// Why a plugin cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store failed.
    #[error("store failed")]
    Store(#[from] StoreError),
    /// A metric is registered twice, or has a bad name.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// A remark about a configuration, for its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// How it is configured.
    Notice(String),
    /// It is better changed.
    Warning(String),
    /// It contradicts itself: `tollgate check` fails.
    Fault(String),
}

/// A plugin before it is started. The command line uses these declarations as well, without starting
/// anything: `tollgate settings` and `tollgate migrate` work from them.
#[async_trait]
pub trait Factory: Send + Sync + 'static {
    /// The plugin's name, as in the `plugins` entity and in `sql/<store>/<name>`.
    fn name(&self) -> &'static str;

    /// Plugins run in descending priority (gateway.md §9).
    fn priority(&self) -> i32;

    /// The schema of the `config` record.
    fn config_schema(&self) -> Schema;

    /// The same on a node with these settings, where defaults depend on one.
    ///
    /// # Errors
    /// A setting is wrong.
    fn config_schema_for(&self, _settings: &SettingValues) -> Result<Schema, SettingError> {
        Ok(self.config_schema())
    }

    /// What an operator should know about a configuration that its schema accepts: `tollgate check` shows it, and the
    /// gateway logs it when it starts.
    ///
    /// # Errors
    /// A setting is wrong.
    fn remarks(&self, _config: &Value, _settings: &SettingValues) -> Result<Vec<Remark>, SettingError> {
        Ok(Vec::new())
    }

    /// Whether an instance may be bound to a consumer. An authentication plugin's may not: it runs before the
    /// consumer is known.
    fn consumer_scoped(&self) -> bool {
        false
    }

    /// Rules about several fields of an instance, such as `config.allow`.
    fn checks(&self) -> Vec<EntityCheck> {
        Vec::new()
    }

    /// All of these declarations together, on a node with these settings.
    ///
    /// # Errors
    /// A setting is wrong.
    fn definition(&self, settings: &SettingValues) -> Result<Definition, SettingError> {
        Ok(Definition {
            name: self.name(),
            priority: self.priority(),
            config_schema: self.config_schema_for(settings)?,
            consumer_scoped: self.consumer_scoped(),
            checks: self.checks(),
        })
    }

    /// The node settings it adds, such as `key_auth_cache.max_bytes`: each also stands in `conf/tollgate.yaml`,
    /// commented, with its default. `Setting::checked` lets `tollgate check` find bad values.
    fn settings(&self) -> &'static [Setting] {
        &[]
    }

    /// The migrations it owns, numbered from 1. A plugin whose state is entities needs none.
    fn migrations(&self) -> &'static [Migration] {
        &[]
    }

    /// Headers in which it sends the upstream the identity of a request, in lower case; a name that ends in `-`
    /// is a prefix. The proxy removes them from clients' requests, on every route and in every spelling that folds
    /// to one. A name has 3 to 64 lower-case letters, digits and dashes, begins with a letter, and is not a header
    /// that requests need; otherwise the gateway does not start.
    fn identity_headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// The prefixes of its metric names, after `tollgate_`: by default its name, with `_` for `-`.
    fn metric_prefixes(&self) -> Vec<String> {
        vec![self.name().replace('-', "_")]
    }

    /// Starts the plugin. Called once, in the runtime that drives the store.
    ///
    /// # Errors
    /// The gateway does not start.
    async fn start(&self, host: &Host) -> Result<Arc<dyn Plugin>, StartError>;
}
