//! Tokens of other authorization servers (*authorities*): what the plugins that accept them share.
//!
//! A plugin supplies how an authority is asked about a token ([`Verifier`]) and its configuration; the rest is here:
//! the guard and what it requires of a token ([`config`]), how an authority is called ([`connection`]), the one cache of
//! such tokens ([`ThirdPartyTokens`]) and what the upstream hears of a token ([`forwarded`]). JSON Web Signatures and the
//! keys of authorities come from a [`key_source`]; JOSE itself is in `tollgate-jose`.
//!
//! Invariants: the cache holds what an authority said, never what follows from it for a request. A token is sent to
//! no authority but those of the instance that received it, and not to them if it is this gateway's own or says that
//! another issued it. What cannot be found out is 503 ([`CannotTell`]), and is not cached.

mod authority;
mod authority_url;
mod cannot_tell;
mod claim_header;
mod claim_path;
mod common_values;
pub mod config;
pub mod connection;
mod facts;
pub mod forwarded;
mod guard;
mod kept_claims;
pub mod key_source;
mod metrics;
mod refusal;
pub mod registered;
mod requirements;
mod tokens;

pub use authority::{Active, Authority, AuthorityFacts, Identity, Query, RequestLine, Said, Verifier};
pub use authority_url::{AuthorityUrl, BadUrl};
pub use cannot_tell::CannotTell;
pub use claim_header::HEADER_PREFIX;
pub use claim_path::{BadClaimPath, ClaimPath};
pub use config::Common;
pub use connection::Connection;
pub use guard::RequestLineUse;
pub use metrics::PREFIX as METRIC_PREFIX;
pub use tokens::{Candidate, Candidates, ThirdPartyTokens};
