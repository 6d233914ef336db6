//! Sends a command to the running process.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::{NAME, Place, QUIT, RELOAD, Said, UPGRADE};

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Reads the settings again.
    Reload,
    /// Ends the process, and waits for that.
    Quit,
    /// Has an executable take over.
    Upgrade(PathBuf),
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error("no gateway runs with the data directory {directory}, or it is another user's")]
    NotRunning {
        /// The directory.
        directory: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The process did not respond.
    #[error("the gateway did not respond; see its log")]
    Response(#[source] io::Error),
    /// The path has a form that cannot be sent.
    #[error("{0:?}: expected the path of an executable, in UTF-8")]
    Path(PathBuf),
}

/// Has the process with this data directory carry it out.
///
/// # Errors
/// It was not reached, or did not respond.
pub fn send(directory: &Path, command: &Command) -> Result<Said, Error> {
    let line = match command {
        Command::Reload => RELOAD.to_owned(),
        Command::Quit => QUIT.to_owned(),
        Command::Upgrade(path) => {
            let text = path.to_str().filter(|text| !text.contains('\n'));
            format!("{UPGRADE} {}", text.ok_or_else(|| Error::Path(path.clone()))?)
        }
    };
    let mut stream = connect(directory)?;
    let mut response = BufReader::new(stream.try_clone().map_err(Error::Response)?);
    let mut said = String::new();
    let asked = stream.write_all(format!("{line}\n").as_bytes()).and_then(|()| response.read_line(&mut said));
    asked.map_err(Error::Response)?;
    let said: Said = serde_json::from_str(&said).map_err(|error| Error::Response(error.into()))?;
    if *command == Command::Quit && said.faults.is_empty() {
        // The connection ends with the process.
        let _ended = response.read_to_end(&mut Vec::new());
        return Ok(Said { lines: vec!["The gateway has ended.".to_owned()], ..said });
    }
    Ok(said)
}

/// Whether a process with this data directory hears commands.
pub fn is_served(directory: &Path) -> bool {
    connect(directory).is_ok()
}

/// Connects to the process with this data directory.
///
/// # Errors
/// There is none.
pub(super) fn connect(directory: &Path) -> Result<UnixStream, Error> {
    let connected = Place::of(directory, NAME).and_then(|place| UnixStream::connect(&place.path));
    connected.map_err(|source| Error::NotRunning { directory: directory.to_owned(), source })
}
