//! Whether a connection has a session of its own on the server.
//!
//! A pooler in transaction mode (PgBouncer, for example) gives each transaction to a session that others use
//! too. What a session keeps is lost there: settings at start-up, prepared statements, `LISTEN`, locks of the
//! session. So statements are unnamed there, limits are set by each transaction, and the feed polls.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};
use tollgate_core::error::StoreError;

use super::hosts::{Connected, Hosts};

/// Who uses the session of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// Only this connection.
    Own,
    /// Also others: a pooler is in between.
    Shared,
}

/// A parameter of a session that means nothing to the server: a session that does not have it is not the
/// connection's own.
const MARK: &str = "-c tollgate.session=own";
const MARKED: &str = include_str!("../../../../sql/postgres/setting/session.sql");
const STATEMENT_TIMEOUT: &str = include_str!("../../../../sql/postgres/setting/statement_timeout.sql");

impl Sessions {
    /// Connects as others do, and finds out whether the start-up parameters reached the server.
    pub(super) async fn detect(hosts: &Hosts) -> Result<Self, StoreError> {
        let Connected { client, connection } = match hosts.with_options(MARK).connect(|_| Ok(())).await {
            Ok(connected) => connected,
            // PgBouncer's response to parameters that it cannot pass on.
            Err(error) if error.code() == Some(&SqlState::PROTOCOL_VIOLATION) => return Ok(Self::Shared),
            Err(error) => return Err(unavailable(error)),
        };
        tokio::spawn(connection);
        let own = value(&client, MARKED).await?.as_deref() == Some("own");
        Ok(if own { Self::Own } else { Self::Shared })
    }
}

/// Whether the server ends statements of this connection that run too long.
pub(super) async fn has_statement_timeout(client: &Client) -> Result<bool, StoreError> {
    Ok(value(client, STATEMENT_TIMEOUT).await?.is_some_and(|limit| limit != "0"))
}

/// The only value that a statement returns.
async fn value(client: &Client, sql: &str) -> Result<Option<String>, StoreError> {
    let messages = client.simple_query(sql).await.map_err(unavailable)?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
