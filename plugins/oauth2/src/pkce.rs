//! Proof key for code exchange (RFC 7636), S256 only (oauth2.md §3.7).
//!
//! 1. §4.3: the authorization request carries a challenge, the hash of a verifier that only the
//!    client knows: [`challenge`].
//! 2. §4.5: the token request carries the verifier.
//! 3. §4.6: its hash must equal the challenge: [`verify`].

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openssl::sha::sha256;
use subtle::ConstantTimeEq;

use crate::config::{Config, Pkce};
use crate::entity::credential::{ClientType, Credential};
use crate::error::Refusal;
use crate::parameters::{Parameter, Parameters};
use crate::profile::Permission;
use crate::store::Code;

/// The only method.
pub const S256: &str = "S256";

const VERIFIER_LENGTHS: std::ops::RangeInclusive<usize> = 43..=128;

/// Clients send challenges in any base64 alphabet, some with non-zero trailing bits.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Step 1: the challenge of an authorization request, as stored; `None` if there is none and
/// none is required. An unknown client (`None`) needs none.
pub fn challenge(
    config: &Config,
    client: Option<&Credential>,
    parameters: &Parameters,
) -> Result<Option<String>, Refusal> {
    let challenge = match parameters.get("code_challenge") {
        Some(Parameter::Text(text)) => Some(text.as_str()).filter(|text| !text.is_empty()),
        Some(_) => return Err(Refusal::NotText("code_challenge")),
        None => None,
    };
    let method = parameters.get("code_challenge_method");
    match (challenge, method) {
        (None, Some(_)) => Err(Refusal::MethodWithoutChallenge),
        (Some(_), Some(method)) if !method.text().is_some_and(|text| text.eq_ignore_ascii_case(S256)) => {
            Err(Refusal::ChallengeMethod)
        }
        (Some(challenge), _) => Ok(Some(normalised(challenge))),
        (None, None) => match client.filter(|client| is_required(config, client)) {
            Some(client) => Err(Refusal::MissingChallenge(client.client_type)),
            None => Ok(None),
        },
    }
}

/// Steps 2 and 3: whether the verifier matches the code's challenge.
pub fn verify(config: &Config, client: &Credential, code: &Code, verifier: Option<&Parameter>) -> Result<(), Refusal> {
    if code.challenge_method.is_none() && !is_required(config, client) {
        let surplus = verifier.is_some() && config.profile.verifier_without_challenge == Permission::Refused;
        return if surplus { Err(Refusal::VerifierMismatch) } else { Ok(()) };
    }
    let verifier = verifier.ok_or(Refusal::MissingVerifier)?.text().ok_or(Refusal::VerifierNotText)?;
    if !VERIFIER_LENGTHS.contains(&verifier.len()) {
        return Err(Refusal::VerifierLength);
    }
    let derived = BASE64_URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
    let challenge = code.challenge.as_deref().ok_or(Refusal::VerifierMismatch)?;
    let equal = bool::from(derived.as_bytes().ct_eq(challenge.as_bytes()));
    if equal { Ok(()) } else { Err(Refusal::VerifierMismatch) }
}

fn is_required(config: &Config, client: &Credential) -> bool {
    match client.client_type {
        ClientType::Public => config.pkce != Pkce::None,
        ClientType::Confidential => config.pkce == Pkce::Strict,
    }
}

/// Any base64 as base64url without padding; anything else is left unchanged, and matches nothing.
fn normalised(challenge: &str) -> String {
    let url_safe = challenge.replace('+', "-").replace('/', "_");
    match LENIENT.decode(url_safe) {
        Ok(bytes) => BASE64_URL_SAFE_NO_PAD.encode(bytes),
        Err(_) => challenge.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::client_secret::ClientSecret;
    use crate::config::tests::config;
    use crate::token::Digest;

    /// RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn client(client_type: ClientType) -> Credential {
        Credential {
            id: Uuid::nil(),
            client_id: "c".to_owned(),
            secret: ClientSecret::Unmatchable,
            client_type,
            redirect_uris: vec!["https://a.test".to_owned()],
            previous_secret: None,
            allowed_scopes: None,
            consumer_id: Uuid::nil(),
            name: "n".to_owned(),
            resource_server: false,
            registered: Default::default(),
            grant_types: None,
        }
    }

    fn code(challenge: Option<&str>, method: Option<&str>) -> Code {
        Code {
            id: Uuid::nil(),
            code: Digest::of("code"),
            credential_id: Uuid::nil(),
            service_id: None,
            plugin_id: None,
            authenticated_userid: None,
            scope: None,
            challenge: challenge.map(str::to_owned),
            challenge_method: method.map(str::to_owned),
            redirect_uri: None,
            created_at: 0,
            ttl: 300,
            binding: None,
        }
    }

    #[test]
    fn a_challenge_is_required_and_accepted_as_the_rules_say_rfc7636_4_3() {
        use ClientType::{Confidential, Public};
        let required = |client| Err(Refusal::MissingChallenge(client));
        let kept = || Ok(Some(CHALLENGE.to_owned()));
        let standard = CHALLENGE.replace('-', "+");
        for (pkce, client_type, parameters, expected) in [
            ("lax", Public, json!({}), required(Public)),
            ("lax", Public, json!({"code_challenge": ""}), required(Public)),
            ("lax", Confidential, json!({}), Ok(None)),
            ("strict", Public, json!({}), required(Public)),
            ("strict", Confidential, json!({}), required(Confidential)),
            ("none", Public, json!({}), Ok(None)),
            ("none", Public, json!({"code_challenge_method": "S256"}), Err(Refusal::MethodWithoutChallenge)),
            ("lax", Public, json!({"code_method": "S256"}), required(Public)),
            (
                "lax",
                Public,
                json!({"code_challenge": CHALLENGE, "code_challenge_method": "plain"}),
                Err(Refusal::ChallengeMethod),
            ),
            (
                "lax",
                Public,
                json!({"code_challenge": CHALLENGE, "code_challenge_method": 256}),
                Err(Refusal::ChallengeMethod),
            ),
            ("lax", Public, json!({"code_challenge": CHALLENGE, "code_challenge_method": "s256"}), kept()),
            ("lax", Public, json!({"code_challenge": CHALLENGE}), kept()),
            ("lax", Public, json!({"code_challenge": format!("{standard}=")}), kept()),
            ("none", Confidential, json!({"code_challenge": standard}), kept()),
            ("lax", Public, json!({"code_challenge": "no base64!"}), Ok(Some("no base64!".to_owned()))),
            ("lax", Confidential, json!({"code_challenge": 1}), Err(Refusal::NotText("code_challenge"))),
        ] {
            let config = config(&json!({"pkce": pkce}));
            let found = challenge(&config, Some(&client(client_type)), &Parameters::of(&parameters));
            assert_eq!(found, expected, "{pkce} {client_type} {parameters}");
        }
        let unknown_client = challenge(&config(&json!({"pkce": "strict"})), None, &Parameters::of(&json!({})));
        assert_eq!(unknown_client, Ok(None));
    }

    #[test]
    fn a_verifier_is_required_and_checked_in_the_documented_order_rfc7636_4_6() {
        let bound = code(Some(CHALLENGE), Some(S256));
        let free = code(None, None);
        let other = VERIFIER.replace('d', "e");
        for (pkce, code, verifier, expected) in [
            ("none", &bound, Value::Null, Err(Refusal::MissingVerifier)),
            ("none", &bound, json!(1), Err(Refusal::VerifierNotText)),
            ("none", &bound, json!(""), Err(Refusal::VerifierLength)),
            ("none", &bound, json!("a".repeat(42)), Err(Refusal::VerifierLength)),
            ("none", &bound, json!("a".repeat(129)), Err(Refusal::VerifierLength)),
            ("none", &bound, json!(other), Err(Refusal::VerifierMismatch)),
            ("none", &bound, json!(VERIFIER), Ok(())),
            ("lax", &free, Value::Null, Err(Refusal::MissingVerifier)),
            ("lax", &free, json!(VERIFIER), Err(Refusal::VerifierMismatch)),
            ("none", &free, Value::Null, Ok(())),
            ("none", &free, json!(VERIFIER), Ok(())),
        ] {
            let parameter = match &verifier {
                Value::Null => None,
                Value::String(text) => Some(Parameter::Text(text.clone())),
                other => Some(Parameter::Other(other.clone())),
            };
            let found = verify(&config(&json!({"pkce": pkce})), &client(ClientType::Public), code, parameter.as_ref());
            assert_eq!(found, expected, "{pkce} {verifier}");
        }
    }
}
