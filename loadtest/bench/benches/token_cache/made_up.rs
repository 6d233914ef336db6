//! A store without rows: results are computed from the query.

use async_trait::async_trait;
use serde_json::json;
use tollgate_core::collection::{Collection, Document, Key, Merge, Page, PageQuery};
use tollgate_core::entity::Kind;
use tollgate_core::error::{DaoError, StoreError};
use tollgate_core::schema::Schema;
use tollgate_oauth2::store::{Cause, Code, Outcome, RecentRefresh, Refreshable, Repeatable, Rotation, Token, Tokens};
use tollgate_oauth2::token::Digest;
use uuid::Uuid;

const CREDENTIALS: usize = 10_000;

const SCOPES: [&str; 5] = ["profile", "email profile", "orders:read", "orders:read orders:write", "admin"];

/// The digest of the nth token: random bytes like a real one, then n.
pub(crate) fn digest(n: usize) -> Digest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&scramble(n as u64).to_be_bytes());
    bytes[8..16].copy_from_slice(&(n as u64).to_be_bytes());
    Digest(bytes)
}

/// The user id of the nth token.
pub(crate) fn userid(n: usize) -> String {
    format!("user-{n:07}")
}

/// Splitmix64.
pub(crate) fn scramble(seed: u64) -> u64 {
    let mut value = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

fn token(access_token: Digest, now: i64) -> Token {
    let n = access_token.0[8..16].iter().fold(0, |n, &byte| (n << 8) | usize::from(byte));
    Token {
        id: Uuid::from_u128(n as u128),
        access_token,
        refresh_token: None,
        token_hint: "none".to_owned(),
        credential_id: Uuid::from_u128((n % CREDENTIALS) as u128),
        service_id: Some(Uuid::from_u128(1)),
        expires_in: 7_200,
        created_at: now,
        ttl: Some(now + 1_209_600),
        authenticated_userid: Some(userid(n)),
        scope: Some(SCOPES[n % SCOPES.len()].to_owned()),
        family: None,
        binding: None,
    }
}

/// Any token, issued just now.
pub(crate) struct Rows;

#[async_trait]
impl Tokens for Rows {
    async fn find_tokens(&self, access_tokens: &[Digest], now: i64) -> Result<Vec<Token>, StoreError> {
        Ok(access_tokens.iter().map(|&digest| token(digest, now)).collect())
    }

    async fn find_by_refresh_token(&self, _: Digest, _: i64) -> Result<Option<Refreshable>, StoreError> {
        unreachable!("the cache looks up by access token")
    }

    async fn insert_token(&self, _: Token) -> Result<Outcome, StoreError> {
        unreachable!("the cache only reads")
    }

    async fn insert_code(&self, _: Code) -> Result<Outcome, StoreError> {
        unreachable!("the cache only reads")
    }

    async fn find_code(&self, _: Digest, _: i64) -> Result<Option<Code>, StoreError> {
        unreachable!("the cache does not read codes")
    }

    async fn redeem_code(&self, _: Digest, _: Uuid, _: Token, _: Option<i64>, _: i64) -> Result<Outcome, StoreError> {
        unreachable!("the cache only reads")
    }

    async fn rotate_refresh_token(
        &self,
        _: Digest,
        _: Uuid,
        _: Rotation,
        _: Option<Repeatable>,
        _: i64,
    ) -> Result<Outcome<Digest>, StoreError> {
        unreachable!("the cache only reads")
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        unreachable!("the cache only reads")
    }

    async fn end_family(&self, _: Uuid, _: Uuid, _: i64) -> Result<(), StoreError> {
        unreachable!("the cache only reads")
    }

    async fn end_replayed(&self, _: Digest, _: Uuid, _: Cause, _: i64) -> Result<Vec<Uuid>, StoreError> {
        unreachable!("the cache only reads")
    }

    async fn find_recent_refresh(&self, _: Digest, _: i64) -> Result<Option<RecentRefresh>, StoreError> {
        unreachable!("the cache looks up by access token")
    }

    async fn any_imported(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// A credential and a consumer for every id.
pub(crate) struct People(Kind);

impl People {
    pub(crate) fn new() -> Self {
        Self(Kind::new("people", Schema::default()).internal())
    }
}

#[async_trait]
impl Collection for People {
    fn kind(&self) -> &Kind {
        &self.0
    }

    async fn find(&self, key: &Key) -> Result<Option<Document>, StoreError> {
        let Key::Id(id) = key else { unreachable!("the directory looks up by id") };
        let document = json!({
            "id": id,
            "client_id": id.simple().to_string(),
            "consumer": {"id": id},
            "username": format!("consumer-{}", id.as_u128()),
        });
        Ok(Document::try_from(document).ok())
    }

    async fn page(&self, _: &PageQuery) -> Result<Page, StoreError> {
        unreachable!("the directory looks up by id")
    }

    async fn insert(&self, _: Document) -> Result<Document, DaoError> {
        unreachable!("the directory only reads")
    }

    async fn upsert(&self, _: &Key, _: Document) -> Result<Document, DaoError> {
        unreachable!("the directory only reads")
    }

    async fn update(&self, _: &Key, _: &Merge<'_>) -> Result<Option<Document>, DaoError> {
        unreachable!("the directory only reads")
    }

    async fn delete(&self, _: &Key) -> Result<bool, DaoError> {
        unreachable!("the directory only reads")
    }
}
