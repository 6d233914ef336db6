//! Migrating, and refusing unmigrated databases.

use crate::database::Database;
use crate::testing::{Backend, TestDatabase};
use crate::{GATEWAY, MigrationError, MigrationId, MigrationPolicy, Migrations, OpenError, Options, Store};

fn all() -> Vec<MigrationId> {
    let id = |version| MigrationId { owner: GATEWAY.owner, version };
    GATEWAY.migrations.iter().map(|migration| id(migration.version)).collect()
}

async fn migrations_are_applied_once(backend: Backend) {
    let database = TestDatabase::create_empty(backend).await;
    let options = database.options();
    let migrations = Migrations::new(&options);
    assert_eq!(migrations.status().await.unwrap().pending, all());
    // Two at once: one applies them, or they share the work.
    let (one, two) = tokio::join!(migrations.up(), migrations.up());
    let mut applied = [one.unwrap(), two.unwrap()].concat();
    applied.sort_unstable();
    assert_eq!(applied, all());
    let status = migrations.status().await.unwrap();
    assert_eq!((status.applied, status.pending), (all(), Vec::new()));
    assert!(migrations.up().await.unwrap().is_empty());
}

#[tokio::test]
async fn postgres_migrations_are_applied_once() {
    migrations_are_applied_once(Backend::Postgres).await;
}

#[tokio::test]
async fn sqlite_migrations_are_applied_once() {
    migrations_are_applied_once(Backend::Sqlite).await;
}

async fn an_unmigrated_database_is_refused_with_the_command(backend: Backend) {
    let database = TestDatabase::create_empty(backend).await;
    let error = Store::open(database.options()).await.err().expect("the store opened");
    assert!(matches!(&error, OpenError::Unmigrated(missing) if *missing == all()), "{error:?}");
    assert!(error.to_string().contains("tollgate migrate up --config"), "{error}");
    let options = Options { migration: MigrationPolicy::Migrate, ..database.options() };
    Store::open(options).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn an_unmigrated_postgres_is_refused_with_the_command() {
    an_unmigrated_database_is_refused_with_the_command(Backend::Postgres).await;
}

#[tokio::test]
async fn an_unmigrated_sqlite_is_refused_with_the_command() {
    an_unmigrated_database_is_refused_with_the_command(Backend::Sqlite).await;
}

const NEWER: &str = "INSERT INTO schema_migrations VALUES ('gateway', 9999, 'later', 0, '')";

#[tokio::test]
async fn a_newer_database_is_refused() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let database = TestDatabase::create(backend).await;
        match database.open().await.database() {
            Database::Postgres(postgres) => {
                postgres.client().await.unwrap().execute(NEWER, &[]).await.unwrap();
            }
            Database::Sqlite(sqlite) => {
                let insert = |connection: &mut rusqlite::Connection| {
                    let done = connection.execute(NEWER, []);
                    done.map_err(|error| crate::sqlite::Sqlite::error("test", error))
                };
                sqlite.write(None, insert).await.unwrap();
            }
        }
        let error = Store::open(database.options()).await.err().expect("the store opened");
        assert!(matches!(error, OpenError::Migration(MigrationError::Newer { found: 9999, .. })), "{error:?}");
    }
}

#[tokio::test]
async fn an_unreachable_server_is_an_error_without_waiting() {
    let error = Store::open(Options::new("postgres://nobody@127.0.0.1:1/none")).await.err().expect("the store opened");
    assert!(matches!(error, OpenError::Migration(MigrationError::Connect(_))), "{error:?}");
    let error = Store::open(Options::new("mysql://h/d")).await.err().expect("the store opened");
    assert!(matches!(error, OpenError::Url(crate::UrlError::Scheme) | OpenError::Migration(_)), "{error:?}");
}

/// The table as early versions created it, with their rows.
const EARLY: &str = "CREATE TABLE schema_migrations
        (version bigint PRIMARY KEY, name text NOT NULL, applied_at bigint NOT NULL, checksum text NOT NULL);
    INSERT INTO schema_migrations VALUES (1, 'entities', 7, 'CHECKSUM'), (2, 'tickets', 8, 'of the plugin');";

#[tokio::test]
async fn an_early_database_is_renumbered_by_owner_and_migrated() {
    let first = GATEWAY.migrations[0];
    let (applied, pending) = (all()[..1].to_vec(), all()[1..].to_vec());
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let database = TestDatabase::create_empty(backend).await;
        let sql = if backend == Backend::Postgres { first.postgres } else { first.sqlite };
        let early = EARLY.replace("CHECKSUM", &crate::migration::checksum(sql));
        let options = database.options();
        execute(backend, &database, &[sql, &early]).await;
        let before = Migrations::new(&options).status().await.unwrap();
        assert_eq!((before.applied, before.pending), (applied.clone(), pending.clone()));
        assert_eq!(Migrations::new(&options).up().await.unwrap(), pending);
        let after = Migrations::new(&options).status().await.unwrap();
        assert_eq!((after.applied, after.pending), (all(), vec![]));
        // The plugin's applied migration is still its own.
        let of_plugin = crate::MigrationSet { owner: "tickets", migrations: &[PLUGIN] };
        let with_plugin = Options { migrations: vec![GATEWAY, of_plugin], ..database.options() };
        let altered = Migrations::new(&with_plugin).status().await.unwrap_err();
        assert!(altered.to_string().starts_with("migration tickets 1 (tickets) differs"), "{altered}");
    }
}

const PLUGIN: crate::Migration = crate::Migration { version: 1, name: "tickets", postgres: "", sqlite: "" };

async fn execute(backend: Backend, database: &TestDatabase, statements: &[&str]) {
    match backend {
        Backend::Postgres => {
            let config: tokio_postgres::Config = database.url.parse().unwrap();
            let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            for statement in statements {
                client.batch_execute(statement).await.unwrap();
            }
        }
        Backend::Sqlite => {
            let connection = rusqlite::Connection::open(database.url.trim_start_matches("sqlite:")).unwrap();
            statements.iter().for_each(|statement| connection.execute_batch(statement).unwrap());
        }
    }
}
