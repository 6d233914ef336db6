//! The authority of a state file: what `provision` chose, and what later runs serve again.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use openssl::error::ErrorStack;
use serde::{Deserialize, Serialize};

use super::{Authority, Holders, Kind, Listening, Signer, opaque};

/// An authority, with its signing key. `Debug` does not show the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// The kind of its tokens.
    pub kind: Kind,
    /// Where it listens, as seen from the gateway.
    pub address: SocketAddr,
    /// When its tokens are issued, in seconds since 1970.
    pub issued_at: u64,
    /// The signing key; none for opaque tokens.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    key: Option<String>,
}

impl Issuer {
    /// A new one, with a new key. It does not listen yet.
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn new(kind: Kind, address: SocketAddr, issued_at: u64) -> Result<Self, ErrorStack> {
        let key = kind.algorithm().map(|algorithm| Signer::generate(algorithm)?.to_pem()).transpose()?;
        Ok(Self { kind, address, issued_at, key })
    }

    /// Serves it until the authority is dropped. With port 0, its address is chosen now.
    ///
    /// # Errors
    /// If it cannot listen on its address.
    pub fn serve(&mut self, holders: Holders) -> io::Result<Authority> {
        let signers: Vec<Signer> = self.signer()?.into_iter().collect();
        let authority = Authority::start(self.address, holders, &signers)?;
        self.address = authority.listening.0;
        Ok(authority)
    }

    /// What mints its tokens.
    ///
    /// # Errors
    /// If its key is not one.
    pub fn minter(&self, holders: Holders) -> Result<Minter, ErrorStack> {
        Ok(Minter { issuer: Listening(self.address).issuer(), holders, signer: self.signer()? })
    }

    fn signer(&self) -> Result<Option<Signer>, ErrorStack> {
        let parts = self.kind.algorithm().zip(self.key.as_deref());
        parts.map(|(algorithm, key)| Signer::from_pem(algorithm, key)).transpose()
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("kind", &self.kind).field("address", &self.address).finish_non_exhaustive()
    }
}

/// Mints tokens by their number.
pub struct Minter {
    /// The issuer in JWTs.
    pub issuer: String,
    /// Whose they are.
    pub holders: Holders,
    /// What signs them; `None` for opaque ones.
    pub signer: Option<Signer>,
}

impl Minter {
    /// The token with a number.
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn mint(&self, number: u32) -> Result<String, ErrorStack> {
        match &self.signer {
            None => Ok(opaque::token(number)),
            Some(signer) => {
                let mut claims = self.holders.claims(&self.issuer, number);
                // RFC 9068 §2.2.
                claims.insert("aud".to_owned(), "https://api.example.com".into());
                claims.insert("jti".to_owned(), opaque::token(number).into());
                signer.sign(&claims)
            }
        }
    }
}
