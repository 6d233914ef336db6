//! The pool's connections: how one is opened, and whether it may be used again.

use std::ops::{Deref, DerefMut};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;

use super::connection::Connector;
use super::hosts::{ConnectError, Connected};

/// A pool of connections.
pub(crate) type Pool = deadpool::managed::Pool<Connections>;
/// A connection of the pool, returned to it on drop.
pub(crate) type Object = deadpool::managed::Object<Connections>;

/// Opens connections to the primary.
pub(crate) struct Connections {
    pub(super) connector: Connector,
}

/// A connection with its prepared statements.
pub(crate) struct PooledConnection {
    client: ClientWrapper,
    /// When it was begun: see [`Primary::epoch`](super::primary::Primary::epoch).
    epoch: u64,
}

impl Manager for Connections {
    type Type = PooledConnection;
    type Error = ConnectError;

    async fn create(&self) -> Result<PooledConnection, ConnectError> {
        let epoch = self.connector.primary().epoch();
        let Connected { client, connection } = self.connector.connect_pooled().await?;
        let drive = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "database connection failed");
            }
        });
        Ok(PooledConnection { client: ClientWrapper::new(client, drive), epoch })
    }

    async fn recycle(&self, connection: &mut PooledConnection, _: &Metrics) -> RecycleResult<ConnectError> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("it is closed"));
        }
        if connection.epoch != self.connector.primary().epoch() {
            return Err(RecycleError::message("its server is no longer the primary"));
        }
        Ok(())
    }
}

impl PooledConnection {
    pub(super) fn is_of_epoch(&self, epoch: u64) -> bool {
        self.epoch == epoch
    }
}

impl Deref for PooledConnection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}

impl DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut self.client
    }
}
