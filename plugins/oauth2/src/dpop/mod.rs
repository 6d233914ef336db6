//! Demonstrating proof of possession (RFC 9449): whether a request carries a proof, signed for this very request with a
//! key that the client holds.
//!
//! 1. §4.3.1: there is one proof, and it is a signed JWT of moderate length.
//! 2. §4.3.4–6: it says that it is a proof, is signed with one of [`ALGORITHMS`], and brings its public key along.
//! 3. §4.3.8–9: it is for the method and URI of the request ([`TargetUri`]).
//! 4. §4.3.11: it was made within [`WINDOW`] seconds of now.
//! 5. §4.3.12: with an access token, it is for that token.
//! 6. §4.3.7: its signature verifies with its own key.
//! 7. §4.3.10: it has a nonce of ours, where one is required ([`Nonces`]).
//!
//! Nothing is remembered here: whether the proof was presented before is for the caller to find out, with its
//! [`Proven::id`] ([`Replays`], and the store). Whose key it is follows from the [`Proven::thumbprint`].

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use openssl::sha::sha256;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use tollgate_jose::claims::Claims;
use tollgate_jose::{Algorithm, Jws, thumbprint};

mod keys;
mod nonce;
mod replay;
mod target_uri;
#[cfg(test)]
pub(crate) mod testing;

pub use keys::KnownKeys;
pub use nonce::{Freshness, Nonces};
pub use replay::{Full, Replays};
pub use target_uri::TargetUri;

/// The header of proofs.
pub const DPOP: HeaderName = HeaderName::from_static("dpop");
/// The header of nonces for them.
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The signature algorithms of proofs: those whose checks are quick, since anybody can send a proof.
pub const ALGORITHMS: [Algorithm; 4] = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256, Algorithm::PS256];

/// The most seconds between the making of a proof and its use, on clocks that may differ in either direction.
pub const WINDOW: i64 = 60;

/// Longer proofs are refused: one with an RSA key of 4096 bits has half of this.
const MAX_LENGTH: usize = 4096;

/// Longer ids are refused (§11.1).
const MAX_ID_LENGTH: usize = 256;

/// Why a proof is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is none.
    Missing,
    /// There are several.
    Several,
    /// It is no signed JWT, is too long, or lacks a claim or has one of the wrong type.
    Malformed,
    /// Its `typ` is another.
    Type,
    /// Its algorithm is none of [`ALGORITHMS`].
    Algorithm,
    /// It has no public key, or none that is quick to check.
    Key,
    /// It is for another method.
    Method,
    /// It is for another URI.
    Uri,
    /// It was made too long ago, or is yet to be made.
    Time,
    /// It is for another access token.
    Token,
    /// Its signature is not that of its key.
    Signature,
    /// It has no nonce of ours, or an old one.
    Nonce,
    /// It was presented before.
    Replayed,
    /// Its key is not the announced one.
    OtherKey,
}

impl Fault {
    /// `error_description`, in the characters of RFC 6749 §5.2.
    pub fn description(self) -> &'static str {
        match self {
            Self::Missing => "A DPoP proof is required",
            Self::Several => "The request must have one DPoP proof",
            Self::Malformed => "The DPoP proof is malformed",
            Self::Type => "The typ of the DPoP proof must be dpop+jwt",
            Self::Algorithm => "The alg of the DPoP proof is not supported",
            Self::Key => "The jwk of the DPoP proof must be a public key for its alg",
            Self::Method => "The htm of the DPoP proof is not the method of the request",
            Self::Uri => "The htu of the DPoP proof is not the URI of the request",
            Self::Time => "The iat of the DPoP proof is not within the acceptable time",
            Self::Token => "The ath of the DPoP proof is not that of the access token",
            Self::Signature => "The signature of the DPoP proof is not valid",
            Self::Nonce => "The DPoP proof must have a nonce of this server",
            Self::Replayed => "The DPoP proof was presented before",
            Self::OtherKey => "The key of the DPoP proof is not that of dpop_jkt",
        }
    }

    /// The error code (RFC 9449 §5, §8).
    pub fn error(self) -> &'static str {
        if self == Self::Nonce { "use_dpop_nonce" } else { "invalid_dpop_proof" }
    }

    /// The reason code in the access log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "dpop_proof_missing",
            Self::Several => "dpop_proof_repeated",
            Self::Malformed => "dpop_proof_malformed",
            Self::Type => "dpop_proof_type",
            Self::Algorithm => "dpop_proof_algorithm",
            Self::Key => "dpop_proof_key",
            Self::Method => "dpop_proof_method",
            Self::Uri => "dpop_proof_uri",
            Self::Time => "dpop_proof_time",
            Self::Token => "dpop_proof_token",
            Self::Signature => "dpop_proof_signature",
            Self::Nonce => "dpop_proof_nonce",
            Self::Replayed => "dpop_proof_replayed",
            Self::OtherKey => "dpop_proof_other_key",
        }
    }
}

/// What a proof has to be for.
#[derive(Debug)]
pub struct Expected<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// The URI of the request; `None`: it names no host, and no proof is for it.
    pub uri: Option<&'a TargetUri<'a>>,
    /// The access token that the request presents.
    pub access_token: Option<&'a str>,
    /// Unix seconds.
    pub now: i64,
}

/// A proof that was signed for this request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The thumbprint of its key: `jkt` (RFC 9449 §6.1).
    pub thumbprint: String,
    /// A digest of its key and its `jti`.
    pub id: [u8; 32],
    /// The last second in which it is accepted.
    pub until: i64,
    /// Its nonce.
    pub nonce: Option<String>,
}

/// The proof in a request's headers.
///
/// # Errors
/// There is none, or there are several, or it is no text.
pub fn in_headers(headers: &HeaderMap) -> Result<&str, Fault> {
    let mut values = headers.get_all(&DPOP).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(Fault::Missing),
        (Some(_), Some(_)) => Err(Fault::Several),
        (Some(value), None) => text(value),
    }
}

/// A list, as intermediaries combine headers of one name, is several; a proof has no comma.
fn text(value: &HeaderValue) -> Result<&str, Fault> {
    let text = value.to_str().map_err(|_| Fault::Malformed)?.trim();
    if text.contains(',') { Err(Fault::Several) } else { Ok(text) }
}

/// Steps 2 to 6.
///
/// # Errors
/// See [`Fault`].
pub fn check(proof: &str, expected: &Expected<'_>, keys: &KnownKeys) -> Result<Proven, Fault> {
    if proof.len() > MAX_LENGTH {
        return Err(Fault::Malformed);
    }
    let jws = Jws::parse(proof).map_err(|_| Fault::Malformed)?;
    if jws.header.text("typ") != Some("dpop+jwt") {
        return Err(Fault::Type);
    }
    if !jws.algorithm().is_some_and(|algorithm| ALGORITHMS.contains(&algorithm)) {
        return Err(Fault::Algorithm);
    }
    let jwk = jws.header.get("jwk").and_then(Value::as_object).ok_or(Fault::Key)?;
    let thumbprint = thumbprint(jwk).ok_or(Fault::Key)?;
    let claims = Stated::read(&jws.claims().map_err(|_| Fault::Malformed)?)?;
    claims.check(expected)?;
    verify(&jws, jwk, &thumbprint, keys)?;
    let id = id(&thumbprint, &claims.id);
    Ok(Proven { thumbprint, id, until: claims.issued_at.saturating_add(WINDOW), nonce: claims.nonce })
}

/// Step 6. The key is cheap to find again, and not to make: whether a point is on its curve and of its order takes about
/// as long as a signature.
fn verify(jws: &Jws, jwk: &Map<String, Value>, thumbprint: &str, keys: &KnownKeys) -> Result<(), Fault> {
    let key = keys.get_or_make(thumbprint, jwk).ok_or(Fault::Key)?;
    key.verify(jws).map_err(|_| Fault::Signature)?;
    keys.keep_of_verified(thumbprint, key);
    Ok(())
}

/// The [`Proven::id`] and [`Proven::until`] of a proof that was just [`check`]ed: nothing is verified here.
pub fn id_of_verified(proof: &str) -> Option<([u8; 32], i64)> {
    let jws = Jws::parse(proof).ok()?;
    let thumbprint = thumbprint(jws.header.get("jwk")?.as_object()?)?;
    let claims = Stated::read(&jws.claims().ok()?).ok()?;
    Some((id(&thumbprint, &claims.id), claims.issued_at.saturating_add(WINDOW)))
}

fn id(thumbprint: &str, id: &str) -> [u8; 32] {
    let mut digest = blake3::Hasher::new();
    // A thumbprint has one length.
    digest.update(thumbprint.as_bytes()).update(id.as_bytes());
    *digest.finalize().as_bytes()
}

/// The claims of a proof.
struct Stated {
    id: String,
    method: String,
    uri: String,
    issued_at: i64,
    token_hash: Option<String>,
    nonce: Option<String>,
}

impl Stated {
    fn read(claims: &Claims) -> Result<Self, Fault> {
        let needed = |name| claims.text(name).map(str::to_owned).ok_or(Fault::Malformed);
        let optional = |name| match claims.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Fault::Malformed),
        };
        let id = needed("jti")?;
        if id.is_empty() || id.len() > MAX_ID_LENGTH {
            return Err(Fault::Malformed);
        }
        Ok(Self {
            id,
            method: needed("htm")?,
            uri: needed("htu")?,
            issued_at: claims.get("iat").and_then(seconds).ok_or(Fault::Malformed)?,
            token_hash: optional("ath")?,
            nonce: optional("nonce")?,
        })
    }

    /// Steps 3 to 5.
    fn check(&self, expected: &Expected<'_>) -> Result<(), Fault> {
        if self.method != expected.method {
            return Err(Fault::Method);
        }
        if !expected.uri.is_some_and(|uri| uri.is(&self.uri)) {
            return Err(Fault::Uri);
        }
        if self.issued_at.abs_diff(expected.now) > WINDOW.unsigned_abs() {
            return Err(Fault::Time);
        }
        let Some(token) = expected.access_token else { return Ok(()) };
        let hash = BASE64_URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()));
        let is_its = self.token_hash.as_ref().is_some_and(|stated| stated.as_bytes().ct_eq(hash.as_bytes()).into());
        if is_its { Ok(()) } else { Err(Fault::Token) }
    }
}

/// A NumericDate, of which whole seconds are kept (RFC 7519 §2).
fn seconds(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and what saturates is far from any time")]
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

#[cfg(test)]
mod tests;
