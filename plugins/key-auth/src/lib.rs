//! API keys: a request passes with a consumer's key.
//!
//! | field of `config` | default | meaning |
//! |---|---|---|
//! | `key_names` | `["apikey"]` | names of a key, tried in this order: letters, digits, `-` and `_` |
//! | `key_in_header`, `key_in_query`, `key_in_body` | true, true, false | where a key may be; for each name, a header comes before the query, and the query before the body (form, JSON object, multipart) |
//! | `hide_credentials` | false | removes keys from what goes upstream |
//! | `anonymous` | null | consumer, by id or username, for requests without a valid key (oauth2.md §4.4) |
//! | `run_on_preflight` | true | whether `OPTIONS` requests need a key |
//! | `realm` | null | `realm` of the challenge |
//!
//! | request | response |
//! |---|---|
//! | no key, or an empty one | 401 `No API key found in request` |
//! | several values under one name | 401 `Duplicate API key found` |
//! | unknown or expired key | 401 `Unauthorized` |
//! | a body that may have to hide a key and cannot be searched | 413 `Payload too large`, 415 `Unsupported media type` (as in oauth2.md §4.6) |
//! | the store is unavailable | 503 with `Retry-After` |
//!
//! A 401 has `WWW-Authenticate: Key`, or `Key realm="R"`. Bodies are messages (gateway.md §7.3b); a gRPC call is
//! refused in headers only. The upstream receives the consumer, and the key's id in
//! `X-Credential-Identifier`.
//!
//! Keys are the entity `keyauth_credentials`: `consumer`, `key` (unique; generated when not given; stored and shown
//! as it is), `tags`, and a `ttl`. Admin paths: `/key-auths[/{id or key}]`, `/key-auths/{x}/consumer` and
//! `/consumers/{consumer}/key-auth[/{id or key}]`. `/cache/keyauth_credentials:<key>:::::<workspace>` shows and
//! evicts what a node has cached for a key.
//!
//! Differences from Kong's plugin: keys are hidden under every configured name, not only under the one that
//! was used; a body that cannot be searched is refused, not sent on; a member that a JSON body repeats is a
//! duplicate; a `realm` with control characters is rejected on write.
//!
//! - [`presented`]: where a key is looked for, and how it is hidden from the upstream.
//! - [`guard`]: the hot path: looking the key up and deciding on the request.
//! - [`cache`]: facts about keys, by digest. No clear key is kept in memory.
//! - [`credential`]: the entity, which the Admin API shows with its key.
//! - [`config`]: the configuration of an instance.
//! - [`plugin`]: the plugin as seen by the gateway.

pub mod cache;
pub mod config;
pub mod credential;
pub mod guard;
pub mod plugin;
pub mod presented;

pub use plugin::{KeyAuthFactory, NAME};
