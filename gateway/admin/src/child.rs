//! The last segment of a path such as `/consumers/{x}/acls/{y}` is an id, the kind's second key, or a value
//! that is unique below the parent (gateway.md §2.1).

use serde_json::{Map, Value};
use tollgate_core::collection::{Filter, Key, PageQuery};
use tollgate_core::entity::Kind;
use tollgate_core::error::DaoError;
use tollgate_core::schema::Field;
use uuid::Uuid;

use crate::reference;
use crate::resource::Nested;
use crate::state::AdminState;

/// How many children of one parent are read at a time.
const PAGE_SIZE: usize = 1000;

/// A child named by a path, whether or not it exists.
pub(crate) struct Child {
    /// Its key in the store; a new id if it does not exist and has no other key.
    pub(crate) key: Key,
    /// Values that follow from the name, in addition to those of the key.
    pub(crate) given: Vec<(&'static str, Value)>,
}

/// Resolves a name below `parent`.
pub(crate) async fn named(
    state: &AdminState,
    nested: &Nested<'_>,
    parent: Uuid,
    segment: &str,
) -> Result<Child, DaoError> {
    let kind = nested.children.kind();
    let field = kind.key_below(nested.field).filter(|_| kind.second_key.is_none());
    let Some(field) = field.filter(|_| reference::parse_uuid(segment).is_none()) else {
        return Ok(Child { key: reference::key(kind, segment)?, given: Vec::new() });
    };
    let segment = &normal(kind, field, segment);
    // What breaks the rule of a field is no entity's, and these are not made by paths.
    if !kind.only_below_parent {
        reference::validate_key(field, segment)?;
    }
    let found = find(nested, parent, field.name, segment).await?;
    let key = Key::Id(found.unwrap_or_else(|| state.random.uuid()));
    Ok(Child { key, given: vec![(field.name, Value::from(segment.as_str()))] })
}

/// The name in the form in which it is stored.
fn normal(kind: &Kind, field: &Field, segment: &str) -> String {
    let mut given = Map::from_iter([(field.name.to_owned(), Value::from(segment))]);
    if let Some(adjust) = kind.schema.adjust {
        adjust(&mut given);
    }
    given.get(field.name).and_then(Value::as_str).unwrap_or(segment).to_owned()
}

/// The id of the child whose `field` has this value.
async fn find(nested: &Nested<'_>, parent: Uuid, field: &str, value: &str) -> Result<Option<Uuid>, DaoError> {
    let mut query = PageQuery { filter: Filter::Child { field: nested.field, parent }, after: None, size: PAGE_SIZE };
    loop {
        let page = nested.children.page(&query).await?;
        let child = page.documents.iter().find(|child| child.text(field) == Some(value));
        match (child, page.next) {
            (Some(child), _) => {
                let id = child.id().ok_or_else(|| reference::without_id(nested.children.kind()))?;
                return Ok(Some(id));
            }
            (None, Some(next)) => query.after = Some(next),
            (None, None) => return Ok(None),
        }
    }
}
