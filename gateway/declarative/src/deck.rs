//! What decK's files contain besides entities (gateway.md §10.3): defaults and tags for all of them, and configurations
//! that plugins share.

use serde_json::{Map, Value, json};
use tollgate_core::entity::Kind;
use tollgate_core::schema::{Document, Violations};

use crate::fault::{Fault, Step};
use crate::node::Node;

const INFO: &str = "_info";
const PLUGIN_CONFIGS: &str = "_plugin_configs";
const WORKSPACE: &str = "_workspace";
/// Which control plane of a hosted service a file is for: nothing of ours.
const KONNECT: &str = "_konnect";
const SHARED_CONFIG: &str = "_config";

/// Whether a name at the top is one of these.
pub(crate) fn is_known(name: &str) -> bool {
    [INFO, PLUGIN_CONFIGS, WORKSPACE, KONNECT].contains(&name)
}

/// What a file says of all its entities.
#[derive(Debug, Default)]
pub(crate) struct Info {
    /// By the name of a kind without its last letter, such as `service`.
    defaults: Map<String, Value>,
    tags: Vec<Value>,
    plugin_configs: Map<String, Value>,
}

impl Info {
    /// Reads it.
    pub(crate) fn read(root: &Node, faults: &mut Vec<Fault>) -> Self {
        let mut refuse = |path: &[&str], why: &str| {
            let path = path.iter().map(|name| Step::Name((*name).to_owned())).collect();
            faults.push(Fault::of_field(path, why.to_owned()));
        };
        let mut map = |path: &[&str]| {
            let found = path.iter().try_fold(root, |node, name| node.get(name)).map(Node::value);
            match found {
                None | Some(Value::Null) => Map::new(),
                Some(Value::Object(map)) => map,
                Some(_) => {
                    refuse(path, "expected a record");
                    Map::new()
                }
            }
        };
        let (info, defaults) = (map(&[INFO]), map(&[INFO, "defaults"]));
        let plugin_configs = map(&[PLUGIN_CONFIGS]);
        map(&[KONNECT]);
        for name in
            info.keys().filter(|name| !["select_tags", "defaults", "default_lookup_tags"].contains(&name.as_str()))
        {
            refuse(&[INFO, name], "unknown field");
        }
        let tags = match info.get("select_tags") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(tags)) => tags.clone(),
            Some(_) => {
                refuse(&[INFO, "select_tags"], "expected an array");
                Vec::new()
            }
        };
        let workspace = root.get(WORKSPACE).map(Node::value).unwrap_or_default();
        if !workspace.is_null() && workspace != "default" {
            refuse(&[WORKSPACE], "there is no workspace but default");
        }
        Self { defaults, tags, plugin_configs }
    }

    /// Adds to an entity what the file says of all.
    pub(crate) fn complete(&self, kind: &Kind, is_plugin: bool, document: &mut Document) -> Violations {
        let mut found = Violations::new();
        if is_plugin && let Some(name) = document.remove(SHARED_CONFIG) {
            match name.as_str().and_then(|name| self.plugin_configs.get(name)) {
                Some(shared) => lay_under(document.entry("config").or_insert(json!({})), shared),
                None => found.field(SHARED_CONFIG, format!("no such entry in '{PLUGIN_CONFIGS}'")),
            }
        }
        let singular = kind.name.strip_suffix('s').unwrap_or(kind.name);
        if let Some(Value::Object(defaults)) = self.defaults.get(singular) {
            for (name, default) in defaults {
                match document.get_mut(name) {
                    Some(given) => lay_under(given, default),
                    None => drop(document.insert(name.clone(), default.clone())),
                }
            }
        }
        if !self.tags.is_empty()
            && kind.schema.field("tags").is_some()
            && let Value::Array(tags) = document.entry("tags").or_insert_with(|| json!([]))
        {
            tags.extend(self.tags.iter().cloned());
        }
        found
    }
}

/// Adds what a record does not say.
fn lay_under(given: &mut Value, default: &Value) {
    if let (Value::Object(given), Value::Object(default)) = (given, default) {
        for (name, value) in default {
            match given.get_mut(name) {
                Some(given) => lay_under(given, value),
                None => drop(given.insert(name.clone(), value.clone())),
            }
        }
    }
}
