//! Asks the watchers of files to read them again, and hears what came of it.

use tokio::sync::{mpsc, oneshot};

/// Where a watcher says what is wrong with its files, line by line; nothing: they are in force.
pub type Reply = oneshot::Sender<Vec<String>>;

/// A watcher's end.
pub type Requests = mpsc::Receiver<Reply>;

/// The other end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Asker(mpsc::Sender<Reply>);

/// Both ends.
pub fn channel() -> (Asker, Requests) {
    let (asker, requests) = mpsc::channel(1);
    (Asker(asker), requests)
}

impl Asker {
    /// Has the files read again; what is wrong with them. Without a watcher there are none.
    pub async fn ask(&self) -> Vec<String> {
        let (reply, heard) = oneshot::channel();
        if self.0.send(reply).await.is_err() {
            return Vec::new();
        }
        heard.await.unwrap_or_default()
    }
}
