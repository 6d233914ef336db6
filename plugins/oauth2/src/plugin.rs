//! The plugin as seen by the gateway: its parts, and what a configured instance does with
//! a request (oauth2.md §3.1): respond at the two endpoints, guard everything else.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Semaphore;
use tollgate_core::collection::Collection;
use tollgate_core::entity::Kind;
use tollgate_core::plugin::{
    Access, CacheDigest, Explains, Handler, Instance, Needs, Plugin, PluginError, Verdict, Warming,
};
use tollgate_core::request::Request;
use tollgate_core::schema::Schema;
use tollgate_core::setting::{Setting, SettingError, SettingValues};
use tollgate_jose::SignatureChecks;
use tollgate_plugin::authentication::AuthenticationHandler;
use tollgate_plugin::cache::named;
use tollgate_plugin::protection::Absence;
use tollgate_plugin::token_cache::TokenCacheBounds;
use tollgate_plugin::{Consumers, Credentials, Factory, Host, Migration, Remark, StartError};
use tollgate_store::migration;
use uuid::Uuid;

use crate::cache::{TokenCache, TokenSource};
use crate::callers::Callers;
use crate::challenge::Challenges;
use crate::client_secret::{self, SecretVerifier};
use crate::config::endpoints::Names;
use crate::config::{self, Config};
use crate::credentials::CachedCredentials;
use crate::deviations::Deviations;
use crate::dpop::{KnownKeys, Nonces, Replays};
use crate::ended_grants;
use crate::endpoint::{AuthorizationServer, Endpoint, path};
use crate::entity::{authorization_code, credential, token};
use crate::guard::{self, Guard, Reach, Rules, SenderRules, Shared};
use crate::guesses::{self, Guesses};
use crate::introspection_rate::{self, IntrospectionRate};
use crate::issuer::Issuer;
use crate::listener::Listener;
use crate::metrics::{self, Metrics};
use crate::profile;
use crate::registrar::Registrar;
use crate::remarks;
use crate::sender::Proofs;
use crate::signing_key_collection::SigningKeyCollection;
use crate::signing_keys::{self, SigningKeys};
use crate::store::{self, SingleUse, Tokens, waiting};
use crate::token::{Digest, OwnTokens};
use crate::token_collection::{DeclaredTokens, TokenCollection};
use crate::user_code::UserCodeKey;

/// The plugin's name.
pub const NAME: &str = "oauth2";

/// Its priority among plugins (gateway.md §9).
const PRIORITY: i32 = 1400;

/// The settings of the node that concern it.
const SETTINGS: &[Setting] = &{
    let [name_and_address, address, name, window] = guesses::SETTINGS;
    let per_second = introspection_rate::PER_SECOND;
    let [rotation, algorithm] = [signing_keys::ROTATION, signing_keys::ALGORITHM];
    let [lookups, begun, waiting] = [guard::LOOKUPS, guesses::BEGUN, client_secret::WAITING];
    let [proofs, default_profile] = [guard::PROOFS, profile::DEFAULT];
    [
        name_and_address,
        address,
        name,
        window,
        begun,
        waiting,
        lookups,
        proofs,
        per_second,
        rotation,
        algorithm,
        default_profile,
    ]
};

/// The prefix of a credential in `/cache/{key}`, by its `client_id` or id.
const CREDENTIAL_KEY: &str = "oauth2_credentials:";
/// The prefix of a consumer.
const CONSUMER_KEY: &str = "consumers:";

/// The tables of tokens and codes.
pub const MIGRATIONS: &[Migration] = &[
    migration!(1, "oauth2", "oauth2/migrations/0001_oauth2.sql"),
    migration!(2, "recent_refreshes", "oauth2/migrations/0002_recent_refreshes.sql"),
    migration!(3, "binding", "oauth2/migrations/0003_binding.sql"),
    migration!(4, "used_grants", "oauth2/migrations/0004_used_grants.sql"),
    migration!(5, "families", "oauth2/migrations/0005_families.sql"),
    migration!(6, "grants", "oauth2/migrations/0006_grants.sql"),
    migration!(7, "single_use", "oauth2/migrations/0007_single_use.sql"),
];

/// The plugin before it is started.
pub struct OAuth2Factory;

#[async_trait]
impl Factory for OAuth2Factory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn priority(&self) -> i32 {
        PRIORITY
    }

    fn config_schema(&self) -> Schema {
        config::schema(profile::Name::default())
    }

    fn config_schema_for(&self, settings: &SettingValues) -> Result<Schema, SettingError> {
        Ok(config::schema(profile::default_in(settings)?))
    }

    fn remarks(&self, config: &Value, settings: &SettingValues) -> Result<Vec<Remark>, SettingError> {
        // One that cannot be read refuses requests, and is reported when it is compiled.
        let config = Config::read(config, profile::default_in(settings)?);
        Ok(config.map(|config| remarks::of(&config)).unwrap_or_default())
    }

    fn settings(&self) -> &'static [Setting] {
        SETTINGS
    }

    fn migrations(&self) -> &'static [Migration] {
        MIGRATIONS
    }

    fn identity_headers(&self) -> &'static [&'static str] {
        &[
            "x-consumer-id",
            "x-consumer-custom-id",
            "x-consumer-username",
            "x-credential-",
            "x-anonymous-consumer",
            "x-authenticated-scope",
            "x-authenticated-userid",
        ]
    }

    fn metric_prefixes(&self) -> Vec<String> {
        metrics::PREFIXES.map(str::to_owned).to_vec()
    }

    async fn start(&self, host: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        Ok(Arc::new(OAuth2::start(host).await?))
    }
}

/// The OAuth2 plugin.
pub struct OAuth2 {
    server: Arc<AuthorizationServer>,
    shared: Arc<Shared>,
    proofs: Arc<Proofs>,
    consumers: Consumers,
    credentials: Arc<CachedCredentials>,
    collections: Vec<Arc<dyn Collection>>,
    default_profile: profile::Name,
}

impl OAuth2 {
    async fn start(host: &Host) -> Result<Self, StartError> {
        let Host { store, clock, random, .. } = host.clone();
        let metrics = Metrics::register(&host.metrics)?;
        let default_profile = profile::default_in(&host.settings)?;
        let bounds = TokenCacheBounds::read(&host.settings)?.own;
        let own_tokens = OwnTokens::load(&store, random.as_ref()).await?;
        let keys = store::signing_keys::open(&store);
        let rules = signing_keys::Rules::read(&host.settings)?;
        let makers = (Arc::clone(&clock), Arc::clone(&random));
        let signing_keys = Arc::new(SigningKeys::load(&store, keys, own_tokens.clone(), rules, makers).await?);
        let user_codes = UserCodeKey::load(&store, random.as_ref()).await?;
        let rows = store::open(&store);
        ended_grants::record(&store, &host.audit_log);
        let tokens: Arc<dyn Tokens> = Arc::clone(&rows) as _;
        let foreign_tokens = Arc::new(AtomicBool::new(tokens.any_imported().await?));

        let stored_credentials = store.documents(Arc::new(credential::kind(default_profile)));
        let known = Credentials::new(Arc::clone(&stored_credentials), "client_id", host.consumers.clone());
        store.feed().subscribe(Arc::new(known.clone()));
        let source = TokenSource::new(Arc::clone(&tokens), known, Arc::clone(&clock));
        let cache = TokenCache::new(bounds, source, host.trust(), Arc::clone(&clock), metrics.cache.clone());
        host.spawn(cache.clone().keep_measuring());
        let deviations = Arc::new(Deviations::new(metrics.deviations.clone(), Arc::clone(&clock)));
        let shared = Arc::new(Shared {
            cache,
            own_tokens: own_tokens.clone(),
            signing_keys: Arc::clone(&signing_keys),
            foreign_tokens: Arc::clone(&foreign_tokens),
            unproven: Arc::new(Semaphore::new(host.settings.read(guard::LOOKUPS.path, guard::lookups)?)),
            clock: Arc::clone(&clock),
            deviations: Arc::clone(&deviations),
            metrics: metrics.clone(),
        });
        let credentials = Arc::new(CachedCredentials::new(Arc::clone(&stored_credentials), host.trust()));
        let listener = Listener {
            shared: Arc::clone(&shared),
            credentials: Arc::clone(&credentials),
            tokens: Arc::clone(&tokens),
            foreign_tokens: Arc::clone(&foreign_tokens),
        };
        store.feed().subscribe(Arc::new(listener));
        for sweep in store::SWEEPS.into_iter().chain(waiting::SWEEPS).chain([store::signing_keys::SWEEP]) {
            store.clean(sweep);
        }
        let declared = DeclaredTokens {
            own_tokens: own_tokens.clone(),
            random: Arc::clone(&random),
            imported: Arc::clone(&foreign_tokens),
        };
        store.declares_rows(token::NAME, Arc::new(declared));
        let token_collection =
            TokenCollection::new(rows, own_tokens.clone(), Arc::clone(&clock), Arc::clone(&random), foreign_tokens)
                .with_audit_log(Arc::clone(&host.audit_log));
        let limits = guesses::Limits::read(&host.settings)?;
        let waiting = host.settings.read(client_secret::WAITING.path, client_secret::waiting)?;
        let per_second = host.settings.read(introspection_rate::PER_SECOND.path, introspection_rate::per_second)?;
        let once: Arc<dyn SingleUse> = Arc::new(store.clone());
        let replays = Replays::new(host.settings.read(guard::PROOFS.path, guard::proofs)?);
        let nonces = Nonces::load(&store, random.as_ref()).await?;
        let (keys, checks) = (KnownKeys::default(), SignatureChecks::of(host));
        let proofs = Arc::new(Proofs { nonces, keys, replays, once, checks, clock: Arc::clone(&clock) });
        let guesses = Guesses::new(limits, random.as_ref(), Arc::clone(&clock), &metrics.limited);
        let limits = limits.for_waiting(&host.settings)?;
        let waiting_limit = Guesses::new(limits, random.as_ref(), Arc::clone(&clock), &metrics.limited);
        let registrar = Arc::new(Registrar {
            rows: store::registrations::open(&store),
            credentials: Arc::clone(&stored_credentials),
            consumers: host.consumers.clone(),
            own_tokens: own_tokens.clone(),
            network_key: user_codes.derived("networks of registered clients"),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
        });
        host.spawn(Arc::clone(&registrar).keep_deleting_unused());
        let server = Arc::new(AuthorizationServer {
            credentials: Arc::clone(&credentials) as _,
            verifier: SecretVerifier::new(random.as_ref(), waiting),
            guesses,
            proofs: Arc::clone(&proofs),
            guard: Arc::clone(&shared),
            introspections: IntrospectionRate::new(per_second),
            introspections_limited: metrics.limited.with_label_values(&["introspections"]),
            waiting_limit,
            registrar,
            issuer: Issuer {
                tokens,
                waiting: waiting::open(&store),
                user_codes,
                signing_keys: Arc::clone(&signing_keys),
                own_tokens,
                clock,
                random,
            },
            callers: Callers::new(shared.cache.source().credentials().clone()),
            overloaded: metrics.limited.with_label_values(&["secrets_waiting"]),
            issued: metrics.issued,
            deviations,
            audit_log: Arc::clone(&host.audit_log),
        });
        let consumers = host.consumers.clone();
        let key_collection = SigningKeyCollection::new(signing_keys);
        let collections: Vec<Arc<dyn Collection>> =
            vec![stored_credentials, Arc::new(token_collection), Arc::new(key_collection)];
        Ok(Self { server, shared, proofs, consumers, credentials, collections, default_profile })
    }
}

impl OAuth2 {
    fn known_credentials(&self) -> &Credentials {
        self.shared.cache.source().credentials()
    }
}

impl Plugin for OAuth2 {
    fn collections(&self) -> Vec<Arc<dyn Collection>> {
        self.collections.clone()
    }

    fn internal_kinds(&self) -> Vec<Kind> {
        vec![authorization_code::kind()]
    }

    fn cached(&self, key: &str) -> Option<Value> {
        if let Some(consumer) = named(key, CONSUMER_KEY) {
            return self.consumers.shown(Uuid::parse_str(consumer).ok()?);
        }
        let credential = named(key, CREDENTIAL_KEY)?;
        let of_requests = || self.known_credentials().shown(Uuid::parse_str(credential).ok()?);
        self.credentials.shown(credential).or_else(of_requests)
    }

    fn forget_cached(&self, key: Option<&str>) {
        // The digest in a token's cache key is not one of ours; evicting too much is harmless.
        if key.is_none_or(|key| named(key, CREDENTIAL_KEY).is_some()) {
            self.credentials.forget_all();
        }
        if key.is_none_or(|key| key.starts_with("oauth2_tokens:")) {
            self.shared.cache.forget_all();
        }
        if key.is_none_or(|key| key.starts_with(CONSUMER_KEY)) {
            self.consumers.forget_all();
        }
        if key.is_none_or(|key| key.starts_with(CREDENTIAL_KEY)) {
            self.known_credentials().forget_all();
        }
    }

    fn cached_keys(&self, most: usize) -> Vec<CacheDigest> {
        self.shared.cache.keys(most).into_iter().map(|Digest(digest)| digest).collect()
    }

    fn warm(&self, keys: Vec<CacheDigest>) -> Warming<'_> {
        Box::pin(self.shared.cache.warm(keys.into_iter().map(Digest), ()))
    }

    /// A scope with a blank can never be asked for.
    fn warnings(&self, config: &Value) -> Vec<String> {
        let scopes = config.get("scopes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let has_blank = scopes.into_iter().any(|scope| scope.contains(' '));
        let text = "config.scopes: a scope with a blank is one scope, for which no client can ask: blanks separate \
                    scopes in requests, so send each as a value of its own";
        has_blank.then(|| text.to_owned()).into_iter().collect()
    }

    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let config = Config::read(instance.config, self.default_profile)
            .map_err(|unreadable| PluginError { plugin: NAME, source: Box::new(unreadable) })?;
        let in_force = if config.counted.is_some() { profile::Name::Kong } else { config.profile_name };
        let challenges = Challenges::new(config.realm.as_deref(), &config.required_scopes, in_force)
            .ok_or_else(|| PluginError { plugin: NAME, source: Box::new(InvalidRealm) })?;
        let extra = guard::Extra {
            endpoints: config.endpoints.is_used().then(|| Box::new(config.endpoints.clone())),
            sender: SenderRules::new(&config, &self.proofs).map(Box::new),
            strict: guard::Strict::of(&config, instance.id),
        };
        let rules = Rules {
            header: config.auth_header.clone(),
            challenges: Box::new(challenges),
            absence: Absence::of(config.anonymous.as_deref()),
            reach: Reach::of(&config),
            credentials: if config.hide_credentials { guard::Credentials::Hide } else { guard::Credentials::Forward },
            serve_cached: config.serve_cached,
            extra: extra.boxed(),
        };
        let guard = Guard::new(rules, Arc::clone(&self.shared));
        let guard = AuthenticationHandler::new(guard, config.anonymous.as_deref(), &self.consumers);
        let names = config.endpoints.names;
        let endpoints = Endpoints { instance: instance.id, config, server: Arc::clone(&self.server) };
        Ok(Arc::new(Protection { guard, names, endpoints: Box::new(endpoints) }))
    }
}

/// The realm is not valid in a header.
#[derive(Debug, thiserror::Error)]
#[error("realm is not valid in a WWW-Authenticate header")]
struct InvalidRealm;

/// One configured instance. Most requests need only the guard, which is two cache lines.
struct Protection {
    guard: AuthenticationHandler<Guard>,
    /// Which endpoints it has beside the two that all have.
    names: Names,
    endpoints: Box<Endpoints>,
}

/// The parts of an instance that act as the authorization server.
struct Endpoints {
    instance: Uuid,
    config: Config,
    server: Arc<AuthorizationServer>,
}

impl Endpoints {
    async fn respond(&self, endpoint: Endpoint, request: &Request<'_>) -> Verdict {
        self.server.respond(self.instance, &self.config, endpoint, request).await
    }
}

impl Protection {
    fn endpoint(&self, request: &Request<'_>) -> Option<Endpoint> {
        let endpoint = Endpoint::of_path(request.path);
        if self.names.is_empty() {
            return endpoint;
        }
        endpoint.or_else(|| Endpoint::named(&self.endpoints.config, request))
    }
}

impl Handler for Protection {
    fn explains(&self) -> Explains {
        Handler::explains(&self.guard)
    }

    fn needs(&self) -> Needs {
        self.guard.needs()
    }

    fn well_known(&self) -> &[&'static str] {
        path::well_known(self.names)
    }

    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        match self.endpoint(request) {
            None => self.guard.access(request),
            Some(endpoint) => {
                Access::Pending(Box::pin(async move { Ok(self.endpoints.respond(endpoint, request).await) }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_requests_need_of_an_instance_is_two_cache_lines() {
        let reference_counts = 2 * size_of::<usize>();
        assert!(reference_counts + size_of::<Protection>() <= 128, "{}", size_of::<Protection>());
    }
}
