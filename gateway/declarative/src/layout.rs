//! How entities lie in a file (gateway.md §10.1): lists named after kinds, at the top and in the entities that those
//! in them belong to.

use serde_json::{Map, Value, json};
use tollgate_core::entity::Kind;
use tollgate_core::schema::{Document, Violations};
use uuid::Uuid;

use crate::catalogue::{Catalogue, is_plugins};
use crate::deck;
use crate::fault::{Fault, Scope, Step, of_violations};
use crate::node::{Content, Entry, Node};

/// The versions of the format.
const VERSIONS: [&str; 3] = ["1.1", "2.1", "3.0"];
const VERSION: &str = "_format_version";
const TRANSFORM: &str = "_transform";

/// Whether the secrets of a file are to be rewritten where their entities ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// They are clear.
    Clear,
    /// They were rewritten before.
    Rewritten,
}

/// A file taken apart.
pub(crate) struct Laid<'r> {
    pub(crate) secrets: Secrets,
    pub(crate) entities: Vec<Declared<'r>>,
}

/// An entity as the file says it, without those nested in it.
pub(crate) struct Declared<'r> {
    pub(crate) kind: &'r Kind,
    pub(crate) path: Vec<Step>,
    pub(crate) document: Document,
    /// The field that refers to the entity in which it is nested, and which one that is.
    pub(crate) parent: Option<(&'static str, usize)>,
    /// Its id, once it is known.
    pub(crate) id: Uuid,
}

impl<'r> Declared<'r> {
    fn new(kind: &'r Kind, path: Vec<Step>, document: Document, parent: Option<(&'static str, usize)>) -> Self {
        Self { kind, path, document, parent, id: Uuid::nil() }
    }

    /// Sets the id; one that is given and no UUID stays in the document, for validation to refuse.
    pub(crate) fn set_id(&mut self, id: Uuid) {
        self.id = id;
        let given = self.document.get("id").filter(|given| !given.is_null());
        if given.is_none() || self.document.id() == Some(id) {
            self.document.insert("id".to_owned(), json!(id));
        }
    }
}

/// Takes a file apart.
pub(crate) fn read<'r>(root: &Node, catalogue: &'r Catalogue<'r>, faults: &mut Vec<Fault>) -> Laid<'r> {
    let mut reader = Reader { catalogue, faults, entities: Vec::new(), version: None, info: deck::Info::default() };
    let mut secrets = Secrets::Clear;
    let Content::Map(entries) = &root.content else {
        let message = "failed parsing declarative configuration: expected an object".to_owned();
        reader.faults.push(Fault::of_field(name_path("error"), message));
        return Laid { secrets, entities: Vec::new() };
    };
    reader.read_version(root.get(VERSION));
    reader.info = deck::Info::read(root, reader.faults);
    for entry in entries {
        match (entry.name.as_str(), &entry.value.content) {
            (TRANSFORM, Content::Scalar(Value::Bool(asked))) => {
                secrets = if *asked { Secrets::Clear } else { Secrets::Rewritten };
            }
            (TRANSFORM, Content::Scalar(Value::Null)) => {}
            (TRANSFORM, _) => reader.refuse(&entry.name, "expected a boolean"),
            (VERSION, _) => {}
            (name, _) if deck::is_known(name) => {}
            _ => reader.read_top(entry),
        }
    }
    Laid { secrets, entities: reader.entities }
}

fn name_path(name: &str) -> Vec<Step> {
    vec![Step::Name(name.to_owned())]
}

struct Reader<'r, 'f> {
    catalogue: &'r Catalogue<'r>,
    faults: &'f mut Vec<Fault>,
    entities: Vec<Declared<'r>>,
    version: Option<&'static str>,
    info: deck::Info,
}

impl<'r> Reader<'r, '_> {
    fn refuse(&mut self, name: &str, why: &str) {
        self.faults.push(Fault::of_field(name_path(name), why.to_owned()));
    }

    fn read_version(&mut self, given: Option<&Node>) {
        let given = given.map(Node::value).unwrap_or_default();
        match &given {
            Value::String(text) => match VERSIONS.into_iter().find(|version| version == text) {
                Some(version) => self.version = Some(version),
                None => self.refuse(VERSION, &format!("expected one of: {}", VERSIONS.join(", "))),
            },
            Value::Null => self.refuse(VERSION, "required field missing"),
            _ => self.refuse(VERSION, "expected a string"),
        }
    }

    fn read_top(&mut self, entry: &Entry) {
        let name = entry.name.as_str();
        match self.catalogue.kind(name) {
            Some(kind) => self.read_list(kind, &entry.value, name_path(name), None),
            None if is_remark(entry) => {}
            None => self.refuse(name, "unknown field"),
        }
    }

    fn read_list(&mut self, kind: &'r Kind, node: &Node, path: Vec<Step>, parent: Option<(&'static str, usize)>) {
        let nodes = match &node.content {
            Content::List(nodes) => nodes.as_slice(),
            Content::Scalar(Value::Null) => &[],
            _ => return self.faults.push(fault_in(path, parent.is_some(), "expected an array")),
        };
        for (index, node) in nodes.iter().enumerate() {
            let path = [path.clone(), vec![Step::Index(index)]].concat();
            self.read_entity(kind, node, path, parent);
        }
    }

    fn read_entity(&mut self, kind: &'r Kind, node: &Node, path: Vec<Step>, parent: Option<(&'static str, usize)>) {
        let Content::Map(entries) = &node.content else {
            let fault = Fault::of_field(path.clone(), "expected a record".to_owned());
            return self.faults.push(Fault { of_entity: path.len(), scope: Scope::InPlace, ..fault });
        };
        let position = self.entities.len();
        self.entities.push(Declared::new(kind, path.clone(), Document::new(), parent));
        let mut own = Map::new();
        for entry in entries {
            let below = || [path.clone(), name_path(&entry.name)].concat();
            match self.catalogue.nested(kind, &entry.name) {
                Some((child, field)) if kind.names.is_some_and(|names| names.field == entry.name) => {
                    self.read_names(child, &entry.value, below(), (field, position));
                }
                Some((child, field)) if kind.schema.field(&entry.name).is_none() => {
                    self.read_list(child, &entry.value, below(), Some((field, position)));
                }
                _ if is_remark(entry) => {}
                _ => drop(own.insert(entry.name.clone(), entry.value.value())),
            }
        }
        let mut document = Document::from(own);
        let mut found = take_out_nul(&mut document);
        if self.version != Some("3.0") {
            mark_expressions(kind, &mut document);
        }
        found.fields.extend(self.info.complete(kind, is_plugins(kind), &mut document).fields);
        of_violations(&path, found, self.faults);
        if let Some(declared) = self.entities.get_mut(position) {
            declared.document = document;
        }
    }

    /// Names of an entity, which are entities: records, or, as the Admin API shows them, texts.
    fn read_names(&mut self, kind: &'r Kind, node: &Node, path: Vec<Step>, parent: (&'static str, usize)) {
        let Content::List(nodes) = &node.content else { return self.read_list(kind, node, path, Some(parent)) };
        for (index, node) in nodes.iter().enumerate() {
            let path = [path.clone(), vec![Step::Index(index)]].concat();
            match (&node.content, kind.second_key) {
                (Content::Scalar(Value::String(text)), Some(field)) => {
                    let document = Document::from_iter([(field.to_owned(), json!(text))]);
                    self.entities.push(Declared::new(kind, path, document, Some(parent)));
                }
                _ => self.read_entity(kind, node, path, Some(parent)),
            }
        }
    }
}

fn fault_in(path: Vec<Step>, is_nested: bool, why: &str) -> Fault {
    // Of a nested list: the entity is two steps before it.
    let of_entity = if is_nested { path.len() - 1 } else { 0 };
    Fault { of_entity, ..Fault::of_field(path, why.to_owned()) }
}

/// What is there for people and for other tools.
fn is_remark(entry: &Entry) -> bool {
    match entry.name.as_str() {
        "_comment" => matches!(entry.value.content, Content::Scalar(Value::String(_) | Value::Null)),
        "_ignore" => matches!(entry.value.content, Content::List(_) | Content::Scalar(Value::Null)),
        _ => false,
    }
}

/// NUL is valid in JSON and YAML, but not in stored text. It is replaced, so that nothing else is said of it.
fn take_out_nul(document: &mut Document) -> Violations {
    let mut found = Violations::new();
    for (name, value) in document.iter_mut() {
        if replace_nul(value) {
            found.field(name, "must not contain a NUL character");
        }
    }
    found
}

fn replace_nul(value: &mut Value) -> bool {
    match value {
        Value::String(text) if text.contains('\0') => {
            *text = text.replace('\0', "\u{FFFD}");
            true
        }
        Value::Array(values) => values.iter_mut().fold(false, |found, value| replace_nul(value) | found),
        Value::Object(fields) => fields.iter_mut().fold(false, |found, (_, value)| replace_nul(value) | found),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Before version 3.0 the paths of routes that look like regular expressions are some, without the mark `~`.
fn mark_expressions(kind: &Kind, document: &mut Document) {
    let Some(Value::Array(paths)) = document.get_mut("paths").filter(|_| kind.name == "routes") else { return };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~/%".contains(&byte);
    for path in paths {
        if let Value::String(text) = path
            && !text.starts_with('~')
            && !text.bytes().all(is_plain)
        {
            text.insert(0, '~');
        }
    }
}
