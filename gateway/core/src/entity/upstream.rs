//! Upstreams: virtual hosts behind which requests are distributed among targets (gateway.md §5).
//!
//! A service whose `host` is the name of an upstream is proxied to its targets.

use serde_json::{Map, Value, json};

use crate::entity::health_checks::health_checks;
use crate::entity::{Kind, certificate, field, host, path_rule};
use crate::schema::{EntityCheck, Field, OnDelete, Rule, Schema};

pub(super) const NAME: &str = "upstreams";
const DEFAULT_SLOTS: u16 = 10_000;
const ALGORITHMS: [&str; 4] = ["consistent-hashing", "least-connections", "round-robin", "latency"];
const INPUTS: [&str; 8] = ["none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture"];

/// The kind `upstreams`.
pub fn kind() -> Kind {
    Kind::new(NAME, schema()).second_key("name")
}

fn schema() -> Schema {
    let header = |name| Field::string(name).rule(Rule::Custom("header_name", field::header_name));
    let cookie_name = Rule::Custom("cookie_name", |value| field::plain_name("cookie", value));
    let name = Field::string("name").required().unique().rule(Rule::Custom("upstream_name", host::upstream_name));
    let fields = vec![
        field::id(),
        field::created_at(),
        name,
        field::updated_at(),
        Field::string("algorithm").default("round-robin").one_of(&ALGORITHMS),
        Field::string("hash_on").default("none").one_of(&INPUTS),
        Field::string("hash_fallback").default("none").one_of(&INPUTS),
        header("hash_on_header"),
        header("hash_fallback_header"),
        Field::string("hash_on_cookie").rule(cookie_name),
        path("hash_on_cookie_path"),
        Field::string("hash_on_query_arg").rule(Rule::LengthMin(1)),
        Field::string("hash_fallback_query_arg").rule(Rule::LengthMin(1)),
        Field::string("hash_on_uri_capture").rule(Rule::LengthMin(1)),
        Field::string("hash_fallback_uri_capture").rule(Rule::LengthMin(1)),
        Field::integer("slots").default(DEFAULT_SLOTS).between(10, 65_536),
        health_checks(),
        field::tags(),
        Field::string("host_header").rule(Rule::Custom("host_and_port", host::host_and_port)),
        Field::foreign("client_certificate", certificate::NAME, OnDelete::Restrict),
        Field::new("use_srv_name", crate::schema::Type::Boolean).default(false),
    ];
    let schema = Schema::new(fields).describe(&DESCRIPTIONS).adjust(choose_algorithm);
    checks().into_iter().fold(schema, Schema::entity_check)
}

/// Descriptions in `/schemas/upstreams` of the fields that only upstreams have.
const DESCRIPTIONS: [(&str, &str); 19] = [
    ("name", "The virtual host name: services whose host it is are proxied to the upstream's targets."),
    ("algorithm", "How requests are distributed among the targets."),
    ("hash_on", "What consistent hashing is based on."),
    ("hash_fallback", "What it is based on in requests without the first."),
    ("hash_on_header", "The header whose value is hashed."),
    ("hash_fallback_header", "The header whose value is hashed instead."),
    ("hash_on_cookie", "The cookie whose value is hashed; a request without it gets one in its response."),
    ("hash_on_cookie_path", "The path of the cookie that a response sets."),
    ("hash_on_query_arg", "The query argument whose value is hashed."),
    ("hash_fallback_query_arg", "The query argument whose value is hashed instead."),
    ("hash_on_uri_capture", "The capture of the route's path whose text is hashed."),
    ("hash_fallback_uri_capture", "The capture of the route's path whose text is hashed instead."),
    ("slots", "How finely weights are told apart: the positions in one round of the distribution."),
    ("healthchecks", "How it is found out which targets can serve requests."),
    ("threshold", "The percentage of the targets' weight that must be healthy for the upstream to be used."),
    ("host_header", "The Host sent to targets, instead of their own names."),
    ("client_certificate", "The certificate presented to targets, unless the service has one."),
    ("use_srv_name", "Whether the Host sent to targets is the name in their SRV record."),
    ("tags", "Labels by which lists can be filtered."),
];

/// A path with this default.
fn path(name: &'static str) -> Field {
    let path = Field::string(name).default("/").rule(Rule::StartsWith("/"));
    path.rule(Rule::Custom("path", path_rule::service_path))
}

/// An input of the hash decides about the algorithm, and an algorithm that does not hash needs none.
fn choose_algorithm(given: &mut Map<String, Value>) {
    if given.get("algorithm").is_some_and(|algorithm| algorithm == "least-connections" || algorithm == "latency") {
        given.insert("hash_on".to_owned(), json!("none"));
        return;
    }
    let algorithm = match given.get_mut("hash_on") {
        Some(input @ Value::Null) => {
            *input = json!("none");
            return;
        }
        Some(Value::String(input)) if input == "none" => "round-robin",
        Some(Value::String(input)) if INPUTS.contains(&input.as_str()) => "consistent-hashing",
        _ => return,
    };
    given.insert("algorithm".to_owned(), json!(algorithm));
}

fn checks() -> Vec<EntityCheck> {
    let needs = |if_field, input, then_field| conditional(if_field, input, then_field, Rule::Present);
    let fallback =
        |input, others: &[&'static str]| conditional("hash_on", input, "hash_fallback", Rule::OneOf(others.to_vec()));
    vec![
        needs("hash_on", "header", "hash_on_header"),
        needs("hash_fallback", "header", "hash_fallback_header"),
        needs("hash_on", "cookie", "hash_on_cookie"),
        needs("hash_fallback", "cookie", "hash_on_cookie"),
        fallback("none", &["none"]),
        // A request without the cookie gets one, so nothing falls back.
        fallback("cookie", &["none"]),
        fallback("consumer", &["none", "ip", "header", "cookie", "path", "query_arg", "uri_capture"]),
        fallback("ip", &["none", "consumer", "header", "cookie", "path", "query_arg", "uri_capture"]),
        fallback("path", &["none", "consumer", "header", "cookie", "query_arg", "ip", "uri_capture"]),
        EntityCheck::Distinct(&["hash_on_header", "hash_fallback_header"]),
        needs("hash_on", "query_arg", "hash_on_query_arg"),
        needs("hash_fallback", "query_arg", "hash_fallback_query_arg"),
        EntityCheck::Distinct(&["hash_on_query_arg", "hash_fallback_query_arg"]),
        needs("hash_on", "uri_capture", "hash_on_uri_capture"),
        needs("hash_fallback", "uri_capture", "hash_fallback_uri_capture"),
        EntityCheck::Distinct(&["hash_on_uri_capture", "hash_fallback_uri_capture"]),
    ]
}

fn conditional(if_field: &'static str, input: &'static str, then_field: &'static str, then_match: Rule) -> EntityCheck {
    EntityCheck::Conditional { if_field, if_match: Rule::Equals(json!(input)), then_field, then_match, message: None }
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
