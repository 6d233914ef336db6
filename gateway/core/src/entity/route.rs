//! Routes: which requests go to which service (gateway.md §5, §6).

use serde_json::{Map, Value, json};

use crate::entity::{Kind, field, host, path_rule, protocol};
use crate::schema::{Branch, EntityCheck, Field, Forbidden, OnDelete, Rule, Schema, Violations};

const NAME: &str = "routes";
const GRPC: &[&str] = &["grpc", "grpcs"];
const HTTP: &[&str] = &["http", "https"];
const STREAM: &[&str] = &["tcp", "tls", "tls_passthrough", "udp"];
const DEFAULT_REDIRECT_STATUS: u16 = 426;

/// The kind `routes`.
pub fn kind() -> Kind {
    Kind::new(NAME, schema()).second_key("name")
}

fn schema() -> Schema {
    let mut schema = Schema::new(fields())
        .describe(&DESCRIPTIONS)
        .adjust(keep_grpc_paths)
        .entity_check(criteria())
        .entity_check(snis_need_tls());
    for forbidden in forbidden() {
        schema = schema.entity_check(forbidden);
    }
    let sources = json!({"custom_entity_check": {"field_sources": ["headers"]}});
    schema.check(sources, header_expressions)
}

/// Descriptions in `/schemas/routes` of the fields that only routes have.
const DESCRIPTIONS: [(&str, &str); 17] = [
    ("protocols", "The protocols that the route carries."),
    ("methods", "The methods that match, in upper case."),
    ("hosts", "The hosts that match; `*` may replace the first or the last label."),
    ("paths", "Path prefixes (`/…`) and regular expressions (`~/…`), one of which must match."),
    ("headers", "Header names, each with values, one of which a request must have."),
    ("https_redirect_status_code", "The status of the response to a request without TLS if the route requires TLS."),
    ("regex_priority", "Among regular expressions that match, the one with the higher number wins."),
    ("strip_path", "Whether the prefix that matched is removed from the upstream path."),
    ("path_handling", "How the paths of service, route and request are joined."),
    ("preserve_host", "Whether the client's Host is sent upstream instead of the service's."),
    ("request_buffering", "Whether a request's body is read before it is sent upstream."),
    ("response_buffering", "Whether a response's body is read before it is sent to the client."),
    ("snis", "The TLS server names that match."),
    ("sources", "The source addresses and ports of streams; each entry has an ip, a port or both."),
    ("destinations", "The destination addresses and ports of streams; each entry has an ip, a port or both."),
    ("service", "The service to which requests are proxied."),
    ("name", "A unique name; it can replace the id in paths and references."),
];

/// Header values that begin with `~*` are regular expressions and must compile in the router.
fn header_expressions(route: &Map<String, Value>, found: &mut Violations) {
    let headers = route.get("headers").and_then(Value::as_object).into_iter().flat_map(Map::values);
    let values = headers.filter_map(Value::as_array).flatten().filter_map(Value::as_str);
    let mut expressions = values.filter_map(|value| value.strip_prefix("~*"));
    if let Some(fault) = expressions.find_map(|expression| path_rule::compiles(expression).err()) {
        found.entity(format!("Router Expression failed validation: {fault}"));
    }
}

fn fields() -> Vec<Field> {
    let sets = vec![vec!["http", "https"], vec!["tcp", "tls", "udp"], vec!["tls_passthrough"], vec!["grpc", "grpcs"]];
    let protocols = Field::set("protocols", protocol::field("")).default(json!(["http", "https"])).required();
    let header_name = Field::string("").rule(Rule::Custom("header_name", header_name));
    vec![
        field::id(),
        field::created_at(),
        field::updated_at(),
        field::name("name"),
        protocols.rule(Rule::LengthMin(1)).rule(Rule::ExclusiveSets(sets)),
        Field::set("methods", Field::string("").rule(Rule::Custom("http_method", method))),
        Field::array("hosts", Field::string("").rule(Rule::Custom("wildcard_host", host::wildcard_host_and_port))),
        Field::array("paths", Field::string("").rule(Rule::Custom("router_path", path_rule::route_path))),
        Field::map("headers", header_name, Field::strings("")),
        Field::integer("https_redirect_status_code")
            .rule(Rule::OneOfNumbers(vec![426, 301, 302, 307, 308]))
            .default(DEFAULT_REDIRECT_STATUS)
            .required(),
        Field::integer("regex_priority").default(0),
        Field::boolean("strip_path", true),
        Field::string("path_handling").one_of(&["v0", "v1"]).default("v0"),
        Field::boolean("preserve_host", false),
        Field::boolean("request_buffering", true),
        Field::boolean("response_buffering", true),
        Field::set("snis", Field::string("").rule(Rule::Custom("wildcard_name", host::wildcard_name))),
        field::stream_ends("sources"),
        field::stream_ends("destinations"),
        field::tags(),
        Field::foreign("service", "services", OnDelete::Restrict),
    ]
}

/// Which criteria a route needs depends on its protocols.
fn criteria() -> EntityCheck {
    let branch = |contains, fields, message| Branch { contains, fields, message };
    EntityCheck::ConditionalAtLeastOneOf {
        if_field: "protocols",
        branches: vec![
            branch(
                &["https"],
                &["methods", "hosts", "headers", "paths", "snis"],
                "must set one of {fields} when 'protocols' is 'https'",
            ),
            branch(
                &["http"],
                &["methods", "hosts", "headers", "paths"],
                "must set one of {fields} when 'protocols' is 'http'",
            ),
            branch(
                &["grpcs"],
                &["hosts", "headers", "paths", "snis"],
                "must set one of {fields} when 'protocols' is 'grpcs'",
            ),
            branch(&["grpc"], &["hosts", "headers", "paths"], "must set one of {fields} when 'protocols' is 'grpc'"),
            branch(
                &["tcp", "tls", "udp"],
                &["sources", "destinations", "snis"],
                "must set one of {fields} when 'protocols' is 'tcp', 'tls' or 'udp'",
            ),
            branch(&["tls_passthrough"], &["snis"], "must set snis when 'protocols' is 'tls_passthrough'"),
        ],
    }
}

fn snis_need_tls() -> EntityCheck {
    EntityCheck::Conditional {
        if_field: "protocols",
        if_match: Rule::ElementsNotOneOf(vec!["grpcs", "https", "tls", "tls_passthrough"]),
        then_field: "snis",
        then_match: Rule::LengthEquals(0),
        message: Some("'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'"),
    }
}

/// Criteria and settings that have no meaning for the route's protocols.
fn forbidden() -> Vec<EntityCheck> {
    let forbid = |contains, field, value, message| EntityCheck::Forbids {
        if_field: "protocols",
        contains,
        field,
        value,
        message,
    };
    let any = Forbidden::Anything;
    vec![
        forbid(HTTP, "sources", any, "cannot set 'sources' when 'protocols' is 'http' or 'https'"),
        forbid(HTTP, "destinations", any, "cannot set 'destinations' when 'protocols' is 'http' or 'https'"),
        forbid(GRPC, "sources", any, "cannot set 'sources' when 'protocols' is 'grpc' or 'grpcs'"),
        forbid(GRPC, "destinations", any, "cannot set 'destinations' when 'protocols' is 'grpc' or 'grpcs'"),
        forbid(GRPC, "methods", any, "cannot set 'methods' when 'protocols' is 'grpc' or 'grpcs'"),
        forbid(GRPC, "strip_path", Forbidden::True, "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'"),
        forbid(
            STREAM,
            "methods",
            any,
            "cannot set 'methods' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'",
        ),
        forbid(STREAM, "hosts", any, "cannot set 'hosts' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'"),
        forbid(STREAM, "paths", any, "cannot set 'paths' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'"),
        forbid(
            STREAM,
            "headers",
            any,
            "cannot set 'headers' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'",
        ),
    ]
}

/// The path of a gRPC call names its method, so it is not stripped by default; an explicit request to strip
/// it is refused.
fn keep_grpc_paths(given: &mut Map<String, Value>) {
    let protocols = given.get("protocols").and_then(Value::as_array).into_iter().flatten();
    let is_grpc = protocols.filter_map(Value::as_str).any(|protocol| GRPC.contains(&protocol));
    if is_grpc {
        given.entry("strip_path").or_insert(Value::Bool(false));
    }
}

fn method(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let fits = text.bytes().all(|byte| byte.is_ascii_uppercase());
    if fits { Ok(()) } else { Err(format!("invalid value: {text}")) }
}

fn header_name(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    if text.eq_ignore_ascii_case("host") {
        return Err("cannot contain 'host' header, which must be specified in the 'hosts' attribute".to_owned());
    }
    field::header_name(value)
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
