//! The control socket: how commands on the same machine reach the running process.
//!
//! It is a Unix socket in the data directory, for the user of the process and root alone: its mode says so, and so does a
//! check of the peer. A command is one line; the response is one line of JSON ([`Said`]), or for the process that takes
//! over ([`handover`]) what it needs for that.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub mod client;
pub mod handover;
pub mod server;

/// The name of the socket in the data directory.
const NAME: &str = "control.sock";

/// The longest path of a Unix socket, less some room.
const LONGEST: usize = 100;

/// Reads the settings again.
const RELOAD: &str = "reload";
/// Ends the process.
const QUIT: &str = "quit";
/// Starts an executable, whose path follows, that takes over.
const UPGRADE: &str = "upgrade";
/// Hands the listeners over to the peer.
const TAKE_OVER: &str = "take-over";

/// The response to a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// For standard output.
    pub lines: Vec<String>,
    /// For standard error; if there is any, the command has failed.
    pub faults: Vec<String>,
}

impl Said {
    fn done(line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()], faults: Vec::new() }
    }

    fn failed(fault: impl Into<String>) -> Self {
        Self { lines: Vec::new(), faults: vec![fault.into()] }
    }
}

/// A path in a directory that is short enough for a socket, as long as the directory is held open.
struct Place {
    path: PathBuf,
    _directory: Option<File>,
}

impl Place {
    fn of(directory: &Path, name: &str) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        use std::os::unix::ffi::OsStrExt as _;
        let path = directory.join(name);
        if path.as_os_str().as_bytes().len() <= LONGEST {
            return Ok(Self { path, _directory: None });
        }
        let directory = File::open(directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()));
        Ok(Self { path, _directory: Some(directory) })
    }
}
