//! Adds millions of tokens directly to a gateway's database: the same rows, with the same digests, that the
//! gateway would write.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, params};
use tollgate_core::random::{Random as _, SystemRandom};
use tollgate_oauth2::token::{ChecksumKey, Digest, hint};
use tollgate_store::{GATEWAY, MigrationPolicy, MigrationSet, Options};
use uuid::Uuid;

use crate::command;
use crate::error::{Error, Result};
use crate::site::SCOPE;
use crate::token_list::TokenList;

/// How long tokens are valid, in seconds: longer than any run.
const EXPIRES_IN: i64 = 1_000_000;

/// Timeout for copying millions of rows.
const COPY_WITHIN: Duration = Duration::from_secs(3600);

const KEY: &str = "token_checksum_key";

const COLUMNS: &str =
    "id, access_token, token_hint, credential_id, service_id, expires_in, created_at, authenticated_userid, scope";

/// A gateway's database.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// An address, for `psql` and the gateway.
    Postgres(String),
}

/// The credential and service of a token.
#[derive(Debug, Clone, Copy)]
pub struct Issued {
    /// The credential.
    pub credential: Uuid,
    /// The service.
    pub service: Uuid,
}

impl Database {
    /// The value of the gateway's setting.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(url) => url.clone(),
        }
    }

    /// The key of the token checksum, which the gateway created at its first start.
    pub async fn checksum_key(&self) -> Result<ChecksumKey> {
        let kept = match self {
            Self::Sqlite(path) => {
                let read = || {
                    Connection::open(path)?
                        .query_row("SELECT value FROM settings WHERE name = ?1", [KEY], |row| row.get(0))
                };
                read().map_err(Error::store)?
            }
            Self::Postgres(url) => {
                let said =
                    psql(url, &format!("SELECT encode(value, 'hex') FROM settings WHERE name = '{KEY}'")).await?;
                unhex(said.trim())
            }
        };
        kept.try_into().map_err(|_| Error::Usage("the gateway's checksum key does not have 32 bytes".to_owned()))
    }

    /// Adds the tokens; `issued` returns the credential and service of each, by its index in the list.
    pub async fn add_tokens(&self, tokens: &TokenList, folder: &Path, issued: impl Fn(usize) -> Issued) -> Result<()> {
        match self {
            Self::Sqlite(path) => add_to_sqlite(path, tokens, issued).map_err(Error::store),
            Self::Postgres(url) => {
                let file = folder.join("tokens.csv");
                write_csv(&file, tokens, issued).map_err(Error::system("cannot write a table of tokens"))?;
                psql(url, &format!("\\copy oauth2_tokens ({COLUMNS}) FROM '{}' CSV", file.display())).await?;
                psql(url, "VACUUM ANALYZE oauth2_tokens").await?;
                fs::remove_file(&file).map_err(Error::system("cannot remove a table of tokens"))
            }
        }
    }
}

/// The user id of a token, by its index in the list.
pub fn userid(place: usize) -> String {
    format!("user-{place:08}")
}

fn now() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn add_to_sqlite(path: &Path, tokens: &TokenList, issued: impl Fn(usize) -> Issued) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    connection.execute_batch("PRAGMA cache_size = -1000000; PRAGMA synchronous = OFF;")?;
    let transaction = connection.transaction()?;
    let sql = format!("INSERT INTO oauth2_tokens ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    let mut insert = transaction.prepare(&sql)?;
    let now = now();
    for (place, token) in tokens.iter().enumerate() {
        let (id, Issued { credential, service }) = (SystemRandom.uuid(), issued(place));
        insert.execute(params![
            id.as_bytes(),
            Digest::of(token).0,
            hint(token),
            credential.as_bytes(),
            service.as_bytes(),
            EXPIRES_IN,
            now,
            userid(place),
            SCOPE
        ])?;
    }
    drop(insert);
    transaction.commit()?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

fn write_csv(path: &Path, tokens: &TokenList, issued: impl Fn(usize) -> Issued) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let now = now();
    for (place, token) in tokens.iter().enumerate() {
        let (id, Issued { credential, service }) = (SystemRandom.uuid(), issued(place));
        let (digest, hint, userid) = (hex(&Digest::of(token).0), hint(token), userid(place));
        writeln!(file, "{id},\\x{digest},{hint},{credential},{service},{EXPIRES_IN},{now},{userid},{SCOPE}")?;
    }
    file.flush()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len()).step_by(2).filter_map(|place| text.get(place..place + 2));
    pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

/// Runs one statement and returns its rows as text.
pub async fn psql(url: &str, statement: &str) -> Result<String> {
    let words = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"];
    let words: Vec<String> = words
        .iter()
        .map(|&word| word.to_owned())
        .chain(["--dbname".to_owned(), url.to_owned(), "--command".to_owned(), statement.to_owned()])
        .collect();
    command::run(&words, COPY_WITHIN).await
}

/// Options that open a database with everything that the benchmarks store, migrated first.
pub fn store_options(url: &str) -> Options {
    let oauth2 = MigrationSet { owner: tollgate_oauth2::NAME, migrations: tollgate_oauth2::MIGRATIONS };
    Options { migration: MigrationPolicy::Migrate, migrations: vec![GATEWAY, oauth2], ..Options::new(url) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_text_round_trips() {
        let bytes = [0, 1, 0x7f, 0xff];
        assert_eq!(hex(&bytes), "00017fff");
        assert_eq!(unhex("00017fff"), bytes);
    }
}
