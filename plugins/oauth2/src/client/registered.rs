//! Authentication by what a client is registered with: the method that is pinned, and certificates (RFC 8705 §2).

use tollgate_core::request::{CertificateTrust, Request};

use super::Given;
use crate::entity::credential::{ClientType, Credential};
use crate::entity::registered::Method;
use crate::error::{Mode, Refusal};

/// What decides about a client that presents no assertion.
pub(super) enum Decision {
    /// Its secret, or that it has none.
    Secret,
    /// Nothing it presents is of the method that it is registered with.
    Refused,
    /// Its certificate.
    Certificate(Result<(), Refusal>),
}

/// What decides.
pub(super) fn decide(credential: Option<&Credential>, given: &Given, mode: Mode, request: &Request<'_>) -> Decision {
    let Some(credential) = credential else { return Decision::Secret };
    let Some(method) = credential.registered.method else { return Decision::Secret };
    let has_secret = matches!(given, Given::Text(secret) if !secret.expose().trim().is_empty());
    match method {
        Method::ClientSecretBasic if has_secret && mode == Mode::Header => Decision::Secret,
        Method::ClientSecretPost if has_secret && mode == Mode::Parameters => Decision::Secret,
        Method::None if !has_secret && credential.client_type == ClientType::Public => Decision::Secret,
        Method::TlsClientAuth | Method::SelfSignedTlsClientAuth if !has_secret => {
            let is_its = is_certificate_of(credential, method, request);
            Decision::Certificate(if is_its { Ok(()) } else { Err(Refusal::InvalidClient(mode)) })
        }
        _ => Decision::Refused,
    }
}

/// Whether the connection has the certificate that the client is registered with.
fn is_certificate_of(credential: &Credential, method: Method, request: &Request<'_>) -> bool {
    let Some(certificate) = request.certificate else { return false };
    let registered = &credential.registered;
    if method == Method::SelfSignedTlsClientAuth {
        return registered.thumbprint.as_ref() == Some(&certificate.thumbprint);
    }
    // A subject is worth what vouches for it.
    certificate.trust == CertificateTrust::Verified
        && registered.subject.as_ref().is_some_and(|subject| subject.is(&certificate.subject))
}
