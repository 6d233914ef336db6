//! What goes with an entity without being one, such as the tokens of a client. The database deletes it with the entity;
//! here it is counted, in the transaction of the deletion, for those who must know of it once that is committed.
//!
//! Entities that expire are not counted: nobody deletes them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tollgate_core::error::StoreError;
use uuid::Uuid;

use crate::failure::Failure;
use crate::session::Parameter;
use crate::statement::Statement;
use crate::transaction::Transaction;

/// How the dependents of a kind are counted.
#[derive(Debug, Clone, Copy)]
pub struct Dependents {
    /// The kind whose deletion ends them.
    pub of: &'static str,
    /// Counts those of several entities. Parameters: their ids, and the time in Unix seconds. Rows: the id of an entity,
    /// what is counted, and how many there are.
    pub count: Statement,
}

/// What ended with an entity that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The kind of the entity.
    pub with: &'static str,
    /// The entity.
    pub id: Uuid,
    /// How many of what; nothing is named that none were of.
    pub counts: BTreeMap<String, i64>,
}

/// Hears of each deletion that ended something.
pub(crate) type Listener = Arc<dyn Fn(&Ended) + Send + Sync>;

#[derive(Clone)]
struct Counted {
    dependents: Dependents,
    listener: Listener,
}

/// All that are counted. Shared: they are added while plugins start.
#[derive(Clone, Default)]
pub(crate) struct Counters(Arc<RwLock<Vec<Counted>>>);

impl Counters {
    pub(crate) fn add(&self, dependents: Dependents, listener: Listener) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(Counted { dependents, listener });
    }

    fn of(&self, kind: &str) -> Vec<Counted> {
        let counted = self.0.read().unwrap_or_else(PoisonError::into_inner);
        counted.iter().filter(|counted| counted.dependents.of == kind).cloned().collect()
    }

    /// Counts what will go with entities that this transaction has locked, so that nothing is added any more.
    pub(crate) async fn count(
        &self,
        tx: &mut Transaction<'_>,
        kind: &str,
        ids: &[Uuid],
    ) -> Result<Vec<Ended>, Failure> {
        let mut ended = Vec::new();
        for Counted { dependents, .. } in self.of(kind) {
            let parameters = [Parameter::Uuids(ids), Parameter::Integer(tx.now())];
            let rows = tx.rows(&dependents.count, &parameters).await?;
            ended.extend(read(dependents.of, &rows).map_err(Failure::Store)?);
        }
        Ok(ended)
    }

    /// Tells the listeners, once the deletion is committed.
    pub(crate) fn report(&self, all: &[Ended]) {
        for ended in all {
            for counted in self.of(ended.with) {
                (counted.listener)(ended);
            }
        }
    }
}

fn read(with: &'static str, rows: &[crate::row::Row]) -> Result<Vec<Ended>, StoreError> {
    let mut by_id: BTreeMap<Uuid, BTreeMap<String, i64>> = BTreeMap::new();
    for row in rows {
        by_id.entry(row.get(0)?).or_default().insert(row.get(1)?, row.get(2)?);
    }
    Ok(by_id.into_iter().map(|(id, counts)| Ended { with, id, counts }).collect())
}
