//! Reads the file again when it has changed, and on request.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Declarative, Error};
use crate::read_again::Requests;

/// How often it is looked whether the file has changed.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long it takes until a file is tried again that the store was away for.
const AFTER_STORE: Duration = Duration::from_secs(10);

/// What tells whether a file has changed; `None`: it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State(Option<(u64, u64, i64, i64)>);

impl State {
    /// That of a file now.
    pub fn of(path: &Path) -> Self {
        let metadata = fs::metadata(path).ok();
        Self(metadata.map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec())))
    }
}

/// Whether a file is read again without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// When it has changed, and on request.
    Change,
    /// On request.
    Signal,
}

/// Loads the file again and again. `read`: its state when it was read last.
pub async fn keep_loading(
    declarative: Arc<Declarative>,
    path: PathBuf,
    trigger: Trigger,
    mut read: State,
    mut requests: Requests,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut seen = read;
    loop {
        let reply = tokio::select! {
            _ = ticks.tick() => None,
            Some(reply) = requests.recv() => Some(reply),
        };
        let (before, current) = (seen, State::of(&path));
        seen = current;
        // Whoever is still writing is waited for; a file that is being replaced may be away for a moment. One that stays
        // away is a fault, which is told.
        let has_settled = trigger == Trigger::Change && current != read && current == before;
        if reply.is_some() || has_settled {
            let before = std::mem::replace(&mut read, current);
            let error = load(&declarative, &path).await;
            let is_away = error.as_ref().is_some_and(Error::is_of_store);
            if let Some(reply) = reply {
                let _not_waited_for = reply.send(error.map(|error| error.lines()).unwrap_or_default());
            }
            if is_away && trigger == Trigger::Change {
                // It is tried again: the file may stay as it is.
                read = if before == current { State(None) } else { before };
                tokio::time::sleep(AFTER_STORE).await;
            }
        }
    }
}

/// Loads the file; why it is not in force.
async fn load(declarative: &Declarative, path: &Path) -> Option<Error> {
    tracing::info!(path = %path.display(), "reading the configuration again");
    let error = declarative.load(path).await.err()?;
    let lines = error.lines();
    tracing::error!(
        path = %path.display(),
        faults = lines.len(),
        "cannot use the new configuration; the previous one stays in force"
    );
    lines.iter().for_each(|line| tracing::error!("{line}"));
    Some(error)
}
