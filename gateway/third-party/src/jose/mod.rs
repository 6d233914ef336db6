//! JOSE: signed tokens, the keys that verify them, and where those come from.
//!
//! 1. [`Jws::parse`] reads a compact token (RFC 7515), strictly.
//! 2. A [`VerificationKey`] verifies it. A key is of one type and for certain algorithms of that type, so that
//!    `none`, or HMAC with a public key, cannot be written down. The token's header only selects among these.
//! 3. A [`KeySet`] (RFC 7517) has the keys of an issuer, a [`KeySource`] gets it from there and keeps it fresh.
//! 4. [`SignatureChecks`] keep slow checks off the threads that serve requests.

mod algorithm;
mod header;
mod jwk;
mod jws;
mod key;
mod key_set;
mod key_source;
mod pem;
mod signature;
mod signature_checks;

#[cfg(test)]
mod testing;

pub use algorithm::{Algorithm, Algorithms, Family};
pub use header::{Header, KnownHeaders, MAX_TOKEN, Malformed, Part};
pub use jwk::Unusable;
pub use jws::{Jws, dots, looks_like_jwt, unverified_issuer};
pub use key::{BadSignature, InvalidKey, RsaSize, VerificationKey};
pub use key_set::{KeySet, MalformedKeySet, PublishedKey};
pub use key_source::{FetchError, KeySource, KeySourceMetrics, KeySources, Location, NoKey, Remote, Times, Unverified};
pub use signature_checks::{SignatureChecks, Unchecked};
