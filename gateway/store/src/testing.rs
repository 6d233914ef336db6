//! A separate database for each test, for this crate's tests and those of dependent crates.
//!
//! PostgreSQL is found through `TOLLGATE_TEST_POSTGRES`, the URL of a superuser on a server that tests may
//! use freely; `./dev test` starts one. Every test's database is created from a migrated template and dropped
//! with its [`TestDatabase`]. If the variable is missing, tests fail and say so: none is skipped.

#![expect(clippy::expect_used, clippy::panic, reason = "a test without its database must fail")]

use openssl::sha::sha256;
use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};
use tollgate_core::random::{Random, SystemRandom};

use crate::migration::{GATEWAY, MigrationSet, Migrations};
use crate::options::Options;
use crate::store::Store;

/// The variable with the URL of PostgreSQL.
pub const POSTGRES_VARIABLE: &str = "TOLLGATE_TEST_POSTGRES";

/// Test processes that start together create the template one after the other.
const TEMPLATE_LOCK: &str = "SELECT pg_advisory_lock(7218645019384211)";

/// The two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

/// A migrated or empty database that is dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    /// Its URL, for [`Options::url`].
    pub url: String,
    migrations: Vec<MigrationSet>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Postgres { server: String, name: String },
    Sqlite { _folder: TempDir },
}

impl TestDatabase {
    /// Creates a migrated database with the gateway's tables.
    ///
    /// # Panics
    /// If there is no server, or it reports an error.
    pub async fn create(backend: Backend) -> Self {
        Self::create_with(backend, &[]).await
    }

    /// Creates a migrated database with the gateway's tables and those of plugins.
    ///
    /// # Panics
    /// If there is no server, or it reports an error.
    pub async fn create_with(backend: Backend, plugins: &[MigrationSet]) -> Self {
        let migrations = [&[GATEWAY], plugins].concat();
        match backend {
            Backend::Postgres => {
                let server = server();
                let client = connect(&server).await;
                let template = template(&server, &client, &migrations).await;
                let mut database = Self::create_postgres(server, &client, Some(template)).await;
                database.migrations = migrations;
                database
            }
            Backend::Sqlite => {
                let mut database = Self::create_empty(backend).await;
                database.migrations = migrations;
                Migrations::new(&database.options()).up().await.expect("cannot migrate SQLite");
                database
            }
        }
    }

    /// Creates a database without migrations.
    ///
    /// # Panics
    /// If there is no server, or it reports an error.
    pub async fn create_empty(backend: Backend) -> Self {
        match backend {
            Backend::Postgres => {
                let server = server();
                let client = connect(&server).await;
                Self::create_postgres(server, &client, None).await
            }
            Backend::Sqlite => {
                let folder = TempDir::new().expect("cannot create a temporary folder");
                let url = format!("sqlite:{}", folder.path().join("tollgate.db").display());
                Self { url, migrations: vec![GATEWAY], place: Place::Sqlite { _folder: folder } }
            }
        }
    }

    async fn create_postgres(server: String, client: &Client, template: Option<String>) -> Self {
        let name = format!("tollgate_test_{}", SystemRandom.uuid().simple());
        let template = template.map(|template| format!(" TEMPLATE {template}")).unwrap_or_default();
        client
            .batch_execute(&format!("CREATE DATABASE {name}{template}"))
            .await
            .expect("cannot create the test database");
        let url = with_database(&server, &name);
        Self { url, migrations: vec![GATEWAY], place: Place::Postgres { server, name } }
    }

    /// Options to open it.
    pub fn options(&self) -> Options {
        Options { migrations: self.migrations.clone(), ..Options::new(&self.url) }
    }

    /// Opens it with default options.
    ///
    /// # Panics
    /// If it does not open.
    pub async fn open(&self) -> Store {
        Store::open(self.options()).await.expect("cannot open the test database")
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Place::Postgres { server, name } = &self.place else { return };
        let (server, name) = (server.clone(), name.clone());
        // `drop` cannot wait, and the test's runtime may be gone: a thread with its own runtime does it.
        let dropping = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("cannot create a runtime");
            runtime.block_on(async {
                let client = connect(&server).await;
                client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
            })
        });
        // A database that cannot be dropped is removed with the server.
        let _ = dropping.join();
    }
}

fn server() -> String {
    std::env::var(POSTGRES_VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{POSTGRES_VARIABLE} is not set: run the tests with ./dev test, which starts a private PostgreSQL, \
             or set it to the URL of a superuser, such as postgres://postgres@127.0.0.1:5432/postgres"
        )
    })
}

async fn connect(url: &str) -> Client {
    let config: Config = url.parse().expect("invalid URL of the test server");
    let (client, connection) = config.connect(NoTls).await.expect("cannot connect to the test server");
    tokio::spawn(connection);
    client
}

/// The name of the migrated template, which is created if it does not exist. The name depends on the
/// migrations, so changed migrations get a new template.
async fn template(server: &str, client: &Client, sets: &[MigrationSet]) -> String {
    let all: String = sets.iter().flat_map(|set| set.migrations).map(|migration| migration.postgres).collect();
    let digest: String = sha256(all.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("tollgate_template_{digest}");
    client.query_one(TEMPLATE_LOCK, &[]).await.expect("cannot lock the template");
    let known = client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await;
    if known.expect("cannot list the databases").is_none() {
        let unfinished = format!("{name}_unfinished");
        let make =
            [format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)"), format!("CREATE DATABASE {unfinished}")];
        for statement in make {
            client.batch_execute(&statement).await.expect("cannot create the template");
        }
        let options = Options { migrations: sets.to_vec(), ..Options::new(with_database(server, &unfinished)) };
        Migrations::new(&options).up().await.expect("cannot migrate the template");
        // The migration's connection may still be closing, and a rename does not wait for it.
        let close = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1";
        client.execute(close, &[&unfinished]).await.expect("cannot disconnect from the template");
        let rename = format!("ALTER DATABASE {unfinished} RENAME TO {name}");
        client.batch_execute(&rename).await.expect("cannot rename the template");
    }
    client.query_one("SELECT pg_advisory_unlock_all()::text", &[]).await.expect("cannot unlock the template");
    name
}

/// The server's URL with another database in its path.
fn with_database(server: &str, name: &str) -> String {
    let (base, query) = server.split_once('?').map_or((server, None), |(base, query)| (base, Some(query)));
    let (scheme, rest) = base.split_once("://").expect("not a postgres:// URL");
    let host = rest.split('/').next().unwrap_or(rest);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{host}/{name}{query}")
}
