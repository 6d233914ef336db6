//! The real gateway as a local variable.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use http::Method;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;

use crate::confinement::Confinement;
use crate::lost_response::LostResponses;
use crate::postgres::Database;
use crate::process::{Orphan, Process};
use crate::program;
use crate::reply::Reply;
use crate::secrets::Secrets;

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("tollgate-test-").tempdir().expect("a folder")
}

const READY_WITHIN: Duration = Duration::from_secs(30);

/// Where a gateway keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// The embedded one, in the test's folder.
    Sqlite,
    /// The test's own database on the shared server.
    Postgres,
}

/// A gateway on free ports, stopped on drop. Its output is then searched for every secret that the test
/// used.
pub struct Gateway {
    /// Where it listens, as its clients see it.
    pub addresses: tollgate_quickstart::Gateway,
    /// Its plain proxy listener, `127.0.0.1:PORT`.
    pub http: SocketAddr,
    /// Its TLS proxy listener.
    pub https: SocketAddr,
    /// Secrets that must never be in its output.
    pub secrets: Secrets,
    /// A client that trusts it, follows no redirects, and speaks HTTP/1.1 or 2.
    pub client: Client,
    /// The token that calls of the Admin API present, if any.
    pub admin_token: Option<String>,
    database_url: String,
    process: Process,
    /// The processes that took its place, in turn.
    successors: Vec<Orphan>,
    launch: Launch,
    directory: TempDir,
    database: Option<Database>,
}

/// How its process is started.
#[derive(Debug, Clone)]
struct Launch {
    database_url: String,
    settings: Vec<(String, String)>,
    confinement: Option<Confinement>,
}

impl Launch {
    /// An address, with the flags that the settings have under its name.
    fn listener(&self, address: SocketAddr, name: &str) -> String {
        let flags = self.settings.iter().find(|(given, _)| given == name).map_or("", |(_, flags)| flags);
        format!("{address} {flags}")
    }
}

impl Gateway {
    /// On SQLite.
    pub async fn on_sqlite() -> Self {
        Self::on(Store::Sqlite, &[]).await
    }

    /// On PostgreSQL.
    pub async fn on_postgres() -> Self {
        Self::on(Store::Postgres, &[]).await
    }

    /// On PostgreSQL, through a forwarder that can lose the response to a commit. Other nodes connect directly.
    pub async fn on_postgres_with_lost_responses() -> (Self, LostResponses) {
        let database = Database::create();
        let (url, forwarder) = LostResponses::before(&database.url()).await;
        (Self::running(folder(), Some(database), &url, &[], None).await, forwarder)
    }

    /// On this database, whose URL may differ from the address of `database` by a password.
    pub async fn on_database(database: Database, url: &str, settings: &[(&str, &str)]) -> Self {
        Self::running(folder(), Some(database), url, settings, None).await
    }

    /// With additional settings, by their environment names; those of listeners are flags.
    pub async fn on(store: Store, settings: &[(&str, &str)]) -> Self {
        let directory = folder();
        let database = (store == Store::Postgres).then(Database::create);
        let url = match &database {
            Some(database) => database.url(),
            None => format!("sqlite:{}", directory.path().join("tollgate.db").display()),
        };
        Self::running(directory, database, &url, settings, None).await
    }

    /// On a database of the test's own: a server, or a file.
    pub async fn on_url(url: &str, settings: &[(&str, &str)]) -> Self {
        Self::running(folder(), None, url, settings, None).await
    }

    /// On SQLite, in a process with a limit of open files.
    pub async fn with_open_files(limit: u32) -> Self {
        let directory = folder();
        let url = format!("sqlite:{}", directory.path().join("tollgate.db").display());
        Self::running(directory, None, &url, &[], Some(Confinement::OpenFiles(limit))).await
    }

    /// On SQLite, whose folder `small` is on a disk of so many KiB.
    pub async fn on_small_disk(size: u32) -> Self {
        let directory = folder();
        let small = directory.path().join("small");
        fs::create_dir(&small).expect("a folder");
        let url = format!("sqlite:{}", small.join("tollgate.db").display());
        Self::running(directory, None, &url, &[], Some(Confinement::SmallDisk(small, size))).await
    }

    /// Another node on the database of this one, which must outlive it.
    pub async fn another_node(&self) -> Self {
        self.another_node_with(&[]).await
    }

    /// Another node, with additional settings.
    pub async fn another_node_with(&self, settings: &[(&str, &str)]) -> Self {
        let database = self.database.as_ref().expect("nodes share a PostgreSQL");
        Self::running(folder(), None, &database.url(), settings, None).await
    }

    async fn running(
        directory: TempDir,
        database: Option<Database>,
        url: &str,
        settings: &[(&str, &str)],
        confinement: Option<Confinement>,
    ) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let launch = Launch { database_url: url.to_owned(), settings, confinement };
        // A port that was free a moment ago may be taken: then it tries others.
        for _ in 0..3 {
            if let Some(running) = Running::start(&directory, &launch, free_ports()).await {
                let client = running.addresses.client().expect("a client");
                let Running { addresses, http, https, process } = running;
                let secrets = Secrets::default();
                let (database_url, admin_token) = (url.to_owned(), None);
                return Self {
                    addresses,
                    http,
                    https,
                    secrets,
                    client,
                    admin_token,
                    database_url,
                    process,
                    successors: Vec::new(),
                    launch,
                    directory,
                    database,
                };
            }
        }
        panic!("the gateway did not start:\n{}", fs::read_to_string(output_of(&directory)).unwrap_or_default());
    }

    /// An address on the TLS proxy listener.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.https)
    }

    /// An address on the plain proxy listener.
    pub fn plain_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// The certificate of the TLS proxy listener, in PEM: it has signed it itself.
    pub fn certificate(&self) -> String {
        fs::read_to_string(self.directory.path().join("self-signed.crt")).expect("a certificate")
    }

    /// A request to the TLS proxy listener.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// Sends a request, and records the secrets in it and in its response.
    pub async fn send(&self, request: RequestBuilder) -> Reply {
        let request = request.build().expect("a request");
        if let Some(query) = request.url().query() {
            self.secrets.add_from_form(query);
        }
        if let Some(body) = request.body().and_then(reqwest::Body::as_bytes) {
            match serde_json::from_slice::<Value>(body) {
                Ok(document) => self.secrets.add_from_json(&document),
                Err(_) => self.secrets.add_from_form(&String::from_utf8_lossy(body)),
            }
        }
        let response = self.client.execute(request).await.expect("a response");
        let reply = Reply::read(response).await;
        if let Ok(document) = serde_json::from_str(&reply.body) {
            self.secrets.add_from_json(&document);
        }
        reply
    }

    /// A call of the Admin API with a JSON body; null sends none.
    pub async fn admin(&self, method: Method, path: &str, body: Value) -> Reply {
        let url = self.addresses.admin.join(path).expect("a path");
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.admin_token {
            request = request.bearer_auth(token);
        }
        self.send(if body.is_null() { request } else { request.json(&body) }).await
    }

    /// `GET` of the Admin API.
    pub async fn admin_get(&self, path: &str) -> Reply {
        self.admin(Method::GET, path, Value::Null).await
    }

    /// `POST` to the Admin API, which must create.
    pub async fn create(&self, path: &str, body: Value) -> Value {
        self.admin(Method::POST, path, body).await.expect(201).json()
    }

    /// `PATCH` of the Admin API, which must succeed.
    pub async fn change(&self, path: &str, body: Value) -> Value {
        self.admin(Method::PATCH, path, body).await.expect(200).json()
    }

    /// `DELETE` of the Admin API, which must succeed.
    pub async fn delete(&self, path: &str) {
        self.admin(Method::DELETE, path, Value::Null).await.expect(204);
    }

    /// The metrics page.
    pub async fn metrics(&self) -> String {
        let url = self.addresses.status.join("/metrics").unwrap();
        Reply::read(self.client.get(url).send().await.expect("a response")).await.expect(200).body
    }

    /// The sum of a metric's samples whose labels contain all of `labels` (`result="hit"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.metrics().await;
        let samples = page.lines().filter(|line| {
            let series = line.strip_prefix(name);
            series.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
        });
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Runs `tollgate ARGUMENTS` on the same database: whether it succeeded, and its output. What it prints may be
    /// secret: it is not searched.
    pub fn tool(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(program("tollgate"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TOLLGATE_")) {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(self.directory.path());
        command.env("TOLLGATE_DATA_DIRECTORY", self.directory.path()).env("TOLLGATE_DATABASE_URL", &self.database_url);
        let output = command.output().expect("a program that runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).expect("text"))
    }

    /// Has an admin token made; calls of the Admin API present it from now on.
    pub fn make_admin_token(&mut self) -> String {
        let (made, token) = self.tool(&["admin-token", "create", "tests", "--role", "write"]);
        assert!(made, "{token}");
        let token = token.trim().to_owned();
        self.secrets.add(&token);
        self.admin_token = Some(token.clone());
        token
    }

    /// Has a new process take its place, and returns when that serves.
    pub fn upgrade(&mut self) {
        let executable = program("tollgate");
        let (done, said) = self.tool(&["upgrade", "--executable", executable.to_str().expect("text")]);
        let pid = said.strip_prefix("Process ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let pid = pid.filter(|_| done).unwrap_or_else(|| panic!("no upgrade: {said}\n{}", self.output()));
        self.successors.push(Orphan(pid));
    }

    /// The process that serves now.
    pub fn serving_process_id(&self) -> u32 {
        self.successors.last().map_or_else(|| self.process_id(), |Orphan(pid)| *pid)
    }

    /// The URL of its database.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Its folder.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its process id.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGTERM without waiting.
    pub fn ask_to_end(&self) {
        self.process.ask_to_end().expect("a process that can be signalled");
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.process.interrupt().expect("a process that can be signalled");
    }

    /// Sends SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        self.process.kill().expect("a process that can be killed");
    }

    /// Starts it again at the same addresses, after it has ended, and waits until it is ready.
    pub async fn start_again(&mut self) {
        let port = |url: &url::Url| SocketAddr::from(([127, 0, 0, 1], url.port().expect("a port")));
        let ports = [self.http, self.https, port(&self.addresses.admin), port(&self.addresses.status)];
        // Somebody may have taken a port for a moment.
        for _ in 0..3 {
            if let Some(running) = Running::start(&self.directory, &self.launch, ports).await {
                self.process = running.process;
                return;
            }
        }
        panic!("the gateway did not start again:\n{}", self.output());
    }

    /// Waits for it to exit, within a limit.
    pub async fn ended_within(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.process.ended().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the gateway still runs after {limit:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything it has written so far.
    pub fn output(&self) -> String {
        fs::read_to_string(output_of(&self.directory)).unwrap_or_default()
    }

    /// The raw contents of its store: the SQLite files, or a dump.
    pub fn at_rest(&self) -> String {
        match &self.database {
            Some(database) => database.dump(),
            None => ["tollgate.db", "tollgate.db-wal"]
                .iter()
                .filter_map(|name| fs::read(self.directory.path().join(name)).ok())
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .collect(),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let ended = self.process.stop();
        let successors = std::mem::take(&mut self.successors);
        successors.iter().for_each(Orphan::stop);
        let output = self.output();
        if std::thread::panicking() {
            let last: Vec<_> = output.lines().rev().take(60).collect();
            let last: Vec<_> = last.into_iter().rev().collect();
            eprintln!("The gateway's last lines:\n{}", last.join("\n"));
            return;
        }
        let leaked = self.secrets.found_in(&output);
        assert!(leaked.is_empty(), "the gateway's output contains secrets: {leaked:?}");
        assert!(!output.contains("panicked at"), "the gateway panicked:\n{output}");
        assert!(ended.is_ok(), "the gateway did not end: {ended:?}");
    }
}

struct Running {
    addresses: tollgate_quickstart::Gateway,
    http: SocketAddr,
    https: SocketAddr,
    process: Process,
}

impl Running {
    /// `None` when it ends before it is ready.
    async fn start(
        directory: &TempDir,
        launch: &Launch,
        [http, https, admin, status]: [SocketAddr; 4],
    ) -> Option<Self> {
        // A later start continues the output of earlier ones.
        let output = File::options().create(true).append(true).open(output_of(directory)).expect("a file");
        let program = program("tollgate");
        let mut command = match &launch.confinement {
            None => Command::new(program),
            Some(confinement) => confinement.command(&program),
        };
        let inherited = std::env::vars().filter(|(name, _)| name.starts_with("TOLLGATE_"));
        inherited.for_each(|(name, _)| {
            command.env_remove(name);
        });
        command
            .args(["run", "--migrate"])
            .current_dir(directory.path())
            .env("TOLLGATE_DATA_DIRECTORY", directory.path())
            .env("TOLLGATE_PROXY_DRAIN_TIMEOUT", "1s")
            .env("TOLLGATE_ADMIN_LISTEN", admin.to_string())
            .env("TOLLGATE_STATUS_LISTEN", status.to_string())
            .env("TOLLGATE_DATABASE_URL", &launch.database_url)
            .env("TOLLGATE_ACCESS_LOG", "-")
            .envs(launch.settings.iter().map(|(name, value)| (name, value)))
            .env("TOLLGATE_PROXY_HTTP_LISTEN", launch.listener(http, "TOLLGATE_PROXY_HTTP_LISTEN"))
            .env("TOLLGATE_PROXY_HTTPS_LISTEN", launch.listener(https, "TOLLGATE_PROXY_HTTPS_LISTEN"))
            .stdout(output.try_clone().expect("a file"))
            .stderr(output);
        let mut process = Process::start(&mut command).expect("a program that starts");
        let client = Client::builder().no_proxy().build().expect("a client");
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            if process.ended().expect("a child").is_some() {
                return None;
            }
            let response = client.get(format!("http://{status}/status/ready")).send().await;
            if response.is_ok_and(|response| response.status().is_success()) {
                // The one that it has made for itself.
                let certificate = fs::read(directory.path().join("self-signed.crt")).expect("a certificate");
                let addresses = tollgate_quickstart::Gateway::on(https, admin, status, certificate).unwrap();
                return Some(Self { addresses, http, https, process });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }
}

/// Free ports, below those that the system gives to outgoing connections: such a connection could have one while a
/// gateway that had it is started again.
pub fn free_ports<const COUNT: usize>() -> [SocketAddr; COUNT] {
    // All are bound at the same time, so that they differ.
    let held = [(); COUNT].map(|()| std::iter::repeat_with(bind).flatten().next().expect("a free port"));
    held.map(|listener| listener.local_addr().unwrap())
}

fn bind() -> Option<TcpListener> {
    const PORTS: std::ops::Range<u16> = 12_000..32_000;
    let random = uuid::Uuid::new_v4().as_fields().1;
    TcpListener::bind(("127.0.0.1", PORTS.start + random % (PORTS.end - PORTS.start))).ok()
}

fn output_of(directory: &TempDir) -> PathBuf {
    directory.path().join("output.log")
}
