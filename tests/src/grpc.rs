//! Third-party gRPC: servers of a service `test.Echo`, and clients of it, in two implementations
//! (`tests/servers/grpc_server.py` says what the service does).

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::gateway::free_ports;
use crate::process::Process;
use crate::repository;
use crate::tls::Identity;

const PATIENCE: Duration = Duration::from_secs(60);

/// An implementation of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implementation {
    /// grpcio: the C core.
    Python,
    /// grpc-js.
    Node,
}

impl Implementation {
    fn run(self, python: &str, node: &str) -> Command {
        let told = |name: &str| {
            std::env::var_os(name)
                .unwrap_or_else(|| panic!("{name} is not set: run the tests with ./dev test, which installs gRPC"))
        };
        let (program, script) = match self {
            Self::Python => (told("TOLLGATE_TEST_AUTHLIB_PYTHON"), repository().join("tests").join(python)),
            Self::Node => ("node".into(), PathBuf::from(told("TOLLGATE_TEST_NODE_CLIENTS")).join(node)),
        };
        let mut command = Command::new(program);
        command.arg(script);
        command
    }
}

/// A server.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
    folder: TempDir,
}

impl Server {
    /// Starts one; over TLS with this certificate.
    pub async fn start(implementation: Implementation, identity: Option<&Identity>) -> Self {
        let folder = tempfile::Builder::new().prefix("tollgate-grpc-").tempdir().expect("a folder");
        let [address] = free_ports();
        let mut command = implementation.run("servers/grpc_server.py", "grpc_server.mjs");
        command.arg(address.port().to_string());
        if let Some(identity) = identity {
            command.args(identity.save(folder.path()));
        }
        let output = File::create(output_of(folder.path())).expect("a file");
        command.stdout(output.try_clone().expect("a file")).stderr(output);
        let process = Process::start(&mut command).expect("a program that starts");
        let server = Self { address, _process: process, folder };
        server.until_it_says("listening").await;
        server
    }

    /// Waits until one of its lines begins like this, and returns the last such line.
    pub async fn until_it_says(&self, start: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = fs::read_to_string(output_of(self.folder.path())).unwrap_or_default();
            if let Some(line) = said.lines().rev().find(|line| line.starts_with(start)) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "the server has not said {start:?}:\n{said}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn output_of(folder: &Path) -> PathBuf {
    folder.join("output.log")
}

/// Whom a client calls, and as whom.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its implementation.
    pub implementation: Implementation,
    /// The server, or a gateway before it.
    pub address: SocketAddr,
    /// What vouches for it, in PEM; `None`: without TLS.
    pub authority: Option<String>,
    /// The bearer token that it presents.
    pub token: Option<String>,
}

/// Calls that have begun.
#[derive(Debug)]
pub struct Calling {
    process: Process,
    input: ChildStdin,
    folder: TempDir,
}

impl Caller {
    /// Makes these calls one after the other; returns what came of each.
    pub async fn call(&self, calls: &[&str]) -> Value {
        self.begin(calls).outcome().await
    }

    /// Begins these calls.
    pub fn begin(&self, calls: &[&str]) -> Calling {
        let folder = tempfile::Builder::new().prefix("tollgate-grpc-").tempdir().expect("a folder");
        let authority = self.authority.as_ref().map(|pem| {
            let file = folder.path().join("authority.pem");
            fs::write(&file, pem).expect("a file");
            file
        });
        let mut command = self.implementation.run("clients/grpc_client.py", "grpc_client.mjs");
        let [said, errors] = ["said", "errors"].map(|name| File::create(folder.path().join(name)).expect("a file"));
        command
            .arg(self.address.to_string())
            .arg(authority.unwrap_or_else(|| PathBuf::from("-")))
            .arg(self.token.as_deref().unwrap_or("-"))
            .args(calls)
            .stdin(Stdio::piped())
            .stdout(said)
            .stderr(errors);
        let mut process = Process::start(&mut command).expect("a program that starts");
        let input = process.input().expect("a pipe");
        Calling { process, input, folder }
    }
}

impl Calling {
    /// Has a call cancelled that waits to be.
    pub fn cancel(&mut self) {
        self.input.write_all(b"\n").expect("a client that reads");
    }

    /// What came of each call.
    pub async fn outcome(self) -> Value {
        let Self { mut process, input, folder } = self;
        drop(input);
        let read = |name: &str| fs::read(folder.path().join(name)).expect("a file");
        let texts = || ["said", "errors"].map(|name| String::from_utf8_lossy(&read(name)).into_owned());
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = process.ended().expect("a client") {
                break status;
            }
            assert!(Instant::now() < deadline, "a gRPC client does not end: {:?}", texts());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let [said, errors] = texts();
        let last = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
        last.unwrap_or_else(|| panic!("a gRPC client failed ({status}):\n{said}\n{errors}"))
    }
}
