//! Health checks of an upstream's targets: the record `healthchecks` (gateway.md §5).

use serde_json::{Map, Value, json};

use crate::entity::{field, host, path_rule};
use crate::schema::{Field, Rule, Schema, Type};

const TYPES: [&str; 5] = ["tcp", "http", "https", "grpc", "grpcs"];
const ACTIVE_HEALTHY: [u16; 2] = [200, 302];
const ACTIVE_UNHEALTHY: [u16; 8] = [429, 404, 500, 501, 502, 503, 504, 505];
const PASSIVE_HEALTHY: [u16; 19] =
    [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308];
const PASSIVE_UNHEALTHY: [u16; 3] = [429, 500, 503];

/// The most that `concurrency` may be.
const MAX_CONCURRENCY: f64 = 2_147_483_648.0;

/// The field `healthchecks`.
pub(super) fn health_checks() -> Field {
    with_defaults("healthchecks", vec![active(), passive(), threshold()])
}

fn threshold() -> Field {
    let threshold = Field::number("threshold").default(0).between(0, 100);
    threshold.describe("The percentage of the targets' weight that must be healthy for the upstream to be used.")
}

fn active() -> Field {
    let header_name = Field::string("").rule(Rule::Custom("header_name", field::header_name));
    let path = Field::string("http_path").default("/").rule(Rule::StartsWith("/"));
    let mut unhealthy = vec![interval()];
    unhealthy.extend(failures(json!(ACTIVE_UNHEALTHY)));
    let fields = vec![
        kind().describe("How targets are probed."),
        seconds("timeout").default(1).describe("How long a probe may take, in seconds."),
        Field::integer("concurrency")
            .default(10)
            .rule(Rule::Between(1.0, MAX_CONCURRENCY))
            .describe("How many targets are probed at the same time."),
        path.rule(Rule::Custom("path", path_rule::service_path)).describe("The path of the probe's request."),
        Field::string("https_sni")
            .rule(Rule::Custom("server_name", host::server_name))
            .describe("The server name of a probe over TLS, instead of the target's."),
        Field::boolean("https_verify_certificate", true)
            .describe("Whether a probe over TLS verifies the target's certificate."),
        Field::map("headers", header_name, Field::strings("")).describe("Headers of the probe's request."),
        with_defaults("healthy", [vec![interval()], successes(json!(ACTIVE_HEALTHY))].concat()),
        with_defaults("unhealthy", unhealthy),
    ];
    with_defaults("active", fields)
}

fn passive() -> Field {
    let fields = vec![
        kind().describe("What is observed."),
        with_defaults("healthy", successes(json!(PASSIVE_HEALTHY))),
        with_defaults("unhealthy", failures(json!(PASSIVE_UNHEALTHY))),
    ];
    with_defaults("passive", fields)
}

fn kind() -> Field {
    Field::string("type").default("http").one_of(&TYPES)
}

fn interval() -> Field {
    seconds("interval").default(0).describe("The seconds between two probes; 0 for none.")
}

fn seconds(name: &'static str) -> Field {
    Field::number(name).between(0, 65_535)
}

fn statuses(default: Value) -> Field {
    Field::array("http_statuses", Field::integer("").between(100, 999)).default(default)
}

fn successes(default: Value) -> Vec<Field> {
    let many = "How many successes in a row make a target healthy; 0 for never.";
    vec![statuses(default).describe("Statuses that are successes."), count("successes").describe(many)]
}

fn failures(default: Value) -> Vec<Field> {
    vec![
        statuses(default).describe("Statuses that are failures."),
        count("tcp_failures").describe("How many failed connections make a target unhealthy; 0 for never."),
        count("timeouts").describe("How many timeouts make a target unhealthy; 0 for never."),
        count("http_failures").describe("How many failures by status make a target unhealthy; 0 for never."),
    ]
}

fn count(name: &'static str) -> Field {
    Field::integer(name).default(0).between(0, 255)
}

/// A record whose default are those of its fields.
fn with_defaults(name: &'static str, fields: Vec<Field>) -> Field {
    let of = |field: &Field| Some((field.name.to_owned(), field.default.clone()?));
    let defaults: Map<String, Value> = fields.iter().filter_map(of).collect();
    Field::new(name, Type::Record(Schema::new(fields))).default(Value::Object(defaults))
}
