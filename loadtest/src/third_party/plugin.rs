//! The plugin that accepts a kind of tokens, as the Admin API takes it.

use serde_json::{Value, json};

use super::authority::{AUTHORIZATION_VALUE, Listening};
use super::{Algorithm, Kind};

/// The plugin's name and configuration, for tokens of an authority that listens there. `forwarded`: the claims that
/// become headers ([`super::FORWARDED`]).
pub fn plugin(kind: Kind, authority: Listening, forwarded: &[&str]) -> (&'static str, Value) {
    match kind.algorithm() {
        None => ("oauth2-introspection", introspection(authority, forwarded)),
        Some(algorithm) => ("jwt-access-token", jwt(algorithm, authority, forwarded)),
    }
}

fn introspection(authority: Listening, forwarded: &[&str]) -> Value {
    json!({
        "introspection_url": authority.introspection(),
        "authorization_value": AUTHORIZATION_VALUE,
        "consumer_by": "username",
        "custom_claims_forward": forwarded,
        // Longer than a run.
        "ttl": 86400,
    })
}

fn jwt(algorithm: Algorithm, authority: Listening, forwarded: &[&str]) -> Value {
    json!({
        "issuers": [{
            "issuer": authority.issuer(),
            "jwks_uri": authority.keys(),
            "algorithms": [algorithm.name()],
        }],
        "consumer_claim": "username",
        "custom_claims_forward": forwarded,
    })
}
