//! OAuth2 for Tollgate: authorization server and bearer token guard.
//!
//! A protected route answers `…/oauth2/authorize` and `…/oauth2/token` itself and lets every other
//! request through only with a token (contract oauth2.md §3.1).
//!
//! - [`guard`]: the hot path. [`presented`] finds the token, [`cache`] knows what it is,
//!   [`facts`] who it belongs to, [`challenge`] how to refuse it.
//! - [`token`]: the shape of tokens and their digests.
//! - [`store`]: the port to the database and its two adapters.

pub mod arguments;
pub mod cache;
pub mod challenge;
pub mod entity;
pub mod facts;
pub mod flight;
pub mod generation;
pub mod guard;
pub mod metrics;
pub mod presented;
pub mod store;
pub mod token;
