//! The kinds that files may contain, and how they hang together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tollgate_core::entity::{InFiles, Kind, plugin};
use tollgate_core::registry::Registry;
use tollgate_core::schema::{Schema, Violations};

/// The kind whose schema depends on a name in the document.
const PLUGINS: &str = "plugins";

/// The kinds of a registry, as files see them.
pub struct Catalogue<'r> {
    registry: &'r Registry,
    /// In the order in which kinds refer to each other: each after those that it refers to.
    kinds: Vec<&'r Kind>,
    plugin_schemas: BTreeMap<&'static str, Schema>,
}

impl<'r> Catalogue<'r> {
    /// Everything that is registered.
    pub fn new(registry: &'r Registry) -> Self {
        let plugins = registry.plugins();
        let plugin_schemas = plugins.map(|plugin| (plugin.definition.name, plugin.definition.instance_schema()));
        let all: BTreeMap<&str, &Kind> = registry
            .kinds()
            .filter(|kind| kind.in_files != InFiles::Never && (kind.admin || kind.in_files == InFiles::ReadOnly))
            .map(|kind| (kind.name, kind))
            .collect();
        let (mut kinds, mut seen) = (Vec::new(), BTreeSet::new());
        for kind in all.values() {
            visit(kind, &all, &mut seen, &mut kinds);
        }
        Self { registry, kinds, plugin_schemas: plugin_schemas.collect() }
    }

    /// The kinds, each after those that it refers to.
    pub fn kinds(&self) -> impl Iterator<Item = &'r Kind> {
        self.kinds.iter().copied()
    }

    /// A kind by its name.
    pub fn kind(&self, name: &str) -> Option<&'r Kind> {
        self.kinds().find(|kind| kind.name == name)
    }

    /// The kind of that name that may be nested in entities of another one, and its field that refers to them.
    pub(crate) fn nested(&self, parent: &Kind, name: &str) -> Option<(&'r Kind, &'static str)> {
        let child = self.kind(name)?;
        let field = child.foreign_fields().find(|(_, target)| *target == parent.name)?.0;
        Some((child, field.name))
    }

    /// The schema of an entity, which for a plugin depends on its name.
    pub(crate) fn schema(&self, kind: &'r Kind, name: Option<&Value>) -> Result<&Schema, Violations> {
        if kind.name != PLUGINS {
            return Ok(&kind.schema);
        }
        match name {
            Some(Value::String(name)) if !name.is_empty() => {
                let available = || self.registry.plugins().map(|plugin| plugin.definition.name);
                self.plugin_schemas.get(name.as_str()).ok_or_else(|| plugin::not_enabled(name, available()))
            }
            None | Some(Value::Null | Value::String(_)) => Err(Violations::of_field("name", "required field missing")),
            Some(_) => Err(Violations::of_field("name", "expected a string")),
        }
    }

    /// What a plugin has against a configuration that its schema accepts.
    pub(crate) fn objections(&self, kind: &Kind, document: &tollgate_core::schema::Document) -> Violations {
        let named = document.text("name").filter(|_| is_plugins(kind)).and_then(|name| self.registry.plugin(name));
        let found = named.zip(document.get("config")).map(|(named, config)| named.plugin.objections(config));
        match found {
            Some(found) if !found.is_empty() => {
                let mut violations = Violations::new();
                violations.fields.insert("config".to_owned(), Value::Object(found.fields));
                violations
            }
            _ => Violations::new(),
        }
    }
}

/// Whether the schema of a kind depends on a name in the document.
pub(crate) fn is_plugins(kind: &Kind) -> bool {
    kind.name == PLUGINS
}

/// Adds a kind after those that it refers to.
fn visit<'r>(
    kind: &'r Kind,
    all: &BTreeMap<&str, &'r Kind>,
    seen: &mut BTreeSet<&'static str>,
    into: &mut Vec<&'r Kind>,
) {
    if !seen.insert(kind.name) {
        return;
    }
    let listed = kind.schema.fields.iter().filter_map(|field| field.ids_of);
    for target in kind.foreign_fields().map(|(_, target)| target).chain(listed) {
        if let Some(target) = all.get(target) {
            visit(target, all, seen, into);
        }
    }
    into.push(kind);
}
