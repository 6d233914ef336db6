//! HTTP servers that nobody here wrote, behind the gateway: nginx and HAProxy as proxies, and Node.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Process;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian's nginx, as a proxy.
    Nginx,
    /// Debian's HAProxy, as a proxy.
    Haproxy,
    /// HAProxy, which passes bytes on, with these words after the server's address.
    HaproxyPassing(&'static str),
    /// HAProxy, as a proxy that expects a PROXY header and tells the source that it names in `X-Seen`.
    HaproxyTold,
    /// Node's `http`, which responds to each request with its method, target and body.
    Node,
}

impl Kind {
    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy | Self::HaproxyPassing(_) | Self::HaproxyTold => "haproxy",
            Self::Node => "node",
        }
    }
}

/// A running one; it stops on drop.
pub struct WebServer {
    address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

const READY_WITHIN: Duration = Duration::from_secs(20);

impl WebServer {
    /// Starts one. The proxies send requests to `upstream`, over connections that they keep.
    pub fn start(kind: Kind, upstream: SocketAddr) -> Self {
        let folder = tempfile::Builder::new().prefix("tollgate-test-").tempdir().expect("a folder");
        let [address] = crate::gateway::free_ports();
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let mut command = command(kind, folder.path(), address, upstream);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        // nginx and HAProxy are on root's path only.
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        let mut process = Process::start(&mut command)
            .unwrap_or_else(|error| panic!("cannot start {}: {error}; ./dev test installs it", kind.name()));
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(address).is_err() {
            let ended = process.ended().expect("a child");
            let said = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "{} does not listen:\n{}", kind.name(), said());
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { address, _process: process, _folder: folder }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn command(kind: Kind, folder: &Path, address: SocketAddr, upstream: SocketAddr) -> Command {
    let configured = |text: String| {
        let file = folder.join("configuration");
        fs::write(&file, text).expect("a file");
        file
    };
    let mut command = Command::new(kind.name());
    match kind {
        Kind::Nginx => {
            command.arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(configured(nginx(address, upstream)))
        }
        Kind::Haproxy | Kind::HaproxyPassing(_) | Kind::HaproxyTold => {
            command.arg("-db").arg("-f").arg(configured(haproxy(kind, address, upstream)))
        }
        Kind::Node => {
            command.arg(crate::repository().join("tests/servers/node-http/server.mjs")).arg(address.port().to_string())
        }
    };
    command
}

fn nginx(address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr warn;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n\
           access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
           uwsgi_temp_path uwsgi; scgi_temp_path scgi; large_client_header_buffers 4 64k;\n\
           client_max_body_size 0;\n\
           upstream next {{ server {upstream}; keepalive 16; }}\n\
           server {{\n\
             listen {address}; keepalive_requests 100000;\n\
             location / {{ proxy_pass http://next; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n\
           }}\n\
         }}\n"
    )
}

fn haproxy(kind: Kind, address: SocketAddr, upstream: SocketAddr) -> String {
    let (mode, bind, server) = match kind {
        Kind::HaproxyPassing(words) => ("tcp", "", words),
        Kind::HaproxyTold => ("http", "accept-proxy\n  http-request set-header X-Seen %[src]", ""),
        _ => ("http", "", ""),
    };
    format!(
        "defaults\n  mode {mode}\n  timeout client 30s\n  timeout server 30s\n  timeout connect 5s\n  \
         http-reuse always\n\
         frontend in\n  bind {address} {bind}\n  default_backend next\n\
         backend next\n  server next {upstream} {server}\n"
    )
}
