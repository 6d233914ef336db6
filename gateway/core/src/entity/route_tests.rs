use super::*;
use crate::clock::ManualClock;
use crate::random::SystemRandom;
use crate::schema::{Document, Makers};
use proptest::prelude::*;

fn insert(input: &Value) -> Result<Document, Violations> {
    let makers = Makers { clock: &ManualClock::at(1000), random: &SystemRandom };
    kind().schema.process_insert(Document::try_from(input.clone()).unwrap(), &makers)
}

fn faults(input: &Value) -> Value {
    insert(input).err().map_or(Value::Null, |found| Value::Object(found.fields))
}

#[test]
fn a_route_gets_all_its_defaults() {
    let id = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
    assert_eq!(
        insert(&json!({"id": id, "paths": ["/a"]})).map(Value::from),
        Ok(json!({
            "id": id, "created_at": 1000, "updated_at": 1000, "name": null, "protocols": ["http", "https"],
            "methods": null, "hosts": null, "paths": ["/a"], "headers": null, "https_redirect_status_code": 426,
            "regex_priority": 0, "strip_path": true, "path_handling": "v0", "preserve_host": false,
            "request_buffering": true, "response_buffering": true, "snis": null, "sources": null,
            "destinations": null, "tags": null, "service": null,
        }))
    );
}

#[test]
fn a_route_needs_a_criterion_for_its_protocols() {
    let table = [
        (json!({}), "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'"),
        (
            json!({"protocols": ["http"]}),
            "must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'",
        ),
        (
            json!({"protocols": ["grpcs"], "methods": []}),
            "must set one of 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'grpcs'",
        ),
        (json!({"protocols": ["grpc"]}), "must set one of 'hosts', 'headers', 'paths' when 'protocols' is 'grpc'"),
        (
            json!({"protocols": ["tcp"]}),
            "must set one of 'sources', 'destinations', 'snis' when 'protocols' is 'tcp', 'tls' or 'udp'",
        ),
        (json!({"protocols": ["tls_passthrough"]}), "must set snis when 'protocols' is 'tls_passthrough'"),
    ];
    for (input, text) in table {
        let found = faults(&input);
        assert_eq!(found["@entity"], json!([text]), "{input}");
    }
    assert_eq!(
        insert(&json!({})).err().map(|found| found.message()),
        Some("schema violation (must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https')".to_owned())
    );
}

#[test]
fn each_fault_of_a_route_has_its_message() {
    let with = |field: &str, value: Value| {
        let mut input = json!({"paths": ["/a"]});
        input[field] = value;
        input
    };
    let host_header = "cannot contain 'host' header, which must be specified in the 'hosts' attribute";
    let place = "invalid wildcard: must be placed at leftmost or rightmost label";
    let snis = "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'";
    let table = [
        (
            with("protocols", json!(["http", "grpcs"])),
            json!({"protocols": "these sets are mutually exclusive: ('http', 'https'), ('grpc', 'grpcs')"}),
        ),
        (with("protocols", json!([])), json!({"protocols": "length must be at least 1"})),
        (
            with("protocols", json!(["ftp"])),
            json!({"protocols": ["expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp"]}),
        ),
        (with("methods", json!(["GET", "get"])), json!({"methods": [null, "invalid value: get"]})),
        (with("hosts", json!(["a.*.b"])), json!({"hosts": [place]})),
        (with("hosts", json!(["*.*"])), json!({"hosts": ["invalid wildcard: must have at most one wildcard"]})),
        (with("hosts", json!([""])), json!({"hosts": ["length must be at least 1"]})),
        (with("hosts", json!("a.com")), json!({"hosts": "expected an array"})),
        (with("paths", json!(["/a/./b"])), json!({"paths": ["non-normalized path, consider use '/a/b' instead"]})),
        (with("headers", json!({"Host": ["a"]})), json!({"headers": host_header})),
        (with("headers", json!({"x": "a"})), json!({"headers": "expected an array"})),
        (
            with("https_redirect_status_code", json!(303)),
            json!({"https_redirect_status_code": "expected one of: 426, 301, 302, 307, 308"}),
        ),
        (with("path_handling", json!("v2")), json!({"path_handling": "expected one of: v0, v1"})),
        (with("strip_path", Value::Null), json!({"strip_path": "required field missing"})),
        (
            with("sources", json!([{"port": 5}])),
            json!({"sources": "cannot set 'sources' when 'protocols' is 'http' or 'https'"}),
        ),
        (with("service", json!({"id": "x"})), json!({"service": {"id": "expected a valid UUID"}})),
        (
            with("name", json!("a b")),
            json!({"name": "invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~"}),
        ),
        (
            json!({"paths": ["/a"], "protocols": ["http"], "snis": ["a.com"]}),
            json!({"@entity": [snis], "snis": "length must be 0"}),
        ),
        (
            json!({"paths": ["/a"], "protocols": ["grpc"], "strip_path": true}),
            json!({"strip_path": "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'"}),
        ),
    ];
    for (input, wanted) in table {
        assert_eq!(faults(&input), wanted, "{input}");
    }
}

#[test]
fn a_grpc_route_keeps_its_path() {
    let stored = insert(&json!({"protocols": ["grpc"], "paths": ["/a"]})).unwrap_or_default();
    assert_eq!(stored.get("strip_path"), Some(&json!(false)));
}

/// Values of every type, some of which a route accepts.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "(/|~/)?[a-z.*(%/]{0,6}".prop_map(Value::from),
        prop::sample::select(vec!["http", "https", "grpc", "tls", "GET", "v0", "*.a.com"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("(id|ip|port|x-a)", inner, 0..3)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_is_refused_with_a_reason_or_stored_in_final_form(
        given in prop::collection::vec((0_usize..24, any_value()), 0..6)
    ) {
        let names: Vec<&str> = kind().schema.fields.iter().map(|field| field.name).collect();
        let input = given.into_iter().map(|(at, value)| (names.get(at).copied().unwrap_or("else").to_owned(), value));
        match insert(&Value::Object(input.collect())) {
            Err(found) => prop_assert!(!found.is_empty() && found.message().contains("schema violation")),
            Ok(once) => prop_assert_eq!(insert(&Value::from(once.clone())), Ok(once)),
        }
    }
}

#[test]
fn header_expressions_must_compile() {
    let route = |value: &str| json!({"headers": {"x-version": ["v1", value]}});
    assert!(insert(&route("~*^v[0-9]+$")).is_ok());
    assert!(insert(&route("(")).is_ok());
    let text = "Router Expression failed validation: invalid regex: '(' (unclosed group)";
    assert_eq!(faults(&route("~*(")), json!({"@entity": [text]}));
}
