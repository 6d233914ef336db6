//! Declarations: many entities of all kinds, written in one transaction (gateway.md §10).
//!
//! 1. What is there is locked and read. Entities that are as declared are left alone.
//! 2. What the others, and those that are to go, have beside their documents (unique values, references, tags) is
//!    deleted: so values may change hands within a declaration.
//! 3. What is to go is deleted, with what depends on it.
//! 4. The others are written: documents, unique values, references, tags, each for all kinds.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use tollgate_core::change::Operation;
use tollgate_core::collection::Document;
use tollgate_core::entity::Kind;
use tollgate_core::error::{DaoError, StoreError};
use uuid::Uuid;

use crate::entity::dependents::{Counters, Ended};
use crate::entity::expiry::{self, ExpiresAt};
use crate::entity::read::{self, FIND_MANY, Found};
use crate::entity::stored::{Reference, Stored, UniqueKey, id_of};
use crate::entity::write::{self, LOCK_MANY};
use crate::failure::Abort;
use crate::kinds::Kinds;
use crate::row::Row;
use crate::session::Parameter;
use crate::statement;
use crate::statement::Statement;
use crate::transaction::Transaction;

pub(crate) const PUT: Statement = statement!("entity/put.sql");
pub(crate) const CLAIM_KEY: Statement = statement!("entity/claim_key.sql");
pub(crate) const PUT_REFERENCE: Statement = statement!("entity/put_reference.sql");
pub(crate) const PUT_TAG: Statement = statement!("entity/put_tag.sql");

/// How many entities, or rows beside them, a statement writes.
const CHUNK: usize = 500;

/// An entity that is to be there.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The entity, which has passed its schema.
    pub document: Document,
    /// Automatic values that nobody gave, as paths: an entity that is there keeps its own.
    pub left_open: Vec<Vec<&'static str>>,
}

/// The entities of one kind that are to be there.
pub(crate) struct OfKind {
    pub(crate) kind: Arc<Kind>,
    pub(crate) entities: Vec<Declared>,
}

/// What a declaration has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// New entities.
    pub created: usize,
    /// Those with new values.
    pub updated: usize,
    /// Those that are gone, without what went with them.
    pub deleted: usize,
    /// Those that were as declared.
    pub unchanged: usize,
}

/// Entities of one kind that will be written.
struct Write {
    kind: Arc<Kind>,
    created: Vec<Uuid>,
    updated: Vec<Uuid>,
    rows: Vec<(Stored, ExpiresAt)>,
}

/// Writes `declared`, kinds in the order of their references, and deletes `gone`. Also returns what ends with that.
pub(crate) async fn declare(
    tx: &mut Transaction<'_>,
    (kinds, dependents): (&Kinds, &Counters),
    declared: &[OfKind],
    gone: &BTreeMap<String, Vec<Uuid>>,
) -> Result<(Changes, Vec<Ended>), Abort<DaoError>> {
    let mut changes = Changes::default();
    let mut writes = Vec::new();
    for of_kind in declared {
        writes.push(compare(tx, of_kind, &mut changes).await?);
    }
    let mut locked = BTreeMap::new();
    for (kind, ids) in gone {
        let found = lock(tx, kind, ids).await?;
        changes.deleted += found.len();
        if !found.is_empty() {
            locked.insert(kind.clone(), found);
        }
    }
    for (kind, ids) in &locked {
        write::detach(tx, kind, ids).await?;
    }
    for Write { kind, updated, .. } in &writes {
        if !updated.is_empty() {
            write::detach(tx, kind.name, updated).await?;
        }
    }
    let ended = write::delete_all(tx, (kinds, dependents), locked).await?;
    write_all(tx, &writes).await?;
    for Write { kind, created, updated, .. } in &writes {
        for (operation, ids) in [(Operation::Created, created), (Operation::Updated, updated)] {
            if !ids.is_empty() {
                tx.record_all(kind.name, operation, ids).await?;
            }
        }
    }
    Ok((changes, ended))
}

async fn lock(tx: &mut Transaction<'_>, kind: &str, ids: &[Uuid]) -> Result<Vec<Uuid>, Abort<DaoError>> {
    let rows = tx.rows(&LOCK_MANY, &[Parameter::Text(kind), Parameter::Uuids(ids)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect::<Result<_, StoreError>>()?)
}

/// What must be written of a kind.
async fn compare(tx: &mut Transaction<'_>, of_kind: &OfKind, changes: &mut Changes) -> Result<Write, Abort<DaoError>> {
    let kind = &of_kind.kind;
    let mut write = Write { kind: Arc::clone(kind), created: Vec::new(), updated: Vec::new(), rows: Vec::new() };
    for chunk in of_kind.entities.chunks(CHUNK) {
        let ids = chunk.iter().map(|declared| id_of(kind, &declared.document)).collect::<Result<Vec<_>, _>>()?;
        let ids = lock(tx, kind.name, &ids).await?;
        let rows = tx.rows(&FIND_MANY, &[Parameter::Text(kind.name), Parameter::Uuids(&ids)]).await?;
        let found = rows.iter().map(|row| read::found(kind, row)).collect::<Result<Vec<_>, _>>()?;
        let found: HashMap<Uuid, Found> = found.into_iter().map(|found| (found.id, found)).collect();
        for declared in chunk {
            let mut document = declared.document.clone();
            let id = id_of(kind, &document)?;
            let expires_at = expiry::take(kind, &mut document, tx.now(), None);
            if let Some(names) = kind.names {
                document.remove(names.field);
            }
            match found.get(&id) {
                None => write.created.push(id),
                Some(before) => {
                    keep(kind, &declared.left_open, &before.document, &mut document);
                    if before.is_there(tx.now()) && is_same(&before.document, &document, &declared.left_open) {
                        changes.unchanged += 1;
                        continue;
                    }
                    write.updated.push(id);
                }
            }
            write.rows.push((Stored::from_document(kind, &document)?, expires_at));
        }
    }
    changes.created += write.created.len();
    changes.updated += write.updated.len();
    Ok(write)
}

/// Takes over automatic values that were left open, but for the time of the last change. A secret that is to be
/// rewritten now and was not before is made anew.
fn keep(kind: &Kind, left_open: &[Vec<&'static str>], before: &Document, document: &mut Document) {
    for path in left_open.iter().filter(|path| !is_time_of_change(path)) {
        let mut rewrites = kind.schema.transformations.iter().filter(|rewrite| path.as_slice() == [rewrite.needs]);
        if rewrites.any(|rewrite| before.get(rewrite.input) != document.get(rewrite.input)) {
            continue;
        }
        let known = path.iter().try_fold(None, |record: Option<&Value>, name| {
            let value = record.map_or_else(|| before.get(*name), |record| record.get(*name));
            value.map(Some)
        });
        if let Some(Some(known)) = known.filter(|known| known.is_some_and(|known| !known.is_null())) {
            set(document, path, known);
        }
    }
}

fn set(record: &mut Map<String, Value>, path: &[&'static str], value: &Value) {
    match path {
        [] => {}
        [name] => drop(record.insert((*name).to_owned(), value.clone())),
        [name, rest @ ..] => {
            if let Some(Value::Object(record)) = record.get_mut(*name) {
                set(record, rest, value);
            }
        }
    }
}

fn is_time_of_change(path: &[&'static str]) -> bool {
    path == ["updated_at"]
}

fn is_same(before: &Document, after: &Document, left_open: &[Vec<&'static str>]) -> bool {
    let is_free = |name: &str| name == "updated_at" && left_open.iter().any(|path| is_time_of_change(path));
    let has = |other: &Document, name: &str, value: &Value| is_free(name) || other.get(name) == Some(value);
    before.len() == after.len() && before.iter().all(|(name, value)| has(after, name, value))
}

async fn write_all(tx: &mut Transaction<'_>, writes: &[Write]) -> Result<(), Abort<DaoError>> {
    for Write { kind, rows, .. } in writes {
        if kind.ttl {
            for (row, _) in rows {
                write::make_way(tx, kind, row).await?;
            }
        }
        in_chunks(tx, &PUT, documents(kind, rows)).await?;
        claim_keys(tx, kind, rows).await?;
    }
    for Write { kind, rows, .. } in writes {
        let columns: Vec<Vec<Cow<'_, str>>> =
            rows.iter().map(|(row, _)| row.references.iter().map(Reference::column).collect()).collect();
        in_chunks(tx, &PUT_REFERENCE, references(kind, rows, &columns)).await?;
        in_chunks(tx, &PUT_TAG, tags(kind, rows)).await?;
    }
    Ok(())
}

async fn in_chunks(
    tx: &mut Transaction<'_>,
    statement: &Statement,
    lists: Vec<Vec<Parameter<'_>>>,
) -> Result<(), Abort<DaoError>> {
    for chunk in lists.chunks(CHUNK) {
        tx.rows_for_each(statement, chunk).await?;
    }
    Ok(())
}

type Rows = [(Stored, ExpiresAt)];

fn documents<'r>(kind: &Kind, rows: &'r Rows) -> Vec<Vec<Parameter<'r>>> {
    let list = |(row, end): &'r (Stored, ExpiresAt)| {
        let end = end.map_or(Parameter::Null, Parameter::Integer);
        let (body, created_at) = (Parameter::Text(&row.body), Parameter::Integer(row.created_at));
        vec![Parameter::Text(kind.name), Parameter::Uuid(row.id), body, created_at, end]
    };
    rows.iter().map(list).collect()
}

fn references<'r>(kind: &Kind, rows: &'r Rows, columns: &'r [Vec<Cow<'r, str>>]) -> Vec<Vec<Parameter<'r>>> {
    let mut lists = Vec::new();
    for ((row, _), columns) in rows.iter().zip(columns) {
        for (reference, column) in row.references.iter().zip(columns) {
            let target = [Parameter::Text(reference.target), Parameter::Uuid(reference.id)];
            let source = [Parameter::Text(kind.name), Parameter::Uuid(row.id), Parameter::Text(column)];
            let on_delete = Parameter::Text(reference.on_delete());
            lists.push(source.into_iter().chain(target).chain([on_delete]).collect());
        }
    }
    lists
}

fn tags<'r>(kind: &Kind, rows: &'r Rows) -> Vec<Vec<Parameter<'r>>> {
    let mut lists = Vec::new();
    for (row, _) in rows {
        let tagged = |tag| vec![Parameter::Text(kind.name), Parameter::Uuid(row.id), Parameter::Text(tag)];
        lists.extend(row.tags.iter().map(|tag| tagged(tag.as_str())));
    }
    lists
}

/// Claims the unique values of a kind's entities, and refuses if another entity has one.
async fn claim_keys(tx: &mut Transaction<'_>, kind: &Kind, rows: &Rows) -> Result<(), Abort<DaoError>> {
    let mut keys: Vec<(Uuid, &UniqueKey)> = Vec::new();
    for (row, _) in rows {
        keys.extend(row.keys.iter().map(|key| (row.id, key)));
    }
    for chunk in keys.chunks(CHUNK) {
        let claimed = tx.rows_for_each(&CLAIM_KEY, &claims(kind, chunk)).await?;
        if let Some(key) = unclaimed(chunk, &claimed)? {
            return Err(DaoError::Unique { fields: masked(kind, key) }.into());
        }
    }
    Ok(())
}

/// The fields of a key, for an error that goes to a log: without secrets.
fn masked(kind: &Kind, key: &UniqueKey) -> Vec<(&'static str, Value)> {
    let is_secret = |name: &str| kind.schema.field(name).is_some_and(|field| field.sensitive);
    let shown = |(name, value): &(&'static str, Value)| {
        (*name, if is_secret(name) { Value::from("******") } else { value.clone() })
    };
    key.fields.iter().map(shown).collect()
}

fn claims<'k>(kind: &Kind, keys: &[(Uuid, &'k UniqueKey)]) -> Vec<Vec<Parameter<'k>>> {
    let list = |(id, key): &(Uuid, &'k UniqueKey)| {
        let (field, value) = (Parameter::Text(&key.field), Parameter::Text(&key.value));
        vec![Parameter::Text(kind.name), field, value, Parameter::Uuid(*id)]
    };
    keys.iter().map(list).collect()
}

/// A value that another entity has.
fn unclaimed<'k>(keys: &[(Uuid, &'k UniqueKey)], claimed: &[Row]) -> Result<Option<&'k UniqueKey>, StoreError> {
    let pair = |row: &Row| Ok((row.get(0)?, row.get(1)?));
    let claimed = claimed.iter().map(pair).collect::<Result<HashSet<(String, String)>, StoreError>>()?;
    let is_taken = |key: &UniqueKey| !claimed.contains(&(key.field.clone(), key.value.clone()));
    Ok(keys.iter().map(|(_, key)| *key).find(|key| is_taken(key)))
}
