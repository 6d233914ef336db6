//! Self-signed certificates for loopback addresses.
//!
//! Step On uses a new one at each start: the gateway's service for it has `tls_verify: false`.
//! The quickstart's gateway uses one that is kept on disk, so that both sites can verify it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

const DAYS: u32 = 365;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// OpenSSL could not create it.
    #[error("cannot create a certificate")]
    Make(#[from] ErrorStack),
    /// It could not be read or written.
    #[error("cannot read or write a certificate in {path}")]
    Keep {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A certificate and its private key, both in PEM.
pub struct Certificate {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

/// A certificate that is kept on disk.
pub struct KeptCertificate {
    /// The certificate itself, in PEM.
    pub certificate: Vec<u8>,
    /// The certificate's file.
    pub certificate_file: PathBuf,
    /// The private key's file.
    pub key_file: PathBuf,
}

/// Creates a self-signed certificate for `127.0.0.1`, `::1` and `localhost`.
pub fn self_signed(common_name: &str) -> Result<Certificate, Error> {
    let key = PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_text("CN", common_name)?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(128, MsbOption::MAYBE_ZERO, false)?;

    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_pubkey(&key)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(DAYS)?)?;
    builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .ip("127.0.0.1")
        .ip("::1")
        .build(&builder.x509v3_context(None, None))?;
    builder.append_extension(names)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok(Certificate { certificate: builder.build().to_pem()?, key: key.private_key_to_pem_pkcs8()? })
}

/// The certificate kept in `folder`; created at the first call.
pub fn keep_in(folder: &Path) -> Result<KeptCertificate, Error> {
    let certificate_file = folder.join("gateway-certificate.pem");
    let key_file = folder.join("gateway-key.pem");
    let failed = |source| Error::Keep { path: folder.to_owned(), source };
    if certificate_file.exists() && key_file.exists() {
        let certificate = fs::read(&certificate_file).map_err(failed)?;
        if still_good(&certificate) {
            return Ok(KeptCertificate { certificate, certificate_file, key_file });
        }
    }
    let made = self_signed("Tollgate quickstart")?;
    fs::create_dir_all(folder).map_err(failed)?;
    write_private(&key_file, &made.key).map_err(failed)?;
    fs::write(&certificate_file, &made.certificate).map_err(failed)?;
    Ok(KeptCertificate { certificate: made.certificate, certificate_file, key_file })
}

/// Whether it is readable and valid for at least another week.
fn still_good(pem: &[u8]) -> bool {
    let checked =
        || -> Result<bool, ErrorStack> { Ok(X509::from_pem(pem)?.not_after() > &*Asn1Time::days_from_now(7)?) };
    checked().unwrap_or(false)
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_certificate_verifies_against_itself_and_names_the_loopback_addresses() {
        let made = self_signed("test").unwrap();
        let certificate = X509::from_pem(&made.certificate).unwrap();
        assert!(certificate.verify(&certificate.public_key().unwrap()).unwrap());
        let names = certificate.subject_alt_names().unwrap();
        assert!(names.iter().any(|name| name.dnsname() == Some("localhost")));
        assert!(names.iter().any(|name| name.ipaddress() == Some(&[127, 0, 0, 1])));
    }

    #[test]
    fn a_kept_certificate_is_created_once_and_its_key_is_private() {
        let folder = std::env::temp_dir().join(format!("tollgate-certificate-{}", uuid::Uuid::new_v4()));
        let first = keep_in(&folder).unwrap();
        let second = keep_in(&folder).unwrap();
        assert_eq!(first.certificate, second.certificate);
        assert_eq!(fs::metadata(&first.key_file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(&folder).unwrap();
    }
}
