//! Signed tokens: JWS in compact serialisation (RFC 7515 §3.1, §5.2).
//!
//! Reading is strict, since a token is decided upon by its exact bytes: base64url without padding and without
//! stray bits, a header whose members are unique, and no critical header parameters (§4.1.11), of which none is
//! understood here (`b64` of RFC 7797 included). Nothing is trusted before [`VerificationKey::verify`].
//!
//! [`VerificationKey::verify`]: super::VerificationKey::verify

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::Algorithm;
use crate::claims::{Claims, MalformedClaims};
use crate::header::{Header, KnownHeaders, MAX_TOKEN, Malformed, Part, decode};

/// The issuer of tokens up to here is read, although they are too long to be verified: another authority may know
/// them. A request presents none that is longer.
const MAX_ISSUED: usize = 128 * 1024;

/// A token that was read, and not verified.
#[derive(Clone)]
pub struct Jws {
    /// The protected header.
    pub header: Arc<Header>,
    /// What is signed: usually the claims.
    pub payload: Bytes,
    /// Header and payload as sent, with the dot.
    signing_input: Bytes,
    signature: Bytes,
}

impl Jws {
    /// Reads a token.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse(token: &str) -> Result<Self, Malformed> {
        Self::parse_with(token, |header| Header::parse(header).map(Arc::new))
    }

    /// Reads a token, whose header may be known.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse_knowing(token: &str, headers: &KnownHeaders) -> Result<Self, Malformed> {
        Self::parse_with(token, |header| match headers.find(header) {
            Some(known) => Ok(known),
            None => Header::parse(header).map(Arc::new),
        })
    }

    fn parse_with(
        token: &str,
        header_of: impl FnOnce(&str) -> Result<Arc<Header>, Malformed>,
    ) -> Result<Self, Malformed> {
        if token.len() > MAX_TOKEN {
            return Err(Malformed::TooLong);
        }
        let (header, payload, signature) = parts(token)?;
        let signing_input = header.len() + 1 + payload.len();
        Ok(Self {
            header: header_of(header)?,
            payload: decode(payload, Part::Payload)?.into(),
            signing_input: Bytes::copy_from_slice(token.as_bytes().get(..signing_input).unwrap_or_default()),
            signature: decode(signature, Part::Signature)?.into(),
        })
    }

    /// The algorithm in the header, if it is one. Without a key this says nothing.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.header.algorithm()
    }

    /// The id of the signing key, as the header has it.
    pub fn key_id(&self) -> Option<&str> {
        self.header.text("kid")
    }

    /// The payload as an object.
    ///
    /// # Errors
    /// It is none: this may be a signed document, but it is not a JWT.
    pub fn claims(&self) -> Result<Claims, MalformedClaims> {
        Claims::parse(&self.payload)
    }

    pub(crate) fn signing_input(&self) -> &[u8] {
        &self.signing_input
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Without contents: a token is a secret.
impl fmt::Debug for Jws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jws").field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

/// Whether a token has the shape of a JWT, signed or encrypted. Cheap; says nothing about its contents.
pub fn looks_like_jwt(token: &str) -> bool {
    // An object begins with `{`, which always encodes to `e` and something.
    token.starts_with('e') && matches!(dots(token), 2 | 4) && {
        // Tokens are long, so many bytes are looked at together: without branches, and without leaving early.
        let is_ours = |byte: u8| {
            (byte.is_ascii_digit() | byte.is_ascii_lowercase() | byte.is_ascii_uppercase())
                | ((byte == b'-') | (byte == b'_') | (byte == b'.'))
        };
        token.bytes().fold(true, |all, byte| all & is_ours(byte))
    }
}

/// How many dots a token has.
pub fn dots(token: &str) -> usize {
    memchr::memchr_iter(b'.', token.as_bytes()).count()
}

/// The `iss` that a signed token claims. It is not verified: use it to select who verifies the token, and for
/// nothing else.
pub fn unverified_issuer(token: &str) -> Option<String> {
    if token.len() > MAX_ISSUED {
        return None;
    }
    let (_, payload, _) = parts(token).ok()?;
    let claims = Claims::parse(&decode(payload, Part::Payload).ok()?).ok()?;
    claims.text("iss").map(str::to_owned)
}

fn parts(token: &str) -> Result<(&str, &str, &str), Malformed> {
    let mut parts = token.split('.');
    let first = (parts.next(), parts.next(), parts.next());
    match (first, parts.count()) {
        ((Some(header), Some(payload), Some(signature)), 0) => Ok((header, payload, signature)),
        ((Some(_), Some(_), Some(_)), 2) => Err(Malformed::Encrypted),
        _ => Err(Malformed::NotCompact),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn token(header: &str) -> String {
        format!("{}.{}.c2ln", encode(header), encode(r#"{"iss":"https://issuer.example"}"#))
    }

    fn refusal(token: &str) -> Malformed {
        Jws::parse(token).unwrap_err()
    }

    #[test]
    fn a_known_header_is_not_read_again() {
        let (headers, sent) = (KnownHeaders::default(), token(r#"{"alg":"ES256","kid":"1"}"#));
        let first = Jws::parse_knowing(&sent, &headers).unwrap();
        headers.keep_of_verified(&first.header);
        let again = Jws::parse_knowing(&sent, &headers).unwrap();
        assert!(Arc::ptr_eq(&first.header, &again.header));
        assert_eq!((again.key_id(), again.algorithm()), (Some("1"), Some(Algorithm::ES256)));
    }

    #[test]
    fn a_token_is_read() {
        let token = token(r#"{"alg":"RS256","kid":"k1","typ":"at+jwt"}"#);
        let jws = Jws::parse(&token).unwrap();
        assert_eq!((jws.algorithm(), jws.key_id()), (Some(Algorithm::RS256), Some("k1")));
        assert_eq!((jws.header.text("typ"), jws.signature()), (Some("at+jwt"), &b"sig"[..]));
        assert_eq!(jws.claims().unwrap().text("iss"), Some("https://issuer.example"));
        assert_eq!(Some(jws.signing_input()), token.as_bytes().get(..token.len() - 5));
        assert_eq!(format!("{jws:?}"), "Jws { algorithm: Some(RS256), .. }");
    }

    #[test]
    fn an_algorithm_that_is_none_of_ours_is_kept_by_name_only() {
        for name in ["none", "ES256K", "rs256"] {
            let jws = Jws::parse(&token(&format!(r#"{{"alg":"{name}"}}"#))).unwrap();
            assert_eq!((jws.algorithm(), jws.header.text("alg")), (None, Some(name)));
        }
    }

    #[test]
    fn what_is_not_a_signed_token_is_refused() {
        let good = token(r#"{"alg":"RS256"}"#);
        assert_eq!(refusal(""), Malformed::NotCompact);
        assert_eq!(refusal("a.b"), Malformed::NotCompact);
        assert_eq!(refusal(&format!("{good}.")), Malformed::NotCompact);
        assert_eq!(refusal("a.b.c.d.e"), Malformed::Encrypted);
        assert_eq!(refusal("a.b.c.d.e.f"), Malformed::NotCompact);
        assert_eq!(refusal(&format!("{good}{}", "A".repeat(MAX_TOKEN))), Malformed::TooLong);
        assert_eq!(refusal(&token("{}")), Malformed::NoAlgorithm);
        assert_eq!(refusal(&token(r#"{"alg":1}"#)), Malformed::NoAlgorithm);
        assert_eq!(refusal(&token("[]")), Malformed::Header(MalformedClaims::NotAnObject));
        let repeated = token(r#"{"alg":"RS256","alg":"none"}"#);
        assert_eq!(refusal(&repeated), Malformed::Header(MalformedClaims::RepeatedMember));
    }

    #[test]
    fn base64url_is_read_strictly_rfc7515_2() {
        let header = encode(r#"{"alg":"RS256"}"#);
        assert!(Jws::parse(&format!("{header}.e30.QQ")).is_ok());
        for (signature, why) in [
            ("QQ==", "padding"),
            ("QR", "stray bits"),
            ("Q", "a lone character"),
            ("+/+/", "the other alphabet"),
            ("Q Q", "white space"),
            ("QQ\n", "a line end"),
        ] {
            let token = format!("{header}.e30.{signature}");
            assert_eq!(refusal(&token), Malformed::Encoding(Part::Signature), "{why}");
        }
        assert_eq!(refusal(&format!("{header}.e30=.QQ")), Malformed::Encoding(Part::Payload));
        assert_eq!(refusal(&format!("{header}=.e30.QQ")), Malformed::Encoding(Part::Header));
    }

    #[test]
    fn critical_parameters_are_refused_rfc7515_4_1_11() {
        for crit in [r#"["exp"]"#, r#"["b64"]"#, "[]", "null", r#""exp""#] {
            let token = token(&format!(r#"{{"alg":"RS256","exp":1,"b64":false,"crit":{crit}}}"#));
            assert_eq!(refusal(&token), Malformed::Critical, "{crit}");
        }
    }

    #[test]
    fn the_shape_of_a_jwt_is_told_from_opaque_tokens() {
        assert!(looks_like_jwt(&token(r#"{"alg":"RS256"}"#)));
        assert!(looks_like_jwt("eyJ.a.b.c.d"), "encrypted");
        for token in ["", "e", "eyJhbGciOiJSUzI1NiJ9", "abc.def.ghi", "eyJ.a", "eyJ.a.b.c", "eyJ.a.b=", "eyJ.a.b c"] {
            assert!(!looks_like_jwt(token), "{token}");
        }
    }

    #[test]
    fn the_claimed_issuer_of_a_token_is_read() {
        let issuer = Some("https://issuer.example".to_owned());
        assert_eq!(unverified_issuer(&token("{}")), issuer, "whatever its header is");
        for payload in ["{}", r#"{"iss":1}"#, "[]", r#"{"iss":"a","iss":"b"}"#] {
            assert_eq!(unverified_issuer(&format!("e30.{}.", encode(payload))), None, "{payload}");
        }
        let signature = |length| "A".repeat(length);
        assert_eq!(
            unverified_issuer(&format!("{}{}", token("{}"), signature(MAX_TOKEN))),
            issuer,
            "not to be verified"
        );
        assert_eq!(unverified_issuer(&format!("{}{}", token("{}"), signature(MAX_ISSUED))), None);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(token in "[eyJhbGciOiJSUzI1NiJ9._=-]{0,40}|\\PC{0,40}") {
            let _ = Jws::parse(&token);
            let _ = unverified_issuer(&token);
            if Jws::parse(&token).is_ok() {
                prop_assert!(looks_like_jwt(&token) || !token.starts_with('e'));
            }
        }
    }
}
