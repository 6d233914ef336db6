//! A PostgreSQL server of the test's own, durable as in production, for what must not happen to the shared one.

mod crowd;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::confinement::seen_by;
use crate::gateway::free_ports;
use crate::process::Process;

pub use crowd::Crowd;

/// PostgreSQL refuses to run as root.
const ACCOUNT: &str = "postgres";

/// What is committed is on the disk when the commit returns.
const DURABLE: [&str; 6] = [
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    "unix_socket_directories=",
    "listen_addresses=127.0.0.1",
    "max_connections=50",
];

/// How long a start may take, with the recovery after a crash.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The role of gateways, which is no superuser, and its database.
const ROLE: &str = "tollgate";

/// A server with an empty database. Dropping it kills the server and removes its folder.
#[derive(Debug)]
pub struct PostgresServer {
    process: Process,
    launch: Launch,
}

#[derive(Debug)]
struct Launch {
    programs: PathBuf,
    account: Option<(u32, u32)>,
    disk: Option<Disk>,
    data: PathBuf,
    log: PathBuf,
    port: u16,
    settings: Vec<String>,
    /// Removed on drop.
    _directory: TempDir,
}

impl PostgresServer {
    /// Creates and starts one.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With additional settings (`NAME=VALUE`).
    pub async fn with(settings: &[&str]) -> Self {
        Self::create(settings, None).await
    }

    /// On a disk of its own, of so many MiB, which [`Self::fill`] fills. Only root can have it.
    pub async fn on_disk_of(megabytes: u32) -> Self {
        Self::create(&["min_wal_size=32MB", "max_wal_size=64MB"], Some(megabytes)).await
    }

    /// A streaming standby of this server, which must outlive it; on a disk of its own of so many MiB, or not.
    pub async fn standby(&self, disk: Option<u32>) -> Self {
        let settings = ["wal_retrieve_retry_interval=100ms", "wal_receiver_timeout=5s", "max_wal_size=64MB"];
        let launch = Launch::new(&settings, disk);
        launch.copy(&self.launch);
        launch.served().await
    }

    /// One that keeps what its standbys may have missed, on a disk of its own or not.
    pub async fn with_standbys(disk: Option<u32>) -> Self {
        Self::create(&["wal_keep_size=64MB", "min_wal_size=32MB", "max_wal_size=64MB"], disk).await
    }

    async fn create(settings: &[&str], disk: Option<u32>) -> Self {
        let launch = Launch::new(settings, disk);
        launch.initialize();
        let server = launch.served().await;
        server.run(&format!("CREATE ROLE {ROLE} LOGIN"));
        server.run(&format!("CREATE DATABASE {ROLE} OWNER {ROLE}"));
        server
    }

    /// The address of its database, for gateways.
    pub fn url(&self) -> String {
        format!("postgres://{ROLE}@{}/{ROLE}", self.authority())
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.launch.port)
    }

    /// Sends SIGKILL to all of its processes, as when its machine loses power but for the memory of the system.
    pub fn kill(&mut self) {
        let postmaster = self.process.id();
        // Stopped, it starts no others meanwhile.
        signal(postmaster, Signal::STOP);
        let others = children(postmaster);
        others.iter().for_each(|child| signal(*child, Signal::KILL));
        self.process.kill().expect("a process that can be killed");
        let deadline = Instant::now() + READY_WITHIN;
        // The next start refuses as long as one of them uses the shared memory.
        while others.iter().any(|child| runs(*child)) {
            assert!(Instant::now() < deadline, "a process of PostgreSQL does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends it in order: transactions are rolled back, connections closed.
    pub fn stop(&mut self) {
        self.process.interrupt().expect("a process that can be signalled");
        let deadline = Instant::now() + READY_WITHIN;
        while self.process.ended().expect("a child").is_none() {
            assert!(Instant::now() < deadline, "PostgreSQL does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it again after it has ended.
    pub async fn start_again(&mut self) {
        self.process = self.launch.start().await;
    }

    /// Stops all of its processes without ending them (SIGSTOP).
    pub fn freeze(&self) {
        signal(self.process.id(), Signal::STOP);
        children(self.process.id()).into_iter().for_each(|child| signal(child, Signal::STOP));
    }

    /// Continues after [`Self::freeze`].
    pub fn thaw(&self) {
        children(self.process.id()).into_iter().for_each(|child| signal(child, Signal::CONT));
        signal(self.process.id(), Signal::CONT);
    }

    /// Refuses connections of gateways as if there were too many, and ends those that they have.
    pub fn refuse_connections(&self) {
        self.run(&format!("ALTER ROLE {ROLE} CONNECTION LIMIT 0"));
        self.run(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'"));
    }

    /// Accepts them again.
    pub fn accept_connections(&self) {
        self.run(&format!("ALTER ROLE {ROLE} CONNECTION LIMIT -1"));
    }

    /// Refuses writes, as a primary that was made a standby.
    pub fn refuse_writes(&self) {
        self.run("ALTER SYSTEM SET default_transaction_read_only = on");
        self.run("SELECT pg_reload_conf()");
    }

    /// Accepts them again.
    pub fn accept_writes(&self) {
        self.run("ALTER SYSTEM RESET default_transaction_read_only");
        self.run("SELECT pg_reload_conf()");
    }

    /// Fills the disk of its own to the last byte.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file on its disk");
        let mut block = vec![0; 1 << 20];
        while !block.is_empty() {
            if ballast.write_all(&block).is_err() {
                block.truncate(block.len() / 2);
            }
        }
    }

    /// Frees it again, and starts the server again if that has ended for lack of space.
    pub async fn free(&mut self) {
        fs::remove_file(self.ballast()).expect("a file on its disk");
        if self.process.ended().expect("a child").is_some() {
            self.start_again().await;
        }
    }

    fn ballast(&self) -> PathBuf {
        let disk = self.launch.disk.as_ref().expect("a server on a disk of its own");
        seen_by(disk.holder.id(), &disk.folder).join("ballast")
    }

    /// Runs a statement with `psql`, as superuser; returns what it prints.
    pub fn run(&self, statement: &str) -> String {
        let mut command = Command::new("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]);
        let database = format!("postgres://{ACCOUNT}@{}/postgres", self.authority());
        let output = command.args(["--command", statement, "--dbname", &database]).output();
        let output = output.expect("psql, from PostgreSQL's client programs");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Ok(None) = self.process.ended() {
            self.kill();
        }
    }
}

/// A disk in memory, which only processes in the namespace of its holder see.
#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    holder: Process,
}

impl Disk {
    fn mount(folder: PathBuf, megabytes: u32, account: Option<(u32, u32)>) -> Self {
        let (user, group) = account.expect("root, who alone may mount a disk for another account");
        fs::create_dir(&folder).expect("a folder");
        let mut command = Command::new("unshare");
        let options = format!("size={megabytes}m,uid={user},gid={group},mode=0700");
        let script = "mount -t tmpfs -o \"$1\" none \"$2\" && echo mounted && exec sleep infinity";
        command.args(["--mount", "--", "sh", "-c", script, "sh", &options]).arg(&folder).stdout(Stdio::piped());
        let mut holder = Process::start(&mut command).expect("unshare");
        let mut line = String::new();
        let output = holder.output().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "mounted\n", "a disk of its own");
        Self { folder, holder }
    }

    fn command(&self, program: &Path, account: Option<(u32, u32)>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()));
        if let Some((user, group)) = account {
            command.args(["--setuid", &user.to_string(), "--setgid", &group.to_string()]);
        }
        command.arg("--").arg(program);
        command
    }
}

impl Launch {
    fn new(settings: &[&str], disk: Option<u32>) -> Self {
        let programs = programs().expect("PostgreSQL in /usr/lib/postgresql; ./dev test installs it");
        let directory = tempfile::Builder::new().prefix("tollgate-postgres-").tempdir().expect("a folder");
        let account = is_root().then(|| ids(ACCOUNT).expect("the account that PostgreSQL's package creates"));
        if let Some((user, group)) = account {
            chown(directory.path(), Some(user), Some(group)).expect("a folder of our own");
        }
        let [address] = free_ports();
        let port = address.port();
        let settings = DURABLE.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
        let disk = disk.map(|megabytes| Disk::mount(directory.path().join("disk"), megabytes, account));
        let data = disk.as_ref().map_or(directory.path(), |disk| &disk.folder).join("data");
        let log = directory.path().join("log");
        Self { programs, account, disk, data, log, port, settings, _directory: directory }
    }

    async fn served(self) -> PostgresServer {
        PostgresServer { process: self.start().await, launch: self }
    }

    /// Copies another server, to follow it.
    fn copy(&self, primary: &Self) {
        let source = format!("host=127.0.0.1 port={} user={ACCOUNT}", primary.port);
        let mut command = self.command("pg_basebackup");
        command.arg("-D").arg(&self.data).args(["-d", &source, "--checkpoint=fast", "--no-sync", "-R"]);
        let output = command.output().expect("pg_basebackup");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match &self.disk {
            Some(disk) => disk.command(&program, self.account),
            None => {
                let mut command = Command::new(program);
                if let Some((user, group)) = self.account {
                    command.uid(user).gid(group);
                }
                command
            }
        };
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    fn initialize(&self) {
        let mut command = self.command("initdb");
        command.arg("-D").arg(&self.data);
        command.args(["--username", ACCOUNT, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8"]);
        let output = command.arg("--no-sync").output().expect("initdb");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    async fn start(&self) -> Process {
        let output = File::options().create(true).append(true).open(&self.log).expect("a file");
        let mut command = self.command("postgres");
        command.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
        command.args(self.settings.iter().flat_map(|setting| ["-c", setting]));
        command.stdout(output.try_clone().expect("a file")).stderr(output);
        let mut process = Process::start(&mut command).expect("a program that starts");
        let deadline = Instant::now() + READY_WITHIN;
        while !self.is_ready() {
            let ended = process.ended().expect("a child");
            let said = || fs::read_to_string(&self.log).unwrap_or_default();
            assert!(ended.is_none(), "PostgreSQL ended: {ended:?}\n{}", said());
            assert!(Instant::now() < deadline, "PostgreSQL is not ready:\n{}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        process
    }

    fn is_ready(&self) -> bool {
        let mut command = self.command("pg_isready");
        command.args(["--quiet", "--host", "127.0.0.1", "--port", &self.port.to_string()]);
        command.status().expect("pg_isready").success()
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// User and group id of an account.
fn ids(name: &str) -> Option<(u32, u32)> {
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    let account = accounts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut fields = account.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
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

fn children(process: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Whether a process exists and has not ended; one that nobody has waited for has.
fn runs(process: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = state.rsplit(") ").next().and_then(|fields| fields.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The process may have ended meanwhile.
fn signal(process: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
