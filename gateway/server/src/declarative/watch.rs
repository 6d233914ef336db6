//! Reads the file again when it has changed, and on SIGHUP.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;

use super::Declarative;

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
    /// When it has changed, and on SIGHUP.
    Change,
    /// On SIGHUP.
    Signal,
}

/// Loads the file again and again. `read`: its state when it was read last.
pub async fn keep_loading(
    declarative: Arc<Declarative>,
    path: PathBuf,
    trigger: Trigger,
    mut read: State,
    mut hangup: Signal,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut seen = read;
    loop {
        let asked = tokio::select! {
            _ = ticks.tick() => false,
            received = hangup.recv() => received.is_some(),
        };
        let (before, current) = (seen, State::of(&path));
        seen = current;
        // Whoever is still writing is waited for; a file that is being replaced may be away for a moment.
        let has_settled = trigger == Trigger::Change && current != read && current == before && current.0.is_some();
        if asked || has_settled {
            let before = std::mem::replace(&mut read, current);
            if load(&declarative, &path).await == Loaded::StoreAway && trigger == Trigger::Change {
                // It is tried again: the file may stay as it is.
                read = if before == current { State(None) } else { before };
                tokio::time::sleep(AFTER_STORE).await;
            }
        }
    }
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loaded {
    /// It is in force, or has faults.
    Decided,
    /// The store could not be asked.
    StoreAway,
}

async fn load(declarative: &Declarative, path: &Path) -> Loaded {
    tracing::info!(path = %path.display(), "reading the configuration again");
    let Err(error) = declarative.load(path).await else { return Loaded::Decided };
    let lines = error.lines();
    tracing::error!(
        path = %path.display(),
        faults = lines.len(),
        "cannot use the new configuration; the previous one stays in force"
    );
    lines.iter().for_each(|line| tracing::error!("{line}"));
    if error.is_of_store() { Loaded::StoreAway } else { Loaded::Decided }
}
