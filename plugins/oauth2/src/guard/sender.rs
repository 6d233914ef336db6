//! Tokens that are bound to their senders: what a request has to prove besides presenting one (RFC 9449 §7, RFC 8705
//! §3).
//!
//! 1. A token that is bound to a key is presented with the scheme `DPoP` and a proof of that key, for this request and
//!    this token; as a bearer token it is refused. One that is bound to nothing is refused with that scheme.
//! 2. A token that is bound to a certificate is presented on a connection with that certificate.
//! 3. What the instance requires of all tokens.
//! 4. A proof is accepted once: by this node, or by all (`dpop_replay`).
//!
//! Nothing of this is reached by a token that is bound to nothing, at an instance that binds none.

use std::sync::Arc;

use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use serde_json::json;
use tollgate_core::plugin::Verdict;
use tollgate_core::reply::{Body, Reply};
use tollgate_core::request::{HeaderEdit, Request};
use tollgate_plugin::authentication::{self, Authentication, Found};
use tollgate_plugin::presented::{CredentialHeader, Presented};

use super::Guard;
use crate::binding::Confirmation;
use crate::challenge::{Refusal, with_metadata};
use crate::config::Config;
use crate::config::sender::{Memory, Requirement, Sender};
use crate::dpop::{self, ALGORITHMS, DPOP, DPOP_NONCE, Fault, Freshness};
use crate::issuer_identifier::{Party, is_at_own_origin};
use crate::sender::{Proofs, is_same};

/// The scheme of tokens that are bound to a key.
const SCHEME: &str = "DPoP";

/// What an instance requires of the senders of tokens.
#[derive(Clone)]
pub struct SenderRules {
    rules: Sender,
    header: Option<CredentialHeader>,
    realm: Option<String>,
    proofs: Arc<Proofs>,
}

impl std::fmt::Debug for SenderRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SenderRules").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl SenderRules {
    /// Of an instance; `None`: it binds nothing.
    pub fn new(config: &Config, proofs: &Arc<Proofs>) -> Option<Self> {
        if config.sender.is_off() {
            return None;
        }
        let (header, realm) = (config.auth_header.clone(), config.realm.clone());
        Some(Self { rules: config.sender, header, realm, proofs: Arc::clone(proofs) })
    }

    /// Whether other nodes are asked about the proof of a request.
    pub(super) fn asks_all_nodes(&self, request: &Request<'_>) -> bool {
        self.rules.replay == Memory::Shared && self.token_of_scheme(request).is_some()
    }

    /// The token, if it is presented with the scheme `DPoP`.
    fn token_of_scheme<'r>(&self, request: &Request<'r>) -> Option<&'r str> {
        if self.rules.dpop == Requirement::Off {
            return None;
        }
        match self.header.as_ref()?.presented(request) {
            Presented::One(value) => after_scheme(std::str::from_utf8(value).ok()?.trim()),
            Presented::Nothing | Presented::Several => None,
        }
    }

    /// Step 1. What is in error is the finding.
    fn prove_key(
        &self,
        thumbprint: &Confirmation,
        token: &str,
        request: &mut Request<'_>,
        now: i64,
    ) -> Result<(), Found<Refusal>> {
        let invalid = |refusal| Err(Ok(Authentication::Invalid(refusal)));
        let proven = match self.proofs.check(&self.rules, request, Some(token), now) {
            Ok(proven) => proven,
            Err(fault) => return invalid(Refusal::Proof(fault)),
        };
        let freshness = self.proofs.freshness(&proven, now);
        if !is_same(thumbprint, &Confirmation::Key(proven.thumbprint)) {
            return invalid(Refusal::OtherSender);
        }
        match self.proofs.replays.remember(&proven.id, now) {
            Ok(true) => {}
            Ok(false) => return invalid(Refusal::Proof(Fault::Replayed)),
            Err(dpop::Full) => return Err(Err(Verdict::Reply(Reply::unavailable("dpop_proofs_limited")))),
        }
        // The next proof needs a newer nonce (RFC 9449 §8.2).
        if self.rules.nonce
            && freshness == Freshness::Old
            && let Some(nonce) = self.nonce(now)
        {
            request.response.push(HeaderEdit::Set(DPOP_NONCE, nonce));
        }
        Ok(())
    }

    /// Step 4, for all nodes.
    pub(super) async fn remember_everywhere(&self, found: Found<Refusal>, request: &Request<'_>) -> Found<Refusal> {
        let unverified = dpop::in_headers(request.headers).ok().and_then(dpop::id_of_verified);
        let Some((id, until)) = unverified else { return Ok(Authentication::Invalid(Refusal::Proof(Fault::Missing))) };
        match self.proofs.once.use_once(id, until).await {
            Ok(true) => found,
            Ok(false) => Ok(Authentication::Invalid(Refusal::Proof(Fault::Replayed))),
            Err(error) => {
                if !error.is_reported() {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "cannot tell whether a DPoP proof was presented before; request refused");
                }
                Err(Verdict::Reply(Reply::unavailable("dpop_store_unavailable")))
            }
        }
    }

    fn nonce(&self, now: i64) -> Option<HeaderValue> {
        HeaderValue::try_from(self.proofs.nonces.current(now)).ok()
    }

    /// A refusal with what clients of such tokens have to hear (RFC 9449 §7.1, §9): what the challenge for bearer tokens
    /// says, unless the fault is one of proofs alone.
    pub(super) fn challenge(&self, refusal: Refusal, mut reply: Reply, metadata: Option<&str>, now: i64) -> Reply {
        if self.rules.dpop == Requirement::Off {
            return reply;
        }
        let of_bearer = reply.headers.iter().find(|(name, _)| name == WWW_AUTHENTICATE).map(|(_, value)| value.clone());
        let fault = if let Refusal::Proof(fault) = refusal { Some(fault) } else { None };
        if let Some(fault) = fault {
            let body = json!({"error": fault.error(), "error_description": fault.description()});
            reply.body = Body::Json(body.to_string().into());
        }
        if fault.is_some() || self.rules.dpop == Requirement::Required {
            reply.headers.retain(|(name, _)| name != WWW_AUTHENTICATE);
        }
        let challenge = match refusal {
            Refusal::Proof(fault) => self.of_proofs((fault.error(), fault.description()), metadata),
            Refusal::Bound => {
                self.of_proofs(("invalid_token", "The access token is bound to a key and needs a DPoP proof"), metadata)
            }
            _ => of_bearer.and_then(|challenge| with_algorithms(challenge.as_bytes().strip_prefix(b"Bearer")?)),
        };
        if let Some(challenge) = challenge {
            reply = reply.with_header(WWW_AUTHENTICATE, challenge);
        }
        match self.nonce(now).filter(|_| self.rules.nonce) {
            Some(nonce) => reply.with_header(DPOP_NONCE, nonce),
            None => reply,
        }
    }

    fn of_proofs(&self, (error, text): (&str, &str), metadata: Option<&str>) -> Option<HeaderValue> {
        let scheme = authentication::challenge(SCHEME, self.realm.as_deref());
        let separator = if self.realm.is_some() { ", " } else { " " };
        let error = format!("{scheme}{separator}error=\"{error}\", error_description=\"{text}\"");
        let challenge = with_metadata(&HeaderValue::try_from(error).ok()?, metadata);
        with_algorithms(challenge.as_bytes().strip_prefix(SCHEME.as_bytes())?)
    }
}

impl Guard {
    /// The token without the scheme `DPoP`, which the kit does not know.
    pub(super) fn without_scheme<'t>(&self, token: &'t str) -> &'t str {
        match self.rules.sender() {
            Some(sender) if sender.rules.dpop != Requirement::Off => after_scheme(token).unwrap_or(token),
            _ => token,
        }
    }

    fn is_at_own_origin(&self, request: &Request<'_>) -> bool {
        self.rules.endpoints().is_none_or(|endpoints| is_at_own_origin(endpoints, Party::Resource, request))
    }

    /// A proof goes where its token goes.
    pub(super) fn hide_proof(&self, request: &mut Request<'_>) {
        if self.rules.sender().is_some() {
            request.edits.remove(DPOP);
        }
    }

    /// Steps 1 to 4. What is in error is the finding.
    #[cold]
    pub(super) fn judge_sender(
        &self,
        bound: Option<&Confirmation>,
        request: &mut Request<'_>,
    ) -> Result<(), Found<Refusal>> {
        let invalid = |refusal| Err(Ok(Authentication::Invalid(refusal)));
        let Some(sender) = self.rules.sender() else { return invalid(Refusal::Bound) };
        if !permits(&sender.rules, bound) {
            return invalid(Refusal::Unbound);
        }
        match (bound, sender.token_of_scheme(request)) {
            (Some(Confirmation::Key(_)), Some(_)) if !self.is_at_own_origin(request) => {
                invalid(Refusal::Proof(Fault::Uri))
            }
            (Some(thumbprint @ Confirmation::Key(_)), Some(token)) => {
                sender.prove_key(thumbprint, token, request, self.shared.clock.now())
            }
            (Some(Confirmation::Key(_)), None) => invalid(Refusal::Bound),
            (Some(Confirmation::Certificate(_)) | None, Some(_)) => invalid(Refusal::Unbound),
            (Some(bound @ Confirmation::Certificate(_)), None) => match request.certificate {
                _ if sender.rules.certificates == Requirement::Off => invalid(Refusal::Bound),
                None => invalid(Refusal::Bound),
                Some(certificate) if is_same(bound, &Confirmation::Certificate(certificate.thumbprint.clone())) => {
                    Ok(())
                }
                Some(_) => invalid(Refusal::OtherSender),
            },
            (None, None) => Ok(()),
        }
    }
}

/// Step 3: whether an instance with these rules accepts tokens that are bound so.
fn permits(rules: &Sender, bound: Option<&Confirmation>) -> bool {
    match bound {
        Some(Confirmation::Key(_)) => {
            rules.dpop == Requirement::Required || rules.certificates != Requirement::Required
        }
        Some(Confirmation::Certificate(_)) => rules.dpop != Requirement::Required,
        None => !rules.some,
    }
}

/// Whether whoever has bound a token so can present it at an instance with these rules at all.
pub fn can_be_presented(rules: &Sender, bound: Option<&Confirmation>) -> bool {
    let can_be_checked = match bound {
        Some(Confirmation::Key(_)) => rules.dpop != Requirement::Off,
        Some(Confirmation::Certificate(_)) => rules.certificates != Requirement::Off,
        None => true,
    };
    can_be_checked && permits(rules, bound)
}

/// The challenge with these parameters, and the algorithms of proofs (RFC 9449 §7.1).
fn with_algorithms(parameters: &[u8]) -> Option<HeaderValue> {
    let separator: &[u8] = if parameters.is_empty() { b" " } else { b", " };
    let algorithms = format!("algs=\"{}\"", ALGORITHMS.map(|algorithm| algorithm.name()).join(" "));
    HeaderValue::from_bytes(&[SCHEME.as_bytes(), parameters, separator, algorithms.as_bytes()].concat()).ok()
}

/// What follows the scheme `DPoP`.
fn after_scheme(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(|character: char| character.is_ascii_whitespace())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii_start())
}
