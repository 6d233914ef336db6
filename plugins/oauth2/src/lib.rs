//! OAuth2 for Tollgate: authorization server and bearer token guard.
//!
//! A protected route responds to `…/oauth2/authorize` and `…/oauth2/token` itself, and to the endpoints that its plugin
//! names, and lets every other request pass only with a token (oauth2.md §3.1).
//!
//! - [`guard`]: the hot path. [`tollgate_plugin::bearer`] finds the token, [`cache`] looks it up
//!   ([`token_facts`]), [`challenge`] renders refusals.
//! - [`endpoint`]: the authorization server. [`client`] authenticates the client, [`grant`] decides what
//!   it gets, by the rules of [`pkce`], [`scope`], [`resource`] and [`redirect_uri`], and has the [`issuer`] create it;
//!   [`error`] renders refusals.
//! - [`issuer_identifier`]: the names by which clients know the authorization server and its resources.
//! - [`registrar`]: clients that register themselves, with their [`client_metadata`].
//! - [`guesses`], [`introspection_rate`]: limits for those who guess secrets, and for resource servers.
//! - [`parameters`]: the parameters of a request, in any kind of body.
//! - [`config`], [`profile`]: what an instance is configured to do and to permit.
//! - [`token`], [`binding`]: tokens and their digests, and whom and what they are bound to; [`user_code`]: what users
//!   type for a device.
//! - [`signing_keys`]: the keys of signed access tokens ([`signing_key`]).
//! - [`store`]: the port to the database and its two adapters.

pub mod binding;
pub mod cache;
pub mod callers;
pub mod challenge;
pub mod client;
pub mod client_metadata;
pub mod client_secret;
pub mod config;
pub mod credentials;
pub mod derivation_queue;
pub mod deviations;
pub mod dpop;
mod ended_grants;
pub mod endpoint;
pub mod entity;
pub mod error;
pub mod grant;
pub mod guard;
pub mod guesses;
pub mod https;
pub mod introspection_rate;
pub mod issuer;
pub mod issuer_identifier;
pub mod listener;
pub mod metrics;
pub mod parameters;
pub mod pkce;
pub mod plugin;
pub mod presentation;
pub mod profile;
pub mod redirect_uri;
pub mod registrar;
pub mod remarks;
pub mod required_scopes;
pub mod resource;
pub mod scope;
pub mod sealed_pair;
pub mod sender;
pub mod signing_key;
pub mod signing_key_collection;
pub mod signing_keys;
pub mod store;
pub mod token;
pub mod token_collection;
pub mod token_facts;
pub mod user_code;

pub use plugin::{MIGRATIONS, NAME, OAuth2, OAuth2Factory};
