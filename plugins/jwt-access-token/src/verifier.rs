//! Verifies the tokens of one issuer: RFC 7519 §7.2, RFC 8725, and RFC 9068 §4 as far as the configuration asks for it.
//!
//! 1. The token is a JWS, whose header has no critical parameters.
//! 2. `typ` and `alg` of its header are accepted. Nothing else of the header is believed: `jwk`, `jku`, `x5u` and `x5c`
//!    are ignored.
//! 3. Its claims have their types; `iss` is the issuer, `aud` an accepted audience, `iat` not in the future.
//! 4. A key of the issuer has signed it. Last, as it costs most.
//!
//! `exp` and `nbf` are checked by the guard, on every request.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tollgate_jose::claims::Claims;
use tollgate_jose::{Algorithms, Jws, KnownHeaders, MAX_TOKEN, dots, looks_like_jwt};
use tollgate_plugin::Clock;
use tollgate_third_party::key_source::{KeySource, Unverified};
use tollgate_third_party::registered::{check_types, time};
use tollgate_third_party::{Active, CannotTell, Query, Said, Verifier};

use crate::issuer::{Issuer, Lifetime, Typ};

/// Verifies the tokens of one issuer.
pub struct JwtVerifier {
    issuer: Box<str>,
    algorithms: Algorithms,
    audience: Vec<Box<str>>,
    typ: Typ,
    lifetime: Lifetime,
    clock_skew: i64,
    keys: Arc<KeySource>,
    headers: KnownHeaders,
    clock: Arc<dyn Clock>,
}

impl JwtVerifier {
    /// For this issuer, whose clock may differ by so many seconds.
    pub fn new(issuer: &Issuer, clock_skew: i64, keys: Arc<KeySource>, clock: Arc<dyn Clock>) -> Self {
        let Issuer { name, algorithms, audience, typ, lifetime, .. } = issuer;
        Self {
            issuer: name.clone(),
            algorithms: *algorithms,
            audience: audience.clone(),
            typ: *typ,
            lifetime: *lifetime,
            clock_skew,
            keys,
            headers: KnownHeaders::default(),
            clock,
        }
    }

    /// The claims of a token that may be valid, if it was signed by the issuer.
    fn claims(&self, jws: &Jws) -> Option<Claims> {
        let is_accepted = |algorithm| self.algorithms.contains(algorithm);
        if !self.accepts_type(jws) || !jws.algorithm().is_some_and(is_accepted) {
            return None;
        }
        let claims = jws.claims().ok()?;
        check_types(&claims).ok()?;
        let is_for_us = claims.text("iss") == Some(&*self.issuer) && self.is_for_us(&claims);
        (is_for_us && self.accepts_times(&claims)?).then_some(claims)
    }

    /// Media types are compared without regard to case, and `application/` may be left out (RFC 7515 §4.1.9).
    fn accepts_type(&self, jws: &Jws) -> bool {
        let Some(typ) = jws.header.get("typ") else { return self.typ == Typ::Any };
        let Some(typ) = typ.as_str() else { return false };
        let is = |name: &str| {
            let (start, end) = typ.split_at_checked(typ.len().saturating_sub(name.len())).unwrap_or_default();
            end.eq_ignore_ascii_case(name) && (start.is_empty() || start.eq_ignore_ascii_case("application/"))
        };
        is("at+jwt") || (self.typ == Typ::Any && is("jwt"))
    }

    fn is_for_us(&self, claims: &Claims) -> bool {
        let is_ours = |audience: &Value| self.audience.iter().any(|ours| audience.as_str() == Some(ours));
        match claims.get("aud") {
            _ if self.audience.is_empty() => true,
            Some(Value::Array(audiences)) => audiences.iter().any(is_ours),
            Some(audience) => is_ours(audience),
            None => false,
        }
    }

    /// `None`: a time is not one.
    fn accepts_times(&self, claims: &Claims) -> Option<bool> {
        let (exp, iat) = (time(claims, "exp").ok()?, time(claims, "iat").ok()?);
        let now = self.clock.now();
        if iat.is_some_and(|iat| iat > now.saturating_add(self.clock_skew)) {
            return Some(false);
        }
        Some(match (self.lifetime, exp, iat) {
            (Lifetime::Unlimited, ..) | (Lifetime::Limited, Some(_), _) => true,
            (Lifetime::AtMost(most), Some(exp), Some(iat)) => exp.saturating_sub(iat) <= most,
            (Lifetime::Limited, None, _) | (Lifetime::AtMost(_), ..) => false,
        })
    }
}

#[async_trait]
impl Verifier for JwtVerifier {
    async fn verify(&self, query: &Query) -> Result<Said, CannotTell> {
        let Ok(jws) = Jws::parse_knowing(query.token.expose(), &self.headers) else { return Ok(Said::Inactive) };
        let Some(claims) = self.claims(&jws) else { return Ok(Said::Inactive) };
        let authority = || self.issuer.clone();
        match self.keys.verify(&jws).await {
            Ok(key) => {
                self.headers.keep_of_verified(&jws.header);
                Ok(Said::Active(Active { claims, signed_by: Some(key) }))
            }
            Err(Unverified::NoSuchKey | Unverified::BadSignature(_)) => Ok(Said::Inactive),
            Err(Unverified::CannotTell(error)) => {
                Err(CannotTell::NoKeys { authority: authority(), what: error.to_string().into() })
            }
            Err(Unverified::Overloaded) => {
                Err(CannotTell::Overloaded { authority: authority(), what: "too many slow signature checks wait" })
            }
        }
    }

    fn checks_issuer(&self) -> bool {
        true
    }

    fn may_know(&self, token: &str) -> bool {
        // Five parts are an encrypted token.
        token.len() <= MAX_TOKEN && dots(token) == 2 && looks_like_jwt(token)
    }
}

#[cfg(test)]
mod tests;
