use super::*;
use crate::clock::ManualClock;
use crate::plugin::Definition;
use crate::random::SystemRandom;
use crate::schema::{EntityCheck, Makers};

fn guard(consumer_scoped: bool) -> Definition {
    Definition { name: "guard", priority: 1, config_schema: config_schema(), consumer_scoped, checks: Vec::new() }
}

fn config_schema() -> Schema {
    Schema::new(vec![Field::boolean("mandatory_scope", false), Field::strings("scopes"), Field::boolean("on", false)])
        .entity_check(EntityCheck::Conditional {
            if_field: "mandatory_scope",
            if_match: Rule::Equals(json!(true)),
            then_field: "scopes",
            then_match: Rule::Present,
            message: None,
        })
        .overall(|config| match config.get("on") {
            Some(Value::Bool(true)) => Ok(()),
            _ => Err("at least one of these fields must be true: on".to_owned()),
        })
}

fn document(value: &Value) -> Document {
    Document::try_from(value.clone()).unwrap()
}

fn insert(input: &Value) -> Result<Document, Violations> {
    let makers = Makers { clock: &ManualClock::at(1000), random: &SystemRandom };
    guard(false).instance_schema().process_insert(document(input), &makers)
}

const ID: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";

#[test]
fn an_instance_gets_the_defaults_of_its_plugin() {
    assert_eq!(
        insert(&json!({"id": ID, "name": "guard", "config": {"on": true}})).map(Value::from),
        Ok(json!({
            "id": ID, "created_at": 1000, "updated_at": 1000, "name": "guard", "instance_name": null, "route": null,
            "service": null, "consumer": null, "config": {"mandatory_scope": false, "scopes": null, "on": true},
            "protocols": ["grpc", "grpcs", "http", "https"], "enabled": true, "tags": null,
        }))
    );
}

#[test]
fn the_configuration_is_validated_by_the_plugins_rules() {
    let message = |input: &Value| insert(input).err().map(|found| found.message());
    assert_eq!(
        message(&json!({"name": "guard"})),
        Some("schema violation (config: at least one of these fields must be true: on)".to_owned())
    );
    assert_eq!(
        message(&json!({"name": "guard", "config": {"mandatory_scope": true}})),
        Some(
            "2 schema violations (config.@entity: {\n  \"failed conditional validation given value of field \
             'mandatory_scope'\"\n}; config.scopes: required field missing)"
                .to_owned()
        )
    );
    assert_eq!(
        message(&json!({"name": "guard", "config": {"on": true}, "consumer": {"id": ID}})),
        Some("schema violation (consumer: value must be null)".to_owned())
    );
    assert_eq!(
        message(&json!({"name": "guard", "config": {"on": true}, "protocols": ["tcp"]})),
        Some("schema violation (protocols.1: expected one of: grpc, grpcs, http, https)".to_owned())
    );
    assert_eq!(
        not_enabled("x", ["guard", "oauth2"]).message(),
        "schema violation (name: plugin 'x' not enabled; the plugins that exist here are: guard, oauth2)"
    );
}

#[test]
fn a_patch_is_validated_together_with_stored_values() {
    let stored = insert(&json!({"name": "guard", "config": {"on": true, "scopes": ["a"]}})).unwrap_or_default();
    let makers = Makers { clock: &ManualClock::at(2000), random: &SystemRandom };
    let schema = guard(false).instance_schema();
    let patch = |patch: Value| schema.process_update(&stored, document(&patch), &makers);
    let updated = patch(json!({"config": {"mandatory_scope": true}})).unwrap_or_default();
    assert_eq!(updated["config"], json!({"mandatory_scope": true, "scopes": ["a"], "on": true}));
    let refused = patch(json!({"config": {"on": false}})).err().map(|found| found.message());
    assert_eq!(refused, Some("schema violation (config: at least one of these fields must be true: on)".to_owned()));
}

#[test]
fn a_plugin_shares_a_protocol_with_its_route_or_a_route_of_its_service() {
    let of = |protocols: &[&str]| document(&json!({"protocols": protocols}));
    let plugin = of(&["http"]);
    let text = |result: Result<(), Violations>| {
        result.err().and_then(|found| found.fields["protocols"].as_str().map(str::to_owned))
    };
    assert_eq!(text(check_protocols(&plugin, Some(&of(&["http", "https"])), [])), None);
    assert_eq!(
        text(check_protocols(&plugin, Some(&of(&["grpc"])), [])),
        Some("must match the associated route's protocols".to_owned())
    );
    assert_eq!(text(check_protocols(&plugin, None, [])), None);
    assert_eq!(text(check_protocols(&plugin, None, [&of(&["grpc"]), &of(&["http"])])), None);
    assert_eq!(
        text(check_protocols(&plugin, None, [&of(&["grpc"])])),
        Some("must match the protocols of at least one route pointing to this Plugin's service".to_owned())
    );
}
