//! Client assertions: a JWT that the client has signed with its key (RFC 7521 §4.2, RFC 7523 §2.2, §3;
//! `private_key_jwt` of OpenID Connect Core §9).
//!
//! 1. The request has an assertion of the type for JWTs, and no other credential (see `ways`).
//! 2. §3.1–2: its issuer and subject are the client, which `client_id`, if sent, names too.
//! 3. §3.3: its audience is this authorization server, by its issuer identifier or the address of the endpoint.
//! 4. §3.4–7: it has not expired and does not live long, and has an id.
//! 5. The client is registered with keys, and one of them has signed it.
//! 6. It was not presented before, to any node: the store remembers it until it expires.
//!
//! What is wrong with 1 to 4 is told, as it says nothing about who is registered.

use serde_json::Value;
use tollgate_core::request::Request;
use tollgate_jose::claims::Claims;
use tollgate_jose::{Family, Jws, Unchecked};

use super::{Credentials, Identification, find};
use crate::config::Config;
use crate::dpop::TargetUri;
use crate::entity::credential::Credential;
use crate::entity::registered::{AssertionFault as Fault, Method};
use crate::error::{Error, Mode, Refusal};
use crate::guesses::{Guesses, Kind};
use crate::parameters::Parameters;
use crate::sender::Proofs;

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How far the clocks of client and gateway may be apart, in seconds.
const LEEWAY: i64 = 60;

/// The most seconds until an assertion expires: so long is it remembered.
const LONGEST: i64 = 3600;

/// Longer ids are refused.
const MAX_ID_LENGTH: usize = 256;

/// Whether a request presents an assertion.
pub(super) fn is_presented(parameters: &Parameters) -> bool {
    parameters.get("client_assertion").is_some() || parameters.get("client_assertion_type").is_some()
}

/// The client of a request that presents an assertion.
pub(super) async fn identify(
    config: &Config,
    parameters: &Parameters,
    request: &Request<'_>,
    credentials: &dyn Credentials,
    (proofs, guesses): (&Proofs, &Guesses),
) -> Result<Identification, Error> {
    if parameters.get("client_secret").is_some() {
        return Err(Refusal::SeveralCredentials.into());
    }
    let now = proofs.clock.now();
    let assertion = Assertion::read(config, parameters, request, now).map_err(Refusal::Assertion)?;
    let mut identification = Identification { mode: Mode::Parameters, found: None };
    let attempt = guesses.attempt(Kind::Client, &assertion.client_id, request.client);
    attempt.allowed()?;
    if let Some(credential) = find(credentials, &assertion.client_id).await? {
        let verdict = assertion.verify(&credential, proofs).await?;
        let is_right = verdict.is_ok();
        identification.found = Some((credential, verdict));
        if is_right {
            attempt.succeeded();
            return Ok(identification);
        }
    }
    attempt.failed()?;
    Ok(identification)
}

/// An assertion that is for this server, now.
struct Assertion {
    jws: Jws,
    client_id: String,
    id: String,
    expires: i64,
}

impl Assertion {
    /// Steps 1 to 4.
    fn read(config: &Config, parameters: &Parameters, request: &Request<'_>, now: i64) -> Result<Self, Fault> {
        if parameters.text("client_assertion_type") != Some(TYPE) {
            return Err(Fault::Type);
        }
        let jws = parameters.text("client_assertion").and_then(|text| Jws::parse(text).ok()).ok_or(Fault::Malformed)?;
        let claims = jws.claims().map_err(|_| Fault::Malformed)?;
        let text = |name| claims.text(name).ok_or(Fault::Malformed);
        let (issuer, subject, id) = (text("iss")?, text("sub")?, text("jti")?);
        if id.is_empty() || id.len() > MAX_ID_LENGTH {
            return Err(Fault::Malformed);
        }
        let named = parameters.get("client_id").is_none_or(|_| parameters.text("client_id") == Some(subject));
        if issuer != subject || !named {
            return Err(Fault::Client);
        }
        if !audiences(&claims)?.into_iter().any(|audience| is_ours(config, request, audience)) {
            return Err(Fault::Audience);
        }
        let expires = check_times(&claims, now)?;
        let (client_id, id) = (subject.to_owned(), id.to_owned());
        Ok(Self { jws, client_id, id, expires })
    }

    /// Steps 5 and 6.
    async fn verify(&self, credential: &Credential, proofs: &Proofs) -> Result<Result<(), Refusal>, Error> {
        let invalid = Ok(Err(Refusal::InvalidClient(Mode::Parameters)));
        let registered = &credential.registered;
        let (Some(keys), true) = (&registered.keys, registered.permits(Method::PrivateKeyJwt)) else { return invalid };
        let algorithm = self.jws.algorithm().filter(|algorithm| algorithm.family() != Family::Hmac);
        let Some(algorithm) = algorithm else { return invalid };
        let mut is_signed = false;
        for candidate in keys.candidates(self.jws.key_id(), algorithm) {
            match proofs.checks.verify(&candidate.key, &self.jws).await {
                Ok(()) => is_signed = true,
                Err(Unchecked::BadSignature(_)) => continue,
                Err(Unchecked::Overloaded) => return Err(Error::Overloaded(crate::client_secret::Overloaded)),
            }
            break;
        }
        if !is_signed {
            return invalid;
        }
        let mut digest = blake3::Hasher::new_derive_key("tollgate client assertion");
        digest.update(credential.id.as_bytes()).update(self.id.as_bytes());
        let is_new = proofs.once.use_once(*digest.finalize().as_bytes(), self.expires.saturating_add(LEEWAY)).await?;
        Ok(if is_new { Ok(()) } else { Err(Refusal::Assertion(Fault::Replayed)) })
    }
}

/// One or several.
fn audiences(claims: &Claims) -> Result<Vec<&str>, Fault> {
    match claims.get("aud") {
        Some(Value::String(audience)) => Ok(vec![audience]),
        Some(Value::Array(audiences)) => {
            audiences.iter().map(Value::as_str).collect::<Option<_>>().ok_or(Fault::Malformed)
        }
        _ => Err(Fault::Malformed),
    }
}

/// Step 3: the issuer identifier, the address of the token endpoint, or that of the endpoint of the request. What follows
/// from the request is not enough: another server that an assertion was made for could send it here with its own name
/// as `Host`. So an instance without `issuer` accepts none.
fn is_ours(config: &Config, request: &Request<'_>, audience: &str) -> bool {
    let Some(issuer) = config.endpoints.issuer.as_deref().map(|issuer| issuer.trim_end_matches('/')) else {
        return false;
    };
    let is_endpoint = |path: &str| TargetUri::parse(&format!("{issuer}{path}")).is_some_and(|uri| uri.is(audience));
    let own = request.path.rfind("/oauth2/").and_then(|start| request.path.get(start..));
    issuer == audience.trim_end_matches('/') || is_endpoint("/oauth2/token") || own.is_some_and(is_endpoint)
}

/// Step 4, but for the id; when it expires.
fn check_times(claims: &Claims, now: i64) -> Result<i64, Fault> {
    let time = |name| match claims.get(name) {
        None => Ok(None),
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and what saturates is far from any time")]
        Some(Value::Number(number)) => Ok(number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64))),
        Some(_) => Err(Fault::Malformed),
    };
    let expires = time("exp")?.ok_or(Fault::Malformed)?;
    let begins = [time("nbf")?, time("iat")?].into_iter().flatten();
    let is_ahead = |time: i64| time > now.saturating_add(LEEWAY);
    let lives_long = expires > now.saturating_add(LONGEST + LEEWAY);
    if expires <= now.saturating_sub(LEEWAY) || lives_long || begins.into_iter().any(is_ahead) {
        return Err(Fault::Time);
    }
    Ok(expires)
}
