//! Admin tokens: made on the command line, stored as digests, looked up on every request of the Admin API.
//!
//! There is no cache: Admin requests are few, and a token that is revoked ends with the response to its revocation,
//! on every node. A presented value is looked up only if it has the form of a token.

use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_core::clock::Clock;
use tollgate_core::collection::{Collection, Document, Filter, Key, PageQuery};
use tollgate_core::entity::admin_token::{DIGEST, ROLE};
use tollgate_core::error::{DaoError, StoreError};
use tollgate_core::random::Random;
use tollgate_core::schema::Makers;
use tollgate_core::secret::Secret;

/// What makes a value recognisable as an admin token, to people and to programs that search for leaked secrets.
const PREFIX: &str = "tga_";

/// The random characters after it: 238 bits.
const LENGTH: usize = 40;

/// Separates these digests from those of other secrets.
const CONTEXT: &str = "tollgate 2026-11 admin tokens";

/// What the holder of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Read everything that the Admin API shows.
    Read,
    /// Change it as well.
    Write,
}

impl Role {
    /// The name in the store and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// The role with that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Read, Self::Write].into_iter().find(|role| role.as_str() == name)
    }
}

/// A stored token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// Whom it was made for.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When it was made, in Unix seconds.
    pub created_at: i64,
}

/// The tokens in a store.
#[derive(Clone)]
pub struct AdminTokens {
    collection: Arc<dyn Collection>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl AdminTokens {
    /// The collection is that of [`tollgate_core::entity::admin_token::kind`].
    pub fn new(collection: Arc<dyn Collection>, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { collection, clock, random }
    }

    /// Makes a token; the clear value is returned here and never again.
    ///
    /// # Errors
    /// The name is taken or invalid, or the store failed.
    pub async fn create(&self, name: &str, role: Role) -> Result<Secret, DaoError> {
        let token = Secret::new(format!("{PREFIX}{}", self.random.alphanumeric(LENGTH)));
        let document = json!({ "name": name, ROLE: role.as_str(), DIGEST: digest(token.expose()) });
        let document = Document::try_from(document).map_err(|_| DaoError::InvalidPrimaryKey)?;
        let makers = Makers { clock: self.clock.as_ref(), random: self.random.as_ref() };
        let schema = &self.collection.kind().schema;
        let document = schema.process_insert(document, &makers).map_err(DaoError::Schema)?;
        self.collection.insert(document).await?;
        Ok(token)
    }

    /// All tokens.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(&self) -> Result<Vec<AdminToken>, StoreError> {
        let mut tokens = Vec::new();
        let mut query = PageQuery { filter: Filter::All, after: None, size: 1000 };
        loop {
            let page = self.collection.page(&query).await?;
            for document in &page.documents {
                tokens.push(read(document)?);
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(tokens),
            }
        }
    }

    /// Ends a token. `false`: there is none with that name.
    ///
    /// # Errors
    /// The store failed.
    pub async fn revoke(&self, name: &str) -> Result<bool, DaoError> {
        self.collection.delete(&Key::Unique { field: "name", value: name.to_owned() }).await
    }

    /// The token with this clear value.
    pub(crate) async fn find(&self, presented: &str) -> Result<Option<AdminToken>, StoreError> {
        let random = presented.strip_prefix(PREFIX).unwrap_or_default();
        if random.len() != LENGTH || !random.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        let found = self.collection.find(&Key::Unique { field: DIGEST, value: digest(presented) }).await?;
        found.as_ref().map(read).transpose()
    }
}

fn read(document: &Document) -> Result<AdminToken, StoreError> {
    let corrupt = |what| StoreError::Corrupt { kind: "admin_tokens", what };
    let name = document.text("name").ok_or_else(|| corrupt("name is missing"))?;
    let role = document.text(ROLE).and_then(Role::parse).ok_or_else(|| corrupt("role is not a known one"))?;
    let created_at = document.get("created_at").and_then(Value::as_i64).unwrap_or_default();
    Ok(AdminToken { name: name.to_owned(), role, created_at })
}

fn digest(clear: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(clear.as_bytes());
    hasher.finalize().to_hex().to_string()
}
