//! The fields of `config` that all plugins for tokens of other authorities have, and the handler that follows from
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tollgate_plugin::authentication::AuthenticationHandler;
use tollgate_plugin::cache::ServeCached;
use tollgate_plugin::presented::CredentialHeader;
use tollgate_plugin::protection::{Absence, Preflight, Protection};
use tollgate_plugin::{EntityCheck, Field, Handler, PluginError, Rule, Schema, Violations, config_rules};

use crate::claim_header::{REGISTERED, check_headers};
use crate::claim_path::ClaimPath;
use crate::forwarded::Forwarded;
use crate::guard::{Credentials, Freshness, Guard, Reading, RequestLineUse, Rules};
use crate::kept_claims::{self, TooManyClaims};
use crate::refusal::Challenges;
use crate::requirements::{Match, Required, RequiredClaim, Requirements};
use crate::tokens::{Candidate, Candidates, ThirdPartyTokens};

/// The longest time that a field may give, in seconds: ten years.
const LONGEST: f64 = 315_360_000.0;

/// The fields, to be followed by a plugin's own.
pub fn fields() -> Vec<Field> {
    let claim = || Field::string("").rule(Rule::Custom("claim", claim));
    let scope = Field::string("").rule(Rule::Custom("scope", scope));
    let required_claim = Schema::new(vec![
        Field::string("claim").required().rule(Rule::Custom("claim", self::claim)),
        Field::strings("values").default(json!([])).required(),
    ])
    .describe(&[
        ("claim", "The claim, or a dotted path to it."),
        ("values", "The values, one of which it must have or contain; if empty, it only has to be present."),
    ]);
    vec![
        Field::array("custom_claims_forward", claim())
            .default(json!([]))
            .required()
            .rule(Rule::Custom("claims", claims_with_headers))
            .describe("Claims that are sent upstream as `X-Credential-<Claim>`, besides the registered ones."),
        Field::boolean("hide_credentials", true)
            .describe("Whether the token is removed from the request that goes upstream."),
        Field::boolean("run_on_preflight", true).describe("Whether `OPTIONS` requests need a token."),
        Field::string("anonymous").describe("The consumer, by id or username, of requests without a valid token."),
        Field::string("realm")
            .rule(Rule::Custom("realm", config_rules::realm))
            .describe("The `realm` of the challenge in refusals."),
        Field::array("required_scopes", scope).default(json!([])).required().describe("Scopes that a token needs."),
        Field::string("required_scopes_match")
            .default("all")
            .required()
            .one_of(&["all", "any"])
            .describe("Whether a token needs all of `required_scopes`, or one of them."),
        Field::string("scope_claim")
            .default("scope")
            .required()
            .rule(Rule::Custom("claim", self::claim))
            .describe("The claim that lists a token's scopes: a string with spaces, or an array."),
        Field::strings("required_audience")
            .default(json!([]))
            .required()
            .describe("Audiences, one of which a token's `aud` must have."),
        Field::array("required_claims", Field::record("", required_claim))
            .default(json!([]))
            .required()
            .describe("Claims that a token needs."),
        Field::number("serve_stale_for")
            .default(0)
            .required()
            .rule(Rule::Between(0.0, LONGEST))
            .describe("Seconds for which a cached token is accepted beyond `ttl` while its authority cannot be asked."),
        ServeCached::field(),
    ]
}

/// Rules about several of the fields.
pub fn checks() -> Vec<EntityCheck> {
    vec![EntityCheck::Custom { published: json!({"custom": "claims"}), check: claims_fit }]
}

/// An instance that names more claims than are kept of a token could not be compiled.
fn claims_fit(config: &Map<String, Value>, found: &mut Violations) {
    let text = |name: &str| config.get(name).and_then(Value::as_str);
    let elements = |name: &str| config.get(name).and_then(Value::as_array).into_iter().flatten();
    let forwarded = elements("custom_claims_forward").filter_map(Value::as_str);
    let required = elements("required_claims").filter_map(|required| required.get("claim")?.as_str());
    let single = [text("scope_claim"), text("consumer_claim")].into_iter().flatten();
    let claims: BTreeSet<&str> = forwarded.chain(required).chain(single).chain(REGISTERED).collect();
    if claims.len() > kept_claims::MOST {
        let most = kept_claims::MOST - REGISTERED.len();
        found.field_unless_known(
            "custom_claims_forward",
            format!("at most {most} different claims, besides the registered ones, may be forwarded or required"),
        );
    }
}

fn claim(value: &Value) -> Result<(), String> {
    ClaimPath::parse(value.as_str().unwrap_or_default()).map(drop).map_err(|error| error.to_string())
}

fn claims_with_headers(value: &Value) -> Result<(), String> {
    let claims: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    check_headers(&claims)
}

/// RFC 6749 §3.3: `%x21 / %x23-5B / %x5D-7E`.
fn scope(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let is_valid = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if text.bytes().all(is_valid) { Ok(()) } else { Err("expected one scope, without spaces and quotes".to_owned()) }
}

/// The values of the fields.
#[derive(Debug, Clone, Deserialize)]
pub struct Common {
    custom_claims_forward: Vec<String>,
    hide_credentials: bool,
    run_on_preflight: bool,
    anonymous: Option<String>,
    realm: Option<String>,
    required_scopes: Vec<String>,
    required_scopes_match: String,
    scope_claim: String,
    required_audience: Vec<String>,
    required_claims: Vec<StoredClaim>,
    serve_stale_for: f64,
    serve_cached_for: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
struct StoredClaim {
    claim: String,
    values: Vec<Box<str>>,
}

/// Why a stored configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Fields are missing or have the wrong type.
    #[error("stored configuration does not match its schema")]
    Fields(#[from] serde_json::Error),
    /// A claim is not named properly.
    #[error("stored configuration names no claim")]
    Claim(#[from] crate::claim_path::BadClaimPath),
    /// More claims are named than can be kept.
    #[error(transparent)]
    TooManyClaims(#[from] TooManyClaims),
    /// The realm or a scope is not valid in a header.
    #[error("realm or scopes are not valid in a WWW-Authenticate header")]
    Challenge,
}

impl Unusable {
    /// As the gateway reports it.
    pub fn of(self, plugin: &'static str) -> PluginError {
        PluginError { plugin, source: Box::new(self) }
    }
}

/// What a plugin decides about its instance.
pub struct Specifics {
    /// The authorities, in the order in which they are asked.
    pub candidates: Vec<Candidate>,
    /// How long an authority's word is used, in seconds; `None`: until the token's own `exp`.
    pub ttl: Option<f64>,
    /// How far the clocks of authorities may differ from ours, in seconds.
    pub clock_skew: i64,
    /// Whether authorities are told method and path of requests.
    pub request_line: RequestLineUse,
}

impl Common {
    /// Those of a stored configuration; its other fields are the plugin's own.
    ///
    /// # Errors
    /// They do not match the schema.
    pub fn of(config: &Value) -> Result<Self, Unusable> {
        Ok(Self::deserialize(config)?)
    }

    /// The handler of an instance.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn handler(&self, own: Specifics, tokens: &Arc<ThirdPartyTokens>) -> Result<Arc<dyn Handler>, Unusable> {
        let readings: Vec<Reading> =
            own.candidates.iter().map(|candidate| self.reading(candidate)).collect::<Result<_, Unusable>>()?;
        let names = readings.first().map(|reading| reading.forwarded.own_headers().to_vec());
        let rules = Rules {
            header: CredentialHeader::parse("authorization").ok_or(Unusable::Challenge)?,
            candidates: Arc::new(Candidates::new(own.candidates)),
            readings,
            own_headers: names.unwrap_or_default(),
            freshness: Freshness {
                ttl: own.ttl.map_or(i64::MAX, millis),
                serve_stale_for: millis(self.serve_stale_for),
            },
            clock_skew: own.clock_skew,
            challenges: Challenges::new(self.realm.as_deref(), &self.required_scopes).ok_or(Unusable::Challenge)?,
            absence: Absence::of(self.anonymous.as_deref()),
            serve_cached: ServeCached::of(self.serve_cached_for),
            credentials: if self.hide_credentials { Credentials::Hide } else { Credentials::Forward },
            request_line: own.request_line,
        };
        let guard = Guard::new(rules, Arc::clone(tokens));
        Ok(Arc::new(Protection {
            guard: AuthenticationHandler::new(guard, self.anonymous.as_deref(), tokens.consumers()),
            preflight: if self.run_on_preflight { Preflight::Judged } else { Preflight::Passed },
        }))
    }

    fn reading(&self, candidate: &Candidate) -> Result<Reading, Unusable> {
        let path = |claim: &String| ClaimPath::parse(claim);
        let custom: Vec<ClaimPath> = self.custom_claims_forward.iter().map(path).collect::<Result<_, _>>()?;
        let claim = |claim: &StoredClaim| {
            Ok::<_, Unusable>(RequiredClaim { path: path(&claim.claim)?, values: claim.values.clone() })
        };
        let required = Required {
            scope_claim: path(&self.scope_claim)?,
            scopes: self.required_scopes.clone(),
            scopes_match: if self.required_scopes_match == "any" { Match::Any } else { Match::All },
            audience: self.required_audience.clone(),
            claims: self.required_claims.iter().map(claim).collect::<Result<_, _>>()?,
        };
        let authority = Arc::clone(candidate.authority.facts());
        let forwarded = Forwarded::new(&custom, authority.kept())?;
        let requirements = Requirements::new(&required, authority.kept())?;
        Ok(Reading { authority, forwarded, requirements })
    }
}

/// Seconds as milliseconds; times beyond any date become the longest one.
fn millis(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, which is what is meant")]
    let millis = (seconds.min(LONGEST) * 1000.0) as i64;
    millis
}
