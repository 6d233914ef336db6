//! A PostgreSQL cluster of the test's own: a primary and two streaming standbys, which the test may stop, freeze
//! and promote.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::gateway::free_ports;

/// How long a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The data outlives only the server's process, not the machine.
const SETTINGS: &str = "\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
full_page_writes = off
max_connections = 60
shared_buffers = 16MB
wal_receiver_timeout = 5s
wal_retrieve_retry_interval = 100ms
max_standby_streaming_delay = 1s
";

/// Whether a commit waits for a standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// It waits for the first standby.
    Synchronous,
    /// It does not.
    Asynchronous,
}

/// Three servers: at first 0 is the primary, 1 and 2 are its standbys. Stopped on drop.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    ports: [u16; 3],
}

impl Cluster {
    /// Starts a primary and two standbys, which have an empty database `tollgate`.
    pub fn start(replication: Replication) -> Self {
        let folder = tempfile::Builder::new().prefix("tollgate-cluster-").tempdir().expect("a folder");
        if let Some((user, group)) = account() {
            chown(folder.path(), Some(user), Some(group)).expect("a folder for postgres");
        }
        let [one, two, three, _] = free_ports().map(|address| address.port());
        let cluster = Self { folder, ports: [one, two, three] };
        let data = cluster.data(0).display().to_string();
        let words = ["--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8"];
        succeed(cluster.program("initdb").args(["--no-sync", "-D", &data]).args(words));
        cluster.configure(0, SETTINGS);
        cluster.run(0);
        for standby in [1, 2] {
            let (data, source) = (cluster.data(standby).display().to_string(), cluster.source(0, standby));
            let arguments = ["-D", &data, "-d", &source, "--checkpoint=fast", "--no-sync", "-R"];
            succeed(cluster.program("pg_basebackup").args(arguments));
            cluster.run(standby);
        }
        if replication == Replication::Synchronous {
            cluster.psql(0, "ALTER SYSTEM SET synchronous_standby_names = 'standby1'");
            cluster.psql(0, "SELECT pg_reload_conf()");
            let waits = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            cluster.until("a synchronous standby", || cluster.psql(0, waits) == "1");
        }
        cluster.psql(0, "CREATE DATABASE tollgate");
        cluster
    }

    /// The URL of the database, with all hosts, the standbys first.
    pub fn url(&self) -> String {
        let [one, two, three] = self.ports;
        format!("postgres://postgres@127.0.0.1:{three},127.0.0.1:{two},127.0.0.1:{one}/tollgate")
    }

    /// The URL of the database on one server.
    pub fn url_of(&self, server: usize) -> String {
        format!("postgres://postgres@127.0.0.1:{}/tollgate", self.ports[server])
    }

    /// The result of a statement, without the spaces around it.
    pub fn psql(&self, server: usize, statement: &str) -> String {
        let database = if statement.starts_with("CREATE DATABASE") { "postgres" } else { "tollgate" };
        self.psql_in(server, database, statement).unwrap_or_else(|error| panic!("server {server}: {error}"))
    }

    fn psql_in(&self, server: usize, database: &str, statement: &str) -> Result<String, String> {
        // Before the database exists, and while its creation is not replayed.
        let known = ["pg_reload_conf", "pg_stat_replication", "ALTER SYSTEM"];
        let database = if known.iter().any(|word| statement.contains(word)) { "postgres" } else { database };
        let url = format!("postgres://postgres@127.0.0.1:{}/{database}", self.ports[server]);
        let arguments = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", statement];
        let output = Command::new("psql").args(arguments).output().expect("psql");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Makes a standby the primary, as an operator does, and waits until it accepts writes.
    pub fn promote(&self, server: usize) {
        assert_eq!(self.psql(server, "SELECT pg_promote(true, 60)"), "t");
    }

    /// Makes a standby follow another server.
    pub fn follow(&self, standby: usize, primary: usize) {
        let source = self.source(primary, standby);
        self.psql(standby, &format!("ALTER SYSTEM SET primary_conninfo = '{source}'"));
        self.psql(standby, "SELECT pg_reload_conf()");
    }

    /// Ends a server at once, as `kill -9` of all its processes does.
    pub fn kill(&self, server: usize) {
        // Its processes end with it: without their parent they might still write.
        let processes = self.processes(server);
        self.signal(server, Signal::KILL);
        self.until("the end of a server", || processes.iter().all(|process| !is_running(*process)));
        let _ = fs::remove_file(self.data(server).join("postmaster.pid"));
    }

    /// Stops a server in order.
    pub fn stop(&self, server: usize) {
        let data = self.data(server).display().to_string();
        succeed(self.program("pg_ctl").args(["stop", "-s", "-w", "-m", "fast", "-D", &data]));
    }

    /// Starts a server that was stopped or killed.
    pub fn run(&self, server: usize) {
        let (data, log) = (self.data(server).display().to_string(), self.folder.path().join(format!("{server}.log")));
        let options = format!("-p {}", self.ports[server]);
        let log = log.display().to_string();
        let arguments = ["start", "-s", "-w", "-D", &data, "-l", &log, "-o", &options];
        // The server inherits its output, which must not be a pipe that somebody waits for.
        let mut command = self.program("pg_ctl");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let ended = command.status().expect("pg_ctl");
        assert!(ended.success(), "{}", fs::read_to_string(&log).unwrap_or_default());
    }

    /// Freezes all processes of a server: connections stay open, and new ones are accepted by the kernel.
    pub fn freeze(&self, server: usize) {
        self.signal(server, Signal::STOP);
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self, server: usize) {
        self.signal(server, Signal::CONT);
    }

    /// Waits until a condition holds.
    pub fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "timed out waiting for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a standby has replayed everything that the primary has written by now.
    pub fn until_replayed(&self, standby: usize, primary: usize) {
        let written = self.psql(primary, "SELECT pg_current_wal_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        self.until("the standby", || self.psql(standby, &replayed) == "t");
    }

    fn signal(&self, server: usize, signal: Signal) {
        for process in self.processes(server) {
            let _ = kill_process(process, signal);
        }
    }

    /// The server's process and its children.
    fn processes(&self, server: usize) -> Vec<Pid> {
        let file = fs::read_to_string(self.data(server).join("postmaster.pid")).unwrap_or_default();
        let Some(postmaster) = file.lines().next().and_then(|line| line.trim().parse().ok()) else { return Vec::new() };
        let folders = fs::read_dir("/proc").expect("/proc").flatten();
        let ids = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<i32>().ok());
        let children = ids.filter(|id| parent(*id) == Some(postmaster));
        std::iter::once(postmaster).chain(children).filter_map(Pid::from_raw).collect()
    }

    fn data(&self, server: usize) -> PathBuf {
        self.folder.path().join(format!("data{server}"))
    }

    fn configure(&self, server: usize, settings: &str) {
        let file = self.data(server).join("postgresql.conf");
        let before = fs::read_to_string(&file).expect("its configuration");
        fs::write(&file, before + settings).expect("its configuration");
    }

    fn source(&self, primary: usize, standby: usize) -> String {
        format!("host=127.0.0.1 port={} user=postgres application_name=standby{standby}", self.ports[primary])
    }

    /// A program of the server. It refuses to run as root.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(programs().join(name));
        command.current_dir("/");
        if let Some((user, group)) = account() {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..3).for_each(|server| {
            self.signal(server, Signal::KILL);
        });
    }
}

/// The user and the group to run as, if this is root.
fn account() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").expect("accounts");
    let line = accounts.lines().find(|line| line.starts_with("postgres:")).expect("the account postgres");
    let mut fields = line.split(':').skip(2).map(|field| field.parse().expect("a number"));
    Some((fields.next()?, fields.next()?))
}

/// The folder of the newest server's programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL, which ./dev test installs").flatten();
    let installed = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    installed.max_by_key(|bin| version(bin)).expect("PostgreSQL's server programs")
}

fn version(bin: &Path) -> u32 {
    let name = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or_default()
}

fn parent(process: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name, which may contain anything: its state and its parent.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn is_running(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("PostgreSQL's programs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
