//! The TLS part of a profile: which certificates are accepted, and which one the client presents.
//!
//! Invariant: two values are equal only if a connection opened with one may serve a call made with the other.
//! Pools are keyed by it, so no verified call uses an unverified connection.

use std::sync::{Arc, OnceLock};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;

/// HTTP/2 before HTTP/1.1, as ALPN writes it (RFC 7301 §3.1).
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The given text contains no certificate.
    #[error("no certificate in the given PEM text; provide at least one")]
    NoCertificate,
    /// OpenSSL rejects the given certificates.
    #[error("cannot set up TLS; check that the given certificates are valid PEM")]
    OpenSsl(#[from] ErrorStack),
    /// The client certificate cannot be used.
    #[error("cannot use the client certificate; provide PEM, the client's own certificate first")]
    ClientCertificate(#[source] ErrorStack),
    /// The given text contains no client certificate.
    #[error("no client certificate in the given PEM text; provide the client's own certificate first")]
    NoClientCertificate,
    /// The client's key cannot be read.
    #[error("cannot read the client certificate's private key; provide it in PEM without a passphrase")]
    ClientKey(#[source] ErrorStack),
    /// The client's key belongs to another certificate.
    #[error("the private key does not belong to the client certificate; provide the key of its first certificate")]
    ClientKeyMismatch,
}

/// Which certificates are accepted, and the client's own. Cheap to clone. TLS 1.2 or newer, always.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    trust: Trust,
    /// The client's chain in DER; empty without. Its first certificate determines the key.
    client: Vec<Vec<u8>>,
    connector: SslConnector,
}

#[derive(Clone, PartialEq, Eq)]
enum Trust {
    System,
    /// In DER, in the order given.
    Authorities(Vec<Vec<u8>>),
    Anybody,
}

impl Tls {
    /// Certificates issued by the system's trusted authorities, for the host that is called. They are read
    /// once per process.
    ///
    /// # Errors
    /// OpenSSL cannot be set up.
    pub fn system() -> Result<Self, TlsError> {
        static SYSTEM: OnceLock<Tls> = OnceLock::new();
        if let Some(tls) = SYSTEM.get() {
            return Ok(tls.clone());
        }
        let made = Self::with(Trust::System, None)?;
        Ok(SYSTEM.get_or_init(|| made).clone())
    }

    /// Certificates issued by these authorities (PEM, one or several) and no others, for the host that is
    /// called.
    ///
    /// # Errors
    /// There is no certificate, or it cannot be read.
    pub fn authorities(pem: &[u8]) -> Result<Self, TlsError> {
        let certificates = X509::stack_from_pem(pem)?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let encoded: Result<_, ErrorStack> = certificates.iter().map(|certificate| certificate.to_der()).collect();
        Self::with(Trust::Authorities(encoded?), None)
    }

    /// Any certificate for any host: anyone between here and the authority can read and change the traffic.
    /// The caller logs a warning that names the setting or configuration that selected it.
    ///
    /// # Errors
    /// OpenSSL cannot be set up.
    pub fn unverified() -> Result<Self, TlsError> {
        Self::with(Trust::Anybody, None)
    }

    /// The same, and the client identifies itself (mutual TLS) with this certificate and private key, both PEM:
    /// the client's own certificate first, then those of intermediate authorities.
    ///
    /// # Errors
    /// There is no certificate, one of the two cannot be read, or they do not belong together.
    pub fn with_client_certificate(&self, certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = X509::stack_from_pem(certificate).map_err(TlsError::ClientCertificate)?;
        // Without a callback OpenSSL asks for a passphrase on the terminal.
        let key = PKey::private_key_from_pem_callback(key, |_| Ok(0)).map_err(TlsError::ClientKey)?;
        Self::with(self.0.trust.clone(), Some(&Identity { chain, key }))
    }

    fn with(trust: Trust, identity: Option<&Identity>) -> Result<Self, TlsError> {
        let mut builder = builder()?;
        match &trust {
            Trust::System => {}
            Trust::Authorities(certificates) => {
                let mut store = X509StoreBuilder::new()?;
                for certificate in certificates {
                    store.add_cert(X509::from_der(certificate)?)?;
                }
                builder.set_cert_store(store.build());
            }
            Trust::Anybody => builder.set_verify(SslVerifyMode::NONE),
        }
        let client = identity.map(|identity| identity.present(&mut builder)).transpose()?.unwrap_or_default();
        Ok(Self(Arc::new(Inner { trust, client, connector: builder.build() })))
    }

    /// A new handshake: the name is sent (unless it is an address) and must match the certificate.
    pub(crate) fn session(&self, host: &str) -> Result<Ssl, ErrorStack> {
        let mut settings = self.0.connector.configure()?;
        settings.set_verify_hostname(self.0.trust != Trust::Anybody);
        // The final dot belongs to DNS, and certificates do not have it (RFC 6066 §3).
        settings.into_ssl(host.strip_suffix('.').unwrap_or(host))
    }
}

/// What all have in common. It verifies against the system's authorities.
fn builder() -> Result<SslConnectorBuilder, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_alpn_protos(PROTOCOLS)?;
    Ok(builder)
}

/// A client certificate with its key.
struct Identity {
    chain: Vec<X509>,
    key: PKey<Private>,
}

impl Identity {
    /// Presents it in handshakes; returns the chain in DER.
    fn present(&self, builder: &mut SslConnectorBuilder) -> Result<Vec<Vec<u8>>, TlsError> {
        let (own, others) = self.chain.split_first().ok_or(TlsError::NoClientCertificate)?;
        let matches = own.public_key().map_err(TlsError::ClientCertificate)?.public_eq(&self.key);
        if !matches {
            return Err(TlsError::ClientKeyMismatch);
        }
        builder.set_certificate(own).map_err(TlsError::ClientCertificate)?;
        builder.set_private_key(&self.key).map_err(TlsError::ClientKey)?;
        for other in others {
            builder.add_extra_chain_cert(other.clone()).map_err(TlsError::ClientCertificate)?;
        }
        let encoded: Result<_, ErrorStack> = self.chain.iter().map(|certificate| certificate.to_der()).collect();
        encoded.map_err(TlsError::ClientCertificate)
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.trust == other.0.trust && self.0.client == other.0.client)
    }
}

impl Eq for Tls {}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let trust = match self.0.trust {
            Trust::System => "system",
            Trust::Authorities(_) => "authorities",
            Trust::Anybody => "unverified",
        };
        let client = if self.0.client.is_empty() { "" } else { ", client certificate" };
        write!(f, "Tls({trust}{client})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Authority;

    #[test]
    fn tls_profiles_are_equal_if_they_trust_the_same_authorities() {
        let (one, other) = (Authority::new(), Authority::new());
        let of = |pem: &[u8]| Tls::authorities(pem).unwrap();
        assert_eq!(of(&one.pem()), of(&one.pem()));
        assert_ne!(of(&one.pem()), of(&other.pem()));
        assert_ne!(of(&one.pem()), Tls::system().unwrap());
        assert_ne!(Tls::unverified().unwrap(), Tls::system().unwrap());
        assert_eq!(Tls::unverified().unwrap(), Tls::unverified().unwrap());
    }

    #[test]
    fn authorities_without_a_certificate_are_refused() {
        assert!(matches!(Tls::authorities(b""), Err(TlsError::NoCertificate)));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(Tls::authorities(broken), Err(TlsError::OpenSsl(_))));
    }

    #[test]
    fn tls_profiles_differ_by_client_certificate() {
        let authority = Authority::new();
        let (one, other) = (authority.client(), authority.client());
        let without = Tls::authorities(&authority.pem()).unwrap();
        let with = |(certificate, key): &(Vec<u8>, Vec<u8>)| without.with_client_certificate(certificate, key).unwrap();
        assert_eq!(with(&one), with(&one));
        assert_ne!(with(&one), with(&other));
        assert_ne!(with(&one), without);
        assert_ne!(with(&one), Tls::system().unwrap().with_client_certificate(&one.0, &one.1).unwrap());
        assert_eq!(format!("{:?}", with(&one)), "Tls(authorities, client certificate)");
    }

    #[test]
    fn a_client_certificate_without_its_key_is_refused() {
        let (authority, tls) = (Authority::new(), Tls::system().unwrap());
        let ((certificate, key), (_, other)) = (authority.client(), authority.client());
        let encrypted = PKey::private_key_from_pem(&key).unwrap();
        let cipher = openssl::symm::Cipher::aes_128_cbc();
        let encrypted = encrypted.private_key_to_pem_pkcs8_passphrase(cipher, b"passphrase").unwrap();
        let refused = |certificate: &[u8], key: &[u8]| tls.with_client_certificate(certificate, key).unwrap_err();
        assert!(matches!(refused(&certificate, &other), TlsError::ClientKeyMismatch));
        assert!(matches!(refused(b"", &key), TlsError::NoClientCertificate));
        for key in [&b""[..], &certificate, &encrypted] {
            assert!(matches!(refused(&certificate, key), TlsError::ClientKey(_)));
        }
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(refused(broken, &key), TlsError::ClientCertificate(_)));
    }

    #[test]
    fn every_profile_requires_tls_1_2() {
        assert_eq!(builder().unwrap().min_proto_version(), Some(SslVersion::TLS1_2));
    }
}
