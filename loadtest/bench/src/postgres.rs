//! A private PostgreSQL, durable as in production.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tollgate_tests::process::Process;

use crate::account;
use crate::database::psql;
use crate::error::{Error, Result};
use crate::machine;
use crate::program::{Listening, free_addresses};

/// PostgreSQL refuses to run as root.
const ACCOUNT: &str = "postgres";

/// Commits are durable; the rest is typical for a small dedicated server.
const SETTINGS: [&str; 7] = [
    "fsync=on",
    "synchronous_commit=on",
    "max_wal_size=8GB",
    "checkpoint_timeout=30min",
    "max_connections=100",
    "unix_socket_directories=",
    "listen_addresses=127.0.0.1",
];

/// A running server. Dropping it stops the server and removes its folder.
pub struct Cluster {
    _process: Process,
    _folder: TempDir,
    port: u16,
}

impl Cluster {
    /// Creates and starts one.
    pub async fn start() -> Result<Self> {
        let programs = programs().ok_or_else(|| {
            Error::Usage("PostgreSQL server not found in /usr/lib/postgresql; ./dev bench installs it".to_owned())
        })?;
        let folder = tempfile::Builder::new().prefix("tollgate-bench-postgres.").tempdir();
        let folder = folder.map_err(Error::system("cannot create a folder"))?;
        let ids = if account::is_root() { account::ids(ACCOUNT) } else { None };
        if let Some((user, group)) = ids {
            chown(folder.path(), Some(user), Some(group))
                .map_err(Error::system("cannot change the owner of a folder"))?;
        }
        let data = folder.path().join("data");
        let as_postgres = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir("/").arg("-D").arg(&data);
            if let Some((user, group)) = ids {
                command.uid(user).gid(group);
            }
            command
        };
        make(as_postgres("initdb"))?;
        let [address] = free_addresses()?;
        let mut command = as_postgres("postgres");
        command.arg("-p").arg(address.port().to_string());
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        // A quarter of the memory, as the manual recommends.
        command.arg("-c").arg(format!("shared_buffers={}kB", machine::memory_kib() / 4));
        let log = std::env::temp_dir().join(folder.path().file_name().unwrap_or_default()).with_extension("log");
        let started = Listening { name: "postgres", command, address, log: &log }.start().await;
        // The server keeps it open until it exits.
        let _gone = fs::remove_file(&log);
        Ok(Self { _process: started?, _folder: folder, port: address.port() })
    }

    /// Creates a database and returns its address.
    pub async fn database(&self, name: &str) -> Result<String> {
        let url = |name: &str| format!("postgres://{ACCOUNT}@127.0.0.1:{}/{name}", self.port);
        psql(&url("postgres"), &format!("CREATE DATABASE \"{name}\"")).await?;
        Ok(url(name))
    }
}

/// The folder of the server's programs; the newest version if there are several.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let installed = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    installed.max_by_key(|bin| version(bin))
}

fn version(bin: &Path) -> u32 {
    let name = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or_default()
}

fn make(mut initdb: Command) -> Result<()> {
    let words = ["--username", ACCOUNT, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"];
    let output = initdb.args(words).stdin(Stdio::null()).output().map_err(Error::system("cannot run initdb"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Failed { program: "initdb".to_owned(), said: String::from_utf8_lossy(&output.stderr).into_owned() })
}
