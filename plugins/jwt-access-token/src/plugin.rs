//! The plugin as seen by the gateway.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tollgate_plugin::http_client::Client;
use tollgate_plugin::{Clock, Factory, Handler, Host, Instance, Plugin, PluginError, Schema, StartError, Violations};
use tollgate_third_party::config::Unusable;
use tollgate_third_party::key_source::KeySources;
use tollgate_third_party::{
    Candidate, Common, HEADER_PREFIX, METRIC_PREFIX, RequestLineUse, ThirdPartyTokens, config::Specifics, connection,
};

use crate::config::{self, Config};
use crate::issuer::Issuer;
use crate::verifier::JwtVerifier;

/// The plugin's name.
pub const NAME: &str = "jwt-access-token";

/// Its priority among plugins: with the other plugins for tokens of third parties, before the gateway's own.
const PRIORITY: i32 = 1660;

/// The plugin before it is started.
pub struct JwtAccessTokenFactory;

#[async_trait]
impl Factory for JwtAccessTokenFactory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn priority(&self) -> i32 {
        PRIORITY
    }

    fn config_schema(&self) -> Schema {
        config::schema()
    }

    fn identity_headers(&self) -> &'static [&'static str] {
        &["x-consumer-id", "x-consumer-custom-id", "x-consumer-username", HEADER_PREFIX, "x-anonymous-consumer"]
    }

    fn metric_prefixes(&self) -> Vec<String> {
        vec![METRIC_PREFIX.to_owned()]
    }

    async fn start(&self, host: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        let tokens = ThirdPartyTokens::of(host).await?;
        let (http_client, clock) = (host.http_client.clone(), Arc::clone(&host.clock));
        Ok(Arc::new(JwtAccessToken { tokens, keys: KeySources::of(host)?, http_client, clock }))
    }
}

/// The plugin.
struct JwtAccessToken {
    tokens: Arc<ThirdPartyTokens>,
    keys: Arc<KeySources>,
    http_client: Client,
    clock: Arc<dyn Clock>,
}

impl Plugin for JwtAccessToken {
    fn forget_cached(&self, key: Option<&str>) {
        // Tokens are cached by digest, so that none has a name of its own.
        if key.is_none() {
            self.tokens.forget_all();
        }
    }

    fn objections(&self, config: &Value) -> Violations {
        let issuers = Config::try_from(config).map(|config| config.issuers).unwrap_or_default();
        connection::objections_in("issuers", issuers.iter().map(|issuer| issuer.refused_urls(&self.http_client)))
    }

    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let config = Config::try_from(instance.config);
        let config = config.map_err(|unreadable| PluginError { plugin: NAME, source: Box::new(unreadable) })?;
        let candidates = config.issuers.iter().map(|issuer| self.candidate(&config, issuer));
        let specifics = Specifics {
            candidates: candidates.collect::<Result<_, _>>()?,
            ttl: config.ttl,
            clock_skew: config.clock_skew,
            request_line: RequestLineUse::Untold,
        };
        let common = Common::of(instance.config).map_err(|unusable| unusable.of(NAME))?;
        common.handler(specifics, &self.tokens).map_err(|unusable: Unusable| unusable.of(NAME))
    }
}

impl JwtAccessToken {
    fn candidate(&self, config: &Config, issuer: &Issuer) -> Result<Candidate, PluginError> {
        let identity = config.identity(issuer);
        let verifier = || {
            let keys = issuer.keys(&self.keys, &self.http_client);
            let keys = keys.map_err(|error| PluginError { plugin: NAME, source: Box::new(error) })?;
            Ok(Box::new(JwtVerifier::new(issuer, config.clock_skew, keys, Arc::clone(&self.clock))) as Box<_>)
        };
        let authority = self.tokens.authority(identity, &issuer.name, config.consumer_claim.clone(), verifier)?;
        // A single verifier compares `iss` itself, so that the token is read once.
        let chosen_by = (config.issuers.len() > 1).then(|| issuer.name.clone());
        Ok(Candidate { authority, issuer: chosen_by })
    }
}
