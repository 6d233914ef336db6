//! Services: the upstreams of requests (gateway.md §5).

use serde_json::{Map, Value, json};

use crate::entity::{Kind, field, host, path_rule, protocol};
use crate::schema::{EntityCheck, Field, OnDelete, Rule, Schema, Shorthand};

const NAME: &str = "services";
const DEFAULT_PORT: u16 = 80;
const DEFAULT_RETRIES: u16 = 5;

/// The kind `services`.
pub fn kind() -> Kind {
    Kind::new(NAME, schema()).second_key("name")
}

/// Descriptions in `/schemas/services` of the fields that only services have.
const DESCRIPTIONS: [(&str, &str); 13] = [
    ("retries", "The number of further attempts if the upstream cannot be reached."),
    ("protocol", "The protocol used with the upstream."),
    ("host", "The upstream's host name or address."),
    ("port", "The upstream's port."),
    ("path", "Prepended to the path of every request."),
    ("connect_timeout", "The timeout for connecting to the upstream, in milliseconds."),
    ("write_timeout", "The maximum time between two writes to the upstream, in milliseconds."),
    ("read_timeout", "The maximum time between two reads from the upstream, in milliseconds."),
    ("client_certificate", "The certificate presented to the upstream if it requests one."),
    ("tls_verify", "Whether the upstream's certificate is verified; null uses the gateway's setting."),
    ("tls_verify_depth", "The maximum number of certificates in the upstream's chain."),
    ("ca_certificates", "Ids of the CA certificates that verify the upstream's certificate."),
    ("enabled", "Whether the service's routes match requests."),
];

fn schema() -> Schema {
    let fields = vec![
        field::id(),
        field::created_at(),
        field::updated_at(),
        field::name("name"),
        Field::integer("retries").default(DEFAULT_RETRIES).between(0, 32_767),
        protocol::field("protocol").default("http").required(),
        Field::string("host").rule(Rule::Custom("host", host::host)).required(),
        field::port("port").default(DEFAULT_PORT).required(),
        Field::string("path").rule(Rule::StartsWith("/")).rule(Rule::Custom("path", path_rule::service_path)),
        field::timeout("connect_timeout"),
        field::timeout("write_timeout"),
        field::timeout("read_timeout"),
        field::tags(),
        Field::foreign("client_certificate", "certificates", OnDelete::Restrict),
        Field::new("tls_verify", crate::schema::Type::Boolean),
        Field::integer("tls_verify_depth").between(0, 64).default(Value::Null),
        Field::ids_of("ca_certificates", "ca_certificates"),
        Field::boolean("enabled", true),
    ];
    let without_path = Rule::OneOf(vec!["tcp", "tls", "udp", "grpc", "grpcs"]);
    let mut schema = Schema::new(fields).describe(&DESCRIPTIONS).entity_check(null_when(without_path, "path"));
    for name in ["client_certificate", "tls_verify", "tls_verify_depth", "ca_certificates"] {
        schema = schema.entity_check(null_when(Rule::NotOneOf(vec!["https", "tls"]), name));
    }
    schema.shorthand(Shorthand { field: Field::string("url"), expand })
}

fn null_when(if_match: Rule, then_field: &'static str) -> EntityCheck {
    EntityCheck::Conditional { if_field: "protocol", if_match, then_field, then_match: Rule::Null, message: None }
}

/// Splits `scheme://host:port/path` into the four fields; invalid parts become values that validation
/// refuses.
fn expand(url: &Value) -> Map<String, Value> {
    let url = url.as_str().unwrap_or_default();
    let (scheme, rest) = split_scheme(url);
    let (authority, path) = match rest.strip_prefix("//") {
        None => (None, rest),
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            (Some(authority), path)
        }
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let (host, port) = split_port(authority.unwrap_or_default());
    let number = port.and_then(|port| port.parse::<u64>().ok());
    let protocol = scheme.unwrap_or(match number {
        Some(443) => "https",
        _ => "http",
    });
    let port = match (number, port) {
        (Some(number), _) => json!(number),
        (None, Some(text)) => json!(text),
        (None, None) if protocol == "https" => json!(443),
        (None, None) => json!(DEFAULT_PORT),
    };
    let some = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    Map::from_iter([
        ("protocol".to_owned(), json!(protocol)),
        ("host".to_owned(), some(host)),
        ("port".to_owned(), port),
        ("path".to_owned(), some(path)),
    ])
}

fn split_scheme(url: &str) -> (Option<&str>, &str) {
    let is_scheme = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    match url.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
        _ => (None, url),
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match authority.rsplit_once(':') {
        Some((host, "")) => (host, None),
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
