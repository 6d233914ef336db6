//! The configuration of an instance: its schema as data, and what is read from it (introspection.md §1).
//!
//! The fields of the first authority are fields of `config` itself, as in the plugin of the same name in Kong; further
//! ones are elements of `authorities`, with the same fields.

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_plugin::{Field, Rule, Schema};
use tollgate_third_party::{Common, config};

use crate::authority::{Authority, Unusable};
use crate::authority_fields::{self, with_checks};

/// The longest time that a field may give, in seconds: ten years.
const LONGEST: f64 = 315_360_000.0;

/// The schema of `config`.
pub fn schema() -> Schema {
    let mut fields = authority_fields::fields();
    fields.extend([
        Field::number("ttl")
            .default(30)
            .required()
            .rule(Rule::Between(0.0, LONGEST))
            .describe("Seconds for which a response is used; 0: until the token's own `exp`."),
        Field::boolean("introspect_request", false)
            .describe("Whether endpoints are sent `X-Request-Path` and `X-Request-Http-Method`."),
    ]);
    fields.extend(config::fields());
    let further = with_checks(Schema::new(authority_fields::fields()));
    fields.push(
        Field::array("authorities", Field::record("", further))
            .default(json!([]))
            .required()
            .describe("Further authorities, which are asked in this order about tokens that the first does not know."),
    );
    config::checks().into_iter().fold(with_checks(Schema::new(fields)), Schema::entity_check)
}

/// The values of an instance.
pub struct Config {
    /// What all plugins for tokens of other authorities have.
    pub common: Common,
    /// The authorities, each with its stored fields, which identify it.
    pub authorities: Vec<(Authority, Value)>,
    /// How long a response is used, in seconds; `None`: until the token's own `exp`.
    pub ttl: Option<f64>,
    /// Whether endpoints are told method and path of requests.
    pub introspect_request: bool,
}

#[derive(Deserialize)]
struct Own {
    ttl: f64,
    introspect_request: bool,
    authorities: Vec<Value>,
}

impl Config {
    /// Reads a stored configuration.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn read(stored: &Value) -> Result<Self, Unusable> {
        let own = Own::deserialize(stored)?;
        let names: Vec<&str> = authority_fields::fields().iter().map(|field| field.name).collect();
        let authority = |stored: &Value| {
            let fields = names.iter().filter_map(|name| Some((String::from(*name), stored.get(*name)?.clone())));
            let fields = Value::Object(fields.collect());
            Ok::<_, Unusable>((Authority::deserialize(&fields)?, fields))
        };
        Ok(Self {
            common: Common::deserialize(stored)?,
            authorities: std::iter::once(stored).chain(&own.authorities).map(authority).collect::<Result<_, _>>()?,
            ttl: (own.ttl > 0.0).then_some(own.ttl),
            introspect_request: own.introspect_request,
        })
    }
}
