//! The rules for files in `sql/`: each begins with its purpose, is used, and prepares on its database, and
//! look-ups by key use an index.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tollgate_core::error::StoreError;

use crate::database::Database;
use crate::sqlite::Sqlite;
use crate::statement::parts;
use crate::testing::{Backend, TestDatabase};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files below a folder with this extension.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// The path below `sql/<database>` and the text of every statement.
fn statements(database: &str) -> Vec<(String, String)> {
    let folder = root().join("sql").join(database);
    let name = |path: &Path| path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned();
    let all = files(&folder, ".sql").into_iter().map(|path| (name(&path), fs::read_to_string(&path).unwrap()));
    all.filter(|(name, _)| !name.contains("migrations/")).collect()
}

/// The migrations of all plugins: all except the gateway's own.
fn plugin_migrations(database: &str) -> String {
    let folder = root().join("sql").join(database);
    let mut paths = files(&folder, ".sql");
    paths.retain(|path| path.strip_prefix(&folder).unwrap().components().nth(1).unwrap().as_os_str() == "migrations");
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn every_statement_begins_with_its_purpose() {
    for path in files(&root().join("sql"), ".sql") {
        assert!(
            fs::read_to_string(&path).unwrap().starts_with("-- "),
            "{} does not begin with its purpose",
            path.display()
        );
    }
}

#[test]
fn every_statement_is_used() {
    let sources = [root().join("gateway"), root().join("plugins")].map(|folder| files(&folder, ".rs")).concat();
    let code: String = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for database in ["postgres", "sqlite"] {
        for path in files(&root().join("sql").join(database), ".sql") {
            let folder = path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let mentions = [format!("{folder}/{file}\""), format!("\"{file}\"")];
            assert!(mentions.iter().any(|mention| code.contains(mention)), "{} is not used", path.display());
        }
    }
}

#[test]
fn both_databases_have_the_same_statements() {
    let names = |database| statements(database).into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>();
    let only_one: Vec<String> = names("postgres").symmetric_difference(&names("sqlite")).cloned().collect();
    // One node needs no notification, a thread that has ended runs nothing, SQLite's own lock serialises
    // migrations, and a file has no sessions, is no server and has no replicas.
    let expected = [
        "change/listen.sql",
        "change/mark_server.sql",
        "change/notify.sql",
        "change/position.sql",
        "change/replayed.sql",
        "change/running.sql",
        "migration/lock.sql",
        "setting/server.sql",
        "setting/session.sql",
        "setting/statement_timeout.sql",
        "setting/timeline.sql",
    ];
    assert_eq!(only_one, expected);
}

#[tokio::test]
async fn every_postgres_statement_prepares() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let store = database.open().await;
    let Database::Postgres(postgres) = store.database() else { panic!("not PostgreSQL") };
    let client = postgres.client().await.unwrap();
    client.batch_execute(&plugin_migrations("postgres")).await.unwrap();
    for (name, sql) in statements("postgres") {
        if let Err(error) = client.prepare(&sql).await {
            panic!("sql/postgres/{name}: {error:?}");
        }
    }
}

#[tokio::test]
async fn every_sqlite_statement_prepares() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let store = database.open().await;
    let Database::Sqlite(sqlite) = store.database() else { panic!("not SQLite") };
    let migrate = |connection: &mut Connection| -> Result<(), StoreError> {
        connection.execute_batch(&plugin_migrations("sqlite")).unwrap();
        Ok(())
    };
    sqlite.write(None, migrate).await.unwrap();
    let prepare = |connection: &mut Connection| -> Result<(), StoreError> {
        for (name, sql) in statements("sqlite") {
            for part in parts(&sql) {
                if let Err(error) = connection.prepare(part) {
                    panic!("sql/sqlite/{name}: {error}");
                }
            }
        }
        Ok(())
    };
    sqlite.read(prepare).await.unwrap();
}

/// Look-ups by key, with values of the parameters' types.
const HOT: [(&str, &str); 11] = [
    ("entity/find.sql", "'k', gen_random_uuid()"),
    ("entity/find_unique.sql", "'k', 'name', 'v'"),
    ("entity/find_many.sql", "'k', ARRAY[gen_random_uuid()]"),
    ("entity/lock.sql", "'k', gen_random_uuid()"),
    ("entity/page_all.sql", "'k', gen_random_uuid(), 10"),
    ("entity/page_all_tags.sql", "'k', 'a', ARRAY['b'], gen_random_uuid(), 10"),
    ("entity/page_children.sql", "'k', gen_random_uuid(), 'k', 'f', gen_random_uuid(), 10"),
    ("entity/page_tags.sql", "gen_random_uuid(), 'a', 10"),
    ("entity/page_tagged.sql", "'a', gen_random_uuid(), 10"),
    ("entity/referrers.sql", "'k', ARRAY[gen_random_uuid()]"),
    ("change/since.sql", "'1:1:', '', '0', 0, '0', 0, 10"),
];

#[tokio::test]
async fn postgres_looks_up_by_index() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let store = database.open().await;
    let Database::Postgres(postgres) = store.database() else { panic!("not PostgreSQL") };
    let client = postgres.client().await.unwrap();
    // Tables in tests are small; a plan with a full scan then does not mean that an index is missing.
    client.batch_execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan").await.unwrap();
    for (name, values) in HOT {
        let sql = fs::read_to_string(root().join("sql/postgres").join(name)).unwrap();
        client
            .batch_execute(&format!("PREPARE hot AS {sql}"))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let rows = client.query(&format!("EXPLAIN EXECUTE hot ({values})"), &[]).await.unwrap();
        let plan = rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n");
        assert!(plan.contains("Index"), "{name}:\n{plan}");
        assert!(!plan.contains("Seq Scan"), "{name}:\n{plan}");
        client.batch_execute("DEALLOCATE hot").await.unwrap();
    }
}

#[tokio::test]
async fn postgres_finds_old_changes_by_index() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let store = database.open().await;
    let Database::Postgres(postgres) = store.database() else { panic!("not PostgreSQL") };
    let client = postgres.client().await.unwrap();
    let sql = fs::read_to_string(root().join("sql/postgres/change/clean.sql")).unwrap();
    client.batch_execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan").await.unwrap();
    client.batch_execute(&format!("PREPARE clean AS {sql}")).await.unwrap();
    let rows = client.query("EXPLAIN EXECUTE clean (0, 10, 3600)", &[]).await.unwrap();
    let plan = rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n");
    assert!(plan.contains("Index Cond: (xid < "), "{plan}");
    assert!(!plan.contains("Seq Scan on changes"), "{plan}");
}

#[tokio::test]
async fn a_reading_without_changes_reads_few_pages_of_a_large_table() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let store = database.open().await;
    let Database::Postgres(postgres) = store.database() else { panic!("not PostgreSQL") };
    let client = postgres.client().await.unwrap();
    let sql = fs::read_to_string(root().join("sql/postgres/change/since.sql")).unwrap();
    let many = "INSERT INTO changes (kind, operation, id, origin, created_at) \
         SELECT 'tokens', 'deleted', gen_random_uuid(), gen_random_uuid(), 0 FROM generate_series(1, 50000)";
    client.batch_execute(many).await.unwrap();
    // Planned each time, as in the feed.
    client.batch_execute(&format!("SET plan_cache_mode = force_custom_plan; PREPARE since AS {sql}")).await.unwrap();
    let snapshot = client.query_one("SELECT pg_current_snapshot()::text", &[]).await.unwrap();
    let snapshot: String = snapshot.get(0);
    let last: u64 = snapshot.split(':').nth(1).unwrap().parse::<u64>().unwrap() - 1;
    let explain =
        format!("EXPLAIN (ANALYZE, BUFFERS) EXECUTE since ('{snapshot}', '', '0', 0, '{last}', {}, 1000)", i64::MAX);
    let rows = client.query(&explain, &[]).await.unwrap();
    let plan = rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>();
    let buffers = plan.iter().find(|line| line.trim_start().starts_with("Buffers:")).cloned().unwrap_or_default();
    let numbers = buffers.split(['=', ' ']).filter_map(|word| word.parse::<u64>().ok());
    assert!(numbers.sum::<u64>() < 50, "{}", plan.join("\n"));
}

#[tokio::test]
async fn sqlite_looks_up_by_index() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let store = database.open().await;
    let Database::Sqlite(sqlite) = store.database() else { panic!("not SQLite") };
    let explain = |connection: &mut Connection| -> Result<(), StoreError> {
        let failed = |error| Sqlite::error("explain", error);
        for (name, _) in HOT {
            let sql = fs::read_to_string(root().join("sql/sqlite").join(name)).unwrap();
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).map_err(failed)?;
            let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
            let steps = statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3));
            for step in steps.map_err(failed)?.map(Result::unwrap) {
                let whole = step.starts_with("SCAN") && ["entit", "changes"].iter().any(|table| step.contains(table));
                assert!(!whole || step.contains("INDEX"), "{name}: {step}");
            }
        }
        Ok(())
    };
    sqlite.read(explain).await.unwrap();
}
