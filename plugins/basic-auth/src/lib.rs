//! Usernames and passwords (RFC 7617): a request passes with those of a consumer.
//!
//! | field of `config` | default | meaning |
//! |---|---|---|
//! | `anonymous` | null | consumer, by id or username, for requests without valid credentials (oauth2.md §4.4) |
//! | `hide_credentials` | false | removes the header with the password from what goes upstream |
//! | `realm` | `service` | `realm` of the challenge |
//! | `serve_cached_for` | null | how long cached credentials are accepted while the store is away |
//!
//! | request | response |
//! |---|---|
//! | no credentials, unreadable ones, an unknown username, or a wrong password | 401 `Unauthorized`, with `WWW-Authenticate: Basic realm="R"` |
//! | the store is unavailable | 503 with `Retry-After` |
//!
//! 1. `Proxy-Authorization` is looked at first, then `Authorization`. The first of them whose username is known
//!    decides.
//! 2. The body of a refusal is a message (gateway.md §7.3b); a gRPC call is refused in headers only.
//! 3. The upstream receives the consumer, and the username in `X-Credential-Identifier`.
//!
//! Credentials are the entity `basicauth_credentials`: `consumer`, `username` (unique), `password`, `tags`. Admin paths:
//! `/basic-auths[/{id or username}]`, `/basic-auths/{x}/consumer` and
//! `/consumers/{consumer}/basic-auth[/{id or username}]`. `/cache/basicauth_credentials:<username>:::::<workspace>` shows
//! and evicts what a node has cached for a username.
//!
//! # Passwords
//!
//! A password is stored, and shown by the Admin API, as the hexadecimal SHA-1 of the password followed by the
//! consumer's id, in the format in which existing credentials are migrated and compared. Such a hash is quickly
//! computed by whoever has a copy of the database: choose random passwords, or use a plugin whose secrets are slow to
//! guess, such as `oauth2` with `hash_secret`. A password and its consumer can only be changed together.
//!
//! Hashes are computed outside the I/O threads, and only until a password was right once: from then on a node remembers
//! a keyed BLAKE3 of it beside the credential, as long as the credential is cached. Comparisons take the same time
//! wherever two values differ.
//!
//! Differences from Kong's plugin: a username must be valid in a header, since it is sent upstream in one; a `realm`
//! with control characters is rejected on write.
//!
//! - [`credential`]: the entity, and the hash of a password.
//! - [`presented`]: reading the headers.
//! - [`account`]: what is cached of a username, and verifying its password.
//! - [`guard`]: the decision on a request.

mod account;
mod config;
mod credential;
mod guard;
mod plugin;
mod presented;

pub use plugin::{BasicAuthFactory, NAME};
