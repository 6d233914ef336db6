//! An open transaction, and the changes that it announces to caches.
//!
//! The transaction itself records a change in the table `changes`; the change is announced after the commit:
//! see [`Store::transaction`].
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

/// How many statements are committed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Several statements.
    Transaction,
    /// One statement, which commits when it ends.
    Statement,
}

/// How a transaction begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begin {
    pub(crate) scope: Scope,
    /// The time with which its changes are recorded.
    pub(crate) now: i64,
}

/// An open transaction.
pub struct Transaction<'s> {
    begin: Begin,
    session: &'s mut dyn Session,
    write: &'s Write,
    statements: usize,
    changes: &'s mut Vec<Change>,
}

impl<'s> Transaction<'s> {
    /// `changes` receives what must be announced after the commit.
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

    /// Runs a statement and returns the number of changed rows.
    pub async fn execute(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<u64, Failure> {
        self.begin_statement()?;
        self.session.execute(statement, parameters).await
    }

    /// Runs a statement for many parameter lists: see [`Session::rows_for_each`].
    pub async fn rows_for_each(
        &mut self,
        statement: &Statement,
        lists: &[Vec<Parameter<'_>>],
    ) -> Result<Vec<Row>, Failure> {
        self.begin_statement()?;
        self.session.rows_for_each(statement, lists).await
    }

    /// Records a change for other nodes, and announces it on this one after the commit.
    pub async fn record(&mut self, change: Change) -> Result<(), Failure> {
        let Change { kind, operation, id, key, .. } = &change;
        self.insert_changes(kind, *operation, &[*id], key).await?;
        self.changes.push(change);
        Ok(())
    }

    /// Records changes to entities of a kind, in one statement.
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

    /// The value of the column `origin` for rows that this transaction adds to `changes`: for statements that
    /// record changes themselves. From then on the outcome of the transaction matters to caches.
    pub fn origin(&self) -> Uuid {
        self.write.origin()
    }

    /// Announces, after the commit, a change that a statement of this transaction has recorded itself.
    pub fn announce(&mut self, change: Change) {
        self.changes.push(change);
    }

    fn begin_statement(&mut self) -> Result<(), Failure> {
        self.statements += 1;
        if self.begin.scope == Scope::Statement && self.statements > 1 {
            let what = "a single-statement write ran a second statement";
            return Err(Failure::Store(StoreError::Corrupt { kind: "transaction", what }));
        }
        Ok(())
    }
}
