//! Headers of tokens: the parameters of the protected header (RFC 7515 §4). Nearly all tokens of an issuer have the same
//! one, which need not be read again.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Algorithm;
use crate::claims::{Claims, MalformedClaims};

/// Longer tokens are refused; requests with such headers seldom get here.
pub const MAX_TOKEN: usize = 16 * 1024;

/// A protected header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its base64url.
    sent: Box<str>,
    parameters: Claims,
    algorithm: Option<Algorithm>,
}

impl Header {
    pub(super) fn parse(sent: &str) -> Result<Self, Malformed> {
        let parameters = Claims::parse(&decode(sent, Part::Header)?).map_err(Malformed::Header)?;
        let algorithm = parameters.text("alg").ok_or(Malformed::NoAlgorithm)?;
        if parameters.get("crit").is_some() {
            return Err(Malformed::Critical);
        }
        Ok(Self { sent: sent.into(), algorithm: Algorithm::parse(algorithm), parameters })
    }

    /// See [`Jws::algorithm`](super::Jws::algorithm).
    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }
}

impl Deref for Header {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.parameters
    }
}

/// The most headers that are known: an issuer has a few keys.
const MOST: usize = 4;

/// Longer headers are not worth their memory.
const LONGEST: usize = 1024;

/// The headers of verified tokens of one issuer's tokens.
#[derive(Debug, Default)]
pub struct KnownHeaders(ArcSwap<Vec<Arc<Header>>>);

impl KnownHeaders {
    /// The header that was sent as this text.
    pub(super) fn find(&self, sent: &str) -> Option<Arc<Header>> {
        self.0.load().iter().find(|known| *known.sent == *sent).cloned()
    }

    /// Keeps the header of a token whose signature is valid: what anybody sends takes no other's place.
    pub fn keep_of_verified(&self, header: &Arc<Header>) {
        let known = self.0.load();
        if header.sent.len() > LONGEST || known.iter().any(|known| known.sent == header.sent) {
            return;
        }
        // If another thread adds one at the same time, one of them is read again.
        let kept = known.iter().skip((known.len() + 1).saturating_sub(MOST)).cloned();
        self.0.store(Arc::new(kept.chain([Arc::clone(header)]).collect()));
    }
}

/// Why a token is not one. Contains nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not three parts.
    #[error("not a token of three parts")]
    NotCompact,
    /// Five parts: encrypted (RFC 7516), which nothing here can read.
    #[error("the token is encrypted")]
    Encrypted,
    /// Longer than [`MAX_TOKEN`].
    #[error("the token is longer than {MAX_TOKEN} bytes")]
    TooLong,
    /// A part is not base64url without padding.
    #[error("the token's {0} is not base64url")]
    Encoding(Part),
    /// The header is not an object.
    #[error("the token's header is malformed: {0}")]
    Header(MalformedClaims),
    /// The header has no string `alg`.
    #[error("the token's header names no algorithm")]
    NoAlgorithm,
    /// The header has `crit`, so that who does not understand it must refuse the token.
    #[error("the token's header has critical parameters")]
    Critical,
}

/// A part of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Part {
    Header,
    Payload,
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

pub(super) fn decode(text: &str, part: Part) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Malformed::Encoding(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(key: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","kid":"{key}"}}"#))
    }

    fn header(key: &str) -> Arc<Header> {
        Arc::new(Header::parse(&sent(key)).unwrap())
    }

    #[test]
    fn the_oldest_known_header_makes_room() {
        let (headers, name) = (KnownHeaders::default(), |key: usize| key.to_string());
        let found = |key| headers.find(&sent(&name(key)));
        for key in 0..=MOST {
            headers.keep_of_verified(&header(&name(key)));
            headers.keep_of_verified(&header(&name(key)));
        }
        assert_eq!((found(0), found(1)), (None, Some(header("1"))));
        assert_eq!(headers.0.load().len(), MOST);
    }

    #[test]
    fn a_long_header_is_not_kept() {
        let (headers, long) = (KnownHeaders::default(), "k".repeat(LONGEST));
        headers.keep_of_verified(&header(&long));
        assert_eq!(headers.find(&sent(&long)), None);
    }
}
