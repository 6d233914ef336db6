//! Declared entities → entities that can be stored: what the Admin API checks of each, and what it leaves to the
//! database (gateway.md §4, §10.1).

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use tollgate_core::entity::{Kind, field, plugin};
use tollgate_core::schema::{Document, Makers, Violations};
use uuid::Uuid;

use crate::catalogue::{Catalogue, is_plugins};
use crate::fault::{Fault, Scope, of_violations};
use crate::layout::{Declared, Laid, Secrets};

const TTL: &str = "ttl";

/// What reading needs besides the text.
pub struct Reading<'r> {
    /// The kinds.
    pub catalogue: &'r Catalogue<'r>,
    /// The sources of ids, times and random strings.
    pub makers: Makers<'r>,
    /// What this node has against an entity that its schema accepts.
    pub objections: &'r (dyn Fn(&Kind, &Document) -> Violations + Sync),
}

/// One entity of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    /// The name of its kind.
    pub kind: &'static str,
    /// The entity as it is stored.
    pub document: Document,
    /// Automatic values that the file leaves open, as paths: an entity that is there keeps its own.
    pub left_open: Vec<Vec<&'static str>>,
}

/// Validates all entities. They are returned each after those that it refers to.
pub(crate) fn validate(laid: &Laid<'_>, reading: &Reading<'_>, faults: &mut Vec<Fault>) -> Vec<Entity> {
    let mut taken = Taken::default();
    let mut entities = Vec::new();
    let mut of_kinds: HashMap<&str, Vec<&Declared<'_>>> = HashMap::new();
    for declared in &laid.entities {
        of_kinds.entry(declared.kind.name).or_default().push(declared);
    }
    let mut protocols = Protocols::default();
    for kind in reading.catalogue.kinds() {
        for declared in of_kinds.remove(kind.name).unwrap_or_default() {
            let result = entity(declared, laid.secrets, reading);
            // What is wrong with it otherwise does not hide that there is another one with its key.
            let document = result.as_ref().map_or(&declared.document, |entity| &entity.document);
            taken.claim(declared, document, faults);
            let result = result.and_then(|entity| protocols.check(kind, &entity.document).map(|()| entity));
            match result {
                Ok(entity) => entities.push(entity),
                Err(found) => of_violations(&declared.path, found, faults),
            }
        }
    }
    entities
}

fn entity(declared: &Declared<'_>, secrets: Secrets, reading: &Reading<'_>) -> Result<Entity, Violations> {
    let kind = declared.kind;
    let mut document = declared.document.clone();
    let schema = reading.catalogue.schema(kind, document.get("name"))?;
    let ttl = take_ttl(kind, &mut document);
    let left_open = schema.left_to_make(&document);
    let processed = match secrets {
        Secrets::Clear => schema.process_insert(document, &reading.makers),
        Secrets::Rewritten => schema.process_rewritten(document, &reading.makers),
    };
    let (ttl, mut document) = match (ttl, processed) {
        (Ok(ttl), Ok(document)) => (ttl, document),
        (ttl, processed) => {
            let mut found = processed.err().unwrap_or_default();
            if let Err(why) = ttl {
                found.field(TTL, why);
            }
            return Err(found);
        }
    };
    reading.catalogue.objections(kind, &document).into_result()?;
    (reading.objections)(kind, &document).into_result()?;
    document.extend(ttl.map(|ttl| (TTL.to_owned(), ttl)));
    Ok(Entity { kind: kind.name, document, left_open })
}

/// Takes the `ttl` of an entity that may expire, which is no field of it.
fn take_ttl(kind: &Kind, document: &mut Document) -> Result<Option<Value>, String> {
    if !kind.ttl {
        return Ok(None);
    }
    match document.remove(TTL) {
        None | Some(Value::Null) => Ok(None),
        Some(ttl) => field::ttl().validate_alone(&ttl).map(|()| Some(ttl)),
    }
}

/// The values that must be unique, as far as they are taken.
#[derive(Default)]
struct Taken {
    ids: HashSet<(&'static str, Uuid)>,
    values: HashSet<(&'static str, &'static str, String)>,
    combinations: HashSet<(&'static str, String)>,
}

impl Taken {
    /// Takes those of an entity, and reports those that another one has.
    fn claim(&mut self, declared: &Declared<'_>, document: &Document, faults: &mut Vec<Fault>) {
        let kind = declared.kind;
        let mut refuse = |field: &str, value: &str| {
            let name = kind.name;
            let message =
                format!("uniqueness violation: '{name}' entity with {field} set to '{value}' already declared");
            let fault = Fault::of_field(declared.path.clone(), message);
            faults.push(Fault { scope: Scope::InPlace, of_entity: declared.path.len(), ..fault });
        };
        let mut is_same = false;
        for field in kind.unique_fields() {
            let Some(value) = document.text(field.name) else { continue };
            if !self.values.insert((kind.name, field.name, value.to_owned())) {
                is_same |= kind.second_key == Some(field.name);
                refuse(field.name, if field.sensitive { "******" } else { value });
            }
        }
        if !kind.unique_together.is_empty() {
            let value = |name: &&str| document.get(*name).cloned().unwrap_or(Value::Null);
            let text = Value::Array(kind.unique_together.iter().map(value).collect()).to_string();
            if !self.combinations.insert((kind.name, text)) {
                is_same = true;
                let shown = |name: &&str| shown(document.get(*name));
                let values: Vec<String> = kind.unique_together.iter().map(shown).collect();
                refuse(&kind.unique_together.join(","), &values.join(","));
            }
        }
        // Entities with the same key have the same id: that is said once.
        if !self.ids.insert((kind.name, declared.id)) && !is_same {
            refuse("primary key", &declared.id.to_string());
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "null".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(reference)) => shown(reference.get("id")),
        Some(other) => other.to_string(),
    }
}

/// The protocols of routes, which plugins must share. Routes come before plugins.
#[derive(Default)]
struct Protocols {
    routes: HashMap<Uuid, Document>,
    of_services: HashMap<Uuid, Vec<Uuid>>,
}

impl Protocols {
    fn check(&mut self, kind: &Kind, document: &Document) -> Result<(), Violations> {
        if kind.name == "routes"
            && let Some(id) = document.id()
        {
            self.routes.insert(id, document.clone());
            if let Some(service) = document.reference("service") {
                self.of_services.entry(service).or_default().push(id);
            }
        }
        if !is_plugins(kind) {
            return Ok(());
        }
        if let Some(route) = document.reference("route") {
            return match self.routes.get(&route) {
                Some(route) => plugin::check_protocols(document, Some(route), []),
                None => Ok(()),
            };
        }
        let of_service = document.reference("service").and_then(|service| self.of_services.get(&service));
        let routes = of_service.into_iter().flatten().filter_map(|id| self.routes.get(id));
        plugin::check_protocols(document, None, routes)
    }
}
