//! What the guard tells an operator who asks what becomes of a token. It decides nothing: the guard's checks tell it as
//! they are made.

use serde_json::{Value, json};
use tollgate_core::explanation::{Explanation, Finding};
use tollgate_core::request::Request;
use tollgate_plugin::authentication::{Authentication, Found};

use super::Proof;
use crate::binding::Confirmation;
use crate::challenge::Refusal;
use crate::token_facts::Facts;

/// Where facts about a token come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Cache,
    Store,
}

/// Whether the token can be one of ours.
#[cold]
pub(super) fn form(proof: Proof, explanation: &Explanation) {
    let (finding, detail) = match proof {
        Proof::Checksum => (Finding::Passed, "it has this gateway's checksum"),
        Proof::Signature => (Finding::Passed, "it names a signing key of this gateway"),
        Proof::None => {
            (Finding::Passed, "it has no checksum of this gateway; it is looked up, since tokens were imported")
        }
        Proof::Forged => {
            let detail = "it has no checksum of this gateway, and no tokens were imported: it was issued elsewhere, \
                          mistyped or cut short";
            (Finding::Refused, detail)
        }
    };
    explanation.tell("form", finding, detail);
}

/// Whether its signature is right, where the store was not asked before.
#[cold]
pub(super) fn signature(is_right: bool, explanation: &Explanation) {
    let (finding, detail) = match is_right {
        true => (Finding::Passed, "it was signed with that key"),
        false => (Finding::Refused, "it was not signed with that key, or the key was never this gateway's"),
    };
    explanation.tell("signature", finding, detail);
}

/// The token is known.
#[cold]
pub(super) fn found(from: Origin, facts: &Facts, now: i64, request: &Request<'_>, explanation: &Explanation) {
    let (from, detail) = match (from, request.served_stale) {
        (Origin::Cache, None) => ("cache", "cached by this node".to_owned()),
        (Origin::Store, None) => ("store", "found in the store".to_owned()),
        (_, Some(age)) => {
            let age = age.as_secs();
            ("cache", format!("cached by this node; the store is away, and no changes were heard for {age} s"))
        }
    };
    explanation.tell("look_up", Finding::Passed, detail);
    explanation.fact("from", from);
    explanation.fact("token", described(facts, now));
}

/// It is not.
#[cold]
pub(super) fn unknown(from: Origin, explanation: &Explanation) {
    let (from, detail) = match from {
        Origin::Cache => ("cache", "the store did not know it a moment ago"),
        Origin::Store => (
            "store",
            "the store does not know it: it was revoked or refreshed, its credential, consumer or service was deleted, \
             or it expired and was cleaned away",
        ),
    };
    explanation.tell("look_up", Finding::Refused, detail);
    explanation.fact("from", from);
}

/// It cannot be told.
#[cold]
pub(super) fn cannot_tell(reason: &str, explanation: &Explanation) {
    explanation.tell("look_up", Finding::CannotTell, reason);
}

/// What [`Acceptance`](super::Acceptance) found.
#[cold]
pub(super) fn acceptance(name: &'static str, refusal: Option<Refusal>, facts: &Facts, explanation: &Explanation) {
    let service = facts.service_id().map_or_else(|| "every service".to_owned(), |id| format!("service {id}"));
    let detail = match name {
        "service" => format!("it was issued for {service}"),
        "expiry" => match facts.valid_until() {
            Some(until) => format!("its last second is {until} (Unix time)"),
            None => "it never expires".to_owned(),
        },
        _ => match facts.binding().map(|binding| binding.audience.as_slice()) {
            None | Some([]) => "it is bound to no resource".to_owned(),
            Some(resources) => format!("it is bound to {}", resources.join(", ")),
        },
    };
    let finding = if refusal.is_none() { Finding::Passed } else { Finding::Refused };
    explanation.tell(name, finding, detail);
}

/// What is required of its sender.
#[cold]
pub(super) fn sender(judged: &Result<(), Found<Refusal>>, explanation: &Explanation) {
    let (finding, detail) = match judged {
        Ok(()) => (Finding::Passed, "as it has to be"),
        Err(Ok(Authentication::Invalid(refusal))) => (Finding::Refused, refusal.reason()),
        Err(_) => (Finding::CannotTell, "it cannot be told whether its proof was presented before"),
    };
    explanation.tell("sender", finding, detail);
}

/// Whether it has the scopes that the instance requires.
#[cold]
pub(super) fn scope(is_enough: bool, facts: &Facts, explanation: &Explanation) {
    let has = facts.scope().map_or_else(|| "none".to_owned(), |scope| text(scope.as_bytes()));
    let finding = if is_enough { Finding::Passed } else { Finding::Refused };
    explanation.tell("scope", finding, format!("its scopes: {has}"));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The token, as an operator knows it.
fn described(facts: &Facts, now: i64) -> Value {
    let credential = facts.credential();
    let issued_at = facts.issued_at();
    let confirmation = facts.binding().and_then(|binding| binding.confirmation.as_ref());
    json!({
        "credential": {"id": credential.id, "client_id": text(credential.identifier.as_bytes())},
        "consumer": {"id": credential.consumer.id, "username": credential.consumer.username()},
        "service": facts.service_id().map(|id| json!({ "id": id })),
        "scope": facts.scope().map(|scope| text(scope.as_bytes())),
        "authenticated_userid": facts.userid().map(|userid| text(userid.as_bytes())),
        "issued_at": issued_at,
        "age_seconds": issued_at.map(|at| now.saturating_sub(at.into())),
        "expires_at": facts.valid_until(),
        "bound_to": confirmation.map(|confirmation| match confirmation {
            Confirmation::Key(_) => "key",
            Confirmation::Certificate(_) => "certificate",
        }),
    })
}
