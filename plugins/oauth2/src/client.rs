//! Client authentication at the token endpoint (RFC 6749 §2.3, oauth2.md §3.6).
//!
//! 1. The client's id and secret are read from the first of: parameters `client_id` and
//!    `client_secret` together; the header, with Basic credentials; parameter `client_id` alone.
//! 2. The client is looked up in [`Credentials`].
//! 3. It is authenticated: a confidential client has the secret, a public one has none.
//!
//! A client may instead present an assertion that it has signed ([`assertion`]), or be known by its certificate; a
//! registered method is its only one ([`registered`](crate::entity::registered)). Where the instance says so, a request
//! that authenticates in two ways, or names two clients, is refused before anything is looked up.
//!
//! Failures are limited ([`guesses`](crate::guesses)): before step 2 for those who have failed too often, in step 3 for
//! each attempt. A grant requires an [`AuthenticatedClient`], which only step 3 creates. An unknown client costs the
//! same work as one with a wrong secret.

pub mod assertion;
mod registered;
mod ways;

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tollgate_core::error::StoreError;
use tollgate_core::request::Request;
use tollgate_core::secret::Secret;
use uuid::Uuid;

use crate::client_secret::{Proof, SecretVerifier};
use crate::config::Config;
use crate::derivation_queue::Requester;
use crate::entity::credential::{ClientType, Credential};
use crate::error::{Error, Mode, Refusal};
use crate::guesses::{Attempt, Guesses, Kind};
use crate::parameters::{Parameter, Parameters};
use crate::profile::Permission;
use crate::sender::Proofs;

use self::registered::Decision;

pub use self::ways::check_ways;

/// Longer ids are not looked up: no client has one, and caches should not hold them.
const MAX_CLIENT_ID_LENGTH: usize = 1024;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Clients' credentials. Implementations may cache what they read, and must invalidate it on changes.
#[async_trait]
pub trait Credentials: Send + Sync + 'static {
    /// The credential with this client id, if there is one.
    async fn by_client_id(&self, client_id: &str) -> Result<Option<Arc<Credential>>, StoreError>;

    /// The credential with this id, if there is one.
    async fn by_id(&self, id: Uuid) -> Result<Option<Arc<Credential>>, StoreError>;
}

/// The credential of the client that a request names.
pub async fn find(credentials: &dyn Credentials, client_id: &str) -> Result<Option<Arc<Credential>>, StoreError> {
    if client_id.is_empty() || client_id.len() > MAX_CLIENT_ID_LENGTH {
        return Ok(None);
    }
    credentials.by_client_id(client_id).await
}

/// The client secret in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Given {
    Nothing,
    Text(Secret),
    /// Another value, such as a number: not blank, and never a valid secret.
    NoText,
}

/// A client's id and secret in one interpretation of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    client_id: String,
    secret: Given,
}

/// Step 1: who the client claims to be. Basic credentials have several interpretations: they are
/// tried raw, then form-decoded (RFC 6749 §2.3.1), because clients do either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    mode: Mode,
    readings: Vec<Claim>,
}

impl Claims {
    /// Reads parameters and header.
    pub fn read(config: &Config, parameters: &Parameters, request: &Request<'_>) -> Self {
        let client_id = parameters.get("client_id");
        let secret = parameters.get("client_secret");
        let header = config.auth_header.as_ref().and_then(|header| header.value(request));
        let claim = |secret| {
            let client_id = client_id.and_then(Parameter::text)?;
            Some(Claim { client_id: client_id.to_owned(), secret })
        };
        match (client_id, secret, header) {
            (Some(_), Some(secret), _) => {
                let secret = secret.text().map_or(Given::NoText, |text| Given::Text(Secret::new(text)));
                Self { mode: Mode::Parameters, readings: claim(secret).into_iter().collect() }
            }
            (_, _, Some(header)) => Self { mode: Mode::Header, readings: basic(header) },
            (Some(_), None, None) => {
                Self { mode: Mode::Parameters, readings: claim(Given::Nothing).into_iter().collect() }
            }
            (None, _, None) => Self { mode: Mode::Parameters, readings: Vec::new() },
        }
    }
}

impl Claims {
    /// The name under which failures are counted: the last interpretation's, since a client's id can be escaped in many
    /// ways.
    fn name(&self) -> Option<&str> {
        self.readings.last().map(|claim| claim.client_id.as_str())
    }
}

/// The interpretations of `Basic <base64 of id:secret>`; none for any other header.
fn basic(header: &[u8]) -> Vec<Claim> {
    let scheme = header.windows(5).position(|window| window.eq_ignore_ascii_case(b"basic"));
    let encoded = scheme.and_then(|start| header.get(start + 5..)).unwrap_or_default().trim_ascii();
    let decoded = LENIENT.decode(encoded).ok().filter(|decoded| !decoded.is_empty());
    let Some(text) = decoded.and_then(|decoded| String::from_utf8(decoded).ok()) else { return Vec::new() };
    let (client_id, secret) = match text.split_once(':') {
        Some((client_id, secret)) => (client_id, Given::Text(Secret::new(secret))),
        None => (text.as_str(), Given::Nothing),
    };
    let raw = Claim { client_id: client_id.to_owned(), secret };
    let Some(unescaped) = form_decoded(&raw).filter(|unescaped| *unescaped != raw) else { return vec![raw] };
    vec![raw, unescaped]
}

fn form_decoded(claim: &Claim) -> Option<Claim> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(|text| text.into_owned())
    };
    let secret = match &claim.secret {
        Given::Text(secret) => Given::Text(Secret::new(decode(secret.expose())?)),
        other => other.clone(),
    };
    Some(Claim { client_id: decode(&claim.client_id)?, secret })
}

/// A client whose claim was verified. Grants accept no other type.
#[derive(Debug, Clone)]
pub struct AuthenticatedClient(Arc<Credential>);

impl AuthenticatedClient {
    /// Its credential.
    pub fn credential(&self) -> &Credential {
        &self.0
    }
}

/// The result of steps 2 and 3, which the endpoint reports in its order of checks.
#[derive(Debug)]
pub struct Identification {
    mode: Mode,
    found: Option<(Arc<Credential>, Result<(), Refusal>)>,
}

impl Identification {
    /// The claimed credential, verified or not.
    pub fn credential(&self) -> Option<&Credential> {
        self.found.as_ref().map(|(credential, _)| credential.as_ref())
    }

    /// How a failure is reported.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The client; `None` if it is unknown, an error if authentication failed.
    pub fn authenticated(self) -> Result<Option<AuthenticatedClient>, Refusal> {
        match self.found {
            None => Ok(None),
            Some((credential, Ok(()))) => Ok(Some(AuthenticatedClient(credential))),
            Some((_, Err(refusal))) => Err(refusal),
        }
    }
}

/// Steps 2 and 3: the first interpretation that is verified, else the first that names a known client.
pub async fn identify(
    config: &Config,
    parameters: &Parameters,
    request: &Request<'_>,
    credentials: &dyn Credentials,
    (verifier, guesses, proofs): (&SecretVerifier, &Guesses, &Proofs),
) -> Result<Identification, Error> {
    check_ways(config, parameters, request)?;
    if assertion::is_presented(parameters) && !ways::names_by_contract(config, parameters, request) {
        return assertion::identify(config, parameters, request, credentials, (proofs, guesses)).await;
    }
    check_place_of_secret(config, parameters)?;
    let claims = Claims::read(config, parameters, request);
    let mut identification = Identification { mode: claims.mode, found: None };
    let Some(name) = claims.name() else { return Ok(identification) };
    let mut attempt = guesses.attempt(Kind::Client, name, request.client);
    attempt.allowed()?;
    for claim in &claims.readings {
        let credential = find(credentials, &claim.client_id).await?;
        let requester = Requester::new(request.client, credential.as_ref().map(|credential| credential.id));
        let verdict = match registered::decide(credential.as_deref(), &claim.secret, claims.mode, request) {
            Decision::Certificate(verdict) => verdict,
            decision => {
                // Who presents something else than is registered is refused after the same work as anybody unknown.
                let known = credential.as_deref().filter(|_| matches!(decision, Decision::Secret));
                let known = (known, guesses.seconds());
                judge(requester, known, claim, claims.mode, (verifier, &mut attempt)).await?
            }
        };
        let Some(credential) = credential else { continue };
        if verdict.is_ok() || identification.found.is_none() {
            let done = verdict.is_ok();
            identification.found = Some((credential, verdict));
            if done {
                attempt.succeeded();
                return Ok(identification);
            }
        }
    }
    // A public client has no secret that could be guessed.
    if !matches!(identification.found, Some((_, Err(Refusal::SecretOfPublicClient)))) {
        attempt.failed()?;
    }
    Ok(identification)
}

/// Refuses a secret in the query, where the instance does.
pub fn check_place_of_secret(config: &Config, parameters: &Parameters) -> Result<(), Refusal> {
    if parameters.has_secret_in_query() && config.profile.client_secret_in_query == Permission::Refused {
        return Err(Refusal::InvalidClient(Mode::Parameters));
    }
    Ok(())
}

async fn judge(
    requester: Requester,
    (credential, now): (Option<&Credential>, i64),
    Claim { client_id, secret: given }: &Claim,
    mode: Mode,
    (verifier, attempt): (&SecretVerifier, &mut Attempt<'_>),
) -> Result<Result<(), Refusal>, Error> {
    if credential.is_some_and(|credential| credential.client_type == ClientType::Public) {
        let blank = match given {
            Given::Nothing => true,
            Given::Text(secret) => secret.expose().trim().is_empty(),
            Given::NoText => false,
        };
        return Ok(if blank { Ok(()) } else { Err(Refusal::SecretOfPublicClient) });
    }
    let right = match given {
        Given::Text(secret) => {
            let kept = credential.map(|credential| &credential.secret);
            let previous = credential.and_then(|credential| credential.previous_secret(now));
            let named = (client_id.as_str(), kept, previous);
            verifier.verify_either(requester, named, secret, attempt).await? == Proof::Right
        }
        Given::Nothing | Given::NoText => false,
    };
    Ok(if right { Ok(()) } else { Err(Refusal::InvalidClient(mode)) })
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::tests::config;
    use crate::endpoint::tests::Post;

    fn text(client_id: &str, secret: &str) -> Claim {
        Claim { client_id: client_id.to_owned(), secret: Given::Text(Secret::new(secret)) }
    }

    fn nothing(client_id: &str) -> Claim {
        Claim { client_id: client_id.to_owned(), secret: Given::Nothing }
    }

    fn read(parameters: &Value, authorization: Option<&str>) -> Claims {
        let mut post = Post::new("/oauth2/token", "");
        if let Some(value) = authorization {
            post.headers.insert("authorization", value.parse().unwrap());
        }
        Claims::read(&config(&json!({})), &Parameters::of(parameters), &post.request())
    }

    #[test]
    fn the_first_place_that_names_a_client_wins() {
        let basic = format!("Basic {}", BASE64_STANDARD.encode("id:se:cret"));
        let (header, parameters) = (Mode::Header, Mode::Parameters);
        for (given, authorization, mode, readings) in [
            (json!({"client_id": "a", "client_secret": "b"}), Some(basic.as_str()), parameters, vec![text("a", "b")]),
            (json!({"client_id": "a"}), Some(basic.as_str()), header, vec![text("id", "se:cret")]),
            (json!({"client_id": "a"}), Some("Bearer x"), header, vec![]),
            (json!({"client_id": "a"}), None, parameters, vec![nothing("a")]),
            (json!({"client_secret": "b"}), None, parameters, vec![]),
            (json!({"client_id": 1, "client_secret": "b"}), None, parameters, vec![]),
            (json!({}), None, parameters, vec![]),
        ] {
            assert_eq!(read(&given, authorization), Claims { mode, readings }, "{given} {authorization:?}");
        }
        let number = read(&json!({"client_id": "a", "client_secret": 1}), None);
        assert_eq!(number.readings, [Claim { client_id: "a".to_owned(), secret: Given::NoText }]);
    }

    #[test]
    fn basic_credentials_are_read_raw_and_then_form_decoded_rfc6749_2_3_1() {
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        for (header, readings) in [
            (format!("basic {}", encode("id:secret")), vec![text("id", "secret")]),
            (format!("BASIC   {}", encode("id:secret")), vec![text("id", "secret")]),
            (format!("Basic{}", encode("id:secret")), vec![text("id", "secret")]),
            (format!("x Basic {}", encode("id:secret").trim_end_matches('=')), vec![text("id", "secret")]),
            (format!("Basic {}", encode("id")), vec![nothing("id")]),
            (format!("Basic {}", encode("a%2Db:c+d%5F")), vec![text("a%2Db", "c+d%5F"), text("a-b", "c d_")]),
            ("Basic".to_owned(), vec![]),
            ("Basic !".to_owned(), vec![]),
            (format!("Basic {}", BASE64_STANDARD.encode(b"\xff:x")), vec![]),
        ] {
            assert_eq!(basic(header.as_bytes()), readings, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_can_be_read(header in prop::collection::vec(any::<u8>(), 0..60), inner in "\\PC{0,30}") {
            let _ = basic(&header);
            let _ = basic(format!("Basic {}", BASE64_STANDARD.encode(inner)).as_bytes());
        }
    }
}
