//! Writing entities: each function is one transaction's work.
//!
//! An entity that is written is locked first; unique values and references are decided by the
//! constraints of their tables. So of several writers that want the same thing one gets it, and
//! nothing is written on the strength of something that has changed since it was read.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_core::change::Operation;
use tollgate_core::collection::{Document, Key};
use tollgate_core::entity::Kind;
use tollgate_core::error::{DaoError, StoreError};
use uuid::Uuid;

use crate::entity::read::{self, FIND_UNIQUE, Found};
use crate::entity::stored::{CASCADE, Stored, canonical_text};
use crate::kinds::Kinds;
use crate::session::{Abort, Failure, Parameter, Session};
use crate::statement;
use crate::statement::Statement;

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
pub(crate) const INSERT_CHANGE: Statement = statement!("change/insert.sql");

/// Who writes, and when: what every row of `changes` says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author {
    pub(crate) origin: Uuid,
    pub(crate) now: i64,
}

/// What a transaction did to one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) kind: String,
    pub(crate) operation: Operation,
    pub(crate) id: Uuid,
}

/// Adds an entity.
pub(crate) async fn insert(
    session: &mut dyn Session,
    kind: &Kind,
    document: &Document,
    author: Author,
) -> Result<Written, Abort> {
    let stored = Stored::from_document(kind, document)?;
    let (name, id) = (Parameter::Text(kind.name), Parameter::Uuid(stored.id));
    let values = [name, id, Parameter::Text(&stored.body), Parameter::Integer(stored.created_at)];
    if session.execute(&INSERT, &values).await? == 0 {
        return Err(DaoError::PrimaryKey { id: stored.id }.into());
    }
    attach(session, kind, &stored).await?;
    announce(session, kind, Operation::Created, stored.id, author).await
}

/// Replaces an entity that is locked.
async fn replace(
    session: &mut dyn Session,
    kind: &Kind,
    document: &Document,
    author: Author,
) -> Result<Written, Abort> {
    let stored = Stored::from_document(kind, document)?;
    let (name, id) = (Parameter::Text(kind.name), Parameter::Uuid(stored.id));
    let values = [name, id, Parameter::Text(&stored.body), Parameter::Integer(stored.created_at)];
    session.execute(&REPLACE, &values).await?;
    detach(session, kind.name, &[stored.id]).await?;
    attach(session, kind, &stored).await?;
    announce(session, kind, Operation::Updated, stored.id, author).await
}

/// Adds the entity or replaces the one that has the key. Returns the document with its final id.
pub(crate) async fn upsert(
    session: &mut dyn Session,
    kind: &Kind,
    key: &Key,
    mut document: Document,
    author: Author,
) -> Result<(Document, Written), Abort> {
    let current = lock(session, kind, key).await?;
    match (key, &current) {
        (Key::Id(id), _) => drop(document.insert("id".into(), id.to_string().into())),
        (Key::Unique { field, value }, found) => {
            document.insert((*field).to_owned(), value.as_str().into());
            if let Some(found) = found {
                document.insert("id".into(), found.id.to_string().into());
            }
        }
    }
    let written = match current {
        Some(_) => replace(session, kind, &document, author).await?,
        None => insert(session, kind, &document, author).await.map_err(|abort| raced(key, abort))?,
    };
    Ok((document, written))
}

/// The key was free when it was looked up and is taken now: look again.
fn raced(key: &Key, abort: Abort) -> Abort {
    let again = match (&abort, key) {
        (Abort::Refused(DaoError::PrimaryKey { id }), Key::Id(wanted)) => id == wanted,
        (Abort::Refused(DaoError::Unique { fields }), Key::Unique { field, .. }) => {
            matches!(fields.as_slice(), [(taken, _)] if taken == field)
        }
        _ => false,
    };
    if again { Abort::Again(contended()) } else { abort }
}

/// Replaces the entity if it still is what the caller has read. `None`: it is not, or is gone.
pub(crate) async fn replace_unchanged(
    session: &mut dyn Session,
    kind: &Kind,
    read: &Found,
    document: &Document,
    author: Author,
) -> Result<Option<Written>, Abort> {
    match lock_by_id(session, kind, read.id).await? {
        Some(current) if current.body == read.body => replace(session, kind, document, author).await.map(Some),
        _ => Ok(None),
    }
}

/// Deletes the entity and what cascades from it. Empty: there was none. What refers to an entity
/// comes before it.
pub(crate) async fn delete(
    session: &mut dyn Session,
    kinds: &Kinds,
    kind: &Kind,
    key: &Key,
    author: Author,
) -> Result<Vec<Written>, Abort> {
    let Some(found) = lock(session, kind, key).await? else { return Ok(Vec::new()) };
    let mut doomed = BTreeSet::from([(kind.name.to_owned(), found.id)]);
    let mut levels = vec![BTreeMap::from([(kind.name.to_owned(), vec![found.id])])];
    while let Some(level) = levels.last() {
        let next = referrers(session, kinds, level, &mut doomed).await?;
        if next.is_empty() {
            break;
        }
        levels.push(next);
    }
    let mut written = Vec::new();
    for (kind, ids) in levels.into_iter().rev().flatten() {
        detach(session, &kind, &ids).await?;
        session.execute(&DELETE, &[Parameter::Text(&kind), Parameter::Uuids(&ids)]).await?;
        record(session, &kind, Operation::Deleted, &ids, author).await?;
        let changes = ids.into_iter().map(|id| Written { kind: kind.clone(), operation: Operation::Deleted, id });
        written.extend(changes);
    }
    Ok(written)
}

/// Locks what refers to the entities of a level, by kind; refuses when a reference forbids it.
/// The level is locked, so no reference to it can be added after this was read.
async fn referrers(
    session: &mut dyn Session,
    kinds: &Kinds,
    level: &BTreeMap<String, Vec<Uuid>>,
    doomed: &mut BTreeSet<(String, Uuid)>,
) -> Result<BTreeMap<String, Vec<Uuid>>, Abort> {
    let mut next: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();
    for (target, ids) in level {
        for mut row in session.rows(&REFERRERS, &[Parameter::Text(target), Parameter::Uuids(ids)]).await? {
            let (kind, id, on_delete) = (row.text(0)?, row.uuid(1)?, row.text(2)?);
            if doomed.contains(&(kind.clone(), id)) {
                continue;
            }
            if on_delete != CASCADE {
                let (by, target) = (kinds.name_of(&kind), kinds.name_of(target));
                return Err(DaoError::Referenced { by, target }.into());
            }
            doomed.insert((kind.clone(), id));
            next.entry(kind).or_default().push(id);
        }
    }
    for (kind, ids) in &mut next {
        let rows = session.rows(&LOCK_MANY, &[Parameter::Text(kind), Parameter::Uuids(ids)]).await?;
        *ids = rows.iter().map(|row| row.uuid(0)).collect::<Result<_, _>>()?;
    }
    next.retain(|_, ids| !ids.is_empty());
    Ok(next)
}

/// Locks an entity. Behind a unique value, the lock is on the entity; whether it still has the
/// value is checked once it is locked.
async fn lock(session: &mut dyn Session, kind: &Kind, key: &Key) -> Result<Option<Found>, Abort> {
    let (field, value) = match key {
        Key::Id(id) => return lock_by_id(session, kind, *id).await,
        Key::Unique { field, value } => (field, value),
    };
    let canonical = canonical_text(value);
    let parameters = [Parameter::Text(kind.name), Parameter::Text(field), Parameter::Text(&canonical)];
    let Some(found) = read::first(kind, session.rows(&FIND_UNIQUE, &parameters).await)? else { return Ok(None) };
    match lock_by_id(session, kind, found.id).await? {
        Some(locked) if locked.document.text(field) == Some(value) => Ok(Some(locked)),
        _ => Err(Abort::Again(contended())),
    }
}

async fn lock_by_id(session: &mut dyn Session, kind: &Kind, id: Uuid) -> Result<Option<Found>, Abort> {
    let rows = session.rows(&LOCK, &[Parameter::Text(kind.name), Parameter::Uuid(id)]).await;
    Ok(read::first(kind, rows)?)
}

/// Claims the unique values, connects and labels the entity.
async fn attach(session: &mut dyn Session, kind: &Kind, stored: &Stored) -> Result<(), Abort> {
    let (name, id) = (Parameter::Text(kind.name), Parameter::Uuid(stored.id));
    for key in &stored.keys {
        let values = [name, Parameter::Text(&key.field), Parameter::Text(&key.value), id];
        if session.execute(&INSERT_KEY, &values).await? == 0 {
            return Err(DaoError::Unique { fields: key.fields.clone() }.into());
        }
    }
    for reference in &stored.references {
        let column = reference.column();
        let (field, target) = (Parameter::Text(&column), Parameter::Text(reference.target));
        let values = [name, id, field, target, Parameter::Uuid(reference.id), Parameter::Text(reference.on_delete())];
        session.execute(&INSERT_REFERENCE, &values).await.map_err(|failure| match failure {
            Failure::ForeignKey(_) => {
                let (field, target, id) = (reference.field, reference.target, reference.id);
                DaoError::ForeignMissing { field, target, id }.into()
            }
            other => Abort::from(other),
        })?;
    }
    if !stored.tags.is_empty() {
        session.execute(&INSERT_TAGS, &[name, id, Parameter::Texts(&stored.tags)]).await?;
    }
    Ok(())
}

/// The opposite of [`attach`].
async fn detach(session: &mut dyn Session, kind: &str, ids: &[Uuid]) -> Result<(), Abort> {
    for statement in [&CLEAR_KEYS, &CLEAR_REFERENCES, &CLEAR_TAGS] {
        session.execute(statement, &[Parameter::Text(kind), Parameter::Uuids(ids)]).await?;
    }
    Ok(())
}

async fn announce(
    session: &mut dyn Session,
    kind: &Kind,
    operation: Operation,
    id: Uuid,
    author: Author,
) -> Result<Written, Abort> {
    record(session, kind.name, operation, &[id], author).await?;
    Ok(Written { kind: kind.name.to_owned(), operation, id })
}

async fn record(
    session: &mut dyn Session,
    kind: &str,
    operation: Operation,
    ids: &[Uuid],
    author: Author,
) -> Result<(), Failure> {
    let (kind, operation) = (Parameter::Text(kind), Parameter::Text(operation.as_str()));
    let (origin, now) = (Parameter::Uuid(author.origin), Parameter::Integer(author.now));
    session.execute(&INSERT_CHANGE, &[kind, operation, Parameter::Uuids(ids), origin, now]).await.map(drop)
}

/// What is said when others are in the way again and again.
fn contended() -> StoreError {
    StoreError::Unavailable("too many writers want the same entity".into())
}
