//! Writing entities: each function is the work of one transaction.
//!
//! An entity is locked before it is written; the constraints of the tables decide about unique values and
//! references. So of several conflicting writers exactly one succeeds, and no write is based on a value that
//! has changed since it was read.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_core::change::Operation;
use tollgate_core::collection::{Document, Key};
use tollgate_core::entity::Kind;
use tollgate_core::error::{DaoError, StoreError};
use uuid::Uuid;

use crate::entity::dependents::{Counters, Ended};
use crate::entity::expiry::{self, ExpiresAt};
use crate::entity::read::{self, FIND, FIND_UNIQUE, Found};
use crate::entity::stored::{CASCADE, Stored, canonical_text};
use crate::failure::{Abort, Failure};
use crate::kinds::Kinds;
use crate::session::Parameter;
use crate::statement;
use crate::statement::Statement;
use crate::transaction::Transaction;

pub(crate) const LOCK: Statement = statement!("entity/lock.sql");
pub(crate) const LOCK_MANY: Statement = statement!("entity/lock_many.sql");
pub(crate) const INSERT: Statement = statement!("entity/insert.sql");
pub(crate) const REPLACE: Statement = statement!("entity/replace.sql");
pub(crate) const DELETE: Statement = statement!("entity/delete.sql");
pub(crate) const INSERT_KEY: Statement = statement!("entity/insert_key.sql");
pub(crate) const INSERT_REFERENCE: Statement = statement!("entity/insert_reference.sql");
pub(crate) const INSERT_TAGS: Statement = statement!("entity/insert_tags.sql");
pub(crate) const CLEAR_KEYS: Statement = statement!("entity/clear_keys.sql");
pub(crate) const CLEAR_REFERENCES: Statement = statement!("entity/clear_references.sql");
pub(crate) const CLEAR_TAGS: Statement = statement!("entity/clear_tags.sql");
pub(crate) const REFERRERS: Statement = statement!("entity/referrers.sql");

/// Inserts an entity. Returns the document as shown to clients.
pub(crate) async fn insert(
    tx: &mut Transaction<'_>,
    kind: &Kind,
    mut document: Document,
) -> Result<Document, Abort<DaoError>> {
    let expires_at = expiry::take(kind, &mut document, tx.now(), None);
    let stored = Stored::from_document(kind, &document)?;
    if kind.ttl {
        make_way(tx, kind, &stored).await?;
    }
    if tx.execute(&INSERT, &columns(kind, &stored, expires_at)).await? == 0 {
        return Err(DaoError::PrimaryKey { id: stored.id }.into());
    }
    attach(tx, kind, &stored).await?;
    tx.record_all(kind.name, Operation::Created, &[stored.id]).await?;
    expiry::show(kind, &mut document, expires_at, tx.now());
    Ok(document)
}

/// Replaces a locked entity. Without a `ttl` its expiry stays as `kept`. Returns the document as shown to
/// clients.
async fn replace(
    tx: &mut Transaction<'_>,
    kind: &Kind,
    mut document: Document,
    kept: ExpiresAt,
) -> Result<Document, Abort<DaoError>> {
    let expires_at = expiry::take(kind, &mut document, tx.now(), kept);
    let stored = Stored::from_document(kind, &document)?;
    if kind.ttl {
        make_way(tx, kind, &stored).await?;
    }
    tx.execute(&REPLACE, &columns(kind, &stored, expires_at)).await?;
    detach(tx, kind.name, &[stored.id]).await?;
    attach(tx, kind, &stored).await?;
    tx.record_all(kind.name, Operation::Updated, &[stored.id]).await?;
    expiry::show(kind, &mut document, expires_at, tx.now());
    Ok(document)
}

fn columns<'s>(kind: &Kind, stored: &'s Stored, expires_at: ExpiresAt) -> [Parameter<'s>; 5] {
    let expires_at = expires_at.map_or(Parameter::Null, Parameter::Integer);
    let body = Parameter::Text(&stored.body);
    [Parameter::Text(kind.name), Parameter::Uuid(stored.id), body, Parameter::Integer(stored.created_at), expires_at]
}

/// Deletes expired entities that still have the id or a unique value of the entity that will be written.
pub(crate) async fn make_way(tx: &mut Transaction<'_>, kind: &Kind, stored: &Stored) -> Result<(), Abort<DaoError>> {
    lock_by_id(tx, kind, stored.id).await?;
    for key in &stored.keys {
        let parameters = [Parameter::Text(kind.name), Parameter::Text(&key.field), Parameter::Text(&key.value)];
        let owner = read::first(kind, &tx.rows(&FIND_UNIQUE, &parameters).await?)?;
        // A current owner keeps the value: waiting for its writers could only deadlock.
        if let Some(owner) = owner.filter(|owner| !owner.is_there(tx.now())) {
            lock_by_id(tx, kind, owner.id).await?;
        }
    }
    Ok(())
}

/// Inserts the entity or replaces the one with the key. Returns the document with its final id.
pub(crate) async fn upsert(
    tx: &mut Transaction<'_>,
    kind: &Kind,
    key: &Key,
    mut document: Document,
) -> Result<Document, Abort<DaoError>> {
    let current = lock(tx, kind, key).await?;
    match (key, &current) {
        (Key::Id(id), _) => drop(document.insert("id".into(), id.to_string().into())),
        (Key::Unique { field, value }, found) => {
            document.insert((*field).to_owned(), value.as_str().into());
            if let Some(found) = found {
                document.insert("id".into(), found.id.to_string().into());
            }
        }
    }
    match current {
        Some(_) => replace(tx, kind, document, None).await,
        None => insert(tx, kind, document).await.map_err(|abort| raced(key, abort)),
    }
}

/// The key was free when it was looked up but is taken now: look it up again.
fn raced(key: &Key, abort: Abort<DaoError>) -> Abort<DaoError> {
    let again = match (&abort, key) {
        (Abort::Refused(DaoError::PrimaryKey { id }), Key::Id(wanted)) => id == wanted,
        (Abort::Refused(DaoError::Unique { fields }), Key::Unique { field, .. }) => {
            matches!(fields.as_slice(), [(taken, _)] if taken == field)
        }
        _ => false,
    };
    if again { Abort::Retry(contended()) } else { abort }
}

/// Replaces the entity if it has not changed since the caller read it. `None`: it was changed or deleted.
pub(crate) async fn replace_unchanged(
    tx: &mut Transaction<'_>,
    kind: &Kind,
    read: &Found,
    document: Document,
) -> Result<Option<Document>, Abort<DaoError>> {
    match lock_by_id(tx, kind, read.id).await? {
        Some(current) if current.body == read.body && current.expires_at == read.expires_at => {
            replace(tx, kind, document, current.expires_at).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// Deletes the entity and everything that cascades from it, referring entities first. Returns what is counted of that;
/// `None`: it did not exist.
pub(crate) async fn delete(
    tx: &mut Transaction<'_>,
    kinds: &Kinds,
    dependents: &Counters,
    kind: &Kind,
    key: &Key,
) -> Result<Option<Vec<Ended>>, Abort<DaoError>> {
    let Some(found) = lock(tx, kind, key).await? else { return Ok(None) };
    let locked = BTreeMap::from([(kind.name.to_owned(), vec![found.id])]);
    delete_all(tx, (kinds, dependents), locked).await.map(Some)
}

/// Deletes locked entities, by kind, and everything that cascades from them, referring entities first. Returns what ends
/// with them.
pub(crate) async fn delete_all(
    tx: &mut Transaction<'_>,
    (kinds, dependents): (&Kinds, &Counters),
    locked: BTreeMap<String, Vec<Uuid>>,
) -> Result<Vec<Ended>, Abort<DaoError>> {
    let mut doomed = BTreeSet::new();
    for (kind, ids) in &locked {
        doomed.extend(ids.iter().map(|id| (kind.clone(), *id)));
    }
    let mut levels = vec![locked];
    while let Some(level) = levels.last() {
        let next = referrers(tx, kinds, level, &mut doomed).await?;
        if next.is_empty() {
            break;
        }
        levels.push(next);
    }
    let mut ended = Vec::new();
    for (kind, ids) in levels.into_iter().rev().flatten() {
        ended.extend(dependents.count(tx, &kind, &ids).await?);
        remove(tx, &kind, &ids).await?;
    }
    Ok(ended)
}

/// Deletes entities to which nothing refers.
pub(crate) async fn remove(tx: &mut Transaction<'_>, kind: &str, ids: &[Uuid]) -> Result<(), Abort<DaoError>> {
    detach(tx, kind, ids).await?;
    tx.execute(&DELETE, &[Parameter::Text(kind), Parameter::Uuids(ids)]).await?;
    Ok(tx.record_all(kind, Operation::Deleted, ids).await?)
}

/// Locks the entities that refer to those of a level, by kind; refuses if a reference forbids the deletion.
/// The level is locked, so no reference to it can be added after this read.
async fn referrers(
    tx: &mut Transaction<'_>,
    kinds: &Kinds,
    level: &BTreeMap<String, Vec<Uuid>>,
    doomed: &mut BTreeSet<(String, Uuid)>,
) -> Result<BTreeMap<String, Vec<Uuid>>, Abort<DaoError>> {
    let mut next: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();
    for (target, ids) in level {
        for row in tx.rows(&REFERRERS, &[Parameter::Text(target), Parameter::Uuids(ids)]).await? {
            let (kind, id, on_delete): (String, Uuid, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if doomed.contains(&(kind.clone(), id)) {
                continue;
            }
            if on_delete != CASCADE {
                return Err(refers(tx, kinds, (&kind, id), (target, ids)).await?.into());
            }
            doomed.insert((kind.clone(), id));
            next.entry(kind).or_default().push(id);
        }
    }
    for (kind, ids) in &mut next {
        let rows = tx.rows(&LOCK_MANY, &[Parameter::Text(kind), Parameter::Uuids(ids)]).await?;
        *ids = rows.iter().map(|row| row.get(0)).collect::<Result<_, StoreError>>()?;
    }
    next.retain(|_, ids| !ids.is_empty());
    Ok(next)
}

/// Why the entities of a kind cannot be deleted: another one refers to one of them, by a field or in a list.
async fn refers(
    tx: &mut Transaction<'_>,
    kinds: &Kinds,
    (kind, by_id): (&str, Uuid),
    (target, ids): (&str, &[Uuid]),
) -> Result<DaoError, Abort<DaoError>> {
    let (by, target) = (kinds.name_of(kind), kinds.name_of(target));
    let Some(kind) = kinds.get(kind) else { return Ok(DaoError::Referenced { by, target }) };
    let lists: Vec<_> = kind.schema.fields.iter().filter(|field| field.ids_of == Some(target)).collect();
    if lists.is_empty() {
        return Ok(DaoError::Referenced { by, target });
    }
    let referring = read::first(&kind, &tx.rows(&FIND, &[Parameter::Text(kind.name), Parameter::Uuid(by_id)]).await?)?;
    let document = referring.map(|found| found.document).unwrap_or_default();
    let mut listed = lists.iter().flat_map(|field| document.texts(field.name)).filter_map(|id| id.parse().ok());
    let listed = listed.find(|id| ids.contains(id));
    Ok(listed.map_or(DaoError::Referenced { by, target }, |id| DaoError::Listed { by, by_id, target, id }))
}

/// Locks an entity. If it is addressed by a unique value, the entity is locked by its id; whether it still
/// has the value is checked once it is locked. An entity that had expired when it was read is removed.
async fn lock(tx: &mut Transaction<'_>, kind: &Kind, key: &Key) -> Result<Option<Found>, Abort<DaoError>> {
    let (field, value) = match key {
        Key::Id(id) => return lock_by_id(tx, kind, *id).await,
        Key::Unique { field, value } => (field, value),
    };
    let canonical = canonical_text(value);
    let parameters = [Parameter::Text(kind.name), Parameter::Text(field), Parameter::Text(&canonical)];
    let Some(found) = read::first(kind, &tx.rows(&FIND_UNIQUE, &parameters).await?)? else { return Ok(None) };
    match lock_by_id(tx, kind, found.id).await? {
        Some(locked) if locked.document.text(field) == Some(value) => Ok(Some(locked)),
        None if !found.is_there(tx.now()) => Ok(None),
        _ => Err(Abort::Retry(contended())),
    }
}

/// Locks an entity. Deletes it if it has expired, and treats it as missing.
pub(crate) async fn lock_by_id(
    tx: &mut Transaction<'_>,
    kind: &Kind,
    id: Uuid,
) -> Result<Option<Found>, Abort<DaoError>> {
    let rows = tx.rows(&LOCK, &[Parameter::Text(kind.name), Parameter::Uuid(id)]).await?;
    let Some(found) = read::first(kind, &rows)? else { return Ok(None) };
    if found.is_there(tx.now()) {
        return Ok(Some(found));
    }
    remove(tx, kind.name, &[id]).await?;
    Ok(None)
}

/// Inserts the keys, references and tags of the entity.
async fn attach(tx: &mut Transaction<'_>, kind: &Kind, stored: &Stored) -> Result<(), Abort<DaoError>> {
    let (name, id) = (Parameter::Text(kind.name), Parameter::Uuid(stored.id));
    for key in &stored.keys {
        let values = [name, Parameter::Text(&key.field), Parameter::Text(&key.value), id];
        if tx.execute(&INSERT_KEY, &values).await? == 0 {
            return Err(DaoError::Unique { fields: key.fields.clone() }.into());
        }
    }
    for reference in &stored.references {
        let column = reference.column();
        let (field, target) = (Parameter::Text(&column), Parameter::Text(reference.target));
        let values = [name, id, field, target, Parameter::Uuid(reference.id), Parameter::Text(reference.on_delete())];
        tx.execute(&INSERT_REFERENCE, &values).await.map_err(|failure| match failure {
            Failure::ForeignKey(_) => {
                let (field, target, id) = (reference.field, reference.target, reference.id);
                DaoError::ForeignMissing { field, target, id }.into()
            }
            other => Abort::from(other),
        })?;
    }
    if !stored.tags.is_empty() {
        tx.execute(&INSERT_TAGS, &[name, id, Parameter::Texts(&stored.tags)]).await?;
    }
    Ok(())
}

/// The opposite of [`attach`].
pub(crate) async fn detach(tx: &mut Transaction<'_>, kind: &str, ids: &[Uuid]) -> Result<(), Abort<DaoError>> {
    for statement in [&CLEAR_KEYS, &CLEAR_REFERENCES, &CLEAR_TAGS] {
        tx.execute(statement, &[Parameter::Text(kind), Parameter::Uuids(ids)]).await?;
    }
    Ok(())
}

/// The error if conflicts continue after all retries.
pub(crate) fn contended() -> StoreError {
    StoreError::Unavailable("too many concurrent writes to the same entity".into())
}
