//! Forwarded claims: the headers in which an instance tells the upstream about a token (introspection.md).
//!
//! `X-Credential-<Claim>`: strings and numbers as they are, arrays of them separated by commas. What no header can
//! carry without changing its meaning (nested objects, control characters, elements with commas) is left out and
//! counted.

use std::borrow::Cow;

use http::HeaderName;
use serde_json::Value;
use tollgate_plugin::{BlockName, BlockNames, BlockPart, HeaderBlock, identity_value};

use crate::claim_header::{REGISTERED_HEADERS, block_name};
use crate::claim_path::ClaimPath;
use crate::common_values::CommonValue;
use crate::facts::TokenFacts;
use crate::kept_claims::{Form, KeptClaims, KeptValue, Position, TooManyClaims};
use tollgate_jose::claims;

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
            let Some(name) = block_name(claim) else { continue };
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
        let parts = facts.encoded_claims().filter_map(|(position, form, value)| {
            let header = self.headers.get(position.index()).copied().flatten()?;
            let part = part(header, form, value);
            if part.is_none() {
                left_out(position);
            }
            part
        });
        HeaderBlock::of_parts(&self.names, parts)
    }
}

/// The value as its header carries it.
fn part(header: usize, form: Form, value: KeptValue<'_>) -> Option<BlockPart<'_>> {
    let carried = match (form, value) {
        (Form::Text | Form::Scalar | Form::List, KeptValue::Common(CommonValue::Line(line))) => {
            return Some(BlockPart::Line(line));
        }
        (Form::Text | Form::Scalar | Form::List, value) => Cow::Borrowed(value.bytes()),
        (Form::OtherText, _) => return None,
        (Form::Json, value) => Cow::Owned(joined(&claims::value(value.bytes()).ok()?)?),
    };
    Some(BlockPart::Value(header, carried))
}

/// The elements of an array, separated by commas.
fn joined(value: &Value) -> Option<Vec<u8>> {
    let elements = value.as_array()?.iter().map(|element| match element {
        Value::String(text) => {
            (!text.contains(',') && !text.is_empty() && identity_value(text).is_some()).then(|| text.clone())
        }
        Value::Number(_) | Value::Bool(_) => Some(element.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    });
    let elements: Option<Vec<String>> = elements.collect();
    Some(elements?.join(",").into_bytes())
}
