//! Public keys in PEM (RFC 7468).

use openssl::pkey::{PKey, Public};
use openssl::rsa::Rsa;
use openssl::x509::X509;

use super::InvalidKey;

/// The key in the first block.
pub(super) fn public_key(pem: &[u8]) -> Result<PKey<Public>, InvalidKey> {
    match label(pem) {
        Some("PUBLIC KEY") => Ok(PKey::public_key_from_pem(pem)?),
        Some("RSA PUBLIC KEY") => Ok(PKey::from_rsa(Rsa::public_key_from_pem_pkcs1(pem)?)?),
        Some("CERTIFICATE") => Ok(X509::from_pem(pem)?.public_key()?),
        Some(label) if label.ends_with("PRIVATE KEY") => Err(InvalidKey::PrivateKey),
        _ => Err(InvalidKey::NotPem),
    }
}

/// The label of the first block.
fn label(pem: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, begun) = text.split_once("-----BEGIN ")?;
    begun.split_once("-----").map(|(label, _)| label)
}
