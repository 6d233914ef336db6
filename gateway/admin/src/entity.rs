//! The verbs on entities, the same for every kind (gateway.md §2.2).

use std::sync::{Mutex, PoisonError};

use http::{Method, StatusCode};
use serde_json::Value;
use tollgate_core::collection::{Document, Key};
use tollgate_core::error::DaoError;
use tollgate_core::schema::Insertion;
use uuid::Uuid;

use crate::audit::{self, Change};
use crate::child::{self, Child};
use crate::draft::{self, Given, Patch};
use crate::input::Input;
use crate::reference::{self, Named};
use crate::resource::{Entities, Nested};
use crate::response::{Failure, Response};
use crate::state::AdminState;

/// `POST` on a collection.
pub(crate) async fn create(state: &AdminState, entities: &Entities, input: Input) -> Result<Response, Failure> {
    insert(state, entities, input, &[]).await
}

/// `POST` below a parent, which overrides the parent in the body.
pub(crate) async fn create_child(
    state: &AdminState,
    nested: &Nested<'_>,
    parent: &str,
    input: Input,
) -> Result<Response, Failure> {
    let parent = find_parent(state, nested, parent).await?;
    insert(state, nested.children, input, &[(nested.field, reference::to(parent))]).await
}

async fn insert(state: &AdminState, entities: &Entities, input: Input, given: Given<'_>) -> Result<Response, Failure> {
    let Insertion { document, shown_once, warnings } = draft::of_insert(state, entities, input, given).await?;
    let fields = audit::given(&document);
    let mut stored = entities.insert(document).await?;
    stored.extend(shown_once);
    let change = Change { id: stored.id(), fields };
    Ok(Response::json(StatusCode::CREATED, &warned(entities, stored, warnings)).changed(change))
}

/// `GET`, `PUT`, `PATCH` and `DELETE` of an entity.
pub(crate) async fn act(
    state: &AdminState,
    method: &Method,
    entities: &Entities,
    segment: &str,
    input: Input,
) -> Result<Response, Failure> {
    if *method == Method::PUT {
        let (key, input) = to_put(state, entities, segment, input).await?;
        return put(state, entities, &key, input, Vec::new()).await;
    }
    let key = reference::existing(state, entities, segment).await?;
    match *method {
        Method::PATCH => patch(state, entities, &key, input, &[]).await,
        Method::DELETE => {
            // Deleting an entity that does not exist succeeds (gateway.md §2.2).
            let id = id_of(entities, &key).await?;
            entities.delete(&key).await?;
            Ok(Response::empty(StatusCode::NO_CONTENT).changed(Change { id, ..Change::default() }))
        }
        _ => show(entities.find(&key).await?),
    }
}

/// What a PUT writes: one by name makes it a name of the entity, which need not exist.
async fn to_put(state: &AdminState, entities: &Entities, segment: &str, input: Input) -> Result<(Key, Input), Failure> {
    let kind = entities.kind();
    let Some(names) = kind.names else { return Ok((reference::key(kind, segment)?, input)) };
    let key = match reference::owner_of_name(state, names, segment).await? {
        Named::Id(id) => Key::Id(id),
        Named::Nobody => Key::Id(state.random.uuid()),
    };
    if reference::parse_uuid(segment).is_some() {
        return Ok((key, input));
    }
    let mut document = input.into_document(&kind.schema);
    match document.entry(names.field).or_insert(Value::Null) {
        Value::Array(list) if list.iter().any(|name| name == segment) => {}
        Value::Array(list) => list.push(Value::from(segment)),
        name @ Value::String(_) if name != segment => *name = Value::from(vec![name.take(), Value::from(segment)]),
        nothing @ Value::Null => *nothing = Value::from(vec![segment]),
        // It is the name, or validation refuses it.
        _ => {}
    }
    Ok((key, Input::Json(document)))
}

/// The same below a parent, to which the entity must belong.
pub(crate) async fn act_on_child(
    state: &AdminState,
    method: &Method,
    nested: &Nested<'_>,
    parent: &str,
    segment: &str,
    input: Input,
) -> Result<Response, Failure> {
    let parent = find_parent(state, nested, parent).await?;
    let children = nested.children;
    let Child { key, mut given } = child::named(state, nested, parent, segment).await?;
    if method == Method::PUT && !children.kind().only_below_parent {
        // A PUT assigns the child to this parent, even if it has another one.
        given.push((nested.field, reference::to(parent)));
        return put(state, children, &key, input, given).await;
    }
    let child = children.find(&key).await?.filter(|child| child.reference(nested.field) == Some(parent));
    let child = child.ok_or(Failure::NotFound)?;
    match *method {
        Method::PATCH | Method::PUT => {
            patch(state, children, &key, input, &[(nested.field, reference::to(parent))]).await
        }
        Method::DELETE => {
            let id = child.id().ok_or_else(|| reference::without_id(children.kind()))?;
            if children.delete(&Key::Id(id)).await? {
                Ok(Response::empty(StatusCode::NO_CONTENT).changed(Change { id: Some(id), ..Change::default() }))
            } else {
                Err(Failure::NotFound)
            }
        }
        _ => show(Some(child)),
    }
}

/// Inserts or replaces the entity at `key`, with the values given by the rest of the path.
pub(crate) async fn put(
    state: &AdminState,
    entities: &Entities,
    key: &Key,
    input: Input,
    mut given: Vec<(&'static str, Value)>,
) -> Result<Response, Failure> {
    given.push(match key {
        Key::Id(id) => ("id", Value::from(id.to_string())),
        Key::Unique { field, value } => (*field, Value::from(value.as_str())),
    });
    let Insertion { document, shown_once, warnings } = draft::of_insert(state, entities, input, &given).await?;
    let fields = audit::given(&document);
    let mut stored = entities.upsert(key, document).await?;
    stored.extend(shown_once);
    let change = Change { id: stored.id(), fields };
    Ok(Response::ok(&warned(entities, stored, warnings)).changed(change))
}

/// Updates the entity at `key`; what the rest of the path gives counts where the input says nothing.
pub(crate) async fn patch(
    state: &AdminState,
    entities: &Entities,
    key: &Key,
    input: Input,
    given: Given<'_>,
) -> Result<Response, Failure> {
    let Some(patch) = Patch::read(state, entities, key, input, given).await? else {
        return Err(Failure::NotFound);
    };
    let fields = Mutex::new(Vec::new());
    let merge = |stored: &Document| {
        let merged = patch.apply(stored)?;
        *fields.lock().unwrap_or_else(PoisonError::into_inner) = audit::different(stored, &merged);
        Ok(merged)
    };
    let updated = entities.update(key, &merge).await?;
    match updated {
        Some(document) => {
            let fields = fields.into_inner().unwrap_or_else(PoisonError::into_inner);
            let change = Change { id: document.id(), fields };
            let warnings = patch.warnings(&document);
            Ok(Response::ok(&warned(entities, document, warnings)).changed(change))
        }
        // Plugins are looked up before they are updated, so the error differs.
        None if draft::is_plugins(entities.kind()) => Err(Failure::NotFound),
        None => Err(DaoError::NotFound { key: key.clone() }.into()),
    }
}

/// The entity, with what the client has perhaps not meant beside it; the log says so too.
fn warned(entities: &Entities, mut stored: Document, warnings: Vec<String>) -> Value {
    let id = stored.id().map(|id| id.to_string()).unwrap_or_default();
    for warning in &warnings {
        tracing::warn!(kind = entities.kind().name, id, warning, "an entity was written that was perhaps not meant so");
    }
    if !warnings.is_empty() {
        stored.insert("warnings".to_owned(), Value::from(warnings));
    }
    Value::from(stored)
}

/// The id behind a key, for the audit log, which names no second keys: some are secrets.
async fn id_of(entities: &Entities, key: &Key) -> Result<Option<Uuid>, Failure> {
    match key {
        Key::Id(id) => Ok(Some(*id)),
        Key::Unique { .. } => Ok(entities.find(key).await?.and_then(|found| found.id())),
    }
}

/// 200 with the entity, or 404.
pub(crate) fn show(found: Option<Document>) -> Result<Response, Failure> {
    found.map(|document| Response::ok(&Value::from(document))).ok_or(Failure::NotFound)
}

/// The id of the parent in the path.
pub(crate) async fn find_parent(state: &AdminState, nested: &Nested<'_>, segment: &str) -> Result<Uuid, Failure> {
    let kind = nested.parents.kind();
    let key = reference::existing(state, nested.parents, segment).await?;
    let found = nested.parents.find(&key).await?.ok_or(Failure::NotFound)?;
    Ok(found.id().ok_or_else(|| reference::without_id(kind))?)
}
