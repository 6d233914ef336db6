//! Debian's PgBouncer in transaction mode, in front of the tests' PostgreSQL.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use url::Url;

use crate::process::Process;

const HOW: &str = "pgbouncer, Debian's package, which ./dev test installs";

/// PgBouncer refuses to run as root; it needs nothing that this user does not have.
const NOBODY: u32 = 65_534;

/// How it treats parameters at start-up that it cannot pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartupParameters {
    /// It refuses the connection: the default.
    Refused,
    /// `ignore_startup_parameters = options`.
    Ignored,
}

/// A pooler, stopped on drop.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    _process: Process,
    directory: TempDir,
}

impl PgBouncer {
    /// In front of the server of this URL, with fewer sessions than two nodes have connections.
    pub async fn start(server: &str, startup_parameters: StartupParameters) -> Self {
        let server = Url::parse(server).expect("a URL");
        let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().unwrap().port();
        let directory = tempfile::Builder::new().prefix("tollgate-pgbouncer-").tempdir().expect("a folder");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("a folder of our own");
        let settings = directory.path().join("pgbouncer.ini");
        let ignored = match startup_parameters {
            StartupParameters::Refused => "",
            StartupParameters::Ignored => "ignore_startup_parameters = options\n",
        };
        let text = format!(
            "[databases]\n* = host={} port={} user={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 5\n{ignored}",
            server.host_str().expect("a host"),
            server.port().unwrap_or(5432),
            server.username(),
        );
        fs::write(&settings, text).expect("a file");
        let output = File::create(directory.path().join("output.log")).expect("a file");
        let mut command = Command::new("/usr/sbin/pgbouncer");
        command.arg(&settings).stdout(output.try_clone().expect("a file")).stderr(output);
        if rustix::process::getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut process = Process::start(&mut command).unwrap_or_else(|error| panic!("{HOW}: {error}"));
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let output = || fs::read_to_string(directory.path().join("output.log")).unwrap_or_default();
            assert!(process.ended().expect("a child").is_none(), "{HOW}:\n{}", output());
            assert!(Instant::now() < deadline, "{HOW} does not listen:\n{}", output());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { port, _process: process, directory }
    }

    /// The URL of a database through this pooler.
    pub fn url(&self, database: &str) -> String {
        let mut url = Url::parse(database).expect("a URL");
        url.set_host(Some("127.0.0.1")).expect("a URL with a host");
        url.set_port(Some(self.port)).expect("a URL with a port");
        url.into()
    }

    /// Everything it has written so far.
    pub fn output(&self) -> String {
        fs::read_to_string(self.directory.path().join("output.log")).unwrap_or_default()
    }
}
