//! JSON Web Tokens of consumers: a request passes with a token that was signed with a credential of a consumer.
//!
//! | field of `config` | default | meaning |
//! |---|---|---|
//! | `uri_param_names`, `cookie_names` | `["jwt"]`, `[]` | query arguments and cookies with a token; letter case matters for arguments only |
//! | `header_names` | `["authorization"]` | headers with a token after the scheme `Bearer` |
//! | `key_claim_name` | `iss` | claim, or else header member, that holds the key of the credential |
//! | `secret_is_base64` | false | secrets are stored in base64, in either alphabet |
//! | `claims_to_verify` | null | of `exp` and `nbf`: a token must have them, and they are checked |
//! | `maximum_expiration` | 0 | seconds that `exp` may be in the future; 0: any. Needs `exp` in `claims_to_verify` |
//! | `anonymous` | null | consumer, by id or username, for requests without a valid token (oauth2.md §4.4) |
//! | `run_on_preflight` | true | whether `OPTIONS` requests need a token |
//! | `realm` | null | `realm` of the challenge |
//!
//! Refusals are 401, in this order; bodies are JSON, `{"message": TEXT}` but for times, whatever the client accepts;
//! a gRPC call is refused in headers only:
//!
//! | request | text |
//! |---|---|
//! | no token | `Unauthorized` |
//! | different tokens, or a repeated header | `Multiple tokens provided` |
//! | an argument without `=` | `Unrecognizable token` |
//! | not three parts, not base64url, not JSON, a repeated member | `Bad token; invalid JSON` (signature: `Bad token; invalid signature`) |
//! | no algorithm, or an unknown one such as `none` | `Bad token; invalid alg` |
//! | claims that are no object | `Bad token; invalid claims` |
//! | a `crit` header; more than 16 KiB | `Bad token; unsupported critical header`; `Bad token; too long` |
//! | no key of a credential; an empty one, or no text | `No mandatory 'iss' in claims`; `Invalid 'iss' in claims` |
//! | no credential with this key | `No credentials found for given 'iss'` |
//! | the credential is for another algorithm | `Invalid algorithm` |
//! | the credential has no usable secret or public key | `Invalid key/secret` |
//! | the signature is wrong | `Invalid signature` |
//! | a checked claim | `{"exp": TEXT, "nbf": TEXT}` with `must be a number`, `token expired`, `token not valid yet` |
//! | `exp` beyond `maximum_expiration` | `{"exp": "exceeds maximum allowed expiration"}` |
//!
//! A 401 has `WWW-Authenticate: Bearer`, and with any token `Bearer error="invalid_token"`; a realm comes first:
//! `Bearer realm="R", error="invalid_token"`. If the store is unavailable, the response is 503 with `Retry-After`.
//! The upstream receives the consumer, the credential's `key` in `X-Credential-Identifier`, and the token as sent.
//!
//! Credentials are the entity `jwt_secrets`: `consumer`, `key` and `secret` (generated when not given), `algorithm`
//! (`HS256`; `HS`, `RS`, `PS` and `ES` with 256, 384 and 512, and `EdDSA`), `rsa_public_key` (PEM, of any algorithm but
//! the `HS` ones), and `tags`. Admin paths: `/jwts[/{id or key}]`, `/jwts/{x}/consumer` and
//! `/consumers/{consumer}/jwt[/{id or key}]`. `/cache/jwt_secrets:<key>:::::<workspace>` shows and evicts what a node
//! has cached for a key.
//!
//! Differences from Kong's plugin: tokens are read strictly (RFC 7515: base64url without padding or stray bits, unique
//! members, `crit`); a header that is repeated is several tokens, not its first line; `Bearer` is a scheme, at the
//! beginning of the value and in any letter case; `ES` credentials need a public key too, and the key must be of the
//! algorithm; keys have no control characters or surrounding white space, since upstreams get them in a header;
//! `maximum_expiration` without `claims_to_verify` is rejected; a signature of the wrong length is 401, not 500.
//!
//! - [`presented`]: where a token is looked for.
//! - [`guard`]: the hot path: looking the token up and deciding on the request.
//! - [`token`]: reading and verifying tokens; facts about them, by digest. No clear token is kept in memory.
//! - [`secret`]: facts about credentials, by the digest of their key.
//! - [`lifetime`]: when a token is valid.
//! - [`refusal`]: every refusal, and the response to it.
//! - [`credential`]: the entity.
//! - [`config`]: the configuration of an instance.
//! - [`plugin`]: the plugin as seen by the gateway.

pub mod config;
pub mod credential;
pub mod guard;
pub mod lifetime;
pub mod plugin;
pub mod presented;
pub mod refusal;
pub mod secret;
pub mod token;

pub use plugin::{JwtFactory, NAME};
