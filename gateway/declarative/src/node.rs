//! The tree of a text: values that know their places.

use serde_json::{Map, Value};

use crate::fault::Step;
use crate::position::Position;

/// A value.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) content: Content,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A name with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) at: Position,
    pub(crate) value: Node,
}

impl Node {
    /// The value without places.
    pub(crate) fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(nodes) => nodes.iter().map(Self::value).collect(),
            Content::Map(entries) => Value::Object(object(entries)),
        }
    }

    /// The value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find(|entry| entry.name == name).map(|entry| &entry.value)
    }

    /// The place of what a path leads to, or of the last that is there: of a name, or of an element of a list.
    pub(crate) fn find(&self, path: &[Step]) -> Position {
        let Some((step, rest)) = path.split_first() else { return self.at };
        let (at, next) = match (step, &self.content) {
            (Step::Name(name), Content::Map(entries)) => {
                let found = entries.iter().find(|entry| entry.name == *name);
                (found.map(|entry| entry.at), found.map(|entry| &entry.value))
            }
            (Step::Index(index), Content::List(nodes)) => {
                let found = nodes.get(*index);
                (found.map(|node| node.at), found)
            }
            _ => (None, None),
        };
        match next {
            Some(next) if !rest.is_empty() => {
                let leads_on = matches!(next.content, Content::List(_) | Content::Map(_));
                if leads_on { next.find(rest) } else { at.unwrap_or(self.at) }
            }
            _ => at.unwrap_or(self.at),
        }
    }
}

/// The values of names, without places.
pub(crate) fn object(entries: &[Entry]) -> Map<String, Value> {
    entries.iter().map(|entry| (entry.name.clone(), entry.value.value())).collect()
}
