//! Who may present a token: whoever proves the key (RFC 9449) or the certificate (RFC 8705) that it is bound to.
//!
//! 1. A client announces its key with an authorization request, if it likes (`dpop_jkt`, RFC 9449 §10):
//!    [`announced`]. The code is bound to it. A request that it sends itself may prove the key, or come on a connection
//!    with its certificate, and has to where tokens have to be bound: [`announced_or_proved`].
//! 2. A token request proves a key or a certificate: [`prove`]. What it issues is bound to that.
//! 3. What is redeemed and was bound has to be proved again: [`require`]. A refresh token of a public client is bound
//!    to one key (RFC 9449 §5); that of a confidential one to its client, which authenticates, so its key may change.
//!
//! Proofs at the token endpoint are remembered for all nodes, in the store: there a second use would be of the greatest
//! use to a thief, and a token request writes to the store anyway.

use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use tollgate_core::clock::Clock;
use tollgate_core::request::Request;
use tollgate_jose::SignatureChecks;

use crate::binding::{Binding, Confirmation};
use crate::config::Config;
use crate::config::sender::{Requirement, Sender as Rules};
use crate::dpop::{self, Expected, Fault, Freshness, KnownKeys, Nonces, Proven, Replays, TargetUri};
use crate::entity::credential::ClientType;
use crate::entity::registered::Always;
use crate::error::{Error, Refusal};
use crate::issuer_identifier::{Party, is_at_own_origin};
use crate::parameters::Parameters;
use crate::store::SingleUse;

/// What the instances of a node share.
pub struct Proofs {
    /// Makes and recognises nonces.
    pub nonces: Nonces,
    /// Keys of recent proofs.
    pub keys: KnownKeys,
    /// The proofs that were presented with tokens to this node.
    pub replays: Replays,
    /// Those that were presented to any node.
    pub once: Arc<dyn SingleUse>,
    /// Checks the signatures of clients' assertions.
    pub checks: SignatureChecks,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl Proofs {
    /// The proof of a request, but for whether it was presented before. `token`: the access token that it presents.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn check(&self, rules: &Rules, request: &Request<'_>, token: Option<&str>, now: i64) -> Result<Proven, Fault> {
        let proof = dpop::in_headers(request.headers)?;
        let uri = TargetUri::of(request);
        let expected = Expected { method: request.method.as_str(), uri: uri.as_ref(), access_token: token, now };
        let proven = dpop::check(proof, &expected, &self.keys)?;
        if rules.nonce && self.freshness(&proven, now) == Freshness::Invalid {
            return Err(Fault::Nonce);
        }
        Ok(proven)
    }

    /// What its nonce is worth.
    pub fn freshness(&self, proven: &Proven, now: i64) -> Freshness {
        proven.nonce.as_deref().map_or(Freshness::Invalid, |nonce| self.nonces.check(nonce, now))
    }
}

/// Step 1.
///
/// # Errors
/// What is announced is no thumbprint.
pub fn announced(config: &Config, parameters: &Parameters) -> Result<Option<Confirmation>, Refusal> {
    if config.sender.dpop == Requirement::Off {
        return Ok(None);
    }
    let Some(announced) = parameters.get("dpop_jkt") else { return Ok(None) };
    let is_of_digest = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match announced.text() {
        Some(text) if text.len() == 43 && text.bytes().all(is_of_digest) => {
            Ok(Some(Confirmation::Key(text.to_owned())))
        }
        _ => Err(Refusal::Thumbprint),
    }
}

/// Step 1 of a request that the client sends itself, pushed or from a device: a proof may announce the key instead
/// (RFC 9449 §10.1), and the connection may have its certificate. What the instance requires of tokens is required here
/// already, so that nothing begins that a thief could redeem.
///
/// # Errors
/// What is announced is no thumbprint, the proof is not accepted or is of another key, or what is required is missing;
/// or the store failed.
pub async fn announced_or_proved(
    proofs: &Proofs,
    config: &Config,
    parameters: &Parameters,
    request: &Request<'_>,
    now: i64,
) -> Result<Proved, Error> {
    let announced = announced(config, parameters)?;
    let is_proved = config.sender.dpop != Requirement::Off && request.headers.contains_key(dpop::DPOP);
    let key = if is_proved { Some(key(proofs, config, request, now).await?) } else { announced.clone() };
    if let (Some(announced), Some(key)) = (&announced, &key)
        && !is_same(announced, key)
    {
        return Err(Refusal::Proof(Fault::OtherKey).into());
    }
    Ok(chosen(&config.sender, key, certificate(&config.sender, request))?)
}

/// Step 2: what the tokens of a request are bound to.
///
/// # Errors
/// The proof is not accepted, or what is required is not proved; or the store failed.
pub async fn prove(proofs: &Proofs, config: &Config, request: &Request<'_>, now: i64) -> Result<Proved, Error> {
    let rules = &config.sender;
    if rules.is_off() {
        return Ok(Proved::default());
    }
    let key = match rules.dpop {
        Requirement::Off => None,
        Requirement::Optional if !request.headers.contains_key(dpop::DPOP) => None,
        Requirement::Optional | Requirement::Required => Some(key(proofs, config, request, now).await?),
    };
    Ok(chosen(rules, key, certificate(rules, request))?)
}

/// The certificate of the connection, where the instance binds to certificates.
fn certificate(rules: &Rules, request: &Request<'_>) -> Option<Confirmation> {
    let certificate = request.certificate.filter(|_| rules.certificates != Requirement::Off)?;
    Some(Confirmation::Certificate(certificate.thumbprint.clone()))
}

/// Which of both a request is bound to; nothing only where nothing is required.
fn chosen(rules: &Rules, key: Option<Confirmation>, certificate: Option<Confirmation>) -> Result<Proved, Refusal> {
    let is_missing = rules.dpop == Requirement::Required && key.is_none();
    let required = rules.certificates == Requirement::Required && rules.dpop != Requirement::Required;
    match if required { certificate.clone() } else { key.or_else(|| certificate.clone()) } {
        _ if is_missing => Err(Refusal::Proof(Fault::Missing)),
        None if required => Err(Refusal::CertificateMissing),
        None if rules.some => Err(Refusal::Proof(Fault::Missing)),
        bound => Ok(Proved { bound, certificate }),
    }
}

/// The key that the request proves.
async fn key(proofs: &Proofs, config: &Config, request: &Request<'_>, now: i64) -> Result<Confirmation, Error> {
    if !is_at_own_origin(&config.endpoints, Party::AuthorizationServer, request) {
        return Err(Refusal::Proof(Fault::Uri).into());
    }
    let proven = proofs.check(&config.sender, request, None, now).map_err(Refusal::Proof)?;
    if !proofs.once.use_once(proven.id, proven.until).await? {
        return Err(Refusal::Proof(Fault::Replayed).into());
    }
    Ok(Confirmation::Key(proven.thumbprint))
}

/// Refuses a token request without what its client says that it always proves.
///
/// # Errors
/// It is not proved, or not to an instance that binds tokens to it.
pub fn require_always(always: Always, proved: &Proved) -> Result<(), Refusal> {
    let is_key = matches!(proved.bound, Some(Confirmation::Key(_)));
    let is_certificate = matches!(proved.bound, Some(Confirmation::Certificate(_)));
    match (always.proves_key && !is_key, always.has_certificate && !is_certificate) {
        (true, _) => Err(Refusal::Proof(Fault::Missing)),
        (false, true) => Err(Refusal::CertificateMissing),
        (false, false) => Ok(()),
    }
}

/// How strictly what was bound is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Same {
    /// The same key or certificate.
    Exactly,
    /// One of the client's.
    OfClient,
}

impl Same {
    /// For refresh tokens of such clients.
    pub fn of(client: ClientType) -> Self {
        if client == ClientType::Public { Self::Exactly } else { Self::OfClient }
    }
}

/// What a request has: what its tokens are bound to, and the certificate of its connection, which it may have beside a
/// key.
#[derive(Debug, Clone, Default)]
pub struct Proved {
    /// What tokens are bound to.
    pub bound: Option<Confirmation>,
    /// The certificate, where the instance binds to certificates.
    pub certificate: Option<Confirmation>,
}

/// Step 3.
///
/// # Errors
/// It is bound, and something else was proved, or nothing.
pub fn require(bound: Option<&Binding>, proved: &Proved, same: Same) -> Result<(), Refusal> {
    let Some(bound) = bound.and_then(|binding| binding.confirmation.as_ref()) else { return Ok(()) };
    match &proved.bound {
        Some(_) if same == Same::OfClient => Ok(()),
        Some(proved) if is_same(bound, proved) => Ok(()),
        Some(_) if proved.certificate.as_ref().is_some_and(|certificate| is_same(bound, certificate)) => Ok(()),
        Some(_) => Err(Refusal::OtherSender),
        None if matches!(bound, Confirmation::Certificate(_)) => Err(Refusal::CertificateMissing),
        None => Err(Refusal::Proof(Fault::Missing)),
    }
}

/// Whether this is the key or certificate that is bound.
pub fn is_same(bound: &Confirmation, proved: &Confirmation) -> bool {
    match (bound, proved) {
        (Confirmation::Key(bound), Confirmation::Key(proved))
        | (Confirmation::Certificate(bound), Confirmation::Certificate(proved)) => {
            bound.as_bytes().ct_eq(proved.as_bytes()).into()
        }
        _ => false,
    }
}

/// What is bound so, and to this key or certificate.
pub fn bind(binding: Option<Arc<Binding>>, proved: Option<&Confirmation>) -> Option<Arc<Binding>> {
    match binding {
        Some(binding) if binding.confirmation.as_ref() == proved => Some(binding),
        Some(binding) => binding.confirmed(proved.cloned()),
        None => Binding::new(Vec::new(), proved.cloned()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
