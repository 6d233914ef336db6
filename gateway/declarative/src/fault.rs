//! What is wrong with a file: every fault with its place, as lines for people and in the Admin API's shapes
//! (gateway.md §4, code 14).

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use tollgate_core::schema::{Violations, lua_text};

use crate::catalogue::Catalogue;
use crate::position::Position;

/// The key for faults of a record as a whole.
pub(crate) const WHOLE: &str = "@entity";

/// The most faults that are shown.
const SHOWN: usize = 1000;

/// One step of a path into a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The value of a name.
    Name(String),
    /// An element of a list, counted from 0.
    Index(usize),
}

/// What a fault concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The value at its path.
    Field,
    /// The record at its path as a whole.
    Record,
    /// The same, and the message stands for the record.
    InPlace,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub(crate) path: Vec<Step>,
    /// `None`: it follows from the path.
    pub(crate) at: Option<Position>,
    pub(crate) message: String,
    pub(crate) scope: Scope,
    /// The steps of the path that lead to its entity; 0: it is in none.
    pub(crate) of_entity: usize,
}

impl Fault {
    /// The fault of a value outside of entities. Its place is found later.
    pub(crate) fn of_field(path: Vec<Step>, message: String) -> Self {
        Self { path, at: None, message, scope: Scope::Field, of_entity: 0 }
    }

    /// Its place.
    pub fn position(&self) -> Position {
        self.at.unwrap_or(Position::START)
    }

    /// What it concerns, such as `services.1.host`, and the message.
    pub fn text(&self) -> String {
        let path = dotted(&self.path);
        if path.is_empty() { self.message.clone() } else { format!("{path}: {}", self.message) }
    }
}

/// Names and positions from 1, joined with dots.
pub(crate) fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        if !text.is_empty() {
            text.push('.');
        }
        match step {
            Step::Name(name) => text.push_str(name),
            Step::Index(index) => drop(write!(text, "{}", index + 1)),
        }
    }
    text
}

/// The faults of the entity at `path`.
pub(crate) fn of_violations(path: &[Step], found: Violations, into: &mut Vec<Fault>) {
    let mut fault = Fault { of_entity: path.len(), ..Fault::of_field(path.to_vec(), String::new()) };
    for (name, value) in found.fields {
        walk(&mut fault, &name, value, into);
    }
}

fn walk(fault: &mut Fault, name: &str, value: Value, into: &mut Vec<Fault>) {
    if name == WHOLE
        && let Value::Array(messages) = value
    {
        into.extend(messages.into_iter().map(|message| Fault {
            message: text(&message),
            scope: Scope::Record,
            ..fault.clone()
        }));
        return;
    }
    fault.path.push(Step::Name(name.to_owned()));
    below(fault, value, into);
    fault.path.pop();
}

fn below(fault: &mut Fault, value: Value, into: &mut Vec<Fault>) {
    match value {
        Value::Object(nested) => nested.into_iter().for_each(|(name, value)| walk(fault, &name, value, into)),
        Value::Array(elements) => {
            for (index, element) in elements.into_iter().enumerate().filter(|(_, element)| !element.is_null()) {
                fault.path.push(Step::Index(index));
                below(fault, element, into);
                fault.path.pop();
            }
        }
        message => into.push(Fault { message: text(&message), ..fault.clone() }),
    }
}

fn text(message: &Value) -> String {
    message.as_str().map_or_else(|| message.to_string(), str::to_owned)
}

/// All faults of a file, in the order of their places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} faults", .faults.len())]
pub struct Faults {
    /// At least one.
    pub faults: Vec<Fault>,
    /// What is in the file.
    pub(crate) document: Value,
    /// Which kinds refer to which, and by what field.
    pub(crate) relations: Vec<(&'static str, &'static str, &'static str)>,
}

impl Faults {
    pub(crate) fn new(mut faults: Vec<Fault>, document: Value, catalogue: &Catalogue<'_>) -> Self {
        faults.sort_by_key(|fault| fault.at);
        let kinds = catalogue.kinds();
        let relations = kinds.flat_map(|kind| {
            kind.foreign_fields().map(move |(field, target)| (kind.name, target, field.name)).collect::<Vec<_>>()
        });
        Self { faults, document, relations: relations.collect() }
    }

    /// A line for each fault, such as `kong.yml:4:3: services.1.host: required field missing`.
    pub fn lines(&self, file: &str) -> Vec<String> {
        let line = |fault: &Fault| format!("{file}:{}: {}", fault.position(), fault.text());
        let mut lines: Vec<String> = self.faults.iter().take(SHOWN).map(line).collect();
        if let Some(more @ 1..) = self.faults.len().checked_sub(SHOWN) {
            lines.push(format!("{file}: and {more} more"));
        }
        lines
    }

    /// The response of the Admin API.
    pub fn to_json(&self) -> Value {
        let fields = self.nested();
        json!({
            "code": 14,
            "name": "invalid declarative configuration",
            "message": format!("declarative config is invalid: {}", lua_text::compact(&fields)),
            "fields": fields,
        })
    }

    /// A structure that mirrors the file, with messages at the faulty places.
    fn nested(&self) -> Value {
        let shown: Vec<&Fault> = self.faults.iter().take(SHOWN).collect();
        nested(&shown, 0)
    }
}

/// The structure of faults whose paths are the same up to `depth`.
fn nested(faults: &[&Fault], depth: usize) -> Value {
    let (below, here): (Vec<&Fault>, Vec<&Fault>) = faults.iter().partition(|fault| fault.path.len() > depth);
    let messages: Vec<Value> = here.iter().map(|fault| Value::from(fault.message.as_str())).collect();
    if below.is_empty() {
        return match here.as_slice() {
            [fault] if fault.scope != Scope::Record => Value::from(fault.message.as_str()),
            _ => json!({ WHOLE: messages }),
        };
    }
    let mut elements = Vec::new();
    let mut fields = Map::new();
    for step in steps(&below, depth) {
        let same: Vec<&Fault> = below.iter().copied().filter(|fault| fault.path.get(depth) == Some(step)).collect();
        let inner = nested(&same, depth + 1);
        match step {
            Step::Name(name) => drop(fields.insert(name.clone(), inner)),
            Step::Index(index) => {
                elements.resize(elements.len().max(*index), Value::Null);
                elements.push(inner);
            }
        }
    }
    if fields.is_empty() && messages.is_empty() {
        return Value::Array(elements);
    }
    if !messages.is_empty() {
        fields.insert(WHOLE.to_owned(), Value::Array(messages));
    }
    Value::Object(fields)
}

/// The steps at that depth, each once; those into lists in ascending order.
fn steps<'f>(faults: &[&'f Fault], depth: usize) -> Vec<&'f Step> {
    let mut steps: Vec<&Step> = faults.iter().filter_map(|fault| fault.path.get(depth)).collect();
    steps.sort_unstable();
    steps.dedup();
    steps
}
