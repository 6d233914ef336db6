//! The options of a store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tollgate_core::clock::{Clock, SystemClock};

use crate::migration::{GATEWAY, Location, MigrationSet};
use crate::postgres::{Connector, UrlError};

/// What to do if the database lacks migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MigrationPolicy {
    /// Refuse to open it: several nodes may share it, and an operator decides when it is migrated.
    #[default]
    Refuse,
    /// Apply missing migrations, then open it.
    Migrate,
}

/// The location of the database and the limits on its use.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host:port/database?…` or `sqlite:PATH`.
    pub url: String,
    /// `postgres://…` of streaming replicas, which look-ups may read.
    pub replicas: Vec<String>,
    /// The maximum number of connections that this process opens for statements. The change feed uses one
    /// more.
    pub max_connections: usize,
    /// How long a statement may wait for a connection or, on SQLite, for its turn.
    pub acquire_timeout: Duration,
    /// How long a statement may run.
    pub statement_timeout: Duration,
    /// How long committed changes may stay unread before caches are bypassed.
    pub feed_bound: Duration,
    /// How long changes are kept after they have become visible. A node that did not read for longer clears its
    /// caches.
    pub change_retention: Duration,
    /// The owners of tables: the gateway first, then plugins.
    pub migrations: Vec<MigrationSet>,
    /// What happens if the database lacks migrations.
    pub migration: MigrationPolicy,
    /// The clock that decides what has expired.
    pub clock: Arc<dyn Clock>,
    /// Where the store's metrics are registered.
    pub metrics: prometheus::Registry,
}

impl Options {
    /// The defaults for a database: 8 connections, 2 s of waiting, 5 s per statement, 1 s without the feed,
    /// an hour of changes, the machine's clock and a new metrics registry.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            replicas: Vec::new(),
            max_connections: 8,
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(5),
            feed_bound: Duration::from_secs(1),
            change_retention: Duration::from_secs(3600),
            migrations: vec![GATEWAY],
            migration: MigrationPolicy::default(),
            clock: Arc::new(SystemClock),
            metrics: prometheus::Registry::new(),
        }
    }

    /// Whether the URLs specify databases, whose certificate files can be read. Must be called in a runtime.
    ///
    /// # Errors
    /// One does not.
    pub fn check_urls(&self) -> Result<(), UrlError> {
        if let Location::Postgres = Location::parse(&self.url)? {
            Connector::parse(self)?;
        }
        self.replicas.iter().try_for_each(|url| Connector::parse_replica(url, self).map(drop))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may contain a password.
        f.debug_struct("Options")
            .field("max_connections", &self.max_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("feed_bound", &self.feed_bound)
            .field("change_retention", &self.change_retention)
            .field("migration", &self.migration)
            .finish_non_exhaustive()
    }
}
