//! The plugin as seen by the gateway.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderValue;
use serde::Deserialize as _;
use serde_json::Value;
use tollgate_plugin::http_client::{Client, Profile};
use tollgate_plugin::{
    Clock, Digest, Factory, Handler, Host, Instance, Plugin, PluginError, Random, Schema, StartError, Violations,
};
use tollgate_third_party::config::Specifics;
use tollgate_third_party::key_source::{KeySources, Location, Remote, Times};
use tollgate_third_party::{
    AuthorityUrl, Candidate, ClaimPath, Identity, METRIC_PREFIX, RequestLineUse, ThirdPartyTokens, Verifier, connection,
};

use crate::authority::{Authority, ResponseKeys, Unusable};
use crate::client_assertion::ClientAssertion;
use crate::client_authentication::ClientAuthentication;
use crate::config::{self, Config};
use crate::endpoint::{Endpoint, MAX_RESPONSE};
use crate::signed_response::SignedResponses;

/// The plugin's name.
pub const NAME: &str = "oauth2-introspection";

/// Its priority among plugins (gateway.md §9).
const PRIORITY: i32 = 1700;

/// The plugin before it is started.
pub struct OAuth2IntrospectionFactory;

#[async_trait]
impl Factory for OAuth2IntrospectionFactory {
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
        &["x-consumer-id", "x-consumer-custom-id", "x-consumer-username", "x-credential-", "x-anonymous-consumer"]
    }

    fn metric_prefixes(&self) -> Vec<String> {
        vec![METRIC_PREFIX.to_owned()]
    }

    async fn start(&self, host: &Host) -> Result<Arc<dyn Plugin>, StartError> {
        Ok(Arc::new(Introspection {
            tokens: ThirdPartyTokens::of(host).await?,
            keys: KeySources::of(host)?,
            client: host.http_client.clone(),
            clock: Arc::clone(&host.clock),
            random: Arc::clone(&host.random),
        }))
    }
}

/// The plugin.
struct Introspection {
    tokens: Arc<ThirdPartyTokens>,
    keys: Arc<KeySources>,
    client: Client,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Plugin for Introspection {
    fn forget_cached(&self, key: Option<&str>) {
        if key.is_none() {
            self.tokens.forget_all();
        }
    }

    fn objections(&self, config: &Value) -> Violations {
        let mut found = self.refused_urls(config);
        let further = config.get("authorities").and_then(Value::as_array).into_iter().flatten();
        let further = further.map(|authority| self.refused_urls(authority));
        found.fields.extend(connection::objections_in("authorities", further).fields);
        found
    }

    fn compile(&self, instance: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        let failed = |error: Unusable| PluginError { plugin: NAME, source: Box::new(error) };
        let config = Config::read(instance.config).map_err(failed)?;
        let authorities = config.authorities.iter();
        let candidates = authorities.map(|(authority, stored)| self.candidate(authority, stored));
        let specifics = Specifics {
            candidates: candidates.collect::<Result<_, _>>().map_err(failed)?,
            ttl: config.ttl,
            clock_skew: 0,
            request_line: if config.introspect_request { RequestLineUse::Told } else { RequestLineUse::Untold },
        };
        config.common.handler(specifics, &self.tokens).map_err(|error| error.of(NAME))
    }
}

impl Introspection {
    /// An authority as an instance uses it; `stored` identifies it.
    fn candidate(&self, authority: &Authority, stored: &Value) -> Result<Candidate, Unusable> {
        let (identity, url) = (Identity::of(NAME, stored), authority.url()?);
        let consumer_by = ClaimPath::parse(&authority.consumer_by).ok();
        let name = url.name.clone();
        let make = || Ok::<_, Unusable>(Box::new(self.endpoint(authority, url, stored)?) as Box<dyn Verifier>);
        Ok(Candidate {
            authority: self.tokens.authority(identity, &name, consumer_by, make)?,
            issuer: authority.issuer.as_deref().map(Into::into),
        })
    }

    fn endpoint(&self, authority: &Authority, url: AuthorityUrl, stored: &Value) -> Result<Endpoint, Unusable> {
        authority.connection.warn(&url.name, &url);
        let profile = authority.connection.profile(&self.client, NAME, authority.tls()?);
        let signed = self.signed(authority, &url, &profile, stored)?;
        Ok(Endpoint {
            url,
            profile: profile.max_body(MAX_RESPONSE).repeatable().staying(),
            signed,
            authentication: self.authentication(authority)?,
            token_type_hint: authority.token_type_hint.clone(),
            headers: authority.headers()?,
        })
    }

    /// How responses are verified, if keys are configured.
    fn signed(
        &self,
        authority: &Authority,
        url: &AuthorityUrl,
        profile: &Profile,
        stored: &Value,
    ) -> Result<Option<SignedResponses>, Unusable> {
        let Some(keys) = authority.response_keys()? else { return Ok(None) };
        let digest = Digest::of(&format!("{NAME}\n{stored}"));
        let keys = match keys {
            ResponseKeys::Fixed(keys) => self.keys.fixed(digest, keys),
            ResponseKeys::At(keys) => self.keys.remote(digest, || {
                authority.connection.warn(&url.name, &keys);
                let (name, location) = (url.name.to_string(), Location::KeySet(keys.uri.to_string()));
                Remote { name, location, profile: profile.clone(), times: Times::default() }
            }),
        };
        let issuer = authority.issuer.clone().ok_or(Unusable::Issuer)?;
        Ok(Some(SignedResponses { keys, issuer, audience: authority.client_id.clone() }))
    }

    /// The URLs of an authority that this gateway never calls.
    fn refused_urls(&self, authority: &Value) -> Violations {
        let mut found = Violations::new();
        let Ok(authority) = Authority::deserialize(authority) else { return found };
        for (field, url) in authority.urls() {
            if let Some(refused) = AuthorityUrl::parse(url).ok().and_then(|url| url.refused(&self.client)) {
                found.field(field, refused);
            }
        }
        found
    }

    fn authentication(&self, authority: &Authority) -> Result<ClientAuthentication, Unusable> {
        let client_id = || authority.client_id.clone().ok_or(Unusable::Incomplete);
        let client_secret = || authority.client_secret().ok_or(Unusable::Incomplete);
        Ok(match authority.auth_method.as_str() {
            "client_secret_basic" => {
                ClientAuthentication::basic(&client_id()?, client_secret()?.expose()).ok_or(Unusable::Header)?
            }
            "client_secret_post" => {
                ClientAuthentication::Form { client_id: client_id()?, client_secret: client_secret()? }
            }
            "private_key_jwt" => ClientAuthentication::Assertion(Box::new(ClientAssertion {
                key: authority.signing_key()?.ok_or(Unusable::Incomplete)?,
                key_id: authority.client_key_id.clone(),
                client_id: client_id()?,
                audience: authority.assertion_audience().to_owned(),
                clock: Arc::clone(&self.clock),
                random: Arc::clone(&self.random),
            })),
            "tls_client_auth" => ClientAuthentication::Certificate { client_id: client_id()? },
            _ => {
                let value = authority.authorization_value.as_ref().ok_or(Unusable::Incomplete)?.expose();
                ClientAuthentication::value(HeaderValue::from_bytes(value.as_bytes()).map_err(|_| Unusable::Header)?)
            }
        })
    }
}
