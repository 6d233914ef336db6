//! The client connections that are idle when the proxy stops to accept new ones.
//!
//! A client that sends a request at the moment in which its connection is closed loses it. A process that is stopped closes
//! them at once; one whose place another has taken has time: each connection serves a last request, which says that it is
//! the last, and those that have none are closed at the end.

use tokio::sync::watch;

/// Whether idle connections are closed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct IdleConnections(watch::Sender<bool>);

impl Default for IdleConnections {
    /// They are kept.
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl IdleConnections {
    /// Closes them from now on, if the proxy accepts no new ones.
    pub fn close(&self) {
        self.0.send_replace(true);
    }

    /// Waits for that.
    pub(super) async fn are_closed(&self) {
        // The sender is here.
        let mut closed = self.0.subscribe();
        let _never_gone = closed.wait_for(|closed| *closed).await;
    }
}
