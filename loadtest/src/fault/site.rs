//! A gateway of the run's own, with its store, an upstream and tokens.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tollgate_tests::Process;
use uuid::Uuid;

use super::{Kind, OwnStore};
use crate::endpoint::{Endpoint, EndpointError, Protocol, Trust};
use crate::provision::{self, Amount, Progress, ProvisionError};
use crate::state::Order;
use crate::upstream;

/// How long the gateway may take until it listens.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no such gateway.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Ports, folders, threads or processes.
    #[error("cannot start the gateway {program}: {source}")]
    System {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not listen.
    #[error("the gateway {program} does not listen; its last lines:\n{said}")]
    NotReady {
        /// The program.
        program: PathBuf,
        /// What it printed.
        said: String,
    },
    /// An address.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The tokens.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
}

/// A running gateway. Dropping it stops the gateway.
pub struct Site {
    process: Process,
    folder: TempDir,
    /// Its proxy.
    pub proxy: SocketAddr,
    /// Its Admin API.
    pub admin: SocketAddr,
    /// Its metrics.
    pub status: SocketAddr,
}

impl Site {
    /// Starts a store, and a gateway on it with so many tokens.
    ///
    /// # Errors
    /// If the gateway does not start, or the tokens cannot be issued.
    pub fn start(program: &Path, kinds: Vec<Kind>, tokens: usize) -> Result<(Self, OwnStore), SiteError> {
        let system = |source| SiteError::System { program: program.to_owned(), source };
        let store = OwnStore::start(kinds).map_err(system)?;
        let folder = tempfile::Builder::new().prefix("tollgate-load-").tempdir().map_err(system)?;
        let [proxy, admin, status, echo] = free_ports().map_err(system)?;
        let upstream = std::thread::Builder::new().name("upstream".to_owned());
        upstream.spawn(move || upstream::serve(echo, |_| {})).map_err(system)?;
        let log = folder.path().join("gateway.log");
        let output = File::create(&log).map_err(system)?;
        let mut command = Command::new(from_any_folder(program).map_err(system)?);
        command.args(["run", "--migrate"]).current_dir(folder.path()).env("TOLLGATE_DATA_DIRECTORY", folder.path());
        command
            .env("TOLLGATE_PROXY_HTTP_LISTEN", proxy.to_string())
            .env("TOLLGATE_PROXY_HTTPS_LISTEN", "off")
            .env("TOLLGATE_ADMIN_LISTEN", admin.to_string())
            .env("TOLLGATE_STATUS_LISTEN", status.to_string())
            .env("TOLLGATE_DATABASE_URL", store.url())
            .env("TOLLGATE_TRUSTED_IPS", "127.0.0.0/8")
            .env("TOLLGATE_ACCESS_LOG", "off")
            .stdout(output.try_clone().map_err(system)?)
            .stderr(output);
        let process = Process::start(&mut command).map_err(system)?;
        let mut site = Self { process, folder, proxy, admin, status };
        site.await_listener(&log, program)?;
        site.provision(echo, tokens)?;
        Ok((site, store))
    }

    /// The state file with its tokens.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("load.state")
    }

    fn await_listener(&mut self, log: &Path, program: &Path) -> Result<(), SiteError> {
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.proxy).is_err() {
            if Instant::now() > deadline || !matches!(self.process.ended(), Ok(None)) {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(5).collect();
                let said = last.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(SiteError::NotReady { program: program.to_owned(), said });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn provision(&self, upstream: SocketAddr, tokens: usize) -> Result<(), SiteError> {
        let order = Order {
            seed: Uuid::new_v4(),
            prefix: "outage".to_owned(),
            upstream: format!("http://{upstream}"),
            consumers: 10,
            credentials: 10,
            third_party: None,
        };
        let amount = Amount { tokens, refresh_tokens: 0, parallel: 8 };
        let endpoint =
            |address: SocketAddr| Endpoint::new(&format!("http://{address}"), Protocol::Http1, &Trust::System);
        let (admin, proxy) = (endpoint(self.admin)?, endpoint(self.proxy)?);
        provision::provision(&self.state(), order, &amount, (&admin, &proxy), Progress::Hidden)?;
        Ok(())
    }
}

/// A relative path means the folder of the caller, but the program is started in another one. A bare name is looked up
/// in `PATH`.
fn from_any_folder(program: &Path) -> io::Result<PathBuf> {
    if program.components().count() > 1 { std::path::absolute(program) } else { Ok(program.to_owned()) }
}

fn free_ports() -> io::Result<[SocketAddr; 4]> {
    // All are bound at the same time, so that they differ.
    let bind = || TcpListener::bind("127.0.0.1:0");
    let held = [bind()?, bind()?, bind()?, bind()?];
    let [one, two, three, four] = &held;
    Ok([one.local_addr()?, two.local_addr()?, three.local_addr()?, four.local_addr()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_of_a_program_means_the_folder_of_the_caller_and_a_bare_name_path() {
        let here = std::env::current_dir().unwrap();
        for (given, expected) in [
            ("target/release/tollgate", here.join("target/release/tollgate")),
            ("./tollgate", here.join("tollgate")),
            ("/usr/bin/tollgate", PathBuf::from("/usr/bin/tollgate")),
            ("tollgate", PathBuf::from("tollgate")),
        ] {
            assert_eq!(from_any_folder(Path::new(given)).unwrap(), expected, "{given}");
        }
    }
}
