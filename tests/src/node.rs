//! The program in its own folder, started and stopped by the test: for tests of start-up and shutdown. Tests of
//! its behaviour use a [`Gateway`](crate::Gateway).

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::confinement::Confinement;
use crate::gateway::free_ports;
use crate::process::Process;
use crate::program;

/// How long a command or a start may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Settings, and a folder for its data.
#[derive(Debug)]
pub struct Node {
    /// Its listeners, by their environment names.
    pub listeners: [(&'static str, SocketAddr); 4],
    directory: TempDir,
    database_url: Option<String>,
    confinement: Option<Confinement>,
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its output, on standard output and standard error.
    pub output: String,
}

impl Node {
    /// On SQLite in its folder.
    pub fn on_sqlite() -> Self {
        Self::with(None)
    }

    /// On this database.
    pub fn on_database(url: String) -> Self {
        Self::with(Some(url))
    }

    fn with(database_url: Option<String>) -> Self {
        let [http, https, admin, status] = free_ports();
        Self {
            listeners: [
                ("TOLLGATE_PROXY_HTTP_LISTEN", http),
                ("TOLLGATE_PROXY_HTTPS_LISTEN", https),
                ("TOLLGATE_ADMIN_LISTEN", admin),
                ("TOLLGATE_STATUS_LISTEN", status),
            ],
            directory: tempfile::Builder::new().prefix("tollgate-node-").tempdir().expect("a folder"),
            database_url,
            confinement: None,
        }
    }

    /// With its processes confined from now on.
    pub fn confined(&mut self, confinement: Confinement) {
        self.confinement = Some(confinement);
    }

    /// Its folder.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs `tollgate ARGUMENTS` to completion.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        self.ended(self.spawn(arguments)).await
    }

    async fn ended(&self, mut process: Process) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = process.ended().expect("a child") {
                return Ended { code: status.code(), output: self.output() };
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.output());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Runs `tollgate ARGUMENTS` to completion beside a process that was started.
    pub fn tool(&self, arguments: &[&str]) -> Ended {
        let mut command = self.command_to_nowhere(arguments);
        let output = command.output().expect("a program that runs");
        let text = [output.stdout, output.stderr].concat();
        Ended { code: output.status.code(), output: String::from_utf8(text).expect("text") }
    }

    /// Starts `tollgate ARGUMENTS` without a variable that it has otherwise, and waits until it is ready.
    pub async fn start_without(&self, variable: &str, arguments: &[&str]) -> Process {
        let mut command = self.command(arguments);
        command.env_remove(variable);
        self.started(Process::start(&mut command).expect("a program that starts")).await
    }

    /// Starts `tollgate ARGUMENTS`, and waits until it is ready.
    pub async fn start(&self, arguments: &[&str]) -> Process {
        self.started(self.spawn(arguments)).await
    }

    /// Starts it with sockets, by descriptors from 3 on, and waits until it is ready.
    pub async fn start_with_sockets(&self, sockets: [&TcpListener; 3], names: &str) -> Process {
        self.started(self.spawn_with_sockets(sockets, names)).await
    }

    /// Runs it with sockets to its end.
    pub async fn run_with_sockets(&self, sockets: [&TcpListener; 3], names: &str) -> Ended {
        self.ended(self.spawn_with_sockets(sockets, names)).await
    }

    fn spawn_with_sockets(&self, sockets: [&TcpListener; 3], names: &str) -> Process {
        let script = "exec 3<&0 4<&1 5<&2 0</dev/null 1>output.log 2>&1; LISTEN_PID=$$ exec \"$0\" run";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(program("tollgate"));
        self.prepare(&mut command);
        let [first, second, third] = sockets.map(|socket| Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
        command.stdin(first).stdout(second).stderr(third);
        command.env("LISTEN_FDS", "3").env("LISTEN_FDNAMES", names);
        Process::start(&mut command).expect("a program that starts")
    }

    /// Starts `tollgate run` with these variables besides, and waits until it is ready.
    pub async fn start_with(&self, environment: &[(&str, &str)]) -> Process {
        let mut command = self.command(&["run"]);
        command.envs(environment.iter().copied());
        self.started(Process::start(&mut command).expect("a program that starts")).await
    }

    async fn started(&self, mut process: Process) -> Process {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let [.., (_, status)] = self.listeners;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let response = client.get(format!("http://{status}/status/ready")).send().await;
            if response.is_ok_and(|response| response.status().is_success()) {
                return process;
            }
            let ended = process.ended().expect("a child");
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", self.output());
            assert!(Instant::now() < deadline, "it is not ready:\n{}", self.output());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The output of the last command so far.
    pub fn output(&self) -> String {
        fs::read_to_string(self.output_file()).unwrap_or_default()
    }

    fn output_file(&self) -> PathBuf {
        self.directory().join("output.log")
    }

    fn spawn(&self, arguments: &[&str]) -> Process {
        Process::start(&mut self.command(arguments)).expect("a program that starts")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let output = File::create(self.output_file()).expect("a file");
        let mut command = self.command_to_nowhere(arguments);
        command.stdout(output.try_clone().expect("a file")).stderr(output);
        command
    }

    fn command_to_nowhere(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.confinement {
            None => Command::new(program("tollgate")),
            Some(confinement) => confinement.command(&program("tollgate")),
        };
        self.prepare(&mut command);
        command.args(arguments);
        command
    }

    fn prepare(&self, command: &mut Command) {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TOLLGATE_")) {
            command.env_remove(name);
        }
        command
            .current_dir(self.directory())
            .env("TOLLGATE_DATA_DIRECTORY", self.directory())
            .envs(self.listeners.map(|(name, address)| (name, address.to_string())))
            .envs(self.database_url.iter().map(|url| ("TOLLGATE_DATABASE_URL", url)));
    }
}
