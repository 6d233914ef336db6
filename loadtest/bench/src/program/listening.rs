//! A program that is ready once its port accepts connections.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tollgate_tests::process::Process;

use crate::error::{Error, Result};

/// How long a program may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Free addresses. They are bound at the same time, so that they differ.
pub fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut held = Vec::with_capacity(N);
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for address in &mut addresses {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(Error::system("no free port"))?;
        *address = listener.local_addr().map_err(Error::system("a socket has no address"))?;
        held.push(listener);
    }
    Ok(addresses)
}

/// How a program is started.
pub struct Listening<'a> {
    /// Its name in messages.
    pub name: &'a str,
    /// Its command line.
    pub command: Command,
    /// The port to wait for.
    pub address: SocketAddr,
    /// File for its output.
    pub log: &'a Path,
}

impl Listening<'_> {
    /// Starts it and waits until it listens.
    pub async fn start(mut self) -> Result<Process> {
        let log = File::create(self.log).map_err(Error::system(format!("cannot write {}", self.log.display())))?;
        let again = log.try_clone().map_err(Error::system("cannot share a file"))?;
        self.command.stdin(Stdio::null()).stdout(log).stderr(again);
        let mut process =
            Process::start(&mut self.command).map_err(Error::system(format!("cannot start {}", self.name)))?;
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(process);
            }
            if process.ended().map_err(Error::system("cannot watch a process"))?.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let said = fs::read_to_string(self.log).unwrap_or_default();
        Err(Error::NotStarted { program: self.name.to_owned(), said })
    }
}
