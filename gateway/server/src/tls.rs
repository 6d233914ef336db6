//! The TLS side of `proxy.https_listen`: its versions and certificate, and the server
//! name that a client requested.
//!
//! The name is attached to the connection once its handshake is complete, and routing by SNI reads
//! it there ([`ServerName`]). One certificate serves every name: choosing among several is not
//! supported.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::listeners::TlsAccept;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::protocols::tls::TlsRef;
use pingora_core::tls::ssl::{NameType, SslVersion};
use tollgate_core::host::Host;

use crate::certificate;
use crate::proxy::ServerName;
use crate::settings::CertificateFiles;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Pingora cannot create an acceptor.
    #[error("cannot create TLS acceptor: {0}")]
    Acceptor(Box<pingora_core::Error>),
    /// The key is unusable.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// OpenSSL rejects the certificate, its key, or the versions.
    #[error(transparent)]
    OpenSsl(#[from] pingora_core::tls::error::ErrorStack),
}

/// The settings of the TLS listener: Mozilla's intermediate ciphers, TLS 1.2 or newer.
pub fn settings(files: &CertificateFiles) -> Result<TlsSettings, Error> {
    let mut settings = TlsSettings::with_callbacks(Box::new(NameKeeper)).map_err(Error::Acceptor)?;
    settings.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    settings.set_private_key(&*certificate::private_key(files)?)?;
    settings.set_certificate_chain_file(&files.certificate)?;
    settings.check_private_key()?;
    // Only a name that a callback has accepted is stored in the session. Without it a client that
    // resumes a TLS 1.2 session would have no name.
    settings.set_servername_callback(|_ssl, _alert| Ok(()));
    Ok(settings)
}

/// Keeps the server name of each handshake for the requests that follow it.
struct NameKeeper;

#[async_trait]
impl TlsAccept for NameKeeper {
    async fn handshake_complete_callback(&self, ssl: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        let name = Host::parse(ssl.servername(NameType::HOST_NAME)?).ok()?;
        Some(Arc::new(ServerName(name.into_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_certificate_is_accepted() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = crate::certificate::files(None, directory.path()).expect("made");
        assert!(settings(&files).is_ok());
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut files = crate::certificate::files(None, directory.path()).expect("made");
        files.certificate = files.key.clone();
        assert!(matches!(settings(&files), Err(Error::OpenSsl(_))));
    }
}
