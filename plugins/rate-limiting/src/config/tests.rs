use serde_json::json;
use tollgate_core::clock::ManualClock;
use tollgate_core::random::SystemRandom;
use tollgate_core::schema::Makers;

use super::*;

fn stored(config: Value) -> Result<Value, Value> {
    let makers = Makers { clock: &ManualClock::at(1), random: &SystemRandom };
    let schema = Schema::new(vec![Field::record("config", schema()).required()]);
    let schema = checks().into_iter().fold(schema, Schema::entity_check);
    let processed = schema.process_insert(json!({ "config": config }).try_into().unwrap(), &makers);
    processed.map(|stored| stored["config"].clone()).map_err(|found| Value::Object(found.fields))
}

#[test]
fn what_is_left_out_has_its_default() {
    let expected = json!({
        "second": null, "minute": 5, "hour": null, "day": null, "month": null, "year": null,
        "limit_by": "consumer", "header_name": null, "path": null, "policy": "local", "fault_tolerant": true,
        "redis": null, "hide_client_headers": false, "error_code": 429,
        "error_message": "API rate limit exceeded", "sync_rate": -1,
    });
    assert_eq!(stored(json!({"minute": 5})), Ok(expected));
    let redis = json!({
        "host": "r", "port": 6379, "timeout": 2000, "username": null, "password": null, "database": 0, "ssl": false,
        "ssl_verify": false, "server_name": null,
    });
    assert_eq!(stored(json!({"minute": 5, "redis": {"host": "r"}})).unwrap()["redis"], redis);
}

#[test]
fn faults_are_reported_in_the_documented_words() {
    let none = "at least one of these fields must be non-empty: 'config.second', 'config.minute', 'config.hour', \
        'config.day', 'config.month', 'config.year'";
    let order = "The limit for hour(10.0) cannot be lower than the limit for minute(20.0)";
    let conditional = |field: &str| format!("failed conditional validation given value of field '{field}'");
    let missing = "required field missing";
    for (config, faults) in [
        (json!({}), json!({"@entity": [none]})),
        (json!({"second": 5, "hour": 10, "minute": 20}), json!({"config": order})),
        (json!({"second": 0}), json!({"config": {"second": "value must be greater than 0"}})),
        (json!({"second": "a"}), json!({"config": {"second": "expected a number"}})),
        (
            json!({"second": 1, "limit_by": "header"}),
            json!({"@entity": [conditional("config.limit_by")], "config": {"header_name": missing}}),
        ),
        (
            json!({"second": 1, "limit_by": "path"}),
            json!({"@entity": [conditional("config.limit_by")], "config": {"path": missing}}),
        ),
        (json!({"second": 1, "path": "a"}), json!({"config": {"path": "should start with: /"}})),
        (json!({"second": 1, "path": "/a//b"}), json!({"config": {"path": "must not have empty segments"}})),
        (
            json!({"second": 1, "policy": "remote"}),
            json!({"config": {"policy": "expected one of: local, cluster, redis"}}),
        ),
        (
            json!({"second": 1, "limit_by": "moon"}),
            json!({"config": {"limit_by": "expected one of: consumer, credential, ip, service, header, path"}}),
        ),
        (json!({"second": 1, "sync_rate": 1}), json!({"config": "sync_rate can only be used with the redis policy"})),
        (json!({"second": 1, "error_code": 0}), json!({"config": {"error_code": "value must be greater than 0"}})),
        (json!({"second": 1, "limit": 1}), json!({"config": {"limit": "unknown field"}})),
    ] {
        assert_eq!(stored(config.clone()), Err(faults), "{config}");
    }
    assert!(stored(json!({"second": 1, "policy": "redis"})).is_err());
}

#[test]
fn what_this_gateway_does_not_do_is_told() {
    let policy =
        "this gateway does not count in Redis: use 'local', or 'cluster' to count in the store that all nodes share";
    let code = "expected the status of an error, from 400 to 599";
    for (config, faults) in [
        (json!({"policy": "redis"}), json!({ "policy": policy })),
        (json!({"policy": "cluster", "error_code": 200}), json!({ "error_code": code })),
        (json!({"policy": "local", "error_code": 404}), json!({})),
        (json!({"policy": null, "error_code": null}), json!({})),
    ] {
        assert_eq!(Value::Object(objections(&config).fields), faults, "{config}");
    }
}

#[test]
fn a_part_of_a_request_is_one() {
    let config = stored(json!({"second": 0.5, "minute": 2.0, "hour": 2.5, "error_code": 403.0})).unwrap();
    let config = Config::try_from(&config).unwrap();
    let limits: Vec<_> = config.limits.iter().collect();
    assert_eq!(limits, [(Period::Second, 1), (Period::Minute, 2), (Period::Hour, 3)]);
    assert_eq!(config.status, StatusCode::FORBIDDEN);
}
