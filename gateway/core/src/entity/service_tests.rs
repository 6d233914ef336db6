use super::*;
use crate::clock::ManualClock;
use crate::random::SystemRandom;
use crate::schema::{Document, Makers};
use proptest::prelude::*;

fn process(input: &Value) -> Result<Value, Value> {
    let makers = Makers { clock: &ManualClock::at(1000), random: &SystemRandom };
    let input = Document::try_from(input.clone()).unwrap();
    kind().schema.process_insert(input, &makers).map(Value::from).map_err(|found| Value::Object(found.fields))
}

fn faults(input: &Value) -> Value {
    process(input).err().unwrap_or_default()
}

#[test]
fn a_service_gets_all_its_defaults() {
    let id = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
    assert_eq!(
        process(&json!({"id": id, "host": "example.com"})),
        Ok(json!({
            "id": id, "created_at": 1000, "updated_at": 1000, "name": null, "retries": 5, "protocol": "http",
            "host": "example.com", "port": 80, "path": null, "connect_timeout": 60000, "write_timeout": 60000,
            "read_timeout": 60000, "tags": null, "client_certificate": null, "tls_verify": null,
            "tls_verify_depth": null, "ca_certificates": null, "enabled": true,
        }))
    );
}

#[test]
fn a_url_sets_four_fields() {
    let table = [
        ("https://h/x", json!(["https", "h", 443, "/x"])),
        ("http://h:8080", json!(["http", "h", 8080, null])),
        ("grpc://h", json!(["grpc", "h", 80, null])),
        ("http://u:p@h/a?b#c", json!(["http", "h", 80, "/a"])),
        ("http://[::1]:90/", json!(["http", "[::1]", 90, "/"])),
    ];
    for (url, wanted) in table {
        let made = process(&json!({"url": url})).unwrap_or_default();
        assert_eq!(json!([made["protocol"], made["host"], made["port"], made["path"]]), wanted, "{url}");
        assert_eq!(made.get("url"), None);
    }
    let beside = json!({"url": "https://h/x", "protocol": "grpc", "host": "other", "port": 1, "path": "/y"});
    let made = process(&beside).unwrap_or_default();
    assert_eq!(json!([made["protocol"], made["host"], made["port"], made["path"]]), json!(["https", "h", 443, "/x"]));
    let made = process(&json!({"url": "http://h", "path": "/y"})).unwrap_or_default();
    assert_eq!(made["path"], json!("/y"), "a url without a path leaves the path alone");
    assert_eq!(faults(&json!({"url": "http:///x", "host": "h"})), json!({"host": "required field missing"}));
    let protocols = "expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp";
    let nonsense = json!({
        "host": "required field missing", "protocol": protocols, "path": "should start with: /",
    });
    assert_eq!(faults(&json!({"url": "h:443"})), nonsense);
    assert_eq!(faults(&json!({"url": 5, "host": "h"})), json!({"url": "expected a string"}));
}

#[test]
fn each_fault_of_a_service_has_its_message() {
    let conditional = "failed conditional validation given value of field 'protocol'";
    let certificate = json!({"id": "6f9619ff-8b86-d011-b42d-00cf4fc964ff"});
    let table = [
        (json!({}), json!({"host": "required field missing"})),
        (json!({"host": "h:80"}), json!({"host": "must not have a port"})),
        (json!({"host": "h h"}), json!({"host": "invalid value: h h"})),
        (json!({"host": "h", "port": 65536}), json!({"port": "value should be between 0 and 65535"})),
        (json!({"host": "h", "retries": 32768}), json!({"retries": "value should be between 0 and 32767"})),
        (json!({"host": "h", "read_timeout": 0}), json!({"read_timeout": "value should be between 1 and 2147483646"})),
        (json!({"host": "h", "path": "x"}), json!({"path": "should start with: /"})),
        (json!({"host": "h", "path": "/a//b"}), json!({"path": "must not have empty segments"})),
        (
            json!({"host": "h", "protocol": "tcp", "path": "/"}),
            json!({"@entity": [conditional], "path": "value must be null"}),
        ),
        (
            json!({"host": "h", "tls_verify": true}),
            json!({"@entity": [conditional], "tls_verify": "value must be null"}),
        ),
        (
            json!({"host": "h", "client_certificate": certificate}),
            json!({"@entity": [conditional], "client_certificate": "value must be null"}),
        ),
        (
            json!({"host": "h", "protocol": "https", "tls_verify_depth": 65}),
            json!({"tls_verify_depth": "value should be between 0 and 64"}),
        ),
        (
            json!({"host": "h", "protocol": "https", "ca_certificates": ["x"]}),
            json!({"ca_certificates": ["expected a valid UUID"]}),
        ),
        (json!({"host": "h", "id": "x"}), json!({"id": "expected a valid UUID"})),
        (json!({"host": "h", "created_at": -1}), json!({"created_at": "expected a valid timestamp"})),
        (json!({"host": "h", "color": "red"}), json!({"color": "unknown field"})),
    ];
    for (input, wanted) in table {
        assert_eq!(faults(&input), wanted, "{input}");
    }
}

proptest! {
    #[test]
    fn processing_a_processed_service_changes_nothing(
        host in "[a-z]{1,8}(\\.[a-z]{1,4})?",
        port in 0_u16..,
        path in prop::option::of("/[a-z0-9]{0,8}"),
        tags in prop::collection::vec("[a-z]{1,3}", 0..6),
    ) {
        let once = process(&json!({"host": host, "port": port, "path": path, "tags": tags}));
        prop_assert!(once.is_ok());
        let once = once.unwrap_or_default();
        prop_assert_eq!(process(&once), Ok(once.clone()));
    }

    #[test]
    fn no_url_makes_the_expansion_panic(url in ".{0,24}") {
        expand(&Value::String(url));
    }
}
