//! A client that proves its key with each request (RFC 9449).

use std::fmt;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openssl::sha::sha256;
use serde_json::{Map, Value, json};
use tollgate_load::third_party::{Algorithm, Signer};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::load::HOST;

/// Proofs of a step: more than requests, since each is accepted once.
const PROOFS: usize = 30_000;

/// The client's key, and what it proves it for.
#[derive(Clone)]
pub struct Prover {
    signer: Signer,
    /// The path that requests are for.
    pub path: String,
    /// The digest of the access token.
    token: Option<String>,
}

impl fmt::Debug for Prover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Prover").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Prover {
    /// A client with a new key, for requests to this path.
    pub fn new(path: String) -> Result<Self> {
        Ok(Self { signer: Signer::generate(Algorithm::Es256).map_err(Error::store)?, path, token: None })
    }

    /// The same client, for requests with this token to another path.
    pub fn with(&self, token: &str, path: String) -> Self {
        let digest = BASE64_URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()));
        Self { signer: self.signer.clone(), path, token: Some(digest) }
    }

    /// A proof for a request with this method. Behind a proxy that declares HTTPS, so is the URI's scheme.
    pub fn prove(&self, method: &str) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let uri = format!("https://{HOST}{}", self.path);
        let mut claims = Map::new();
        let required =
            [("jti", json!(Uuid::new_v4())), ("htm", json!(method)), ("htu", json!(uri)), ("iat", json!(now))];
        claims.extend(required.map(|(name, value)| (name.to_owned(), value)));
        claims.extend(self.token.iter().map(|token| ("ath".to_owned(), Value::from(token.as_str()))));
        self.signer.prove(&claims).map_err(Error::store)
    }

    /// Writes a list of new proofs for the generator: proofs are accepted for a minute, and once.
    pub fn write(&self, list: &Path) -> Result<()> {
        let mut lines = String::new();
        for _ in 0..PROOFS {
            let _ = writeln!(lines, "{} {}", self.path, self.prove("GET")?);
        }
        fs::write(list, lines).map_err(Error::system("cannot write a list of proofs"))
    }
}
