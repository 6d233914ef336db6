//! Certificates with their private keys, parsed once and presented in many handshakes.

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslRef};
use openssl::x509::X509;
use pingora_core::tls::ext;

use crate::pem;

const DAY: i64 = 24 * 60 * 60;

/// Why a certificate cannot be presented.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate or its key cannot be read.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// The key does not belong to the certificate.
    #[error("the private key is not that of the certificate")]
    Mismatch,
    /// OpenSSL does not present it, for example since its key is too small.
    #[error("OpenSSL rejects it: {0}")]
    OpenSsl(#[from] ErrorStack),
}

/// A certificate, those of its authorities, and its key.
pub struct Identity {
    leaf: X509,
    authorities: Vec<X509>,
    key: PKey<Private>,
    expires_at: i64,
}

impl Identity {
    /// An identity of parsed parts.
    ///
    /// # Errors
    /// There is no certificate, or the key is not its.
    pub fn new(chain: Vec<X509>, key: PKey<Private>) -> Result<Self, Error> {
        let mut chain = chain.into_iter();
        let leaf = chain.next().ok_or(pem::Error::NoCertificate)?;
        if !leaf.public_key()?.public_eq(&key) {
            return Err(Error::Mismatch);
        }
        let expires_at = unix_seconds(leaf.not_after())?;
        Ok(Self { leaf, authorities: chain.collect(), key, expires_at })
    }

    /// An identity in PEM format.
    ///
    /// # Errors
    /// A part cannot be read, or the key is not that of the certificate.
    pub fn parse(certificate: &str, key: &str) -> Result<Self, Error> {
        Self::new(pem::chain(certificate)?, pem::key(key)?)
    }

    /// When it expires, in Unix seconds.
    pub fn expires_at(&self) -> i64 {
        self.expires_at
    }

    /// The certificate and those of its authorities.
    pub fn chain(&self) -> Vec<X509> {
        std::iter::once(&self.leaf).chain(&self.authorities).cloned().collect()
    }

    /// Its key.
    pub fn key(&self) -> &PKey<Private> {
        &self.key
    }

    /// Adds it to a handshake. OpenSSL keeps one for each type of key.
    fn present(&self, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        ext::ssl_use_certificate(ssl, &self.leaf)?;
        ext::ssl_use_private_key(ssl, &self.key)?;
        self.authorities.iter().try_for_each(|authority| ext::ssl_add_chain_cert(ssl, authority))
    }
}

/// Seconds since 1970.
///
/// # Errors
/// OpenSSL cannot tell.
pub fn unix_seconds(time: &Asn1TimeRef) -> Result<i64, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(since.days) * DAY + i64::from(since.secs))
}

/// What is presented to clients: an identity, perhaps with one of another key type. OpenSSL chooses by what the client
/// offers.
pub struct Certificate {
    primary: Identity,
    alternative: Option<Identity>,
}

impl Certificate {
    /// A certificate that OpenSSL presents: that is tried here, so that no handshake fails for it.
    ///
    /// # Errors
    /// OpenSSL rejects it.
    pub fn new(primary: Identity, alternative: Option<Identity>) -> Result<Self, Error> {
        let certificate = Self { primary, alternative };
        let context = SslContext::builder(SslMethod::tls_server())?.build();
        certificate.present(&mut *Ssl::new(&context)?)?;
        Ok(certificate)
    }

    /// The identity that every entity has.
    pub fn primary(&self) -> &Identity {
        &self.primary
    }

    /// When the first of its identities expires, in Unix seconds.
    pub fn expires_at(&self) -> i64 {
        let alternative = self.alternative.as_ref().map_or(i64::MAX, Identity::expires_at);
        self.primary.expires_at.min(alternative)
    }

    /// Presents it in a handshake that has no certificate yet.
    ///
    /// # Errors
    /// OpenSSL rejects it.
    pub fn present(&self, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        self.primary.present(ssl)?;
        self.alternative.as_ref().map_or(Ok(()), |identity| identity.present(ssl))
    }
}

/// Shows nothing of the key.
impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("expires_at", &self.expires_at()).finish_non_exhaustive()
    }
}
