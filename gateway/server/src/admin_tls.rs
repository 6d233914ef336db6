//! The TLS side of `admin.listen`: the same versions and ciphers as the proxy's, and client certificates where
//! `admin.tls.client_ca` names their authorities.

use openssl::error::ErrorStack;
use openssl::ssl::{SslAcceptor, SslMethod, SslVerifyMode};

use crate::certificate;
use crate::settings::{AdminTls, TlsPolicy};

/// What sessions may be resumed with: those of this listener. OpenSSL requires it where clients have certificates.
const SESSION_CONTEXT: &[u8] = b"tollgate admin";

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate or its key is unusable.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// The file of authorities is unusable.
    #[error("admin.tls.client_ca: {0}")]
    ClientCa(#[from] certificate::UnusableAuthorities),
    /// OpenSSL rejects the certificate, its key, or the versions.
    #[error(transparent)]
    OpenSsl(#[from] ErrorStack),
}

/// The acceptor.
///
/// # Errors
/// The files are unusable.
pub fn acceptor(tls: &AdminTls, policy: &TlsPolicy) -> Result<SslAcceptor, Error> {
    certificate::check(&tls.files)?;
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    policy.apply(&mut acceptor)?;
    acceptor.set_private_key(&*certificate::private_key(&tls.files)?)?;
    acceptor.set_certificate_chain_file(&tls.files.certificate)?;
    acceptor.check_private_key()?;
    acceptor.set_session_id_context(SESSION_CONTEXT)?;
    if let Some(path) = &tls.client_ca {
        for authority in certificate::authorities(path)? {
            acceptor.add_client_ca(&authority)?;
            acceptor.cert_store_mut().add_cert(authority)?;
        }
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    Ok(acceptor.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Layers, Settings};

    #[test]
    fn authorities_are_read_from_a_file_that_has_some() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = certificate::files(None, directory.path()).expect("made");
        let policy = Settings::from_layers(Layers::defaults()).expect("the defaults").tls;
        let made = |client_ca| acceptor(&AdminTls { files: files.clone(), client_ca }, &policy);
        assert!(made(None).is_ok());
        assert!(made(Some(files.certificate.clone())).is_ok());
        for unusable in [files.key.clone(), directory.path().join("none")] {
            assert!(matches!(made(Some(unusable)), Err(Error::ClientCa(_))));
        }
    }
}
