//! Tokens of other authorization servers that are asked about them (introspection.md, RFC 7662).

pub mod client_assertion;
pub mod client_authentication;
pub mod config;
pub mod endpoint;
pub mod endpoint_url;
pub mod plugin;
pub mod response;
pub mod signed_response;

pub use plugin::{NAME, OAuth2IntrospectionFactory};
