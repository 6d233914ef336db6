//! Tokens: reading one, and the cache of facts about them, by the digest of the token.
//!
//! A fact is whose a token is, and its times; or why its credential does not verify it. Either refers to the
//! credential, which is invalidated in place when it or its consumer changes; a token of an unknown credential is
//! read again after any change of one. So this cache needs no change listener itself.

use std::sync::Arc;

use serde_json::Value;
use tollgate_jose::claims::{Claims, MalformedClaims};
use tollgate_jose::{Algorithm, Jws, Malformed, Part, SignatureChecks, Unchecked};
use tollgate_plugin::cache::{Fact, FactCache, Generation, Loaded, SharedFact, Source};
use tollgate_plugin::{CredentialFacts, Digest, StoreError, thread_cache};

use crate::lifetime::Times;
use crate::refusal::{BadToken, Refusal};
use crate::secret::{self, Encoding, SecretCache, SecretFacts};

/// An estimate of the memory that a token takes: an entry of the cache as measured for tokens
/// (docs/performance.md). Tokens share their credential.
const ENTRY_BYTES: u32 = 400;

/// Facts about tokens.
pub type TokenCache = FactCache<TokenFacts, TokenSource>;

/// A token that was read, and not verified.
pub struct Token {
    jws: Jws,
    algorithm: Algorithm,
    claims: Claims,
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// It is none, or its algorithm is unknown.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let jws = Jws::parse(text).map_err(|malformed| bad(malformed, text))?;
        let claims = match jws.claims() {
            Ok(claims) => Some(claims),
            Err(MalformedClaims::NotAnObject) => None,
            Err(_) => return Err(BadToken::Json),
        };
        let algorithm = jws.algorithm().ok_or(BadToken::Algorithm)?;
        Ok(Self { jws, algorithm, claims: claims.ok_or(BadToken::Claims)? })
    }

    /// The key of the credential: the value of this claim, or else of this header member.
    ///
    /// # Errors
    /// There is none.
    pub fn key(&self, claim: &str) -> Result<Arc<str>, Refusal> {
        let value = self.claims.get(claim).or_else(|| self.jws.header.get(claim)).ok_or(Refusal::NoKey)?;
        let key = value.as_str().filter(|key| !key.is_empty());
        key.map(Arc::from).ok_or(Refusal::InvalidKey)
    }

    fn times(&self) -> Times {
        let time = |claim| self.claims.get(claim).and_then(Value::as_f64);
        Times { exp: time("exp"), nbf: time("nbf") }
    }
}

/// Which text the compatible gateway has for what is malformed.
fn bad(malformed: Malformed, text: &str) -> BadToken {
    match malformed {
        // All that follows the second dot is the signature.
        Malformed::NotCompact if text.matches('.').count() > 2 => BadToken::Signature,
        Malformed::NotCompact
        | Malformed::Encrypted
        | Malformed::Encoding(Part::Header | Part::Payload)
        | Malformed::Header(_) => BadToken::Json,
        Malformed::Encoding(Part::Signature) => BadToken::Signature,
        Malformed::NoAlgorithm => BadToken::Algorithm,
        Malformed::Critical => BadToken::Critical,
        Malformed::TooLong => BadToken::TooLong,
    }
}

/// Facts about a token of a known credential. Cheap to clone.
#[derive(Clone)]
pub struct TokenFacts(Arc<Inner>);

struct Inner {
    credential: Arc<CredentialFacts>,
    verified: Verified,
}

impl TokenFacts {
    /// The owner of the credential. It is the token's if the token was verified.
    pub fn credential(&self) -> &CredentialFacts {
        &self.0.credential
    }

    /// The times of a token that was verified.
    ///
    /// # Errors
    /// The credential does not verify it.
    pub fn verified(&self) -> Result<Times, Refusal> {
        self.0.verified
    }
}

thread_cache!(TokenFacts);

impl Fact for TokenFacts {
    type Key = Digest;

    fn is_current(&self) -> bool {
        self.0.credential.is_current()
    }

    fn weight(&self) -> u32 {
        ENTRY_BYTES
    }
}

/// A token to be verified.
#[derive(Clone)]
pub struct Unverified {
    /// The token.
    pub token: Arc<Token>,
    /// The key of its credential.
    pub key: Arc<str>,
    /// How secrets are stored.
    pub encoding: Encoding,
}

impl Unverified {
    /// Verifies the token with this credential.
    async fn verify(&self, secret: &SecretFacts, checks: &SignatureChecks) -> Result<Verified, CannotVerify> {
        if self.token.algorithm != secret.algorithm() {
            return Ok(Err(Refusal::Algorithm));
        }
        let Some(key) = secret.verification_key(self.encoding) else { return Ok(Err(Refusal::NoVerificationKey)) };
        match checks.verify(key, &self.token.jws).await {
            Ok(()) => Ok(Ok(self.token.times())),
            Err(Unchecked::BadSignature(_)) => Ok(Err(Refusal::Signature)),
            Err(Unchecked::Overloaded) => Err(CannotVerify::Overloaded),
        }
    }
}

/// The times of a token, or why its credential does not verify it.
type Verified = Result<Times, Refusal>;

/// Why it is not known whether a token is valid.
#[derive(Debug, thiserror::Error)]
pub enum CannotVerify {
    /// The credential cannot be looked up.
    #[error("cannot look up the credential of a JWT")]
    Store(#[source] Arc<StoreError>),
    /// Too many signatures wait to be checked.
    #[error("too many slow signature checks wait")]
    Overloaded,
}

impl CannotVerify {
    /// The reason code in the response and the access log.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Store(_) => "jwt_store_unavailable",
            Self::Overloaded => "jwt_checks_overloaded",
        }
    }
}

/// Verifies tokens.
pub struct TokenSource {
    secrets: SecretCache,
    checks: SignatureChecks,
}

impl TokenSource {
    /// Verifies with these credentials.
    pub fn new(secrets: SecretCache, checks: SignatureChecks) -> Self {
        Self { secrets, checks }
    }

    /// The credentials.
    pub fn secrets(&self) -> &SecretCache {
        &self.secrets
    }

    /// What this credential says of a token.
    ///
    /// # Errors
    /// Too many signatures wait to be checked.
    pub async fn facts(&self, unverified: &Unverified, secret: &SecretFacts) -> Result<TokenFacts, CannotVerify> {
        let verified = unverified.verify(secret, &self.checks).await?;
        Ok(TokenFacts(Arc::new(Inner { credential: Arc::clone(secret.credential()), verified })))
    }
}

impl Source<TokenFacts> for TokenSource {
    type Question = Unverified;
    type Error = CannotVerify;

    /// `None`: the credential is unknown. It is looked up in here, so that what is kept was read after the look-up
    /// began.
    async fn read(&self, _: Digest, unverified: Unverified) -> Loaded<Option<TokenFacts>, CannotVerify> {
        let found = secret::find(&self.secrets, &unverified.key).await;
        let Some(secret) = found.map_err(CannotVerify::Store)? else { return Ok(None) };
        Ok(Some(self.facts(&unverified, &secret).await?))
    }

    fn endings(&self) -> Generation {
        self.secrets.source().endings()
    }

    fn additions(&self) -> Generation {
        self.secrets.source().additions()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn token(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    #[test]
    fn a_claim_names_the_credential_or_else_the_header() {
        let header = json!({"alg": "ES256", "kid": "header", "iss": "other", "x5t": ""});
        let text = token(&header, &json!({"iss": "claim", "aud": ["a"], "exp": 1.5, "nbf": "1"}));
        let token = Token::parse(&text).unwrap();
        for (name, key) in [
            ("iss", Ok(Arc::from("claim"))),
            ("kid", Ok(Arc::from("header"))),
            ("aud", Err(Refusal::InvalidKey)),
            ("x5t", Err(Refusal::InvalidKey)),
            ("sub", Err(Refusal::NoKey)),
        ] {
            assert_eq!(token.key(name), key, "{name}");
        }
        assert_eq!(token.times(), Times { exp: Some(1.5), nbf: None });
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[.=A-Za-z0-9_{}\":-]{0,64}|\\PC{0,32}") {
            let _ = Token::parse(&text);
        }

        #[test]
        fn a_key_is_read_as_it_was_written(key in "\\PC{1,32}") {
            let text = token(&json!({"alg": "HS256"}), &json!({"iss": key}));
            let read = Token::parse(&text).map(|token| token.key("iss"));
            prop_assert!(matches!(read, Ok(Ok(read)) if *read == *key));
        }
    }
}
