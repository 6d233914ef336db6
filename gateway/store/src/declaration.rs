//! Declarations: what a file says is to be in the store, written at once or not at all (`entity::declare`).
//!
//! The store remembers which entities the last whole declaration contained: those that the next one does not contain
//! are deleted. Others, such as clients that registered themselves, stay unless what they belong to goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_core::collection::Document;
use tollgate_core::entity::InFiles;
use tollgate_core::error::{DaoError, StoreError};
use uuid::Uuid;

use crate::declared_rows::DeclaredRows;
use crate::entity::declare::{self, Changes, Declared, OfKind};
use crate::entity::dependents::{Counters, Ended};
use crate::failure::Abort;
use crate::kinds::Kinds;
use crate::row::Row;
use crate::session::Parameter;
use crate::statement;
use crate::statement::Statement;
use crate::store::Store;
use crate::transaction::Transaction;

const SHARE: Statement = statement!("setting/share.sql");
pub(crate) const PUT_SETTING: Statement = statement!("setting/put.sql");
pub(crate) const DELETE_SETTING: Statement = statement!("setting/delete.sql");
pub(crate) const FIND_SETTING: Statement = statement!("setting/find.sql");
pub(crate) const IDS: Statement = statement!("entity/ids.sql");

/// The setting that remembers the last whole declaration.
const DECLARED: &str = "declared configuration";

/// How far a declaration goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// It adds entities, and replaces those with the same ids.
    Added,
    /// It is all that there is to be: entities of the last whole declaration that it does not contain are deleted.
    Whole {
        /// What identifies it.
        hash: String,
    },
}

/// Why a declaration is not in force.
#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    /// The database has a configuration of its own.
    #[error(
        "the database has {count} '{kind}' entities that no file has declared, and that the file does not contain: use \
         another database, or declare them too (`tollgate config export` writes them)"
    )]
    Foreign {
        /// Their kind.
        kind: &'static str,
        /// How many there are.
        count: usize,
    },
    /// It contradicts what is in the database, or the store failed.
    #[error("{}", .0.message())]
    Dao(DaoError),
}

impl From<StoreError> for DeclareError {
    fn from(error: StoreError) -> Self {
        Self::Dao(error.into())
    }
}

/// What the store remembers of a declaration.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    hash: String,
    entities: BTreeMap<String, BTreeSet<Uuid>>,
}

struct Input {
    kinds: Kinds,
    dependents: Counters,
    documents: Vec<OfKind>,
    rows: Vec<(Arc<dyn DeclaredRows>, Vec<Document>)>,
    extent: Extent,
}

impl Store {
    /// Writes entities by kind, kinds in the order of their references, in one transaction. Kinds that plugins keep in
    /// tables of their own are only added to, and only by [`Extent::Added`].
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn declare(
        &self,
        entities: Vec<(&'static str, Vec<Declared>)>,
        extent: Extent,
    ) -> Result<Changes, DeclareError> {
        let (mut documents, mut rows) = (Vec::new(), Vec::new());
        for (name, entities) in entities {
            match (self.kinds().get(name), self.declared_rows(name)) {
                (Some(kind), _) => documents.push(OfKind { kind, entities }),
                (None, Some(added)) if extent == Extent::Added => {
                    rows.push((added, entities.into_iter().map(|declared| declared.document).collect()));
                }
                (None, _) => {}
            }
        }
        let dependents = self.dependents();
        let input = Input { kinds: self.kinds().clone(), dependents: dependents.clone(), documents, rows, extent };
        let (changes, ended) = self.transaction(input, async |input, tx| write(input, tx).await).await?;
        dependents.report(&ended);
        Ok(changes)
    }

    /// The hash of the last whole declaration; `None`: there was none.
    pub async fn declared_hash(&self) -> Result<Option<String>, StoreError> {
        let rows =
            self.read((), async |(), session| Ok(session.rows(&FIND_SETTING, &[DECLARED.into()]).await?)).await?;
        let value: Option<Vec<u8>> = rows.first().map(|row| row.get(0)).transpose()?;
        Ok(value.map(|value| parse(&value)).transpose()?.map(|remembered| remembered.hash))
    }

    /// Lets the store's configuration belong to no file. `false`: it did not.
    pub async fn forget_declaration(&self) -> Result<bool, StoreError> {
        let known =
            self.read((), async |(), session| Ok(session.rows(&FIND_SETTING, &[DECLARED.into()]).await?)).await?;
        if known.is_empty() {
            return Ok(false);
        }
        let forget = self.statement((), async |(), tx| {
            Ok::<_, Abort>(tx.execute(&DELETE_SETTING, &[DECLARED.into()]).await.map(drop)?)
        });
        forget.await.map(|()| true)
    }
}

async fn write(input: &Input, tx: &mut Transaction<'_>) -> Result<(Changes, Vec<Ended>), Abort<DeclareError>> {
    let mut gone = BTreeMap::new();
    if let Extent::Whole { hash } = &input.extent {
        let declared = declared(&input.documents)?;
        // This row is locked until the end: declarations take turns.
        let before = remembered(tx).await?;
        if before.hash.is_empty() {
            refuse_others(input, &declared, tx).await?;
        }
        for (kind, ids) in before.entities {
            let left = declared.get(&kind);
            let ids: Vec<Uuid> = ids.into_iter().filter(|id| !left.is_some_and(|left| left.contains(id))).collect();
            if !ids.is_empty() {
                gone.insert(kind, ids);
            }
        }
        let remembered = Remembered { hash: hash.clone(), entities: declared };
        let value = serde_json::to_vec(&remembered).map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        tx.execute(&PUT_SETTING, &[DECLARED.into(), Parameter::Bytes(&value)]).await?;
    }
    let of_store = (&input.kinds, &input.dependents);
    let written = declare::declare(tx, of_store, &input.documents, &gone).await.map_err(dao)?;
    for (rows, documents) in &input.rows {
        for document in documents {
            rows.add(tx, document).await.map_err(dao)?;
        }
    }
    Ok(written)
}

fn dao(abort: Abort<DaoError>) -> Abort<DeclareError> {
    match abort {
        Abort::Refused(error) => Abort::Refused(DeclareError::Dao(error)),
        Abort::Retry(error) => Abort::Retry(error),
    }
}

fn declared(documents: &[OfKind]) -> Result<BTreeMap<String, BTreeSet<Uuid>>, StoreError> {
    let without_id = |kind| StoreError::Corrupt { kind, what: "its id is not a UUID" };
    let of_kind = |OfKind { kind, entities }: &OfKind| {
        let ids = entities.iter().map(|declared| declared.document.id().ok_or(without_id(kind.name)));
        Ok((kind.name.to_owned(), ids.collect::<Result<_, StoreError>>()?))
    };
    documents.iter().map(of_kind).collect()
}

async fn remembered(tx: &mut Transaction<'_>) -> Result<Remembered, Abort<DeclareError>> {
    let rows = tx.rows(&SHARE, &[DECLARED.into(), Parameter::Bytes(b"{\"hash\":\"\",\"entities\":{}}")]).await?;
    let value: Vec<u8> = rows.first().map(|row| row.get(0)).transpose()?.unwrap_or_default();
    Ok(parse(&value)?)
}

fn parse(value: &[u8]) -> Result<Remembered, StoreError> {
    let corrupt = |_| StoreError::Corrupt { kind: "setting", what: "it is not what a declaration leaves" };
    serde_json::from_slice(value).map_err(corrupt)
}

/// The first declaration of a file must not delete, or leave in force, what somebody else has written.
async fn refuse_others(
    input: &Input,
    declared: &BTreeMap<String, BTreeSet<Uuid>>,
    tx: &mut Transaction<'_>,
) -> Result<(), Abort<DeclareError>> {
    let mut kinds = input.kinds.all();
    kinds.retain(|kind| kind.admin && kind.in_files == InFiles::Declared);
    for kind in kinds {
        let rows = tx.rows(&IDS, &[Parameter::Text(kind.name)]).await?;
        let known = declared.get(kind.name);
        let ids = rows.iter().map(|row: &Row| row.get(0)).collect::<Result<Vec<Uuid>, StoreError>>()?;
        let count = ids.iter().filter(|id| !known.is_some_and(|known| known.contains(id))).count();
        if count > 0 {
            return Err(Abort::Refused(DeclareError::Foreign { kind: kind.name, count }));
        }
    }
    Ok(())
}
