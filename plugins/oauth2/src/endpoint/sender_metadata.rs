//! What metadata say about senders: proofs of keys, certificates, and how clients authenticate with either (RFC 9449
//! §5.1, RFC 8705 §3.3, RFC 8414 §2, RFC 9728 §2).

use serde_json::{Value, json};
use tollgate_jose::{Algorithm, Family};

use crate::config::sender::{Requirement, Sender};
use crate::dpop::ALGORITHMS;

/// Members of a document; `None` is left out.
type Members = Vec<(&'static str, Option<Value>)>;

/// Methods in addition to those of every client. Assertions are for an issuer that is configured.
pub(super) fn methods(sender: &Sender, issuer: Option<&str>) -> Vec<&'static str> {
    let mut methods: Vec<_> = issuer.map(|_| "private_key_jwt").into_iter().collect();
    if sender.certificates != Requirement::Off {
        methods.extend(["tls_client_auth", "self_signed_tls_client_auth"]);
    }
    methods
}

/// With which clients may sign assertions.
pub(super) fn assertion_algorithms() -> Value {
    let asymmetric = Algorithm::ALL.into_iter().filter(|algorithm| algorithm.family() != Family::Hmac);
    asymmetric.map(|algorithm| Value::from(algorithm.name())).collect()
}

/// Of the authorization server.
pub(super) fn authorization_server(sender: &Sender) -> Members {
    vec![
        ("dpop_signing_alg_values_supported", proofs(sender)),
        ("tls_client_certificate_bound_access_tokens", certificates(sender)),
    ]
}

/// Of the resource.
pub(super) fn resource(sender: &Sender) -> Members {
    vec![
        ("dpop_signing_alg_values_supported", proofs(sender)),
        ("dpop_bound_access_tokens_required", (sender.dpop == Requirement::Required).then_some(json!(true))),
        ("tls_client_certificate_bound_access_tokens", certificates(sender)),
    ]
}

fn proofs(sender: &Sender) -> Option<Value> {
    (sender.dpop != Requirement::Off).then(|| json!(ALGORITHMS.map(Algorithm::name)))
}

fn certificates(sender: &Sender) -> Option<Value> {
    (sender.certificates != Requirement::Off).then_some(json!(true))
}
