use serde_json::json;

use super::*;
use crate::clock::ManualClock;
use crate::random::SystemRandom;
use crate::schema::{Document, Makers};

fn document(value: Value) -> Document {
    Document::try_from(value).unwrap()
}

fn inserted(given: Value) -> Result<Value, Value> {
    let makers = Makers { clock: &ManualClock::at(1000), random: &SystemRandom };
    let stored = kind().schema.process_insert(document(given), &makers);
    stored.map(Value::from).map_err(|found| Value::Object(found.fields))
}

fn changed(given: Value, patch: Value) -> Value {
    let makers = Makers { clock: &ManualClock::at(2000), random: &SystemRandom };
    let stored = document(inserted(given).unwrap());
    Value::from(kind().schema.process_update(&stored, document(patch), &makers).unwrap())
}

#[test]
fn every_field_has_its_default() {
    let mut stored = inserted(json!({"name": "api"})).unwrap();
    assert!(stored["id"].is_string());
    stored["id"] = Value::Null;
    let expected = json!({
        "id": null, "created_at": 1000, "updated_at": 1000, "name": "api", "algorithm": "round-robin",
        "hash_on": "none", "hash_fallback": "none", "hash_on_header": null, "hash_fallback_header": null,
        "hash_on_cookie": null, "hash_on_cookie_path": "/", "hash_on_query_arg": null,
        "hash_fallback_query_arg": null, "hash_on_uri_capture": null, "hash_fallback_uri_capture": null,
        "slots": 10000, "tags": null, "host_header": null, "client_certificate": null, "use_srv_name": false,
        "healthchecks": {
            "threshold": 0,
            "active": {
                "type": "http", "timeout": 1, "concurrency": 10, "http_path": "/", "https_sni": null,
                "https_verify_certificate": true, "headers": null,
                "healthy": {"interval": 0, "http_statuses": [200, 302], "successes": 0},
                "unhealthy": {
                    "interval": 0, "http_statuses": [429, 404, 500, 501, 502, 503, 504, 505], "tcp_failures": 0,
                    "timeouts": 0, "http_failures": 0,
                },
            },
            "passive": {
                "type": "http",
                "healthy": {
                    "http_statuses": [
                        200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308,
                    ],
                    "successes": 0,
                },
                "unhealthy": {
                    "http_statuses": [429, 500, 503], "tcp_failures": 0, "timeouts": 0, "http_failures": 0,
                },
            },
        },
    });
    assert_eq!(stored, expected);
    let given = json!({"name": "api", "healthchecks": {"active": {"healthy": {"interval": 5}}}});
    let mut partly = inserted(given).unwrap();
    assert_eq!(partly["healthchecks"]["active"]["healthy"]["interval"].take(), json!(5));
    partly["healthchecks"]["active"]["healthy"]["interval"] = json!(0);
    assert_eq!(partly["healthchecks"], expected["healthchecks"]);
}

#[test]
fn an_input_of_the_hash_chooses_the_algorithm() {
    let rows = [
        (json!({"hash_on": "ip"}), "consistent-hashing", "ip"),
        (json!({"hash_on": "none"}), "round-robin", "none"),
        (json!({"hash_on": null}), "round-robin", "none"),
        (json!({"algorithm": "consistent-hashing"}), "consistent-hashing", "none"),
        (json!({"algorithm": "consistent-hashing", "hash_on": "none"}), "round-robin", "none"),
        (json!({"algorithm": "least-connections"}), "least-connections", "none"),
        (json!({"algorithm": "latency", "hash_on": "ip"}), "latency", "none"),
    ];
    for (given, algorithm, hash_on) in rows {
        let with_name = |mut given: Value| {
            given["name"] = json!("api");
            given
        };
        for stored in [inserted(with_name(given.clone())).unwrap(), changed(json!({"name": "api"}), given.clone())] {
            assert_eq!((&stored["algorithm"], &stored["hash_on"]), (&json!(algorithm), &json!(hash_on)), "{given}");
        }
    }
}

#[test]
fn each_rule_has_its_message() {
    let given_by = |field: &str| format!("failed conditional validation given value of field '{field}'");
    let missing = "required field missing";
    let rows = [
        (json!({}), json!({"name": missing})),
        (json!({"name": "1.2.3.4"}), json!({"name": "Invalid name ('1.2.3.4'); no ip addresses allowed"})),
        (json!({"name": "a b"}), json!({"name": "Invalid name ('a b'); must be a valid hostname"})),
        (json!({"name": "a:80"}), json!({"name": "Invalid name ('a:80'); no port allowed"})),
        (json!({"name": "a", "slots": 9}), json!({"slots": "value should be between 10 and 65536"})),
        (
            json!({"name": "a", "algorithm": "random"}),
            json!({"algorithm": "expected one of: consistent-hashing, least-connections, round-robin, latency"}),
        ),
        (
            json!({"name": "a", "hash_on": "header"}),
            json!({"@entity": [given_by("hash_on")], "hash_on_header": missing}),
        ),
        (
            json!({"name": "a", "hash_on": "ip", "hash_fallback": "cookie"}),
            json!({"@entity": [given_by("hash_fallback")], "hash_on_cookie": missing}),
        ),
        (
            json!({"name": "a", "hash_fallback": "ip"}),
            json!({"@entity": [given_by("hash_on")], "hash_fallback": "expected one of: none"}),
        ),
        (
            json!({"name": "a", "hash_on": "header", "hash_fallback": "header", "hash_on_header": "x", "hash_fallback_header": "x"}),
            json!({"@entity": ["values of these fields must be distinct: 'hash_on_header', 'hash_fallback_header'"]}),
        ),
        (
            json!({"name": "a", "hash_on": "cookie", "hash_on_cookie": "a b"}),
            json!({"hash_on_cookie": "bad cookie name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'"}),
        ),
        (json!({"name": "a", "hash_on_cookie_path": "x"}), json!({"hash_on_cookie_path": "should start with: /"})),
        (json!({"name": "a", "host_header": "a b"}), json!({"host_header": "invalid hostname: a b"})),
        (
            json!({"name": "a", "healthchecks": {"active": {"timeout": -1, "https_sni": "1.2.3.4", "type": "udp"}}}),
            json!({"healthchecks": {"active": {
                "timeout": "value should be between 0 and 65535", "https_sni": "must not be an IP",
                "type": "expected one of: tcp, http, https, grpc, grpcs",
            }}}),
        ),
        (
            json!({"name": "a", "healthchecks": {"threshold": 101, "passive": {"unhealthy": {"http_statuses": [99]}}}}),
            json!({"healthchecks": {
                "threshold": "value should be between 0 and 100",
                "passive": {"unhealthy": {"http_statuses": ["value should be between 100 and 999"]}},
            }}),
        ),
        (
            json!({"name": "a", "healthchecks": {"passive": {"unhealthy": {"tcp_failures": 256}}}}),
            json!({"healthchecks": {"passive": {"unhealthy": {"tcp_failures": "value should be between 0 and 255"}}}}),
        ),
    ];
    for (given, faults) in rows {
        assert_eq!(inserted(given.clone()), Err(faults), "{given}");
    }
}
