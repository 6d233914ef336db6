//! Requirements: what an instance requires of a valid token, besides its being valid. A token that lacks something is
//! refused with 403 `insufficient_scope` (RFC 6750 §3.1).

use serde_json::Value;

use crate::claim_path::ClaimPath;
use crate::facts::TokenFacts;
use crate::kept_claims::{KeptClaims, Position, TooManyClaims};

/// Whether a token needs all of several scopes, or one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// All of them.
    All,
    /// At least one.
    Any,
}

/// What a token lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// A scope.
    Scope,
    /// An audience that this API belongs to.
    Audience,
    /// A claim, or a value of it.
    Claim,
}

/// A claim that a token needs.
#[derive(Debug, Clone)]
pub(crate) struct RequiredClaim {
    /// The claim.
    pub path: ClaimPath,
    /// The values, one of which it must have or contain; if empty, it only has to be there.
    pub values: Vec<Box<str>>,
}

/// The requirements of an instance, as configured.
#[derive(Debug, Clone)]
pub(crate) struct Required {
    /// The claim that lists scopes.
    pub scope_claim: ClaimPath,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Whether all are needed.
    pub scopes_match: Match,
    /// Audiences, one of which the token must have.
    pub audience: Vec<String>,
    /// Claims.
    pub claims: Vec<RequiredClaim>,
}

/// The requirements of an instance.
#[derive(Debug)]
pub(crate) struct Requirements {
    scope: Position,
    scopes: Vec<Box<str>>,
    scopes_match: Match,
    aud: Position,
    audience: Vec<Box<str>>,
    claims: Vec<(Position, Vec<Box<str>>)>,
    reach: usize,
}

impl Requirements {
    /// Of tokens of an authority that keeps these claims.
    ///
    /// # Errors
    /// There are too many claims.
    pub(crate) fn new(required: &Required, kept: &KeptClaims) -> Result<Self, TooManyClaims> {
        let scope = kept.keep(&required.scope_claim)?;
        let aud = kept.keep(&ClaimPath::registered("aud"))?;
        let claim = |claim: &RequiredClaim| Ok((kept.keep(&claim.path)?, claim.values.clone()));
        let claims: Vec<_> = required.claims.iter().map(claim).collect::<Result<_, _>>()?;
        let positions = claims.iter().map(|(position, _)| *position).chain([scope, aud]);
        Ok(Self {
            reach: positions.map(|position| position.index() + 1).max().unwrap_or_default(),
            scope,
            scopes: required.scopes.iter().map(|scope| scope.as_str().into()).collect(),
            scopes_match: required.scopes_match,
            aud,
            audience: required.audience.iter().map(|audience| audience.as_str().into()).collect(),
            claims,
        })
    }

    /// How many kept claims it reads.
    pub(crate) fn reach(&self) -> usize {
        self.reach
    }

    /// Checks a token.
    ///
    /// # Errors
    /// What it lacks.
    pub(crate) fn check(&self, facts: &TokenFacts) -> Result<(), Lack> {
        if !self.scopes.is_empty() && !self.has_scopes(facts) {
            return Err(Lack::Scope);
        }
        if !self.audience.is_empty() {
            let aud = facts.claim(self.aud).ok_or(Lack::Audience)?;
            if !self.audience.iter().any(|audience| aud.has_element(audience)) {
                return Err(Lack::Audience);
            }
        }
        let has_all = self.claims.iter().all(|(position, values)| has_value(facts, *position, values));
        if has_all { Ok(()) } else { Err(Lack::Claim) }
    }

    fn has_scopes(&self, facts: &TokenFacts) -> bool {
        let Some(scope) = facts.claim(self.scope) else { return false };
        let mut each = self.scopes.iter().map(|wanted| scope.has_word(wanted));
        match self.scopes_match {
            Match::All => each.all(|has| has),
            Match::Any => each.any(|has| has),
        }
    }
}

/// Whether a claim has one of these values, or is an array that contains one.
fn has_value(facts: &TokenFacts, position: Position, values: &[Box<str>]) -> bool {
    let Some(kept) = facts.claim(position) else { return false };
    if values.is_empty() {
        return true;
    }
    match kept.value() {
        Value::Array(elements) => elements.iter().any(|element| is_one_of(element, values)),
        value => is_one_of(&value, values),
    }
}

/// Numbers and booleans are compared as they are spelled in JSON.
fn is_one_of(value: &Value, values: &[Box<str>]) -> bool {
    match value {
        Value::String(text) => values.iter().any(|wanted| **wanted == **text),
        Value::Number(_) | Value::Bool(_) => values.iter().any(|wanted| **wanted == *value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}
