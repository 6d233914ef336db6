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
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openssl::nid::Nid;
use openssl::sha::sha256;
use openssl::ssl::{SslOptions, SslSessionCacheMode};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Ref, X509VerifyResult};
use pingora_core::listeners::TlsAccept;
use pingora_core::listeners::tls::{ALPN, TlsSettings};
use pingora_core::protocols::tls::TlsRef;
use pingora_core::tls::error::ErrorStack;
use pingora_core::tls::ssl::{NameType, SslVerifyMode};
use tollgate_core::host::Host;
use tollgate_core::request::{CertificateTrust, ClientCertificate};

use crate::certificate::{self, authorities};
use crate::proxy::TlsClient;
use crate::served::Served;
use crate::settings::{ClientCertificates, RequestedCertificates, TlsPolicy};

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
    OpenSsl(#[from] ErrorStack),
}

/// What sessions may be resumed with: those of listeners that ask for certificates in the same way. OpenSSL requires it.
const OPTIONAL: &[u8] = b"tollgate proxy, optional";
const REQUIRED: &[u8] = b"tollgate proxy, required";

/// The settings of the TLS listener.
///
/// # Errors
/// They are unusable.
pub fn settings(
    served: Arc<Served>,
    clients: Arc<ClientAuthorities>,
    policy: &TlsPolicy,
) -> Result<TlsSettings, Error> {
    let requested = clients.requested;
    // It has no certificate of its own: OpenSSL would present that where its key type suits the client better.
    let callbacks = Box::new(Handshake { served, clients: Arc::clone(&clients) });
    let mut settings = TlsSettings::with_callbacks(callbacks).map_err(Error::Acceptor)?;
    policy.apply(&mut settings)?;
    settings.set_alpn(if policy.http2 { ALPN::H2H1 } else { ALPN::H1 });
    // A session would outlive its client's certificate, and the authority that vouched for it.
    if policy.ticket_rotation.is_none() || clients.file.is_some() {
        settings.set_options(SslOptions::NO_TICKET);
        settings.set_num_tickets(0)?;
        settings.set_session_cache_mode(SslSessionCacheMode::OFF);
    }
    // Only a name that a callback has accepted is stored in the session. Without it a client that
    // resumes a TLS 1.2 session would have no name.
    settings.set_servername_callback(|_ssl, _alert| Ok(()));
    let required = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    let (mode, context) = match requested {
        RequestedCertificates::Off => return Ok(settings),
        RequestedCertificates::Optional => (SslVerifyMode::PEER, OPTIONAL),
        RequestedCertificates::Required => (required, REQUIRED),
    };
    settings.set_session_id_context(context)?;
    let vouched = clients.are_required();
    settings.set_verify_callback(mode, move |is_good, _| is_good || !vouched);
    Ok(settings)
}

/// The authorities that vouch for clients' certificates, read again when their file changes.
pub struct ClientAuthorities {
    requested: RequestedCertificates,
    file: Option<PathBuf>,
    current: ArcSwap<Vec<X509>>,
}

impl ClientAuthorities {
    /// Reads them.
    ///
    /// # Errors
    /// The file is unusable.
    pub fn new(clients: &ClientCertificates) -> Result<Self, certificate::UnusableAuthorities> {
        let ClientCertificates { requested, authorities: file } = clients.clone();
        let found = Self { requested, file, current: ArcSwap::default() };
        found.read()?;
        Ok(found)
    }

    /// Reads them again; those of before stay if the file is unusable.
    ///
    /// # Errors
    /// It is.
    pub fn read(&self) -> Result<(), certificate::UnusableAuthorities> {
        if let Some(file) = &self.file {
            self.current.store(Arc::new(authorities(file)?));
        }
        Ok(())
    }

    /// The file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether clients without a certificate of one of them are refused in the handshake.
    fn are_required(&self) -> bool {
        self.requested == RequestedCertificates::Required && self.file.is_some()
    }

    /// Has a client's certificate judged by those that are current.
    fn judge(&self, ssl: &mut TlsRef) -> Result<(), ErrorStack> {
        if self.file.is_none() {
            return Ok(());
        }
        let mut store = X509StoreBuilder::new()?;
        for authority in self.current.load().iter() {
            // Clients that may have made their own are not told which authorities are expected.
            if self.are_required() {
                ssl.add_client_ca(authority)?;
            }
            store.add_cert(authority.clone())?;
        }
        ssl.set_verify_cert_store(store.build())
    }
}

/// Presents a certificate in each handshake, and keeps what the client says for the requests that follow.
struct Handshake {
    served: Arc<Served>,
    clients: Arc<ClientAuthorities>,
}

#[async_trait]
impl TlsAccept for Handshake {
    async fn certificate_callback(&self, ssl: &mut TlsRef) {
        let name = server_name(ssl).map(Host::into_owned);
        self.served.present(name.as_ref(), ssl);
        // Nobody vouches for a certificate then.
        if let Err(error) = self.clients.judge(ssl) {
            tracing::error!(%error, "cannot use the authorities of tls.client_ca in a handshake");
        }
    }

    async fn handshake_complete_callback(&self, ssl: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        let name = server_name(ssl);
        let is_verified = self.clients.file.is_some() && ssl.verify_result() == X509VerifyResult::OK;
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
