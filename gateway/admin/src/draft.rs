//! From input to a document that can be stored: references are resolved, the schema is satisfied.
//!
//! A `plugins` entity has the schema of the plugin that it names, and must share a protocol with its route or
//! service; no other kind gets special treatment here.

use serde_json::Value;
use tollgate_core::collection::{Document, Filter, Key, PageQuery};
use tollgate_core::entity::{Kind, field, plugin};
use tollgate_core::error::DaoError;
use tollgate_core::schema::{Insertion, Schema, Violations};

use crate::input::Input;
use crate::reference;
use crate::resource::Entities;
use crate::state::AdminState;

const PLUGINS: &str = "plugins";
const TTL: &str = "ttl";

/// Values from the path, which override the body.
pub(crate) type Given<'g> = &'g [(&'g str, Value)];

/// Whether the kind's schema depends on a name in the document.
pub(crate) fn is_plugins(kind: &Kind) -> bool {
    kind.name == PLUGINS
}

/// The document of a POST or PUT.
pub(crate) async fn of_insert(
    state: &AdminState,
    entities: &Entities,
    input: Input,
    given: Given<'_>,
) -> Result<Insertion, DaoError> {
    let kind = entities.kind();
    let schema = schema_of(state, kind, input.peek("name")).map_err(DaoError::Schema)?;
    let form = matches!(input, Input::Form(_));
    let mut document = input.into_document(schema);
    refuse_nul(&document)?;
    let joined = if form { schema.warnings_of_form(&document) } else { Vec::new() };
    document.extend(given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let ttl = take_ttl(kind, &mut document)?;
    reference::resolve(state, kind, &mut document).await?;
    let mut insertion = schema.insertion(document, &state.makers()).map_err(DaoError::Schema)?;
    hear_objections(state, kind, &insertion.document)?;
    check_protocols(state, kind, &insertion.document).await?;
    insertion.document.extend(ttl.map(|ttl| (TTL.to_owned(), ttl)));
    insertion.warnings.extend(joined);
    insertion.warnings.extend(warnings_of_plugin(state, kind, &insertion.document));
    Ok(insertion)
}

/// Validates the input of an insertion, without the store.
pub(crate) fn validate(state: &AdminState, kind: &Kind, input: Input) -> Result<(), DaoError> {
    let schema = schema_of(state, kind, input.peek("name")).map_err(DaoError::Schema)?;
    let mut document = input.into_document(schema);
    refuse_nul(&document)?;
    take_ttl(kind, &mut document)?;
    let document = schema.process_insert(document, &state.makers()).map_err(DaoError::Schema)?;
    hear_objections(state, kind, &document)
}

/// A PATCH, which the store applies to the stored document.
pub(crate) struct Patch<'s> {
    state: &'s AdminState,
    kind: &'s Kind,
    changes: Document,
    ttl: Option<Value>,
    joined: Vec<String>,
}

impl<'s> Patch<'s> {
    /// Reads a PATCH of the entity at `key`. `None`: the entity does not exist, and the meaning of the input
    /// depends on it.
    pub(crate) async fn read(
        state: &'s AdminState,
        entities: &'s Entities,
        key: &Key,
        input: Input,
        given: Given<'_>,
    ) -> Result<Option<Self>, DaoError> {
        let kind = entities.kind();
        let stored = if is_plugins(kind) {
            match entities.find(key).await? {
                Some(stored) => Some(stored),
                None => return Ok(None),
            }
        } else {
            None
        };
        let stored_name = stored.as_ref().and_then(|stored| stored.get("name"));
        let name = input.peek("name").filter(|name| !name.is_null()).or(stored_name);
        let schema = schema_of(state, kind, name).map_err(DaoError::Schema)?;
        let form = matches!(input, Input::Form(_));
        let mut changes = input.into_document(schema);
        refuse_nul(&changes)?;
        let joined = if form { schema.warnings_of_form(&changes) } else { Vec::new() };
        for (name, value) in given {
            changes.entry(*name).or_insert_with(|| value.clone());
        }
        let ttl = take_ttl(kind, &mut changes)?;
        reference::resolve(state, kind, &mut changes).await?;
        let patch = Self { state, kind, changes, ttl, joined };
        if let Some(stored) = stored {
            let outcome = patch.apply(&stored).map_err(DaoError::Schema)?;
            hear_objections(state, kind, &outcome)?;
            check_protocols(state, kind, &outcome).await?;
        }
        Ok(Some(patch))
    }

    /// What the client has perhaps not meant, of what is stored now.
    pub(crate) fn warnings(&self, stored: &Document) -> Vec<String> {
        let of_plugin = self.changes.get("config").map(|_| warnings_of_plugin(self.state, self.kind, stored));
        self.joined.iter().cloned().chain(of_plugin.unwrap_or_default()).collect()
    }

    /// Applies the patch to `stored`.
    pub(crate) fn apply(&self, stored: &Document) -> Result<Document, Violations> {
        let name = self.changes.get("name").or_else(|| stored.get("name"));
        let schema = schema_of(self.state, self.kind, name)?;
        let mut changes = self.changes.clone();
        if is_plugins(self.kind) && name != stored.get("name") {
            // Stored values must be valid for the new plugin as well.
            for field in ["config", "consumer", "protocols"] {
                if let Some(kept) = stored.get(field) {
                    changes.entry(field).or_insert_with(|| kept.clone());
                }
            }
        }
        let mut merged = schema.process_update(stored, changes, &self.state.makers())?;
        self.hear_new_objections(stored, &merged)?;
        // `ttl` in the stored document is the time left when it was read: only a new value is written.
        merged.remove(TTL);
        merged.extend(self.ttl.clone().map(|ttl| (TTL.to_owned(), ttl)));
        Ok(merged)
    }

    /// An entity that was stored before the node had anything against it can still be changed in other fields.
    fn hear_new_objections(&self, stored: &Document, merged: &Document) -> Result<(), Violations> {
        let found = self.state.node.objections(self.kind.name, merged);
        let is_new = || found.fields != self.state.node.objections(self.kind.name, stored).fields;
        if !found.is_empty() && is_new() { Err(found) } else { Ok(()) }
    }
}

/// The schema of a document with that name.
pub(crate) fn schema_of<'s>(
    state: &'s AdminState,
    kind: &'s Kind,
    name: Option<&Value>,
) -> Result<&'s Schema, Violations> {
    if !is_plugins(kind) {
        return Ok(&kind.schema);
    }
    match name {
        None | Some(Value::Null) => Err(Violations::of_field("name", "required field missing")),
        Some(Value::String(name)) if name.is_empty() => Err(Violations::of_field("name", "required field missing")),
        Some(Value::String(name)) => {
            let available = || state.registry.plugins().map(|plugin| plugin.definition.name);
            state.plugin_schema(name).ok_or_else(|| plugin::not_enabled(name, available()))
        }
        Some(_) => Err(Violations::of_field("name", "expected a string")),
    }
}

/// Removes the row's `ttl` from the body: it is not a field of the entity.
fn take_ttl(kind: &Kind, document: &mut Document) -> Result<Option<Value>, DaoError> {
    if !kind.ttl {
        return Ok(None);
    }
    let ttl = match document.remove(TTL) {
        None | Some(Value::Null) => return Ok(None),
        // Form values are text.
        Some(Value::String(text)) => text.parse::<i64>().map_or(Value::String(text), Value::from),
        Some(other) => other,
    };
    match field::ttl().validate_alone(&ttl) {
        Ok(()) => Ok(Some(ttl)),
        Err(why) => Err(DaoError::Schema(Violations::of_field(TTL, why))),
    }
}

/// NUL is valid in JSON, but not in stored text.
fn refuse_nul(document: &Document) -> Result<(), DaoError> {
    let mut found = Violations::new();
    for (name, value) in document {
        if has_nul(value) || name.contains('\0') {
            found.field(&name.replace('\0', "\u{FFFD}"), "must not contain a NUL character");
        }
    }
    found.into_result().map_err(DaoError::Schema)
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(entries) => entries.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What the client that has configured a plugin has perhaps not meant.
fn warnings_of_plugin(state: &AdminState, kind: &Kind, document: &Document) -> Vec<String> {
    let named = document.text("name").filter(|_| is_plugins(kind)).and_then(|name| state.registry.plugin(name));
    named.zip(document.get("config")).map(|(named, config)| named.plugin.warnings(config)).unwrap_or_default()
}

/// Refuses an entity that the node has something against, and a configuration that its plugin has.
fn hear_objections(state: &AdminState, kind: &Kind, document: &Document) -> Result<(), DaoError> {
    if !is_plugins(kind) {
        return state.node.objections(kind.name, document).into_result().map_err(DaoError::Schema);
    }
    let named = document.text("name").and_then(|name| state.registry.plugin(name));
    let found = named.zip(document.get("config")).map(|(named, config)| named.plugin.objections(config));
    let Some(found) = found.filter(|found| !found.is_empty()) else { return Ok(()) };
    let mut violations = Violations::new();
    violations.fields.insert("config".to_owned(), Value::Object(found.fields));
    Err(DaoError::Schema(violations))
}

/// A plugin must share a protocol with its route, or with a route of its service. The store refuses dangling
/// references.
async fn check_protocols(state: &AdminState, kind: &Kind, document: &Document) -> Result<(), DaoError> {
    let Some(routes) = state.registry.collection("routes").filter(|_| is_plugins(kind)) else {
        return Ok(());
    };
    if let Some(route) = document.reference("route") {
        return match routes.find(&Key::Id(route)).await? {
            Some(route) => plugin::check_protocols(document, Some(&route), []).map_err(DaoError::Schema),
            None => Ok(()),
        };
    }
    let Some(service) = document.reference("service") else { return Ok(()) };
    let mut query = PageQuery { filter: Filter::Child { field: "service", parent: service }, after: None, size: 1000 };
    loop {
        let page = routes.page(&query).await?;
        let checked = plugin::check_protocols(document, None, &page.documents);
        // One matching route is enough; only after the last page is it certain that no route matches.
        match (checked, page.next) {
            (Ok(()), _) => return Ok(()),
            (Err(_), Some(next)) => query.after = Some(next),
            (Err(found), None) => return Err(DaoError::Schema(found)),
        }
    }
}
