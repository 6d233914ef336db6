//! A table of tokens, created by the migrations.

use std::sync::Arc;

use openssl::sha::sha256;
use serde_json::{Value, json};
use tollgate_core::clock::{Clock as _, SystemClock};
use tollgate_core::entity::{Kind, consumer, service};
use tollgate_core::random::{Random as _, SystemRandom};
use tollgate_oauth2::entity::credential;
use tollgate_oauth2::store::{Token, TokenRows, open};
use tollgate_oauth2::token::Digest;
use tollgate_store::Store;
use uuid::Uuid;

use crate::database::{psql, store_options};
use crate::error::{Error, Result};

/// Number of clients of the tokens.
const HOLDERS: usize = 100;

/// Drops the indexes, fills the table, and creates the same indexes again: far faster than maintaining them for
/// millions of rows. The digest of a row derives from its number, so that look-ups can compute it.
const FILL: &str = "
CREATE TEMP TABLE found AS
SELECT format('ALTER TABLE oauth2_tokens DROP CONSTRAINT %I', conname) AS drop,
       format('ALTER TABLE oauth2_tokens ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)) AS make
FROM pg_constraint WHERE conrelid = 'oauth2_tokens'::regclass
UNION ALL
SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
FROM pg_index WHERE indrelid = 'oauth2_tokens'::regclass
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid);
SET maintenance_work_mem = '1GB';
DO $$
DECLARE one record;
BEGIN
    FOR one IN SELECT * FROM found LOOP EXECUTE one.drop; END LOOP;
    INSERT INTO oauth2_tokens (id, access_token, token_hint, credential_id, service_id, expires_in, created_at, ttl,
                               scope)
    SELECT gen_random_uuid(), sha256(int8send(place)), 'wxyz', (ARRAY[{holders}]::uuid[])[1 + place % {count}],
           '{service}', 1000000, {now}, {now} + 1000000, 'email'
    FROM generate_series(1::bigint, {rows}) AS place;
    FOR one IN SELECT * FROM found LOOP EXECUTE one.make; END LOOP;
END $$";

/// A table with tokens, and its store port.
pub struct TokenTable {
    url: String,
    rows: u64,
    now: i64,
    holders: Vec<Uuid>,
    service: Uuid,
    tokens: Arc<dyn TokenRows>,
    _store: Store,
}

impl TokenTable {
    /// Migrates an empty PostgreSQL database, opens it, and adds this many tokens.
    pub async fn fill(url: &str, rows: u64) -> Result<Self> {
        let store = Store::open(store_options(url)).await.map_err(Error::store)?;
        let service = add(&store, service::kind(), json!({"name": "api"})).await?;
        let consumer = add(&store, consumer::kind(), json!({"username": "ada"})).await?;
        let mut holders = Vec::new();
        for place in 0..HOLDERS {
            let client = json!({"consumer": {"id": consumer}, "client_id": format!("app-{place}")});
            holders.push(add(&store, credential::kind(tollgate_oauth2::profile::Name::Kong), client).await?);
        }
        let now = SystemClock.now();
        if url.starts_with("postgres") {
            let list: Vec<String> = holders.iter().map(|holder| format!("'{holder}'")).collect();
            let fill = FILL
                .replace("{holders}", &list.join(","))
                .replace("{count}", &HOLDERS.to_string())
                .replace("{service}", &service.to_string())
                .replace("{now}", &now.to_string())
                .replace("{rows}", &rows.to_string());
            psql(url, &fill).await?;
            psql(url, "VACUUM ANALYZE oauth2_tokens").await?;
            psql(url, "CHECKPOINT").await?;
        }
        let tokens = open(&store);
        let table = Self { url: url.to_owned(), rows, now, holders, service, tokens, _store: store };
        if !url.starts_with("postgres") {
            table.fill_by_port().await?;
        }
        Ok(table)
    }

    async fn fill_by_port(&self) -> Result<()> {
        let mut place = 1;
        while place <= self.rows {
            let last = (place + 999).min(self.rows);
            let added = (place..=last).map(|place| self.tokens.insert_token(self.token(place)));
            futures::future::try_join_all(added).await.map_err(Error::store)?;
            place = last + 1;
        }
        Ok(())
    }

    /// The port.
    pub fn tokens(&self) -> &Arc<dyn TokenRows> {
        &self.tokens
    }

    /// The address of the database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The number of tokens.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// When it was filled, in Unix seconds: all its tokens are visible then.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// A client, by any number.
    pub fn holder(&self, number: u64) -> Uuid {
        let place = usize::try_from(number).unwrap_or_default() % HOLDERS;
        self.holders.get(place).copied().unwrap_or_default()
    }

    /// The service of all tokens.
    pub fn service(&self) -> Uuid {
        self.service
    }

    /// The digest of a row, by its number: the first is 1.
    pub fn digest(place: u64) -> Digest {
        Digest(sha256(&place.to_be_bytes()))
    }

    /// A token by its number, as the endpoint would insert it.
    pub fn token(&self, place: u64) -> Token {
        Token {
            id: SystemRandom.uuid(),
            access_token: Self::digest(place),
            refresh_token: None,
            token_hint: "wxyz".to_owned(),
            credential_id: self.holder(place),
            service_id: Some(self.service),
            expires_in: 7200,
            created_at: self.now,
            ttl: Some(self.now + 1_000_000),
            authenticated_userid: None,
            scope: Some("email".to_owned()),
            family: None,
            binding: None,
        }
    }
}

async fn add(store: &Store, kind: Kind, mut fields: Value) -> Result<Uuid> {
    let id = SystemRandom.uuid();
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("id".to_owned(), json!(id));
        fields.insert("created_at".to_owned(), json!(SystemClock.now()));
        store.documents(Arc::new(kind)).insert(fields.clone().into()).await.map_err(Error::store)?;
    }
    Ok(id)
}
