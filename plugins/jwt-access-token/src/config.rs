//! The configuration of an instance.

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_plugin::{Field, Rule, Schema};
use tollgate_third_party::{BadClaimPath, ClaimPath, config as common};

use crate::issuer::{self, Issuer};
use crate::plugin::NAME;

/// More issuers than any API trusts; a token is compared with each.
const MOST_ISSUERS: usize = 50;

/// The schema of `config`.
pub fn schema() -> Schema {
    let own = [
        Field::array("issuers", Field::record("", issuer::schema()))
            .required()
            .rule(Rule::LengthMin(1))
            .rule(Rule::Custom("issuers", distinct))
            .describe("The authorization servers whose tokens are accepted."),
        Field::integer("clock_skew")
            .default(10)
            .required()
            .between(0, 300)
            .describe("Seconds by which the clocks of issuers may differ from this gateway's."),
        Field::string("consumer_claim")
            .rule(Rule::Custom("claim", claim))
            .describe("The claim, or a dotted path to it, that names the consumer by its username."),
        Field::number("ttl")
            .rule(Rule::Between(1.0, 31_536_000.0))
            .describe("Seconds for which a verified token is cached; by default until its `exp`."),
    ];
    let schema = Schema::new(own.into_iter().chain(common::fields()).collect());
    common::checks().into_iter().fold(schema, Schema::entity_check)
}

fn claim(value: &Value) -> Result<(), String> {
    ClaimPath::parse(value.as_str().unwrap_or_default()).map(drop).map_err(|error| error.to_string())
}

/// A token's issuer selects its entry, so each has one.
fn distinct(value: &Value) -> Result<(), String> {
    let names: Vec<&str> =
        value.as_array().into_iter().flatten().filter_map(|issuer| issuer.get("issuer")?.as_str()).collect();
    if names.len() > MOST_ISSUERS {
        return Err(format!("length must be at most {MOST_ISSUERS}"));
    }
    let repeated = names.iter().enumerate().find(|(index, name)| names.iter().take(*index).any(|other| other == *name));
    repeated.map_or(Ok(()), |(_, name)| Err(format!("the issuer '{name}' has two entries")))
}

/// An instance's own configuration, besides what all plugins for tokens of third parties have.
#[derive(Debug, Clone)]
pub struct Config {
    /// The issuers, in order.
    pub issuers: Vec<Issuer>,
    /// How far their clocks may differ, in seconds.
    pub clock_skew: i64,
    /// The claim that names the consumer.
    pub consumer_claim: Option<ClaimPath>,
    /// How long a verified token is cached, in seconds.
    pub ttl: Option<f64>,
}

/// Why a stored configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Fields are missing or have the wrong type.
    #[error("stored configuration does not match its schema")]
    Fields(#[from] serde_json::Error),
    /// The consumer's claim is not named properly.
    #[error("stored configuration names no claim in consumer_claim")]
    Claim(#[from] BadClaimPath),
    /// An issuer cannot be used.
    #[error("stored configuration of an issuer cannot be used")]
    Issuer(#[from] issuer::Unusable),
}

#[derive(Deserialize)]
struct Stored {
    issuers: Vec<Value>,
    clock_skew: i64,
    consumer_claim: Option<String>,
    ttl: Option<f64>,
}

impl TryFrom<&Value> for Config {
    type Error = Unreadable;

    fn try_from(stored: &Value) -> Result<Self, Unreadable> {
        let Stored { issuers, clock_skew, consumer_claim, ttl } = Stored::deserialize(stored)?;
        Ok(Self {
            issuers: issuers.into_iter().map(Issuer::try_from).collect::<Result<_, _>>()?,
            clock_skew,
            consumer_claim: consumer_claim.map(|claim| ClaimPath::parse(&claim)).transpose()?,
            ttl,
        })
    }
}

impl Config {
    /// Identifies an issuer by all that decides what is said of its tokens.
    pub fn identity(&self, issuer: &Issuer) -> tollgate_third_party::Identity {
        let consumer_claim = self.consumer_claim.as_ref().map(ClaimPath::as_str);
        let configuration =
            json!({"issuer": issuer.stored, "clock_skew": self.clock_skew, "consumer_claim": consumer_claim});
        tollgate_third_party::Identity::of(NAME, &configuration)
    }
}

#[cfg(test)]
pub(crate) mod tests;
