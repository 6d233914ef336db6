//! Tokens of other authorization servers (*authorities*), which are asked about each token (RFC 7662,
//! introspection.md).
//!
//! | field of `config`, and of each element of `authorities` | default | meaning |
//! |---|---|---|
//! | `introspection_url` | required | the endpoint; logs and metrics call the authority by it, without its query |
//! | `authorization_value` | required | value of the `Authorization` header, unless `auth_method` is another |
//! | `token_type_hint` | null | sent unchanged |
//! | `timeout`, `keepalive` | 10000, 60000 | of a call, and of an idle connection, in milliseconds |
//! | `custom_introspection_headers` | `{}` | headers of every call; not those that the gateway itself writes |
//! | `consumer_by` | `username` | or `client_id`: the member that names the consumer, by its username |
//! | `issuer` | null | `iss` of its JWTs: JWTs of other issuers are not sent to it |
//! | `auth_method` | `authorization_value` | or, with `client_id`: `client_secret_basic`, `client_secret_post` (with `client_secret`), `private_key_jwt` (with `client_key`), `tls_client_auth` (with the client certificate) |
//! | `client_key`, `client_key_id`, `client_key_algorithm`, `client_assertion_audience` | null | of assertions: the key in PEM, its `kid`, its algorithm (`RS256`, or the one of its curve), and `aud` (`issuer`, or else the URL) |
//! | `jwks_uri` or `jwks` | null | the keys that sign responses (RFC 9701), by URL or as JSON text; unsigned ones are then malformed. Needs `issuer`; `aud` is checked against `client_id` if that is set |
//! | `tls_verify`, `tls_ca` | true, null | how the endpoint's certificate is verified; the authorities in PEM replace the system's |
//! | `tls_client_certificate`, `tls_client_key` | null | the gateway's own, in PEM |
//!
//! | field of `config` | default | meaning |
//! |---|---|---|
//! | `ttl` | 30 | seconds for which a response is used; 0: until the token's `exp` |
//! | `introspect_request` | false | sends `X-Request-Path` and `X-Request-Http-Method`; method and path are then part of what is cached |
//! | `authorities` | `[]` | further authorities |
//! | others | | as of all plugins for such tokens: [`tollgate_third_party::config`] |
//!
//! | request | response |
//! |---|---|
//! | no token | 401 `invalid_request` |
//! | several tokens | 400 `invalid_request` |
//! | inactive, expired, or a token of this gateway | 401 `invalid_token` |
//! | a valid token that lacks a scope, an audience or a claim | 403 `insufficient_scope` |
//! | an authority that might know the token cannot be asked, or its response is not one of RFC 7662 | 503 with `Retry-After` |
//!
//! A response of an authority is used if it has status 200, a JSON `Content-Type` or none, and at most 64 KiB (16 KiB if
//! signed): one object without repeated members, with boolean `active`, and registered members of their types. Any
//! other says nothing about the token, is not cached, and is 503.
//!
//! - [`config`], [`authority_fields`], [`authority`]: the configuration of an instance, and of each authority.
//! - [`endpoint`]: how an authority is asked.
//! - [`client_authentication`], [`client_assertion`]: how the gateway authenticates to it.
//! - [`response`], [`signed_response`]: what it says.
//! - [`plugin`]: the plugin as seen by the gateway.

pub mod authority;
pub mod authority_fields;
pub mod client_assertion;
pub mod client_authentication;
pub mod config;
pub mod endpoint;
pub mod plugin;
pub mod response;
pub mod signed_response;

pub use plugin::{NAME, OAuth2IntrospectionFactory};
