//! Certificates and private keys as entities have them: text in PEM format, read with OpenSSL.

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private, Public};
use openssl::sha::sha256;
use openssl::x509::{X509, X509Ref};
use tollgate_core::entity::certificate;

/// [`certificate::Pem`] on OpenSSL.
pub struct Pem;

impl certificate::Pem for Pem {
    fn check_certificate(text: &str) -> Result<(), String> {
        chain(text).map(drop).map_err(|error| error.to_string())
    }

    fn check_key(text: &str) -> Result<(), String> {
        key(text).map(drop).map_err(|error| error.to_string())
    }

    fn belong_together(certificate: &str, private: &str) -> bool {
        matches!((public_key(certificate), key(private)), (Some(public), Ok(private)) if public.public_eq(&private))
    }

    fn have_same_type(one: &str, other: &str) -> bool {
        matches!((public_key(one), public_key(other)), (Some(one), Some(other)) if one.id() == other.id())
    }

    fn is_expired(text: &str) -> bool {
        let now = Asn1Time::days_from_now(0);
        matches!((leaf(text), now), (Some(certificate), Ok(now)) if certificate.not_after() < now)
    }

    fn is_authority(text: &str) -> bool {
        leaf(text).is_some_and(|certificate| is_authority(&certificate))
    }

    fn digest(text: &str) -> Option<String> {
        let der = leaf(text)?.to_der().ok()?;
        Some(sha256(&der).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Why text is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no certificate in PEM format.
    #[error("no certificate in PEM format was found")]
    NoCertificate,
    /// A certificate is damaged.
    #[error("{0}")]
    Certificate(ErrorStack),
    /// There is no private key in PEM format, or it is damaged.
    #[error("no private key in PEM format was found")]
    Key,
    /// The key is encrypted.
    #[error("the private key is encrypted; store it without a passphrase")]
    EncryptedKey,
}

/// The certificate with those of the authorities above it, as given.
///
/// # Errors
/// There is none, or one of them is damaged.
pub fn chain(text: &str) -> Result<Vec<X509>, Error> {
    match X509::stack_from_pem(text.as_bytes()) {
        Ok(chain) if chain.is_empty() => Err(Error::NoCertificate),
        Ok(chain) => Ok(chain),
        Err(error) => Err(Error::Certificate(error)),
    }
}

/// The private key.
///
/// # Errors
/// There is none, or it needs a passphrase, for which nobody is asked.
pub fn key(text: &str) -> Result<PKey<Private>, Error> {
    let mut was_asked = false;
    let read = PKey::private_key_from_pem_callback(text.as_bytes(), |_| {
        was_asked = true;
        Ok(0)
    });
    read.map_err(|_| if was_asked { Error::EncryptedKey } else { Error::Key })
}

fn leaf(text: &str) -> Option<X509> {
    chain(text).ok()?.into_iter().next()
}

fn public_key(text: &str) -> Option<PKey<Public>> {
    leaf(text)?.public_key().ok()
}

/// Whether its basic constraints say that it may sign others. OpenSSL's reading of them is not in its safe interface: in
/// DER the extension is its object id, perhaps `critical`, and a sequence that begins with TRUE.
fn is_authority(certificate: &X509Ref) -> bool {
    const BASIC_CONSTRAINTS: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x13];
    const CRITICAL: [u8; 3] = [0x01, 0x01, 0xff];
    let der = certificate.to_der().unwrap_or_default();
    let places = der.windows(BASIC_CONSTRAINTS.len()).enumerate().filter(|(_, window)| *window == BASIC_CONSTRAINTS);
    let mut extensions = places.filter_map(|(place, id)| der.get(place + id.len()..));
    extensions.any(|rest| {
        let rest = rest.strip_prefix(&CRITICAL).unwrap_or(rest);
        matches!(rest, [0x04, _, 0x30, _, 0x01, 0x01, 0xff, ..])
    })
}

#[cfg(test)]
#[path = "pem_tests.rs"]
mod tests;
