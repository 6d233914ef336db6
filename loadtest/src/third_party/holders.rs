//! Whose the tokens are, and what the authority says of each.

use serde_json::{Map, Value, json};

/// Claims beyond those of RFC 7662 and RFC 9068 that the gateway forwards.
pub const FORWARDED: [&str; 5] = ["email", "tenant", "department", "plan", "roles"];

/// Tokens are valid for a week, longer than any run.
const LIFETIME: u64 = 7 * 24 * 3600;

/// The holders of an authority's tokens: users without number, of a few clients. Each client is a consumer of the
/// gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders {
    /// Consumers are named `PREFIX-NUMBER`.
    pub prefix: String,
    /// How many there are.
    pub consumers: usize,
    /// When tokens are issued, in seconds since 1970.
    pub issued_at: u64,
}

impl Holders {
    /// The consumer that the token with this number belongs to.
    pub fn consumer(&self, number: u32) -> usize {
        number as usize % self.consumers.max(1)
    }

    /// The consumer's name.
    pub fn username(&self, number: u32) -> String {
        format!("{}-{}", self.prefix, self.consumer(number))
    }

    /// The client that the token was issued to.
    pub fn client_id(&self, number: u32) -> String {
        Self::client_id_of(self.consumer(number))
    }

    /// The client of a consumer.
    pub fn client_id_of(consumer: usize) -> String {
        format!("client-{consumer:06}")
    }

    /// The user.
    pub fn subject(number: u32) -> String {
        format!("user-{number:08}")
    }

    /// What the authority says of the token with this number.
    pub fn claims(&self, issuer: &str, number: u32) -> Map<String, Value> {
        let subject = Self::subject(number);
        let claims = json!({
            "iss": issuer,
            "sub": subject,
            "client_id": self.client_id(number),
            "username": self.username(number),
            "scope": "email profile",
            "iat": self.issued_at,
            "exp": self.issued_at + LIFETIME,
            "email": format!("{subject}@example.com"),
            "tenant": format!("tenant-{:03}", number % 100),
            "department": DEPARTMENTS.get(number as usize % DEPARTMENTS.len()),
            "plan": "enterprise",
            "roles": ["reader", "writer"],
        });
        match claims {
            Value::Object(claims) => claims,
            _ => Map::new(),
        }
    }
}

const DEPARTMENTS: [&str; 4] = ["engineering", "operations", "finance", "sales"];
