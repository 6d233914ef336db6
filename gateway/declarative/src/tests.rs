//! Whole files, read with the gateway's own kinds, a plugin, and its credentials.

use std::sync::Arc;

use async_trait::async_trait;
use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_core::clock::ManualClock;
use tollgate_core::collection::{Collection, Document, Key, Merge, Page, PageQuery};
use tollgate_core::entity::{Kind, consumer, field, plugin, route, service};
use tollgate_core::error::{DaoError, StoreError};
use tollgate_core::plugin::{Definition, Handler, Instance, Plugin, PluginError};
use tollgate_core::random::SystemRandom;
use tollgate_core::registry::Registry;
use tollgate_core::schema::{Auto, Field, Makers, OnDelete, Schema, Transformation, Violations};

use crate::{Catalogue, Configuration, Faults, Reading};

/// A collection that is only asked for its kind.
struct OfKind(Kind);

#[async_trait]
impl Collection for OfKind {
    fn kind(&self) -> &Kind {
        &self.0
    }

    async fn find(&self, _: &Key) -> Result<Option<Document>, StoreError> {
        Ok(None)
    }

    async fn page(&self, _: &PageQuery) -> Result<Page, StoreError> {
        Ok(Page::default())
    }

    async fn insert(&self, document: Document) -> Result<Document, DaoError> {
        Ok(document)
    }

    async fn upsert(&self, _: &Key, document: Document) -> Result<Document, DaoError> {
        Ok(document)
    }

    async fn update(&self, _: &Key, _: &Merge<'_>) -> Result<Option<Document>, DaoError> {
        Ok(None)
    }

    async fn delete(&self, _: &Key) -> Result<bool, DaoError> {
        Ok(false)
    }
}

/// A plugin with credentials.
struct Guard;

impl Plugin for Guard {
    fn collections(&self) -> Vec<Arc<dyn Collection>> {
        let schema = Schema::new(vec![
            field::id(),
            field::created_at(),
            Field::foreign("consumer", "consumers", OnDelete::Cascade).required(),
            Field::string("key").auto(Auto::RandomString).unique().sensitive(),
            Field::string("secret").auto(Auto::RandomString).sensitive(),
            Field::boolean("hash", false),
            field::tags(),
        ]);
        let hashed = |clear: &str| format!("hashed:{clear}");
        let schema =
            schema.transformation(Transformation { input: "hash", needs: "secret", on_write: hashed, companion: None });
        vec![Arc::new(OfKind(Kind::new("guard_keys", schema).segment("guard-keys").second_key("key").ttl()))]
    }

    fn compile(&self, _: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        unreachable!("nothing is compiled here")
    }
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    for kind in [service::kind(), route::kind(), consumer::kind(), plugin::kind()] {
        registry.add_collection(Arc::new(OfKind(kind)));
    }
    let config_schema = Schema::new(vec![
        Field::strings("names").default(json!(["apikey"])).required(),
        Field::integer("limit").between(1, 9),
        Field::string("provision_key").auto(Auto::RandomString),
    ]);
    let definition =
        Definition { name: "guard", priority: 1, config_schema, consumer_scoped: true, checks: Vec::new() };
    registry.add_plugin(definition, Arc::new(Guard));
    registry
}

fn read(text: &str) -> Result<Configuration, Faults> {
    let registry = registry();
    let catalogue = Catalogue::new(&registry);
    let makers = Makers { clock: &ManualClock::at(1000), random: &SystemRandom };
    let objections = |_: &Kind, _: &Document| Violations::new();
    crate::read(text, &Reading { catalogue: &catalogue, makers, objections: &objections })
}

fn documents(configuration: &Configuration, kind: &str) -> Vec<Value> {
    let of_kind = configuration.entities.iter().filter(|entity| entity.kind == kind);
    of_kind.map(|entity| Value::from(entity.document.clone())).collect()
}

fn lines(text: &str) -> Vec<String> {
    read(text).expect_err("faults").lines("f.yml")
}

const NESTED: &str = r#"
_format_version: "3.0"
_comment: for people
services:
- name: api
  url: http://upstream.test:81/v1
  _ignore: [1]
  routes:
  - name: api
    paths: [/api]
    plugins:
    - name: guard
      config: {limit: 5}
consumers:
- username: bob
  guard_keys:
  - key: k
    ttl: 60
plugins:
- name: guard
  service: api
  consumer: bob
"#;

#[test]
fn nested_entities_refer_to_those_that_they_are_in_and_others_by_name() {
    let configuration = read(NESTED).unwrap();
    let [service] = documents(&configuration, "services").try_into().unwrap();
    let [route] = documents(&configuration, "routes").try_into().unwrap();
    let [consumer] = documents(&configuration, "consumers").try_into().unwrap();
    let [key] = documents(&configuration, "guard_keys").try_into().unwrap();
    assert_eq!(
        (&service["host"], &service["port"], &service["path"]),
        (&json!("upstream.test"), &json!(81), &json!("/v1"))
    );
    assert_eq!(route["service"], json!({"id": service["id"]}));
    assert_eq!((&key["consumer"], &key["ttl"]), (&json!({"id": consumer["id"]}), &json!(60)));
    let mut plugins: Vec<_> = documents(&configuration, "plugins")
        .into_iter()
        .map(|plugin| (plugin["route"].clone(), plugin["service"].clone(), plugin["consumer"].clone()))
        .collect();
    plugins.sort_by_key(|(route, ..)| route.is_null());
    let expected = [
        (json!({"id": route["id"]}), Value::Null, Value::Null),
        (Value::Null, json!({"id": service["id"]}), json!({"id": consumer["id"]})),
    ];
    assert_eq!(plugins, expected);
}

#[test]
fn ids_follow_from_what_entities_are() {
    let ids = |configuration: &Configuration| {
        let id = |entity: &crate::Entity| (entity.kind, entity.document.id().unwrap().to_string());
        configuration.entities.iter().map(id).collect::<Vec<_>>()
    };
    let first = ids(&read(NESTED).unwrap());
    assert_eq!(first, ids(&read(NESTED).unwrap()));
    // The namespace of the format, then the kind, then the name.
    let root = uuid::Uuid::parse_str("fd02801f-0957-4a15-a55a-c8d9606f30b5").unwrap();
    let of = |kind: &str, key: &str| uuid::Uuid::new_v5(&uuid::Uuid::new_v5(&root, kind.as_bytes()), key.as_bytes());
    for (kind, key) in [("services", "api"), ("routes", "api"), ("consumers", "bob"), ("guard_keys", "k")] {
        assert!(first.contains(&(kind, of(kind, key).to_string())), "{kind} {key}: {first:?}");
    }
    let given = "c0ffee00-0000-4000-8000-00000000000A";
    let text = format!("_format_version: '3.0'\nconsumers: [{{id: {given}, username: x}}]\n");
    assert_eq!(documents(&read(&text).unwrap(), "consumers")[0]["id"], given.to_ascii_lowercase());
}

#[test]
fn ten_faults_are_ten_lines_with_their_places() {
    let text = r#"_format_version: "4.0"
nothing: []
services:
- name: a b
  host: h
- host: h
  port: 99999
  routes:
  - name: r
    paths: [bad]
    service: other
- name: same
  host: h
- name: same
  host: h
  colour: red
routes:
- paths: [/x]
  service: missing
plugins:
- name: guard
  config:
    limit: 10
- name: nobody
"#;
    let name = "invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~";
    assert_eq!(
        lines(text),
        [
            "f.yml:1:1: _format_version: expected one of: 1.1, 2.1, 3.0".to_owned(),
            "f.yml:2:1: nothing: unknown field".to_owned(),
            format!("f.yml:4:3: services.1.name: {name}"),
            "f.yml:7:3: services.2.port: value should be between 0 and 65535".to_owned(),
            "f.yml:10:13: services.2.routes.1.paths.1: should start with: / (fixed path) or ~/ (regex path)".to_owned(),
            "f.yml:11:5: services.2.routes.1.service: value must be null".to_owned(),
            "f.yml:14:3: services.4: uniqueness violation: 'services' entity with name set to 'same' already declared"
                .to_owned(),
            "f.yml:16:3: services.4.colour: unknown field".to_owned(),
            "f.yml:19:3: routes.1.service: invalid reference 'service: missing' (no such entry in 'services')"
                .to_owned(),
            "f.yml:23:5: plugins.1.config.limit: value should be between 1 and 9".to_owned(),
            "f.yml:24:3: plugins.2.name: plugin 'nobody' not enabled; the plugins that exist here are: guard"
                .to_owned(),
        ]
    );
}

#[test]
fn faults_have_the_shapes_of_the_admin_api() {
    let text = r#"{"_format_version": "3.0", "services": [
        {"id": "c0ffee00-0000-4000-8000-00000000000a", "name": "s", "host": "h", "tags": ["t"],
         "routes": [{"name": "r", "paths": ["bad"]}]},
        {"name": "s"}
    ]}"#;
    let faults = read(text).unwrap_err();
    let path = "should start with: / (fixed path) or ~/ (regex path)";
    let same = "uniqueness violation: 'services' entity with name set to 's' already declared";
    let fields = json!({"services": [
        {"routes": [{"paths": [path]}]},
        {"@entity": [same], "host": "required field missing"},
    ]});
    let nested = faults.to_json();
    assert_eq!(
        (&nested["code"], &nested["name"], &nested["fields"]),
        (&json!(14), &json!("invalid declarative configuration"), &fields)
    );
    let message = nested["message"].as_str().unwrap();
    assert!(message.starts_with("declarative config is invalid: {services={{routes={{paths={"), "{message}");
    assert_eq!(
        faults.to_flattened_json()["flattened_errors"],
        json!([
            {
                "entity_type": "route",
                "entity_name": "r",
                "entity": {"name": "r", "paths": ["bad"], "service": {"id": "c0ffee00-0000-4000-8000-00000000000a"}},
                "errors": [{"type": "field", "field": "paths.1", "message": path}],
            },
            {
                "entity_type": "service",
                "entity_name": "s",
                "entity": {"name": "s"},
                "errors": [
                    {"type": "entity", "message": same},
                    {"type": "field", "field": "host", "message": "required field missing"},
                ],
            },
        ])
    );
}

#[test]
fn what_is_no_configuration_is_told_with_its_place() {
    let parse = "error: failed parsing declarative configuration";
    for (text, expected) in [
        ("", format!("f.yml:1:1: {parse}: expected an object")),
        ("- 1\n", format!("f.yml:1:3: {parse}: expected an object")),
        ("text", format!("f.yml:1:1: {parse}: expected an object")),
        (
            "a: 1\nb: [\n",
            format!(
                "f.yml:3:1: {parse}: did not find expected node content at line 3 column 1, while parsing a flow node"
            ),
        ),
        ("_format_version: 3.0\n", "f.yml:1:1: _format_version: expected a string".to_owned()),
        ("services: []\n", "f.yml:1:1: _format_version: required field missing".to_owned()),
        ("_format_version: '3.0'\n_transform: 1\n", "f.yml:2:1: _transform: expected a boolean".to_owned()),
        ("_format_version: '3.0'\nservices: 1\n", "f.yml:2:1: services: expected an array".to_owned()),
        ("_format_version: '3.0'\nservices: [1]\n", "f.yml:2:12: services.1: expected a record".to_owned()),
        (
            "_format_version: '3.0'\nconsumers: [{username: a, username: b}]\n",
            "f.yml:2:27: username: this name occurs twice".to_owned(),
        ),
        (
            "_format_version: '3.0'\nconsumers: [{username: \"a\\0\"}]\n",
            "f.yml:2:14: consumers.1.username: must not contain a NUL character".to_owned(),
        ),
    ] {
        assert_eq!(lines(text), [expected], "{text}");
    }
}

#[test]
fn a_bomb_of_aliases_is_refused_in_bounded_time() {
    let mut text = String::from("_format_version: '3.0'\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(", ")));
    }
    let [line] = lines(&text).try_into().unwrap();
    assert!(line.contains("aliases are expanded") || line.contains("repetition limit exceeded"), "{line}");
}

#[test]
fn brackets_that_are_nested_too_deep_are_refused_before_they_are_parsed() {
    for text in
        [format!("a: 1\nb: {}", "[".repeat(1_000_000)), format!("a: 1\nb: {}{}", "{a: ".repeat(2000), "}".repeat(2000))]
    {
        assert_eq!(lines(&text).len(), 1);
        assert!(
            lines(&text)[0].contains(":2:1: ") && lines(&text)[0].contains("more than 1000 brackets"),
            "{:?}",
            lines(&text)
        );
    }
}

#[test]
fn anchors_and_merge_keys_are_expanded() {
    let text =
        "_format_version: '3.0'\n_ignore: [&base {host: h, port: 81}]\nservices:\n- {<<: *base, name: a, port: 82}\n";
    let configuration = read(text).unwrap();
    let service = &documents(&configuration, "services")[0];
    assert_eq!((&service["host"], &service["port"]), (&json!("h"), &json!(82)));
}

#[test]
fn old_versions_mark_expressions_and_new_ones_do_not() {
    let paths = |version: &str| {
        let text =
            format!("_format_version: '{version}'\nroutes: [{{name: r, paths: ['/a/\\d+', /plain-1, '~/x.']}}]\n");
        read(&text).map(|configuration| documents(&configuration, "routes")[0]["paths"].clone()).unwrap_or_default()
    };
    assert_eq!(paths("1.1"), json!(["~/a/\\d+", "/plain-1", "~/x."]));
    assert_eq!(paths("2.1"), paths("1.1"));
    assert_ne!(paths("3.0"), paths("1.1"));
}

#[test]
fn secrets_are_rewritten_unless_the_file_says_that_they_were() {
    let secret = |transform: &str| {
        let text = format!(
            "_format_version: '3.0'\n{transform}consumers: [{{username: a, guard_keys: [{{secret: s, hash: true}}]}}]\n"
        );
        documents(&read(&text).unwrap(), "guard_keys")[0]["secret"].clone()
    };
    assert_eq!(secret(""), "hashed:s");
    assert_eq!(secret("_transform: true\n"), "hashed:s");
    assert_eq!(secret("_transform: false\n"), "s");
}

#[test]
fn values_that_the_file_leaves_open_are_named() {
    let configuration = read(NESTED).unwrap();
    let of = |kind: &str| {
        let entity = configuration.entities.iter().find(|entity| entity.kind == kind).unwrap();
        entity.left_open.clone()
    };
    assert_eq!(of("plugins"), [vec!["created_at"], vec!["updated_at"], vec!["config", "provision_key"]]);
    assert_eq!(of("guard_keys"), [vec!["created_at"], vec!["secret"]]);
}

#[test]
fn secrets_are_in_no_message() {
    let text = "_format_version: '3.0'\nconsumers: [{username: a, guard_keys: [{key: hunter2}, {key: hunter2}]}]\n";
    let expected = "f.yml:2:57: consumers.1.guard_keys.2: uniqueness violation: 'guard_keys' entity with key set to \
                    '******' already declared";
    assert_eq!(lines(text), [expected]);
}

#[test]
fn what_deck_adds_is_understood() {
    let text = r#"
_format_version: "3.0"
_info:
  select_tags: [team]
  defaults: {service: {port: 81, retries: 1}, route: {strip_path: false}}
_workspace: default
_konnect: {control_plane_name: team}
_plugin_configs: {strict: {limit: 3, names: [x]}}
services:
- name: a
  host: h
  retries: 2
  routes: [{name: r, paths: [/r], tags: [mine]}]
plugins: [{name: guard, _config: strict, config: {limit: 4}}]
"#;
    let configuration = read(text).unwrap();
    let service = &documents(&configuration, "services")[0];
    assert_eq!((&service["port"], &service["retries"], &service["tags"]), (&json!(81), &json!(2), &json!(["team"])));
    let route = &documents(&configuration, "routes")[0];
    assert_eq!((&route["strip_path"], &route["tags"]), (&json!(false), &json!(["mine", "team"])));
    let plugin = &documents(&configuration, "plugins")[0];
    assert_eq!((&plugin["config"]["limit"], &plugin["config"]["names"]), (&json!(4), &json!(["x"])));
    let wrong = "_format_version: '3.0'\n_info: {colour: red}\n_workspace: mine\nplugins: [{name: guard, _config: x}]\n_konnect: team\n";
    let expected = [
        "f.yml:2:9: _info.colour: unknown field",
        "f.yml:3:1: _workspace: there is no workspace but default",
        "f.yml:4:25: plugins.1._config: no such entry in '_plugin_configs'",
        "f.yml:5:1: _konnect: expected a record",
    ];
    assert_eq!(lines(wrong), expected);
}

fn exported(configuration: &Configuration) -> String {
    let registry = registry();
    let catalogue = Catalogue::new(&registry);
    let kinds: Vec<(&str, Vec<Document>)> = catalogue
        .kinds()
        .map(|kind| {
            let of_kind = configuration.entities.iter().filter(|entity| entity.kind == kind.name);
            (kind.name, of_kind.map(|entity| entity.document.clone()).collect())
        })
        .collect();
    crate::export(&catalogue, kinds.iter().map(|(kind, documents)| (*kind, documents.as_slice()))).unwrap()
}

fn sorted(configuration: &Configuration) -> Vec<(&'static str, Document)> {
    let mut all: Vec<_> = configuration.entities.iter().map(|entity| (entity.kind, entity.document.clone())).collect();
    all.sort_by_key(|(kind, document)| (*kind, document.id()));
    all
}

#[test]
fn a_file_that_is_exported_says_what_it_says_and_nothing_that_follows() {
    let text = exported(&read(NESTED).unwrap());
    assert!(text.starts_with("_format_version: '3.0'\n_transform: false\nconsumers:\n"), "{text}");
    assert!(!text.contains("custom_id") && !text.contains("null"), "{text}");
}

fn texts() -> impl Strategy<Value = String> {
    // What YAML might take for something else, and what must be escaped.
    prop_oneof![
        "[a-z0-9]{1,8}",
        "[ -~]{1,12}",
        "\\PC{1,6}",
        prop::sample::select(vec![
            "on", "off", "yes", "null", "~", "3.0", "0x1", "1e3", "- a", "a: b", "#c", "<<", "*a", "&a"
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn reading_an_export_is_the_identity(
        names in prop::collection::hash_set("[a-z]{1,6}", 1..5),
        secrets in prop::collection::vec((texts(), any::<bool>()), 0..4),
        limit in prop::option::of(1..10),
        retries in 0..100,
    ) {
        let consumers: Vec<Value> = names.iter().map(|name| {
            let keys = secrets.iter().enumerate().map(|(number, (secret, hash))| {
                json!({"key": format!("{name}-{number}"), "secret": secret, "hash": hash, "tags": [name]})
            });
            json!({"username": name, "custom_id": format!("{name} id"), "guard_keys": keys.collect::<Vec<_>>()})
        }).collect();
        let services: Vec<Value> = names.iter().map(|name| json!({
            "name": name, "host": "h", "retries": retries, "tags": null,
            "routes": [{"name": name, "paths": [format!("/{name}")], "headers": {"x-a": [name]}}],
            "plugins": [{"name": "guard", "config": {"limit": limit, "names": secrets.iter().map(|(secret, _)| secret).collect::<Vec<_>>()}}],
        })).collect();
        let text = json!({"_format_version": "3.0", "services": services, "consumers": consumers}).to_string();
        let first = read(&text).map_err(|faults| TestCaseError::fail(faults.lines("f").join("\n")))?;
        let again = exported(&first);
        let second = read(&again).map_err(|faults| TestCaseError::fail(format!("{}\n{again}", faults.lines("f").join("\n"))))?;
        prop_assert_eq!(sorted(&first), sorted(&second), "{}", again);
    }
}
