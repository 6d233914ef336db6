//! Conversion between tokens and documents.

use serde_json::{Value, json};
use tollgate_core::collection::Document;
use tollgate_core::error::DaoError;
use tollgate_core::schema::Violations;
use tollgate_core::secret::Secret;
use uuid::Uuid;

use crate::store::Token;
use crate::token::{Digest, hint};

pub(super) const ACCESS_TOKEN: &str = "access_token";
pub(super) const REFRESH_TOKEN: &str = "refresh_token";

/// The clear values that may be shown in a response.
#[derive(Debug, Clone, Default)]
pub(super) struct Clear {
    pub(super) access_token: Option<Secret>,
    pub(super) refresh_token: Option<Secret>,
}

impl Clear {
    /// Puts the value that the client sent into a uniqueness error: the store has only digests
    /// (gateway.md §4, code 5).
    pub(super) fn name_taken(&self, error: DaoError) -> DaoError {
        let DaoError::Unique { fields } = error else { return error };
        let sent = |(field, stored): (&'static str, Value)| match field {
            ACCESS_TOKEN => (field, text(self.access_token.as_ref())),
            REFRESH_TOKEN => (field, text(self.refresh_token.as_ref())),
            _ => (field, stored),
        };
        DaoError::Unique { fields: fields.into_iter().map(sent).collect() }
    }
}

/// The document of a token, with the clear values that the caller may see.
pub(super) fn show(token: &Token, clear: &Clear, now: i64) -> Document {
    let fields = [
        ("id", json!(token.id)),
        ("created_at", json!(token.created_at)),
        ("service", token.service_id.map_or(Value::Null, |id| json!({ "id": id }))),
        ("credential", json!({ "id": token.credential_id })),
        ("token_type", json!("bearer")),
        ("expires_in", json!(token.expires_in)),
        (ACCESS_TOKEN, text(clear.access_token.as_ref())),
        (REFRESH_TOKEN, text(clear.refresh_token.as_ref())),
        ("authenticated_userid", json!(token.authenticated_userid)),
        ("scope", json!(token.scope)),
        // Null for a token too short to reveal characters.
        ("token_hint", json!(Some(&token.token_hint).filter(|hint| !hint.is_empty()))),
        ("ttl", json!(token.ttl.map(|end| end.saturating_sub(now).max(0)))),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn text(clear: Option<&Secret>) -> Value {
    clear.map_or(Value::Null, |clear| Value::from(clear.expose()))
}

/// The fields of a token that a document can set. Those that only the gateway sets (the hint, the
/// family) are not included.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) id: Option<Uuid>,
    pub(super) clear: Clear,
    created_at: Option<i64>,
    credential_id: Uuid,
    service_id: Option<Uuid>,
    expires_in: i64,
    ttl: Option<i64>,
    authenticated_userid: Option<String>,
    scope: Option<String>,
}

impl Draft {
    /// Reads a document that has passed its schema.
    pub(super) fn read(document: &Document) -> Result<Self, DaoError> {
        let text = |field| document.text(field).map(str::to_owned);
        Ok(Self {
            id: document.id(),
            clear: Clear {
                access_token: text(ACCESS_TOKEN).map(Secret::new),
                refresh_token: text(REFRESH_TOKEN).map(Secret::new),
            },
            created_at: document.integer("created_at"),
            credential_id: document.reference("credential").ok_or_else(|| missing("credential"))?,
            service_id: document.reference("service"),
            expires_in: document.integer("expires_in").ok_or_else(|| missing("expires_in"))?,
            ttl: document.integer("ttl"),
            authenticated_userid: text("authenticated_userid"),
            scope: text("scope"),
        })
    }

    /// A new row. Without a `ttl` it does not expire.
    pub(super) fn to_token(&self, id: Uuid, access_token: &Secret, now: i64) -> Token {
        let created_at = self.created_at.unwrap_or(now);
        Token {
            id,
            access_token: Digest::of(access_token.expose()),
            refresh_token: self.clear.refresh_token.as_ref().map(|clear| Digest::of(clear.expose())),
            token_hint: hint(access_token.expose()),
            credential_id: self.credential_id,
            service_id: self.service_id,
            expires_in: self.expires_in,
            created_at,
            ttl: self.ttl.and_then(|seconds| end(created_at, seconds)),
            authenticated_userid: self.authenticated_userid.clone(),
            scope: self.scope.clone(),
            family: None,
            binding: None,
        }
    }

    /// The old row with these fields; a token or a `ttl` that is not set here is kept.
    pub(super) fn over(&self, old: &Token, now: i64) -> Token {
        let access_token = self.clear.access_token.as_ref().map(|clear| (Digest::of(clear.expose()), clear));
        let changed = access_token.filter(|(digest, _)| *digest != old.access_token);
        let refresh_token = self.clear.refresh_token.as_ref().map(|clear| Digest::of(clear.expose()));
        Token {
            id: old.id,
            access_token: changed.map_or(old.access_token, |(digest, _)| digest),
            refresh_token: refresh_token.or(old.refresh_token),
            token_hint: changed.map_or_else(|| old.token_hint.clone(), |(_, clear)| hint(clear.expose())),
            credential_id: self.credential_id,
            service_id: self.service_id,
            expires_in: self.expires_in,
            created_at: self.created_at.unwrap_or(old.created_at),
            ttl: self.ttl.map_or(old.ttl, |seconds| end(now, seconds)),
            authenticated_userid: self.authenticated_userid.clone(),
            scope: self.scope.clone(),
            family: old.family,
            binding: old.binding.clone(),
        }
    }
}

/// The last second of a row with a life of `seconds` from `begin`; 0: it never expires.
fn end(begin: i64, seconds: i64) -> Option<i64> {
    (seconds != 0).then(|| begin.saturating_add(seconds))
}

fn missing(field: &'static str) -> DaoError {
    DaoError::Schema(Violations::of_field(field, "required field missing"))
}
