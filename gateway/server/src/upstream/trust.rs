//! What a service says about TLS with its upstream: the certificate that is presented to it, and who must vouch for the
//! upstream's own.

use std::sync::Arc;

use openssl::sha::Sha256;
use openssl::x509::X509;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::CertKey;
use serde::Deserialize;
use uuid::Uuid;

use crate::identity::Identity;

/// The fields of a `services` entity about TLS; deserializes from the entity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct TrustSpec {
    /// The certificate that is presented.
    #[serde(default)]
    pub client_certificate: Option<Reference>,
    /// The authorities, instead of the system's.
    #[serde(default)]
    pub ca_certificates: Option<Vec<Uuid>>,
    /// How many authorities there may be between the upstream's certificate and a trusted one.
    #[serde(default)]
    pub tls_verify_depth: Option<u32>,
}

/// A reference to an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Reference {
    /// Its id.
    pub id: Uuid,
}

impl TrustSpec {
    /// Whether it depends on other entities.
    pub fn refers_to_others(&self) -> bool {
        self.client_certificate.is_some() || self.ca_certificates.is_some()
    }
}

/// An entity that a service needs cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{field} {id} cannot be used")]
pub struct Unusable {
    /// The service's field.
    pub field: &'static str,
    /// The entity.
    pub id: Uuid,
}

/// TLS with an upstream.
pub struct Trust {
    client: Option<Arc<CertKey>>,
    authorities: Option<Arc<Box<[X509]>>>,
    depth: Option<u32>,
    /// Tells connections apart that were made under different terms, so that none is used under others.
    group: u64,
}

impl Trust {
    /// `None`: nothing deviates from the defaults.
    pub fn new(client: Option<&Identity>, authorities: Option<Vec<X509>>, depth: Option<u32>) -> Option<Self> {
        if client.is_none() && authorities.is_none() && depth.is_none() {
            return None;
        }
        let mut digest = Sha256::new();
        let mut add = |part: &str, certificates: &[X509]| {
            digest.update(part.as_bytes());
            for certificate in certificates {
                digest.update(&certificate.to_der().unwrap_or_default());
            }
        };
        add("client", &client.map(Identity::chain).unwrap_or_default());
        add("authorities", authorities.as_deref().unwrap_or_default());
        add(&format!("depth {depth:?}"), &[]);
        let [a, b, c, d, e, f, g, h, ..] = digest.finish();
        Some(Self {
            client: client.map(|client| Arc::new(CertKey::new(client.chain(), client.key().clone()))),
            authorities: authorities.map(|authorities| Arc::new(authorities.into_boxed_slice())),
            depth,
            group: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        })
    }

    /// Makes them the terms of a connection.
    pub fn apply(&self, peer: &mut HttpPeer) {
        peer.client_cert_key.clone_from(&self.client);
        peer.options.ca.clone_from(&self.authorities);
        peer.group_key = self.group;
        #[cfg(pingora_patched)]
        {
            peer.options.verify_depth = self.depth;
        }
    }
}

/// Shows nothing of the key.
impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("depth", &self.depth).finish_non_exhaustive()
    }
}
