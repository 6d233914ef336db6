//! JWT access tokens of other authorization servers: a request passes with a token that a trusted issuer has signed
//! (RFC 7519, RFC 9068). No server is asked about a token; only the issuer's keys are fetched.
//!
//! | field of `config` | default | meaning |
//! |---|---|---|
//! | `issuers` | required | the issuers, at least one; see below |
//! | `clock_skew` | 10 | seconds by which their clocks may differ from this gateway's: 0 to 300 |
//! | `consumer_claim` | null | the claim, or a dotted path to it, that names the consumer by its username |
//! | `ttl` | null | seconds for which a verified token is cached; null: until its `exp` |
//! | others | | as of all plugins for such tokens: [`tollgate_third_party::config`] |
//!
//! | field of an issuer | default | meaning |
//! |---|---|---|
//! | `issuer` | required | `iss` of its tokens, character by character |
//! | `jwks_uri`, `discovery`, `jwks` | | where its keys are, exactly one of: a URL; `true`: in its metadata (OpenID Connect Discovery, RFC 8414), which must name this issuer; the key set itself, as JSON text |
//! | `algorithms` | all below | which signatures are accepted, of RS, PS and ES with 256, 384 and 512, and EdDSA; HMAC and `none` cannot be configured |
//! | `audience` | `[]` | a token's `aud` must have one of these, if there are any |
//! | `require_typ` | false | `typ` must be `at+jwt`; otherwise it may be missing or `JWT` as well |
//! | `allow_without_exp` | false | whether tokens need no `exp` |
//! | `maximum_lifetime` | null | the most seconds from `iat` to `exp`, both of which are then required |
//! | `tls_verify`, `tls_ca` | true, null | how its TLS certificate is verified; the authorities in PEM replace the system's |
//! | `timeout`, `keepalive` | 10000, 60000 | of one call, and of idle connections, in milliseconds |
//! | `key_refresh` | 300 | seconds after which its keys are fetched again (sooner if its `Cache-Control` says so, down to a minute). A withdrawn key is accepted for so long |
//! | `key_min_refresh` | 10 | seconds in which tokens with unknown keys cause at most one fetch |
//! | `key_max_stale` | 3600 | seconds for which its keys are used while they cannot be fetched |
//!
//! | request | response |
//! |---|---|
//! | no token | 401 `invalid_request` |
//! | several tokens | 400 `invalid_request` |
//! | a token that is not valid: of no issuer here, of another type, audience or algorithm, expired, wrongly signed | 401 `invalid_token` |
//! | a valid token that lacks a scope, an audience (`required_audience`) or a claim | 403 `insufficient_scope` |
//! | the issuer's keys are unknown and cannot be fetched | 503 with `Retry-After` |
//!
//! The upstream receives the registered claims, and those of `custom_claims_forward`, in `X-Credential-…`, and the
//! consumer if `consumer_claim` names one. A verified token is cached by digest and is not verified again: until its
//! `exp` or `ttl`, until its key is withdrawn, or until the issuer's configuration changes.
//!
//! - [`config`], [`issuer`]: the configuration of an instance, and of each issuer.
//! - [`verifier`]: what is checked of a token, and in which order.
//! - [`plugin`]: the plugin as seen by the gateway.

pub mod config;
pub mod issuer;
pub mod plugin;
pub mod verifier;

pub use plugin::{JwtAccessTokenFactory, NAME};
