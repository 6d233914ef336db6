//! The guard: lets requests with a valid token pass, with the consumer in headers.
//!
//! 1. Find the token (RFC 6750 §2, and cookies).
//! 2. Look it up by its digest. If it is new, read it, look up the credential that it names, compare the
//!    algorithms, and verify the signature (RFC 7515 §5.2).
//! 3. Check its times, on every request.
//!
//! The kit decides what follows when several plugins authenticate ([`AuthenticationHandler`](tollgate_plugin::authentication::AuthenticationHandler)).

use std::sync::Arc;

use tollgate_plugin::authentication::{Authentication, Authenticator, Found, Look, unauthenticated};
use tollgate_plugin::cache::{Known, ServeCached};
use tollgate_plugin::{Clock, Digest, Reply, Request, Secret, Verdict};

use crate::config::{Challenges, Config};
use crate::lifetime::Lifetime;
use crate::presented::{self, Places};
use crate::refusal::{BadToken, Refusal};
use crate::secret::{self, Encoding};
use crate::token::{CannotVerify, Token, TokenCache, TokenFacts, Unverified};

/// State shared by the guards of a node.
pub struct Shared {
    /// Facts about tokens.
    pub tokens: TokenCache,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// The guard of one plugin instance.
pub struct Guard {
    places: Places,
    key_claim: Box<str>,
    encoding: Encoding,
    lifetime: Lifetime,
    challenges: Challenges,
    serve_cached: ServeCached,
    digest_key: [u8; 32],
    shared: Arc<Shared>,
}

/// A token to be verified.
pub struct Question {
    digest: Digest,
    token: Secret,
}

impl Guard {
    /// A guard with this configuration.
    pub fn new(config: &Config, shared: Arc<Shared>) -> Self {
        Self {
            places: config.places.clone(),
            key_claim: config.key_claim.clone(),
            encoding: config.encoding,
            lifetime: config.lifetime,
            challenges: config.challenges.clone(),
            serve_cached: config.serve_cached,
            digest_key: digest_key(&config.key_claim, config.encoding),
            shared,
        }
    }

    fn judge(&self, facts: &TokenFacts, request: &Request<'_>) -> Authentication<Refusal> {
        let lived = |times| self.lifetime.check(times, self.shared.clock.now()).map_err(Refusal::Times);
        match facts.verified().and_then(lived) {
            Ok(()) => Authentication::Valid(facts.credential().into()),
            Err(refusal) => {
                request.note(|caller| facts.credential().note_unnamed(caller));
                Authentication::Invalid(refusal)
            }
        }
    }

    /// A token that is new while the store is away is verified with its credential as it was when this node last heard
    /// of changes, if the instance serves that. What comes of it is not cached.
    async fn verify_unheard(
        &self,
        unverified: Unverified,
        error: Arc<CannotVerify>,
        request: &mut Request<'_>,
    ) -> Result<TokenFacts, Arc<CannotVerify>> {
        let source = self.shared.tokens.source();
        match secret::known(source.secrets(), &unverified.key, self.serve_cached, request) {
            Some(secret) => Ok(source.facts(&unverified, &secret).await?),
            None => Err(error),
        }
    }

    fn read(&self, token: &str) -> Result<Unverified, Refusal> {
        let token = Token::parse(token).map_err(Refusal::BadToken)?;
        let key = token.key(&self.key_claim)?;
        Ok(Unverified { token: Arc::new(token), key, encoding: self.encoding })
    }
}

/// The key of digests of tokens. Which credential a token names, and how its secret is read, depends on the
/// instance: those that agree share facts.
fn digest_key(key_claim: &str, encoding: Encoding) -> [u8; 32] {
    let encoding = match encoding {
        Encoding::Plain => 0,
        Encoding::Base64 => 1,
    };
    let material = [&[encoding], key_claim.as_bytes()].concat();
    blake3::derive_key("tollgate 2026-11-28 tokens of the jwt plugin", &material)
}

impl Authenticator for Guard {
    type Refusal = Refusal;
    type Question = Question;
    /// What issuers call themselves may be hard to guess on purpose.
    const IDENTIFIERS_ARE_PUBLIC: bool = false;

    fn look(&self, request: &mut Request<'_>) -> Look<Refusal, Question> {
        let token = match presented::find(&self.places, request) {
            presented::Found::Token(token) => token,
            presented::Found::Missing => return Look::Found(Ok(Authentication::Absent(Refusal::Missing))),
            presented::Found::Several => return invalid(Refusal::Several),
            presented::Found::Valueless => return invalid(Refusal::Valueless),
            presented::Found::Unreadable => return invalid(Refusal::BadToken(BadToken::Json)),
        };
        let tokens = &self.shared.tokens;
        let digest = Digest(*blake3::keyed_hash(&self.digest_key, token.as_bytes()).as_bytes());
        if let Some(found) = tokens.of_this_thread(&digest, |facts| self.judge(facts, request)) {
            return Look::Found(Ok(found));
        }
        match tokens.get_for(&digest, self.serve_cached, request) {
            Some(Known::Fact(facts)) => Look::Found(Ok(self.judge(&facts, request))),
            Some(Known::Unknown) => invalid(Refusal::NoCredential),
            None => Look::Ask(Question { digest, token: Secret::new(token) }),
        }
    }

    async fn ask(&self, question: Question, request: &mut Request<'_>) -> Found<Refusal> {
        let unverified = match self.read(question.token.expose()) {
            Ok(unverified) => unverified,
            Err(refusal) => return Ok(Authentication::Invalid(refusal)),
        };
        let loaded = self.shared.tokens.load_for(question.digest, unverified.clone(), self.serve_cached, request).await;
        let loaded = match loaded {
            Err(error) if matches!(*error, CannotVerify::Store(_)) => {
                self.verify_unheard(unverified, error, request).await.map(Some)
            }
            loaded => loaded,
        };
        match loaded {
            Ok(Some(facts)) => Ok(self.judge(&facts, request)),
            Ok(None) => Ok(Authentication::Invalid(Refusal::NoCredential)),
            Err(error) => Err(Verdict::Reply(Reply::unavailable(error.reason()))),
        }
    }

    fn serve_cached(&self) -> ServeCached {
        self.serve_cached
    }

    fn refuse(&self, refusal: Refusal, request: &Request<'_>) -> Reply {
        unauthenticated(refusal.reply(&self.key_claim, &self.challenges), request)
    }
}

fn invalid(refusal: Refusal) -> Look<Refusal, Question> {
    Look::Found(Ok(Authentication::Invalid(refusal)))
}

#[cfg(test)]
mod tests;
