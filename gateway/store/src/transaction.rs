//! A transaction under way, and what it changes for caches.
//!
//! A change is recorded in the table `changes` by the transaction itself, and announced when that is
//! committed: see [`Store::transaction`].
//!
//! [`Store::transaction`]: crate::Store::transaction

use tollgate_core::change::{Change, Operation};
use tollgate_core::error::StoreError;
use uuid::Uuid;

use crate::failure::Failure;
use crate::feed::Write;
use crate::row::Row;
use crate::session::{Parameter, Session};
use crate::statement;
use crate::statement::Statement;

pub(crate) const INSERT_CHANGE: Statement = statement!("change/insert.sql");

/// How much is done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Statements that are committed together.
    Transaction,
    /// One statement, which commits with its end.
    Statement,
}

/// How a transaction begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begin {
    pub(crate) scope: Scope,
    /// The time that its changes are recorded with.
    pub(crate) now: i64,
}

/// A transaction under way.
pub struct Transaction<'s> {
    begin: Begin,
    session: &'s mut dyn Session,
    write: &'s Write,
    statements: usize,
    changes: &'s mut Vec<Change>,
}

impl<'s> Transaction<'s> {
    /// `changes` gets what is to be announced after the commit.
    pub(crate) fn new(
        begin: Begin,
        session: &'s mut dyn Session,
        write: &'s Write,
        changes: &'s mut Vec<Change>,
    ) -> Self {
        Self { begin, session, write, statements: 0, changes }
    }

    /// The time at which it began, in Unix seconds.
    pub fn now(&self) -> i64 {
        self.begin.now
    }

    /// Runs a statement and returns its rows.
    pub async fn rows(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        self.begin_statement()?;
        self.session.rows(statement, parameters).await
    }

    /// Runs a statement and returns how many rows it changed.
    pub async fn execute(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<u64, Failure> {
        self.begin_statement()?;
        self.session.execute(statement, parameters).await
    }

    /// Runs a statement for each of many lists of parameters: see [`Session::rows_for_each`].
    pub async fn rows_for_each(
        &mut self,
        statement: &Statement,
        lists: &[Vec<Parameter<'_>>],
    ) -> Result<Vec<Row>, Failure> {
        self.begin_statement()?;
        self.session.rows_for_each(statement, lists).await
    }

    /// Records a change, here for other nodes, and to be announced on this one.
    pub async fn record(&mut self, change: Change) -> Result<(), Failure> {
        let Change { kind, operation, id, key, .. } = &change;
        self.insert_changes(kind, *operation, &[*id], key).await?;
        self.changes.push(change);
        Ok(())
    }

    /// Records what happened to entities of a kind, in one statement.
    pub(crate) async fn record_all(&mut self, kind: &str, operation: Operation, ids: &[Uuid]) -> Result<(), Failure> {
        self.insert_changes(kind, operation, ids, &[]).await?;
        let change = |id: &Uuid| Change { kind: kind.to_owned(), operation, id: *id, key: Vec::new(), document: None };
        self.changes.extend(ids.iter().map(change));
        Ok(())
    }

    async fn insert_changes(
        &mut self,
        kind: &str,
        operation: Operation,
        ids: &[Uuid],
        key: &[u8],
    ) -> Result<(), Failure> {
        let (kind, operation) = (Parameter::Text(kind), Parameter::Text(operation.as_str()));
        let (origin, now) = (Parameter::Uuid(self.origin()), Parameter::Integer(self.begin.now));
        let values = [kind, operation, Parameter::Uuids(ids), origin, now, Parameter::Bytes(key)];
        self.execute(&INSERT_CHANGE, &values).await.map(drop)
    }

    /// What the rows that this transaction adds to `changes` have in the column `origin`: for a statement
    /// that records changes itself. From then on the outcome of the transaction matters to caches.
    pub fn origin(&self) -> Uuid {
        self.write.origin()
    }

    /// Announces a change after the commit that a statement of this transaction has recorded itself.
    pub fn announce(&mut self, change: Change) {
        self.changes.push(change);
    }

    fn begin_statement(&mut self) -> Result<(), Failure> {
        self.statements += 1;
        if self.begin.scope == Scope::Statement && self.statements > 1 {
            let what = "a write of one statement has a second one";
            return Err(Failure::Store(StoreError::Corrupt { kind: "transaction", what }));
        }
        Ok(())
    }
}
