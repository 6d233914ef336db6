//! The certificate for TLS clients: the operator's, or a self-signed one that is created on first
//! start and kept, so that clients that trust it need not change.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

use zeroize::Zeroizing;

use crate::settings::CertificateFiles;

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file contains no certificate or key.
    #[error("{path}: no {what} in PEM format can be read")]
    Pem {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// The key does not belong to the certificate.
    #[error("{key}: private key does not match the certificate in {certificate}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The key is encrypted, and there is no passphrase.
    #[error("{path}: the private key is encrypted: set {setting} to a file that holds its passphrase")]
    Encrypted {
        /// The key's file.
        path: PathBuf,
        /// The setting that names the passphrase's file.
        setting: &'static str,
    },
    /// The passphrase is not that of the key.
    #[error("{path}: the passphrase in {passphrase} does not decrypt this private key")]
    Passphrase {
        /// The key's file.
        path: PathBuf,
        /// The passphrase's file.
        passphrase: PathBuf,
    },
    /// Other users can read the key.
    #[error(
        "{path}: other users of this machine can read this private key (mode {mode:o}): run `chmod 600 {path}`, or make \
         it root's with mode 640 and a group that only the gateway has",
        path = path.display()
    )]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The self-signed certificate cannot be created.
    #[error("cannot create self-signed certificate: {0}")]
    Make(#[from] ErrorStack),
}

/// The files to serve, checked: the operator's, or the self-signed ones.
pub fn files(given: Option<&CertificateFiles>, data_directory: &Path) -> Result<CertificateFiles, Error> {
    let files = match given {
        Some(files) => files.clone(),
        None => kept(data_directory)?,
    };
    check(&files)?;
    Ok(files)
}

fn kept(directory: &Path) -> Result<CertificateFiles, Error> {
    let files = CertificateFiles {
        certificate: directory.join("self-signed.crt"),
        key: directory.join("self-signed.key"),
        passphrase: None,
        passphrase_setting: "tls.key_passphrase_file",
    };
    if files.certificate.exists() && files.key.exists() {
        return Ok(files);
    }
    fs::create_dir_all(directory).map_err(|source| Error::File { path: directory.to_owned(), source })?;
    let (certificate, key) = self_signed()?;
    write(&files.key, &key.private_key_to_pem_pkcs8()?)?;
    write(&files.certificate, &certificate.to_pem()?)?;
    tracing::info!(certificate = %files.certificate.display(), "created self-signed certificate");
    Ok(files)
}

/// Creates a file that only the owner can read from the start.
fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    written.map_err(|source| Error::File { path: path.to_owned(), source })
}

/// P-256, ten years, for this machine's names.
fn self_signed() -> Result<(X509, PKey<Private>), ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_text("CN", "localhost")?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(159, MsbOption::MAYBE_ZERO, false)?;

    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_pubkey(&key)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(3650)?)?;
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .ip("127.0.0.1")
        .ip("::1")
        .build(&builder.x509v3_context(None, None))?;
    builder.append_extension(names)?;
    // Its own authority, so that it can be added to a client's roots directly.
    builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok((builder.build(), key))
}

/// Whether the permissions of a key keep other users from it. Root may share it with a group, as Debian's `ssl-cert` is.
fn is_private(owner: u32, mode: u32) -> bool {
    mode & 0o077 == 0 || (owner == 0 && mode & 0o037 == 0)
}

/// Fails if other users can read or replace a key.
fn check_permissions(path: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    let mode = metadata.mode() & 0o777;
    if is_private(metadata.uid(), mode) { Ok(()) } else { Err(Error::Exposed { path: path.to_owned(), mode }) }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// The private key, decrypted with the passphrase in its file if it has one.
///
/// # Errors
/// It cannot be read, or others can read it.
pub fn private_key(files: &CertificateFiles) -> Result<PKey<Private>, Error> {
    check_permissions(&files.key)?;
    let passphrase = files.passphrase.as_deref().map(|path| check_permissions(path).and_then(|()| read(path)));
    let passphrase = passphrase.transpose()?.map(Zeroizing::new);
    let passphrase = passphrase.as_deref().map(|text| text.trim_ascii_end());
    let mut was_asked = false;
    // Without a callback OpenSSL asks whoever sits at the terminal.
    let read = PKey::private_key_from_pem_callback(&Zeroizing::new(read(&files.key)?), |buffer| {
        was_asked = true;
        let passphrase = passphrase.unwrap_or_default();
        match buffer.get_mut(..passphrase.len()) {
            Some(place) => place.copy_from_slice(passphrase),
            None => return Ok(0),
        }
        Ok(passphrase.len())
    });
    read.map_err(|_| match &files.passphrase {
        None if was_asked => Error::Encrypted { path: files.key.clone(), setting: files.passphrase_setting },
        Some(passphrase) if was_asked => Error::Passphrase { path: files.key.clone(), passphrase: passphrase.clone() },
        _ => Error::Pem { path: files.key.clone(), what: "private key" },
    })
}

/// Whether a certificate and its key can be served: they are readable, belong together, and the key is private.
///
/// # Errors
/// They cannot.
pub fn check(files: &CertificateFiles) -> Result<(), Error> {
    let key = private_key(files)?;
    let certificate = X509::from_pem(&read(&files.certificate)?)
        .map_err(|_| Error::Pem { path: files.certificate.clone(), what: "certificate" })?;
    if certificate.public_key()?.public_eq(&key) {
        Ok(())
    } else {
        Err(Error::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() })
    }
}

/// A file of authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: no PEM certificate can be read", path.display())]
pub struct UnusableAuthorities {
    /// The file.
    pub path: PathBuf,
    /// The cause, if the file could not be read.
    #[source]
    pub source: Option<std::io::Error>,
}

/// The certificates in a file of authorities, of which there is at least one.
///
/// # Errors
/// See [`UnusableAuthorities`].
pub fn authorities(path: &Path) -> Result<Vec<X509>, UnusableAuthorities> {
    let unusable = |source| UnusableAuthorities { path: path.to_owned(), source };
    let text = std::fs::read(path).map_err(|source| unusable(Some(source)))?;
    match X509::stack_from_pem(&text) {
        Ok(authorities) if !authorities.is_empty() => Ok(authorities),
        _ => Err(unusable(None)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_self_signed_certificate_is_created_once_and_only_the_owner_can_read_its_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = files(None, directory.path()).expect("made");
        let made = fs::read(&first.certificate).expect("readable");
        let second = files(None, directory.path()).expect("kept");
        assert_eq!(made, fs::read(&second.certificate).expect("readable"));
        let mode = fs::metadata(&first.key).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let made = files(None, directory.path()).expect("made");
        for (mode, expected) in [(0o600, true), (0o400, true), (0o644, false), (0o604, false), (0o620, false)] {
            fs::set_permissions(&made.key, fs::Permissions::from_mode(mode)).expect("its owner");
            let checked = files(Some(&made), directory.path());
            assert_eq!(checked.is_ok(), expected, "{mode:o}");
            if let Err(error) = checked {
                let text = error.to_string();
                assert!(text.contains("self-signed.key") && text.contains(&format!("{mode:o}")), "{text}");
            }
        }
        for (owner, mode, expected) in [
            (0, 0o640, true),
            (0, 0o440, true),
            (0, 0o660, false),
            (0, 0o644, false),
            (1000, 0o640, false),
            (1000, 0o600, true),
        ] {
            assert_eq!(is_private(owner, mode), expected, "{owner} {mode:o}");
        }
    }

    #[test]
    fn an_encrypted_key_needs_its_passphrase_and_nobody_is_asked_for_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut made = files(None, directory.path()).expect("made");
        let key = PKey::private_key_from_pem(&fs::read(&made.key).expect("a key")).expect("PEM");
        let encrypted = key.private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_256_cbc(), b"open sesame");
        write(&made.key, &encrypted.expect("encrypted")).expect("written");
        let text = |files: &CertificateFiles| check(files).expect_err("refused").to_string();
        let key = made.key.display().to_string();
        assert_eq!(
            text(&made),
            format!(
                "{key}: the private key is encrypted: set tls.key_passphrase_file to a file that holds its passphrase"
            )
        );
        let passphrase = directory.path().join("passphrase");
        made.passphrase = Some(passphrase.clone());
        write(&passphrase, b"wrong\n").expect("written");
        let told = format!("{key}: the passphrase in {} does not decrypt this private key", passphrase.display());
        assert_eq!(text(&made), told);
        write(&passphrase, b"open sesame\n").expect("written");
        assert!(check(&made).is_ok());
        assert!(private_key(&made).is_ok());
        write(&made.key, b"garbage").expect("written");
        assert_eq!(text(&made), format!("{key}: no private key in PEM format can be read"));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, two) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
        let certificate = files(None, one.path()).expect("made").certificate;
        let key = files(None, two.path()).expect("made").key;
        let mixed = CertificateFiles { certificate, key, passphrase: None, passphrase_setting: "" };
        assert!(matches!(files(Some(&mixed), one.path()), Err(Error::Mismatch { .. })));
    }
}
