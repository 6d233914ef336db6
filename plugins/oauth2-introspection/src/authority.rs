//! An authority, as configured: how it is called, and how the gateway authenticates to it.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use tollgate_jose::{Algorithm, KeySet, MalformedKeySet};
use tollgate_plugin::Secret;
use tollgate_plugin::http_client::{Tls, TlsError};
use tollgate_third_party::{AuthorityUrl, BadUrl, Connection};

use crate::client_assertion::{InvalidKey, SigningKey};

/// Why a stored configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Fields are missing or have the wrong type.
    #[error("stored configuration does not match its schema")]
    Fields(#[from] serde_json::Error),
    /// The URL cannot be called.
    #[error("introspection_url or jwks_uri cannot be called")]
    Url(#[from] BadUrl),
    /// No header can carry a value.
    #[error("authorization_value or a header is not valid in HTTP")]
    Header,
    /// What the method of client authentication needs is missing.
    #[error("a field that auth_method needs is missing")]
    Incomplete,
    /// The key cannot be used.
    #[error("client_key cannot be used")]
    Key(#[from] InvalidKey),
    /// The static key set cannot be read.
    #[error("jwks is malformed")]
    KeySet(#[from] MalformedKeySet),
    /// Signed responses need an issuer.
    #[error("issuer is missing, which signed responses need")]
    Issuer,
    /// Certificates cannot be used.
    #[error("TLS to the endpoint cannot be set up")]
    Tls(#[from] TlsError),
}

/// Where the keys are that sign responses.
pub enum ResponseKeys {
    /// In the configuration.
    Fixed(KeySet),
    /// At a URL.
    At(AuthorityUrl),
}

/// The values of one authority. Contains secrets.
#[derive(Deserialize)]
pub struct Authority {
    introspection_url: String,
    /// How the gateway authenticates.
    pub auth_method: String,
    /// The value of the `Authorization` header.
    pub authorization_value: Option<Secret>,
    /// What the endpoint is told a token to be.
    pub token_type_hint: Option<String>,
    custom_introspection_headers: BTreeMap<String, String>,
    /// The member of a response that names the consumer.
    pub consumer_by: String,
    /// The `iss` of its JWTs.
    pub issuer: Option<String>,
    /// Our id.
    pub client_id: Option<String>,
    client_secret: Option<Secret>,
    client_key: Option<Secret>,
    /// The `kid` of our key.
    pub client_key_id: Option<String>,
    client_key_algorithm: Option<String>,
    client_assertion_audience: Option<String>,
    jwks_uri: Option<String>,
    jwks: Option<String>,
    /// How it is called.
    #[serde(flatten)]
    pub connection: Connection,
    tls_client_certificate: Option<String>,
    tls_client_key: Option<Secret>,
}

impl Authority {
    /// Where it is.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn url(&self) -> Result<AuthorityUrl, Unusable> {
        Ok(AuthorityUrl::parse(&self.introspection_url)?)
    }

    /// Headers of every call.
    ///
    /// # Errors
    /// A name or a value is not valid in HTTP.
    pub fn headers(&self) -> Result<HeaderMap, Unusable> {
        let header = |(name, value): (&String, &String)| {
            let name = name.parse::<HeaderName>().map_err(|_| Unusable::Header)?;
            let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| Unusable::Header)?;
            value.set_sensitive(true);
            Ok((name, value))
        };
        self.custom_introspection_headers.iter().map(header).collect()
    }

    /// Our secret.
    pub fn client_secret(&self) -> Option<Secret> {
        self.client_secret.clone()
    }

    /// The key of assertions.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn signing_key(&self) -> Result<Option<SigningKey>, InvalidKey> {
        let algorithm = self.client_key_algorithm.as_deref().and_then(Algorithm::parse);
        self.client_key.as_ref().map(|pem| SigningKey::parse(pem.expose(), algorithm)).transpose()
    }

    /// Who assertions are for.
    pub fn assertion_audience(&self) -> &str {
        let audience = self.client_assertion_audience.as_ref().or(self.issuer.as_ref());
        audience.unwrap_or(&self.introspection_url)
    }

    /// Where the keys are that sign its responses; `None`: they are not signed.
    ///
    /// # Errors
    /// The static key set cannot be read.
    pub fn response_keys(&self) -> Result<Option<ResponseKeys>, Unusable> {
        Ok(match (&self.jwks, &self.jwks_uri) {
            (Some(keys), _) => Some(ResponseKeys::Fixed(KeySet::parse(keys.as_bytes())?)),
            (None, Some(url)) => Some(ResponseKeys::At(AuthorityUrl::parse(url)?)),
            (None, None) => None,
        })
    }

    /// The URLs that are called, by field.
    pub fn urls(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let keys = self.jwks_uri.as_deref().map(|url| ("jwks_uri", url));
        std::iter::once(("introspection_url", self.introspection_url.as_str())).chain(keys)
    }

    /// Which certificates are accepted, and which one is presented.
    ///
    /// # Errors
    /// A certificate or a key cannot be read.
    pub fn tls(&self) -> Result<Tls, TlsError> {
        let tls = self.connection.tls()?;
        match (&self.tls_client_certificate, &self.tls_client_key) {
            (Some(certificate), Some(key)) => {
                tls.with_client_certificate(certificate.as_bytes(), key.expose().as_bytes())
            }
            _ => Ok(tls),
        }
    }
}
