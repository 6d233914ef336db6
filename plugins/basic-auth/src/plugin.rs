//! The plugin as seen by the gateway.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tollgate_plugin::authentication::AuthenticationHandler;
use tollgate_plugin::cache::{Bounds, CacheMetrics, Known, named};
use tollgate_plugin::{
    Collection, Consumers, Credentials, Digest, Factory, Handler, Host, Instance, Plugin, PluginError, Schema, Setting,
    StartError, setting,
};

use crate::account::{AccountSource, Accounts};
use crate::config::{self, Config};
use crate::credential;
use crate::guard::{Guard, Shared};

/// The plugin's name.
pub const NAME: &str = "basic-auth";

/// Its priority among plugins (gateway.md §9).
const PRIORITY: i32 = 1100;

/// The prefix of a username in `/cache/{key}`.
const CACHE_KEY: &str = "basicauth_credentials:";

const CACHE_BYTES: &str = "basic_auth_cache.max_bytes";
const NEGATIVE_TTL: &str = "basic_auth_cache.negative_ttl";

/// Limits of the plugin's cache.
const SETTINGS: &[Setting] = &[
    Setting::new(CACHE_BYTES, "67108864", "Maximum memory for cached usernames, in bytes.")
        .checked(|text| setting::number(text).map(drop)),
    Setting::new(NEGATIVE_TTL, "5s", "How long an unknown username is cached as unknown.")
        .checked(|text| setting::duration(text).map(drop)),
];

/// The plugin before it is started.
pub struct BasicAuthFactory;

#[async_trait]
impl Factory for BasicAuthFactory {
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
        Ok(Arc::new(BasicAuth::start(host)?))
    }
}

/// The plugin.
struct BasicAuth {
    shared: Arc<Shared>,
    consumers: Consumers,
    collection: Arc<dyn Collection>,
}

impl BasicAuth {
    fn start(host: &Host) -> Result<Self, StartError> {
        let metrics = CacheMetrics::register(&host.metrics, "basic_auth", "usernames")?;
        let negative_ttl = host.settings.read(NEGATIVE_TTL, setting::duration)?;
        let bounds = Bounds {
            bytes: host.settings.read(CACHE_BYTES, setting::number)?,
            negative_millis: i64::try_from(negative_ttl.as_millis()).unwrap_or(i64::MAX),
        };
        let collection = host.store.documents(Arc::new(credential::kind()));
        let credentials = Credentials::new(Arc::clone(&collection), "username", host.consumers.clone());
        host.store.feed().subscribe(Arc::new(credentials.clone()));
        let source = AccountSource::new(credentials);
        let accounts = Accounts::new(bounds, source, host.trust(), Arc::clone(&host.clock), metrics);
        host.spawn(accounts.clone().keep_measuring());
        let mut key = [0; 32];
        host.random.fill(&mut key);
        let shared = Arc::new(Shared { accounts, key, runtime: host.store.runtime().clone() });
        Ok(Self { shared, consumers: host.consumers.clone(), collection })
    }
}

impl Plugin for BasicAuth {
    fn collections(&self) -> Vec<Arc<dyn Collection>> {
        vec![Arc::clone(&self.collection)]
    }

    fn cached(&self, key: &str) -> Option<Value> {
        let accounts = &self.shared.accounts;
        match accounts.get(&Digest::of(named(key, CACHE_KEY)?))? {
            Known::Fact(account) => accounts.source().credentials().shown(account.credential().id),
            Known::Unknown => None,
        }
    }

    fn forget_cached(&self, key: Option<&str>) {
        let accounts = &self.shared.accounts;
        match key.map(|key| named(key, CACHE_KEY)) {
            Some(Some(username)) => accounts.forget(&Digest::of(username)),
            Some(None) => {}
            None => {
                accounts.forget_all();
                accounts.source().credentials().forget_all();
            }
        }
    }

    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let config = Config::try_from(instance.config);
        let config = config.map_err(|unreadable| PluginError { plugin: NAME, source: Box::new(unreadable) })?;
        let guard = Guard {
            passwords: config.passwords,
            challenge: config.challenge,
            serve_cached: config.serve_cached,
            shared: Arc::clone(&self.shared),
        };
        Ok(Arc::new(AuthenticationHandler::new(guard, config.anonymous.as_deref(), &self.consumers)))
    }
}
