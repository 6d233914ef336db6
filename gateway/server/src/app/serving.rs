//! What begins when the proxy accepts connections: the process before lets go, commands and SIGHUP are heard, and the
//! service manager is told.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::signal::unix::Signal;

use crate::control::handover::Predecessor;
use crate::control::{client, server};
use crate::reload::Reloader;
use crate::service_manager::ServiceManager;

pub(super) struct Serving {
    pub(super) directory: PathBuf,
    pub(super) predecessor: Option<Predecessor>,
    /// Of a process that takes nobody's place.
    pub(super) control_socket: Option<UnixListener>,
    pub(super) orders: Arc<server::Server>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) manager: ServiceManager,
    pub(super) hangup: Signal,
}

impl Serving {
    pub(super) async fn begin(self) {
        let Self { directory, predecessor, control_socket, orders, reloader, manager, mut hangup } = self;
        let control_socket = match predecessor {
            Some(predecessor) => replace(predecessor, &directory).await,
            None => control_socket,
        };
        if let Some(socket) = control_socket {
            tokio::spawn(orders.serve(socket));
        }
        manager.ready();
        while hangup.recv().await.is_some() {
            tracing::info!("received SIGHUP");
            reloader.reload().await;
        }
    }
}

/// Has the process before let go, and takes its control socket.
async fn replace(predecessor: Predecessor, directory: &std::path::Path) -> Option<UnixListener> {
    let replaced = tokio::task::spawn_blocking(|| predecessor.replace()).await;
    if let Err(error) = replaced.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        if client::is_served(directory) {
            // Both would serve, and only that one hears commands.
            tracing::error!(%error, "the process before goes on; this one ends");
            std::process::exit(1);
        }
        tracing::warn!(%error, "the process before is gone");
    }
    let bound = server::bind(directory, true).and_then(UnixListener::from_std);
    bound.inspect_err(|error| tracing::warn!(%error, "no control socket: commands do not reach this process")).ok()
}
