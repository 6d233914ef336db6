//! The plugin as seen by the gateway.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tollgate_plugin::authentication::AuthenticationHandler;
use tollgate_plugin::cache::{Bounds, CacheMetrics, Known, named};
use tollgate_plugin::protection::{Absence, Protection};
use tollgate_plugin::{
    Collection, Consumers, Credentials, Digest, Factory, Handler, Host, Instance, Plugin, PluginError, Schema, Setting,
    StartError, setting,
};

use crate::cache::{KeyCache, KeySource};
use crate::config::{self, Config};
use crate::credential;
use crate::guard::{Guard, Shared};

/// The plugin's name.
pub const NAME: &str = "key-auth";

/// Its priority among plugins (gateway.md §9).
const PRIORITY: i32 = 1250;

/// The prefix of a key in `/cache/{key}`.
const CACHE_KEY: &str = "keyauth_credentials:";

const CACHE_BYTES: &str = "key_auth_cache.max_bytes";
const NEGATIVE_TTL: &str = "key_auth_cache.negative_ttl";

/// Limits of the plugin's cache.
const SETTINGS: &[Setting] = &[
    Setting::new(CACHE_BYTES, "67108864", "Maximum memory for cached API keys, in bytes.")
        .checked(|text| setting::number(text).map(drop)),
    Setting::new(NEGATIVE_TTL, "5s", "How long an unknown API key is cached as unknown.")
        .checked(|text| setting::duration(text).map(drop)),
];

/// The plugin before it is started.
pub struct KeyAuthFactory;

#[async_trait]
impl Factory for KeyAuthFactory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn priority(&self) -> i32 {
        PRIORITY
    }

    fn config_schema(&self) -> Schema {
        config::schema()
    }

    fn settings(&self) -> &'static [Setting] {
        SETTINGS
    }

    fn identity_headers(&self) -> &'static [&'static str] {
        &["x-consumer-id", "x-consumer-custom-id", "x-consumer-username", "x-credential-", "x-anonymous-consumer"]
    }

    async fn start(&self, host: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        Ok(Arc::new(KeyAuth::start(host)?))
    }
}

/// The plugin.
struct KeyAuth {
    shared: Arc<Shared>,
    consumers: Consumers,
    collection: Arc<dyn Collection>,
}

impl KeyAuth {
    fn start(host: &Host) -> Result<Self, StartError> {
        let metrics = CacheMetrics::register(&host.metrics, "key_auth", "API keys")?;
        let expired = metrics.result("expired");
        let negative_ttl = host.settings.read(NEGATIVE_TTL, setting::duration)?;
        let bounds = Bounds {
            bytes: host.settings.read(CACHE_BYTES, setting::number)?,
            negative_millis: i64::try_from(negative_ttl.as_millis()).unwrap_or(i64::MAX),
        };
        let collection = host.store.documents(Arc::new(credential::kind()));
        let credentials = Credentials::new(Arc::clone(&collection), "id", host.consumers.clone());
        host.store.feed().subscribe(Arc::new(credentials.clone()));
        let clock = Arc::clone(&host.clock);
        let source = KeySource::new(credentials, Arc::clone(&clock));
        let cache = KeyCache::new(bounds, source, host.trust(), Arc::clone(&clock), metrics);
        host.spawn(cache.clone().keep_measuring());
        let shared = Arc::new(Shared { cache, clock, expired });
        Ok(Self { shared, consumers: host.consumers.clone(), collection })
    }
}

impl Plugin for KeyAuth {
    fn collections(&self) -> Vec<Arc<dyn Collection>> {
        vec![Arc::clone(&self.collection)]
    }

    fn cached(&self, key: &str) -> Option<Value> {
        let Shared { cache, clock, .. } = &*self.shared;
        match cache.get(&Digest::of(named(key, CACHE_KEY)?))? {
            Known::Fact(facts) if facts.is_alive(&**clock) => cache.source().credentials().shown(facts.credential().id),
            Known::Fact(_) | Known::Unknown => None,
        }
    }

    fn forget_cached(&self, key: Option<&str>) {
        let cache = &self.shared.cache;
        match key.map(|key| named(key, CACHE_KEY)) {
            Some(Some(key)) => cache.forget(&Digest::of(key)),
            Some(None) => {}
            None => {
                cache.forget_all();
                cache.source().credentials().forget_all();
            }
        }
    }

    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let config = Config::try_from(instance.config);
        let config = config.map_err(|unreadable| PluginError { plugin: NAME, source: Box::new(unreadable) })?;
        let guard = Guard {
            places: config.places,
            keys: config.keys,
            absence: Absence::of(config.anonymous.as_deref()),
            serve_cached: config.serve_cached,
            challenge: config.challenge,
            shared: Arc::clone(&self.shared),
        };
        let guard = AuthenticationHandler::new(guard, config.anonymous.as_deref(), &self.consumers);
        Ok(Arc::new(Protection { guard, preflight: config.preflight }))
    }
}
