//! What binds a token to its sender: a key (RFC 9449) or a certificate (RFC 8705) of the client.

use serde::Deserialize;
use tollgate_core::schema::{Field, Type};

const REQUIREMENTS: [&str; 3] = ["off", "optional", "required"];

pub(super) fn fields() -> Vec<Field> {
    vec![
        Field::string("sender_constraint").optional().one_of(&["none", "dpop", "mtls", "any"]).describe(
            "What every token must be bound to: nothing (`none`, also null), a key, a certificate, or either of both (`any`).",
        ),
        Field::string("dpop").optional().one_of(&REQUIREMENTS).describe(
            "Whether tokens are bound to the key of a client's DPoP proof (RFC 9449), and whether one is required; null is `off`.",
        ),
        Field::new("dpop_nonce", Type::Boolean)
            .optional()
            .describe("Whether DPoP proofs must have a nonce of this gateway; null is false."),
        Field::string("dpop_replay").optional().one_of(&["node", "shared"]).describe(
            "Which nodes know the DPoP proofs that were presented with tokens: that node alone (`node`, also null), or all.",
        ),
        Field::string("mtls_bound_tokens").optional().one_of(&REQUIREMENTS).describe(
            "Whether tokens are bound to a client's TLS certificate (RFC 8705), and whether one is required; null is `off`.",
        ),
    ]
}

/// Whether something is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Requirement {
    /// Never.
    #[default]
    Off,
    /// If the client does.
    Optional,
    /// Always.
    Required,
}

/// What every token must be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Constraint {
    #[default]
    None,
    Dpop,
    Mtls,
    Any,
}

/// Which nodes know the proofs that were presented with tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// The node that they were presented to.
    #[default]
    Node,
    /// All nodes.
    Shared,
}

/// The fields as stored.
#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    sender_constraint: Option<Constraint>,
    #[serde(default)]
    dpop: Option<Requirement>,
    #[serde(default)]
    dpop_nonce: Option<bool>,
    #[serde(default)]
    dpop_replay: Option<Memory>,
    #[serde(default)]
    mtls_bound_tokens: Option<Requirement>,
}

/// The fields as requests use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Stored")]
pub struct Sender {
    /// Proofs of a key.
    pub dpop: Requirement,
    /// Certificates.
    pub certificates: Requirement,
    /// Whether one of both is required.
    pub some: bool,
    /// Whether proofs must have a nonce of this gateway.
    pub nonce: bool,
    /// Which nodes know the proofs that were presented with tokens.
    pub replay: Memory,
}

impl From<Stored> for Sender {
    fn from(stored: Stored) -> Self {
        let (dpop, certificates) = match stored.sender_constraint.unwrap_or_default() {
            Constraint::None => (Requirement::Off, Requirement::Off),
            Constraint::Dpop => (Requirement::Required, Requirement::Off),
            Constraint::Mtls => (Requirement::Off, Requirement::Required),
            Constraint::Any => (Requirement::Optional, Requirement::Optional),
        };
        let dpop = dpop.max(stored.dpop.unwrap_or_default());
        let certificates = certificates.max(stored.mtls_bound_tokens.unwrap_or_default());
        Self {
            dpop,
            certificates,
            some: stored.sender_constraint == Some(Constraint::Any) || dpop.max(certificates) == Requirement::Required,
            nonce: stored.dpop_nonce.unwrap_or_default(),
            replay: stored.dpop_replay.unwrap_or_default(),
        }
    }
}

impl Sender {
    /// Whether tokens are never bound.
    pub fn is_off(&self) -> bool {
        self.dpop == Requirement::Off && self.certificates == Requirement::Off
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_stricter_of_two_fields_is_in_force() {
        use Requirement::{Off, Optional, Required};
        for (constraint, dpop, mtls, expected) in [
            (json!(null), json!(null), json!(null), (Off, Off, false)),
            (json!("none"), json!("optional"), json!("off"), (Optional, Off, false)),
            (json!("none"), json!("required"), json!("optional"), (Required, Optional, true)),
            (json!("dpop"), json!("optional"), json!(null), (Required, Off, true)),
            (json!("mtls"), json!(null), json!(null), (Off, Required, true)),
            (json!("any"), json!("off"), json!(null), (Optional, Optional, true)),
        ] {
            let stored = json!({"sender_constraint": constraint, "dpop": dpop, "mtls_bound_tokens": mtls});
            let sender = Sender::deserialize(&stored).unwrap();
            assert_eq!((sender.dpop, sender.certificates, sender.some), expected, "{stored}");
            assert_eq!(sender.is_off(), expected.0 == Off && expected.1 == Off);
        }
        assert_eq!(Sender::deserialize(&json!({})).unwrap(), Sender::default());
    }
}
