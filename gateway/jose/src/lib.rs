//! JOSE: signed tokens and the keys that verify them, without I/O.
//!
//! 1. [`Jws::parse`] reads a compact token (RFC 7515), strictly; [`Claims`](claims::Claims) are its members.
//! 2. A [`VerificationKey`] verifies it. A key is of one type and for certain algorithms of that type, so that
//!    `none`, or HMAC with a public key, cannot be written down. The token's header only selects among these.
//! 3. A [`KeySet`] (RFC 7517) has the keys of an issuer or of a client.
//! 4. [`SignatureChecks`] keep slow checks off the threads that serve requests.

mod algorithm;
pub mod claims;
mod header;
mod jwk;
mod jws;
mod key;
mod key_set;
mod signature;
mod signature_checks;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use algorithm::{Algorithm, Algorithms, Family};
pub use header::{Header, KnownHeaders, MAX_TOKEN, Malformed, Part};
pub use jwk::{Unusable, thumbprint};
pub use jws::{Jws, dots, looks_like_jwt, unverified_issuer};
pub use key::{BadSignature, InvalidKey, RsaSize, VerificationKey};
pub use key_set::{KeySet, MalformedKeySet, PublishedKey};
pub use signature_checks::{SignatureChecks, Unchecked};
