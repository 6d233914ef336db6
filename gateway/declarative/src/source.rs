//! Text → tree. YAML, of which JSON is a part; aliases and merge keys (`<<`) are expanded.
//!
//! The parser tells places only with errors. So the visitor of a scalar keeps its value and fails: the error has the
//! place, and the parser goes on behind the scalar.
//!
//! Bounded: the text, the values that aliases multiply, and their text; the parser bounds the depth.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::fault::{Fault, Step};
use crate::node::{Content, Entry, Node};
use crate::position::Position;

/// The largest text.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The most values, and the most bytes of text in them, once aliases are expanded.
const MAX_NODES: usize = 2_000_000;
const MAX_EXPANDED: usize = 2 * MAX_BYTES;

/// The most brackets that are open at once: beyond that the parser's time grows with their square. Those in texts count
/// as well; none of them means anything.
const MAX_OPEN: usize = 1000;

/// The name under which a map takes in others.
const MERGE: &str = "<<";

/// A text that has been read.
pub(crate) struct Source {
    pub(crate) root: Node,
    /// Names that occur twice in one map, or cannot be stored.
    pub(crate) faults: Vec<Fault>,
}

/// Reads a text.
///
/// # Errors
/// It is too large, or neither YAML nor JSON.
pub(crate) fn read(text: &str) -> Result<Source, Fault> {
    if text.len() > MAX_BYTES {
        return Err(unreadable(Position::START, &format!("it is larger than {MAX_BYTES} bytes")));
    }
    if let Some(line) = too_deep(text) {
        let at = Position { line, column: 1 };
        return Err(unreadable(at, &format!("more than {MAX_OPEN} brackets are open here")));
    }
    let scanner = Scanner::default();
    let result = serde_yaml::Deserializer::from_str(text).deserialize_any(Seed(&scanner));
    let root = match scanner.node(result) {
        Ok(root) => root,
        Err(error) => {
            let at = error.location().map(|at| Position { line: at.line(), column: at.column() });
            return json(text).ok_or_else(|| unreadable(at.unwrap_or(Position::START), &error.to_string()));
        }
    };
    Ok(Source { root, faults: scanner.faults.into_inner() })
}

/// The line in which more brackets are open than may be.
fn too_deep(text: &str) -> Option<usize> {
    let (mut open, mut line) = (0_usize, 1);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            b'\n' => line += 1,
            _ => {}
        }
        if open > MAX_OPEN {
            return Some(line);
        }
    }
    None
}

/// JSON that is no YAML, such as text with halves of surrogate pairs in it, is read without places.
fn json(text: &str) -> Option<Source> {
    let value: Value = text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()?;
    Some(Source { root: without_places(value), faults: Vec::new() })
}

fn without_places(value: Value) -> Node {
    let content = match value {
        Value::Array(values) => Content::List(values.into_iter().map(without_places).collect()),
        Value::Object(fields) => {
            let entry = |(name, value)| Entry { name, at: Position::START, value: without_places(value) };
            Content::Map(fields.into_iter().map(entry).collect())
        }
        scalar => Content::Scalar(scalar),
    };
    Node { at: Position::START, content }
}

fn unreadable(at: Position, why: &str) -> Fault {
    let message = format!("failed parsing declarative configuration: {why}");
    Fault { at: Some(at), ..Fault::of_field(vec![Step::Name("error".to_owned())], message) }
}

/// What the visitors share.
#[derive(Default)]
struct Scanner {
    /// The scalar whose visitor has just failed.
    scalar: RefCell<Option<Value>>,
    nodes: Cell<usize>,
    bytes: Cell<usize>,
    faults: RefCell<Vec<Fault>>,
}

impl Scanner {
    /// The node of a result: a scalar's is an error.
    fn node<E: fmt::Display>(&self, result: Result<Content, E>) -> Result<Node, E> {
        match result {
            Ok(content) => Ok(Node { at: beginning(&content), content }),
            Err(error) => match self.scalar.take() {
                Some(value) => {
                    let (at, _) = Position::split_off(&error.to_string());
                    Ok(Node { at, content: Content::Scalar(value) })
                }
                None => Err(error),
            },
        }
    }

    fn keep<E: Error>(&self, value: Value) -> Result<Content, E> {
        self.count(value.as_str().map_or(0, str::len))?;
        *self.scalar.borrow_mut() = Some(value);
        Err(E::custom("kept"))
    }

    fn count<E: Error>(&self, bytes: usize) -> Result<(), E> {
        self.nodes.set(self.nodes.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
        if self.nodes.get() > MAX_NODES || self.bytes.get() > MAX_EXPANDED {
            let limits = format!("more than {MAX_NODES} values or {MAX_EXPANDED} bytes of text");
            return Err(E::custom(format!("it has {limits} once its aliases are expanded")));
        }
        Ok(())
    }

    /// Such a name cannot be stored.
    fn without_nul(&self, name: &str, at: Position) -> String {
        let name = name.replace('\0', "\u{FFFD}");
        let message = "must not contain a NUL character".to_owned();
        let fault = Fault { at: Some(at), ..Fault::of_field(vec![Step::Name(name.clone())], message) };
        self.faults.borrow_mut().push(fault);
        name
    }

    fn entry<'de, A: MapAccess<'de>>(&self, map: &mut A) -> Result<Option<Entry>, A::Error> {
        let key = match map.next_key_seed(Seed(self)) {
            Ok(None) => return Ok(None),
            Ok(Some(content)) => Ok(content),
            Err(error) => Err(error),
        };
        let key = self.node(key)?;
        let value = self.node(map.next_value_seed(Seed(self)))?;
        let name = match key.content {
            Content::Scalar(Value::String(name)) => name,
            Content::Scalar(other) => other.to_string(),
            Content::List(_) | Content::Map(_) => {
                return Err(A::Error::custom(format!("a name is a list or a map, near line {}", key.at.line)));
            }
        };
        let name = if name.contains('\0') { self.without_nul(&name, key.at) } else { name };
        Ok(Some(Entry { name, at: key.at, value }))
    }
}

/// The place of a list or a map is that of the first in it.
fn beginning(content: &Content) -> Position {
    let first = match content {
        Content::Scalar(_) => None,
        Content::List(nodes) => nodes.first().map(|node| node.at),
        Content::Map(entries) => entries.first().map(|entry| entry.at),
    };
    first.unwrap_or(Position::START)
}

#[derive(Clone, Copy)]
struct Seed<'s>(&'s Scanner);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Content;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Content, E> {
        self.0.keep(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Content, E> {
        self.0.keep(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Content, E> {
        self.0.keep(value.into())
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Content, E> {
        self.0.keep(value.to_string().into())
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Content, E> {
        self.0.keep(value.to_string().into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Content, E> {
        let number = serde_json::Number::from_f64(value);
        self.0.keep(number.map_or_else(|| Value::from(value.to_string()), Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Content, E> {
        self.0.keep(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Content, E> {
        self.0.keep(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Content, E> {
        self.0.keep(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        self.0.count(0)?;
        let mut nodes = Vec::new();
        loop {
            let element = match list.next_element_seed(self) {
                Ok(None) => return Ok(Content::List(nodes)),
                Ok(Some(content)) => Ok(content),
                Err(error) => Err(error),
            };
            nodes.push(self.0.node(element)?);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        self.0.count(0)?;
        let (mut entries, mut names, mut merged) = (Vec::new(), HashSet::new(), Vec::new());
        while let Some(entry) = self.0.entry(&mut map)? {
            self.0.count(entry.name.len())?;
            if entry.name == MERGE {
                merged.push(entry.value);
            } else if names.insert(entry.name.clone()) {
                entries.push(entry);
            } else {
                let fault = Fault::of_field(vec![Step::Name(entry.name)], "this name occurs twice".to_owned());
                self.0.faults.borrow_mut().push(Fault { at: Some(entry.at), ..fault });
            }
        }
        for node in merged {
            merge(node, &mut entries, &mut names);
        }
        Ok(Content::Map(entries))
    }
}

/// Takes in the entries of a map, or of maps in a list, whose names are not there yet.
fn merge(node: Node, entries: &mut Vec<Entry>, names: &mut HashSet<String>) {
    match node.content {
        Content::Map(others) => {
            entries.extend(others.into_iter().filter(|entry| names.insert(entry.name.clone())));
        }
        Content::List(nodes) => nodes.into_iter().for_each(|node| merge(node, entries, names)),
        Content::Scalar(_) => {}
    }
}
