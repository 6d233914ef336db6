//! The TLS side of `proxy.https_listen`: its versions and certificates, and what a client's handshake says: the server
//! name that it requested, and its certificate where `tls.client_certificates` requests one.
//!
//! Both are attached to the connection once its handshake is complete, and routing by SNI and plugins read them
//! there ([`TlsClient`]). Which certificate the gateway presents depends on the server name ([`served`](crate::served)).
//!
//! A client proves the key of its certificate in the handshake. Whether an authority vouches for it is noted, not
//! required, unless the setting is `required` and `tls.client_ca` names authorities: clients may be registered by
//! the thumbprint of a certificate that they have made themselves (RFC 8705 §2.2).

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openssl::nid::Nid;
use openssl::sha::sha256;
use openssl::x509::{X509Ref, X509VerifyResult};
use pingora_core::listeners::TlsAccept;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::protocols::tls::TlsRef;
use pingora_core::tls::ssl::{NameType, SslVerifyMode, SslVersion};
use tollgate_core::host::Host;
use tollgate_core::request::{CertificateTrust, ClientCertificate};

use crate::certificate::{self, authorities};
use crate::proxy::TlsClient;
use crate::served::Served;
use crate::settings::{ClientCertificates, RequestedCertificates};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Pingora cannot create an acceptor.
    #[error("cannot create TLS acceptor: {0}")]
    Acceptor(Box<pingora_core::Error>),
    /// The file of authorities is unusable.
    #[error("tls.client_ca: {0}")]
    ClientCa(#[from] certificate::UnusableAuthorities),
    /// OpenSSL rejects the certificate, its key, or the versions.
    #[error(transparent)]
    OpenSsl(#[from] pingora_core::tls::error::ErrorStack),
}

/// What sessions may be resumed with: those of this listener. OpenSSL requires it where clients have certificates.
const SESSION_CONTEXT: &[u8] = b"tollgate proxy";

/// The settings of the TLS listener: Mozilla's intermediate ciphers, TLS 1.2 or newer.
pub fn settings(served: Arc<Served>, clients: &ClientCertificates) -> Result<TlsSettings, Error> {
    let judge = if clients.authorities.is_some() { Judge::Authorities } else { Judge::Nobody };
    let callbacks = Handshake { served, judge };
    // It has no certificate of its own: OpenSSL would present that where its key type suits the client better.
    let mut settings = TlsSettings::with_callbacks(Box::new(callbacks)).map_err(Error::Acceptor)?;
    settings.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    // Only a name that a callback has accepted is stored in the session. Without it a client that
    // resumes a TLS 1.2 session would have no name.
    settings.set_servername_callback(|_ssl, _alert| Ok(()));
    request_certificates(&mut settings, clients)?;
    Ok(settings)
}

fn request_certificates(settings: &mut TlsSettings, clients: &ClientCertificates) -> Result<(), Error> {
    let mode = match clients.requested {
        RequestedCertificates::Off => return Ok(()),
        RequestedCertificates::Optional => SslVerifyMode::PEER,
        RequestedCertificates::Required => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
    };
    settings.set_session_id_context(SESSION_CONTEXT)?;
    let mut vouched = false;
    if let Some(path) = &clients.authorities {
        vouched = clients.requested == RequestedCertificates::Required;
        for authority in authorities(path)? {
            // Clients that may have made their own are not told which authorities are expected.
            if vouched {
                settings.add_client_ca(&authority)?;
            }
            settings.cert_store_mut().add_cert(authority)?;
        }
    }
    settings.set_verify_callback(mode, move |is_good, _| is_good || !vouched);
    Ok(())
}

/// Who vouches for clients' certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judge {
    Authorities,
    Nobody,
}

/// Presents a certificate in each handshake, and keeps what the client says for the requests that follow.
struct Handshake {
    served: Arc<Served>,
    judge: Judge,
}

#[async_trait]
impl TlsAccept for Handshake {
    async fn certificate_callback(&self, ssl: &mut TlsRef) {
        let name = server_name(ssl).map(Host::into_owned);
        self.served.present(name.as_ref(), ssl);
    }

    async fn handshake_complete_callback(&self, ssl: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        let name = server_name(ssl);
        let is_verified = self.judge == Judge::Authorities && ssl.verify_result() == X509VerifyResult::OK;
        let trust = if is_verified { CertificateTrust::Verified } else { CertificateTrust::KeyOnly };
        let certificate = ssl.peer_certificate().and_then(|certificate| client_certificate(&certificate, trust));
        let client = TlsClient { server_name: name.map(Host::into_owned), certificate };
        (client != TlsClient::default()).then(|| Arc::new(client) as _)
    }
}

/// The server name that the client requested.
fn server_name(ssl: &TlsRef) -> Option<Host<'_>> {
    ssl.servername(NameType::HOST_NAME).and_then(|name| Host::parse(name).ok())
}

/// A certificate as plugins see it. `None`: it cannot be read, and proves nothing.
fn client_certificate(certificate: &X509Ref, trust: CertificateTrust) -> Option<ClientCertificate> {
    let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(sha256(&certificate.to_der().ok()?));
    let attribute = |entry: &openssl::x509::X509NameEntryRef| {
        let object = entry.object();
        let known = Some(object.nid()).filter(|known| *known != Nid::UNDEF);
        let name = known.and_then(|known| known.short_name().ok());
        Some((name.map_or_else(|| object.to_string(), str::to_owned), entry.data().to_string().ok()?))
    };
    let mut subject: Vec<_> = certificate.subject_name().entries().map(attribute).collect::<Option<_>>()?;
    subject.reverse();
    Some(ClientCertificate { thumbprint, subject, trust })
}
