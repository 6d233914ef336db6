//! OAuth2 for Tollgate: authorization server and bearer token guard.

pub mod store;
pub mod token;
