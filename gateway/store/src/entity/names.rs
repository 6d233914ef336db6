//! Names of an entity that are entities of another kind ([`Names`]), such as the SNIs of a certificate.
//!
//! They are written in the transaction of the entity, which holds its lock, so that the names that a write replaces are
//! those that its caller has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_core::clock::Clock;
use tollgate_core::collection::Document;
use tollgate_core::entity::{Kind, Names};
use tollgate_core::error::{DaoError, StoreError};
use tollgate_core::random::SystemRandom;
use tollgate_core::schema::{Makers, Violations};
use uuid::Uuid;

use crate::entity::read::{self, FIND_MANY, FIND_UNIQUE, Found};
use crate::entity::stored::canonical_text;
use crate::entity::write::{self, REFERRERS};
use crate::failure::Abort;
use crate::kinds::Kinds;
use crate::row::Row;
use crate::session::{Parameter, Session};
use crate::transaction::Transaction;

/// The names of a kind's entities.
#[derive(Clone)]
pub(crate) struct OfKind {
    names: Names,
    /// The kind of the entities that have names.
    owner: &'static str,
    /// The kind of the names.
    kind: Arc<Kind>,
}

/// One name.
struct Name {
    id: Uuid,
    owner: Option<Uuid>,
    text: String,
}

impl OfKind {
    /// `None`: the kind has no such names, or their kind is not stored here.
    pub(crate) fn of(owner: &Kind, kinds: &Kinds) -> Option<Self> {
        let names = owner.names?;
        Some(Self { names, owner: owner.name, kind: kinds.get(names.kind)? })
    }

    /// Adds the names to documents that are read.
    pub(crate) async fn show(&self, session: &mut dyn Session, documents: &mut [Document]) -> Result<(), StoreError> {
        let owners: Vec<Uuid> = documents.iter().filter_map(Document::id).collect();
        let rows = session.rows(&REFERRERS, &[Parameter::Text(self.owner), Parameter::Uuids(&owners)]).await?;
        let ids = self.ids(&rows)?;
        let found = if ids.is_empty() { Vec::new() } else { read::find_many(session, &self.kind, &ids).await? };
        let mut lists: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        for name in found.into_iter().map(|found| self.name(found)) {
            if let Some(owner) = name.owner {
                lists.entry(owner).or_default().push(name.text);
            }
        }
        for document in documents {
            let mut list = document.id().and_then(|id| lists.remove(&id)).unwrap_or_default();
            list.sort_unstable();
            document.insert(self.names.field.to_owned(), json!(list));
        }
        Ok(())
    }

    /// Takes the list out of a document that will be written.
    pub(crate) fn take(&self, document: &mut Document) -> BTreeSet<String> {
        let list = document.texts(self.names.field).map(str::to_owned).collect();
        document.remove(self.names.field);
        list
    }

    /// Whether the names of a locked entity are still those that were read with it.
    pub(crate) async fn are_unchanged(&self, tx: &mut Transaction<'_>, found: &Found) -> Result<bool, Abort<DaoError>> {
        let current: BTreeSet<String> = self.current(tx, found.id).await?.into_iter().map(|name| name.text).collect();
        let read = found.document.texts(self.names.field);
        Ok(current == read.map(str::to_owned).collect())
    }

    /// Makes `wanted` the names of the entity, which the same transaction has written, and adds them to the document
    /// that is shown.
    pub(crate) async fn replace(
        &self,
        tx: &mut Transaction<'_>,
        document: &mut Document,
        wanted: &BTreeSet<String>,
    ) -> Result<(), Abort<DaoError>> {
        let owner = document.id().ok_or(StoreError::Corrupt { kind: self.owner, what: "its id is not a UUID" })?;
        let current = self.current(tx, owner).await?;
        let has = |text: &String| current.iter().any(|name| name.text == *text);
        let added: Vec<&String> = wanted.iter().filter(|text| !has(text)).collect();
        for text in &added {
            self.check_free(tx, text).await?;
        }
        let dropped: Vec<Uuid> =
            current.iter().filter(|name| !wanted.contains(&name.text)).map(|name| name.id).collect();
        if !dropped.is_empty() {
            write::remove(tx, self.kind.name, &dropped).await?;
        }
        for text in added {
            self.insert(tx, owner, text).await?;
        }
        document.insert(self.names.field.to_owned(), json!(wanted));
        Ok(())
    }

    async fn current(&self, tx: &mut Transaction<'_>, owner: Uuid) -> Result<Vec<Name>, Abort<DaoError>> {
        let rows = tx.rows(&REFERRERS, &[Parameter::Text(self.owner), Parameter::Uuids(&[owner])]).await?;
        let ids = self.ids(&rows)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = tx.rows(&FIND_MANY, &[Parameter::Text(self.kind.name), Parameter::Uuids(&ids)]).await?;
        let found = rows.iter().map(|row| read::found(&self.kind, row));
        Ok(found.map(|found| found.map(|found| self.name(found))).collect::<Result<_, _>>()?)
    }

    /// Refuses a name that another entity has.
    async fn check_free(&self, tx: &mut Transaction<'_>, text: &str) -> Result<(), Abort<DaoError>> {
        let value = canonical_text(text);
        let key = [Parameter::Text(self.kind.name), Parameter::Text(self.names.name), Parameter::Text(&value)];
        let Some(taken) = read::first(&self.kind, &tx.rows(&FIND_UNIQUE, &key).await?)? else { return Ok(()) };
        let (reference, owner) = (self.names.reference, self.name(taken).owner.unwrap_or_default());
        let why = format!("{text} already associated with existing {reference} '{owner}'");
        Err(DaoError::Schema(Violations::of_field(self.names.field, why)).into())
    }

    async fn insert(&self, tx: &mut Transaction<'_>, owner: Uuid, text: &str) -> Result<(), Abort<DaoError>> {
        let clock = TimeOfWrite(tx.now());
        let makers = Makers { clock: &clock, random: &SystemRandom };
        let mut document = Document::new();
        document.insert(self.names.name.to_owned(), Value::from(text));
        document.insert(self.names.reference.to_owned(), json!({"id": owner}));
        let document = self.kind.schema.process_insert(document, &makers).map_err(DaoError::Schema)?;
        match write::insert(tx, &self.kind, document).await {
            // It was free a moment ago: the next attempt sees whose it is.
            Err(Abort::Refused(DaoError::Unique { .. })) => Err(Abort::Retry(write::contended())),
            inserted => inserted.map(drop),
        }
    }

    /// The names among the entities that refer to others.
    fn ids(&self, rows: &[Row]) -> Result<Vec<Uuid>, StoreError> {
        let mut ids = Vec::new();
        for row in rows {
            let (kind, id): (String, Uuid) = (row.get(0)?, row.get(1)?);
            if kind == self.kind.name {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    fn name(&self, found: Found) -> Name {
        let text = found.document.text(self.names.name).unwrap_or_default().to_owned();
        Name { id: found.id, owner: found.document.reference(self.names.reference), text }
    }
}

/// The time at which a transaction began.
struct TimeOfWrite(i64);

impl Clock for TimeOfWrite {
    fn now_millis(&self) -> i64 {
        self.0.saturating_mul(1000)
    }
}
