//! The plugin as seen by the gateway.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tollgate_jose::SignatureChecks;
use tollgate_plugin::authentication::AuthenticationHandler;
use tollgate_plugin::cache::{Bounds, CacheMetrics, Known, named};
use tollgate_plugin::protection::Protection;
use tollgate_plugin::{
    Collection, Consumers, Credentials, Digest, EntityCheck, Factory, Handler, Host, Instance, Plugin, PluginError,
    Schema, Setting, StartError, setting,
};

use crate::config::{self, Config};
use crate::credential;
use crate::guard::{Guard, Shared};
use crate::secret::{SecretCache, SecretSource};
use crate::token::{TokenCache, TokenSource};

/// The plugin's name.
pub const NAME: &str = "jwt";

/// Its priority among plugins (gateway.md §9).
const PRIORITY: i32 = 1450;

/// The prefix of a key in `/cache/{key}`.
const CACHE_KEY: &str = "jwt_secrets:";

const TOKEN_BYTES: &str = "jwt_cache.max_bytes";
const CREDENTIAL_BYTES: &str = "jwt_cache.credentials_max_bytes";
const NEGATIVE_TTL: &str = "jwt_cache.negative_ttl";

/// Limits of the plugin's caches.
const SETTINGS: &[Setting] = &[
    Setting::new(TOKEN_BYTES, "67108864", "Maximum memory for cached JWTs, in bytes.")
        .checked(|text| setting::number(text).map(drop)),
    Setting::new(CREDENTIAL_BYTES, "67108864", "Maximum memory for cached JWT credentials, in bytes.")
        .checked(|text| setting::number(text).map(drop)),
    Setting::new(NEGATIVE_TTL, "5s", "How long the key of an unknown JWT credential is cached as unknown.")
        .checked(|text| setting::duration(text).map(drop)),
];

/// The plugin before it is started.
pub struct JwtFactory;

#[async_trait]
impl Factory for JwtFactory {
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

    fn settings(&self) -> &'static [Setting] {
        SETTINGS
    }

    fn identity_headers(&self) -> &'static [&'static str] {
        &["x-consumer-id", "x-consumer-custom-id", "x-consumer-username", "x-credential-", "x-anonymous-consumer"]
    }

    async fn start(&self, host: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        Ok(Arc::new(Jwt::start(host)?))
    }
}

/// The plugin.
struct Jwt {
    shared: Arc<Shared>,
    consumers: Consumers,
    collection: Arc<dyn Collection>,
}

impl Jwt {
    fn start(host: &Host) -> Result<Self, StartError> {
        let negative_ttl = host.settings.read(NEGATIVE_TTL, setting::duration)?;
        let negative_millis = i64::try_from(negative_ttl.as_millis()).unwrap_or(i64::MAX);
        let bounds = |name| host.settings.read(name, setting::number).map(|bytes| Bounds { bytes, negative_millis });
        let (credential_bounds, token_bounds) = (bounds(CREDENTIAL_BYTES)?, bounds(TOKEN_BYTES)?);
        let collection = host.store.documents(Arc::new(credential::kind()));
        let credentials = Credentials::new(Arc::clone(&collection), "key", host.consumers.clone());
        host.store.feed().subscribe(Arc::new(credentials.clone()));
        let clock = Arc::clone(&host.clock);
        let metrics = CacheMetrics::register(&host.metrics, "jwt_credential", "JWT credentials")?;
        let source = SecretSource::new(credentials);
        let secrets = SecretCache::new(credential_bounds, source, host.trust(), Arc::clone(&clock), metrics);
        host.spawn(secrets.clone().keep_measuring());
        let metrics = CacheMetrics::register(&host.metrics, "jwt", "JWTs")?;
        let source = TokenSource::new(secrets, SignatureChecks::of(host));
        let tokens = TokenCache::new(token_bounds, source, host.trust(), Arc::clone(&clock), metrics);
        host.spawn(tokens.clone().keep_measuring());
        Ok(Self { shared: Arc::new(Shared { tokens, clock }), consumers: host.consumers.clone(), collection })
    }

    fn secrets(&self) -> &SecretCache {
        self.shared.tokens.source().secrets()
    }
}

impl Plugin for Jwt {
    fn collections(&self) -> Vec<Arc<dyn Collection>> {
        vec![Arc::clone(&self.collection)]
    }

    fn cached(&self, key: &str) -> Option<Value> {
        let secrets = self.secrets();
        match secrets.get(&Digest::of(named(key, CACHE_KEY)?))? {
            Known::Fact(facts) => secrets.source().credentials().shown(facts.credential().id),
            Known::Unknown => None,
        }
    }

    fn forget_cached(&self, key: Option<&str>) {
        let secrets = self.secrets();
        match key.map(|key| named(key, CACHE_KEY)) {
            Some(None) => return,
            Some(Some(key)) => secrets.forget(&Digest::of(key)),
            None => {
                secrets.forget_all();
                secrets.source().credentials().forget_all();
            }
        }
        // What was verified with the credential is verified again.
        self.shared.tokens.forget_all();
    }

    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let config = Config::try_from(instance.config);
        let config = config.map_err(|unreadable| PluginError { plugin: NAME, source: Box::new(unreadable) })?;
        let guard = Guard::new(&config, Arc::clone(&self.shared));
        let guard = AuthenticationHandler::new(guard, config.anonymous.as_deref(), &self.consumers);
        Ok(Arc::new(Protection { guard, preflight: config.preflight }))
    }
}
