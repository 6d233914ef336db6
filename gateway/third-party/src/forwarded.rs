//! Forwarded claims: the headers in which an instance tells the upstream about a token (introspection.md).
//!
//! `X-Credential-<Claim>`: strings and numbers as they are, arrays of them separated by commas. What no header can
//! carry without changing its meaning (nested objects, control characters, elements with commas) is left out and
//! counted.

use std::borrow::Cow;

use http::HeaderName;
use serde_json::Value;
use tollgate_plugin::{BlockName, BlockNames, HeaderBlock, header_value};

use crate::authority::REGISTERED;
use crate::claim_path::ClaimPath;
use crate::claims;
use crate::facts::TokenFacts;
use crate::kept_claims::{Form, KeptClaims, Position, TooManyClaims};

/// The prefix of all headers; identity headers of every plugin that forwards claims.
pub const HEADER_PREFIX: &str = "x-credential-";

/// The headers of the registered claims, in their order.
const REGISTERED_HEADERS: [&str; REGISTERED.len()] = [
    "X-Credential-Scope",
    "X-Credential-Client-ID",
    "X-Credential-Identifier",
    "X-Credential-Token-Type",
    "X-Credential-Exp",
    "X-Credential-Iat",
    "X-Credential-Nbf",
    "X-Credential-Sub",
    "X-Credential-Aud",
    "X-Credential-Iss",
    "X-Credential-Jti",
];

/// The header of a custom claim: `realm_access.roles` is in `X-Credential-Realm-Access-Roles`. Runs of characters
/// other than letters and digits are one dash. `None`: nothing is left of it.
pub fn header_of(claim: &str) -> Option<String> {
    let words = claim.split(|character: char| !character.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = "X-Credential".to_owned();
    let mut count = 0;
    for word in words {
        let (first, rest) = word.split_at_checked(1)?;
        name.extend(["-", &first.to_ascii_uppercase(), rest]);
        count += 1;
    }
    (count > 0).then_some(name)
}

/// Checks that each custom claim has a header of its own.
///
/// # Errors
/// Two claims would be sent in one header, or a claim has none.
pub fn check_headers(claims: &[&str]) -> Result<(), String> {
    let mut seen: Vec<(String, &str)> =
        REGISTERED_HEADERS.iter().zip(REGISTERED).map(|(header, claim)| (header.to_ascii_lowercase(), claim)).collect();
    for claim in claims {
        if REGISTERED.contains(claim) {
            continue;
        }
        let Some(header) = header_of(claim) else { return Err(format!("'{claim}' gives no header name")) };
        let lower = header.to_ascii_lowercase();
        if let Some((_, other)) = seen.iter().find(|(known, other)| *known == lower && other != claim) {
            return Err(format!("'{claim}' and '{other}' would both be sent as {header}"));
        }
        seen.push((lower, claim));
    }
    Ok(())
}

/// The headers of an instance.
#[derive(Debug, Clone)]
pub struct Forwarded {
    names: BlockNames,
    own: Vec<HeaderName>,
    /// The index of a claim's header, by the position of the claim.
    headers: Vec<Option<usize>>,
}

impl Forwarded {
    /// Forwards the registered claims and these custom ones of an authority's tokens.
    ///
    /// # Errors
    /// There are too many claims.
    pub fn new(custom: &[ClaimPath], kept: &KeptClaims) -> Result<Self, TooManyClaims> {
        let mut names: Vec<BlockName> = REGISTERED_HEADERS.iter().filter_map(|name| BlockName::parse(name)).collect();
        let mut headers: Vec<Option<usize>> = (0..names.len()).map(Some).collect();
        for claim in custom {
            let index = kept.keep(claim)?.index();
            let Some(name) = header_of(claim.as_str()).and_then(|name| BlockName::parse(&name)) else { continue };
            if headers.len() <= index {
                headers.resize(index + 1, None);
            }
            if let Some(place) = headers.get_mut(index).filter(|place| place.is_none()) {
                *place = Some(names.len());
                names.push(name);
            }
        }
        let own = names.iter().map(|name| name.name().clone()).collect();
        Ok(Self { names: BlockNames::new(names), own, headers })
    }

    /// The names of all its headers.
    pub fn own_headers(&self) -> &[HeaderName] {
        &self.own
    }

    /// How many kept claims it reads.
    pub fn reach(&self) -> usize {
        self.headers.len()
    }

    /// The headers for a token. `left_out` is told the claims that no header can carry.
    pub fn block(&self, facts: &TokenFacts, mut left_out: impl FnMut(Position)) -> Option<HeaderBlock> {
        let values = facts.encoded_claims().filter_map(|(position, form, value)| {
            let header = self.headers.get(position.index()).copied().flatten()?;
            let carried = carried(form, value);
            if carried.is_none() {
                left_out(position);
            }
            Some((header, carried?))
        });
        HeaderBlock::of_values(&self.names, values)
    }
}

/// The value as a header carries it.
fn carried(form: Form, value: &[u8]) -> Option<Cow<'_, [u8]>> {
    match form {
        Form::Text | Form::Scalar | Form::List => Some(Cow::Borrowed(value)),
        Form::OtherText => None,
        Form::Json => joined(&claims::value(value).ok()?).map(Cow::Owned),
    }
}

/// The elements of an array, separated by commas.
fn joined(value: &Value) -> Option<Vec<u8>> {
    let elements = value.as_array()?.iter().map(|element| match element {
        Value::String(text) => {
            (!text.contains(',') && !text.is_empty() && header_value(text).is_some()).then(|| text.clone())
        }
        Value::Number(_) | Value::Bool(_) => Some(element.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    });
    let elements: Option<Vec<String>> = elements.collect();
    Some(elements?.join(",").into_bytes())
}
