//! A separate PostgreSQL database for each test, on the server that `./dev test` starts.
//!
//! It uses `psql`, since only the gateway's store depends on a driver.

use std::process::Command;

use url::Url;
use uuid::Uuid;

const HOW: &str = "TOLLGATE_TEST_POSTGRES is not set: run the tests with ./dev test, which starts a \
    private PostgreSQL, or set it to postgres://USER@HOST:PORT/DATABASE of a server whose databases may come and go";

/// A database, removed on drop.
#[derive(Debug)]
pub struct Database {
    server: Url,
    name: String,
}

impl Database {
    /// Creates an empty database.
    pub fn create() -> Self {
        let server = std::env::var("TOLLGATE_TEST_POSTGRES").unwrap_or_else(|_| panic!("{HOW}"));
        let server = Url::parse(&server).expect("TOLLGATE_TEST_POSTGRES is a URL");
        let database = Self { server, name: format!("test_{}", Uuid::new_v4().simple()) };
        psql(&database.server, &format!("CREATE DATABASE {}", database.name)).expect("a new database");
        database
    }

    /// Its address.
    pub fn url(&self) -> String {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url.into()
    }

    /// Runs a statement, and returns its values without headings.
    pub fn run(&self, statement: &str) -> String {
        psql(&Url::parse(&self.url()).expect("a URL"), statement).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Its contents, as SQL.
    pub fn dump(&self) -> String {
        let output = Command::new("pg_dump").args(["--inserts", "--dbname", &self.url()]).output();
        let output = output.expect("pg_dump, from PostgreSQL's client programs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // FORCE: the gateway's connections may still be closing. Leftovers are removed with the server.
        let _ = psql(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

fn psql(server: &Url, statement: &str) -> Result<String, String> {
    let output = Command::new("psql")
        .args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set",
            "ON_ERROR_STOP=1",
            "--command",
            statement,
            "--dbname",
            server.as_str(),
        ])
        .output()
        .map_err(|error| format!("psql, from PostgreSQL's client programs: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
