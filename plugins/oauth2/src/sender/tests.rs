use serde_json::json;

use super::*;
use crate::store::memory::MemoryOnce;

/// For instances in tests.
pub(crate) fn proofs(clock: Arc<dyn Clock>) -> Proofs {
    let (nonces, once) = (Nonces::new([9; 32]), MemoryOnce::default());
    let checks = SignatureChecks::new(tokio::runtime::Handle::current());
    let replays = Replays::new(10_000);
    Proofs { nonces, keys: KnownKeys::default(), replays, once: Arc::new(once), checks, clock }
}

fn key(name: &str) -> Confirmation {
    Confirmation::Key(name.to_owned())
}

fn certificate(name: &str) -> Confirmation {
    Confirmation::Certificate(name.to_owned())
}

#[test]
fn what_was_bound_is_proved_again_rfc9449_5() {
    use Same::{Exactly, OfClient};
    let missing = || Err(Refusal::Proof(Fault::Missing));
    for (bound, proved, same, expected) in [
        (None, None, Exactly, Ok(())),
        (None, Some(key("a")), Exactly, Ok(())),
        (Some(key("a")), Some(key("a")), Exactly, Ok(())),
        (Some(key("a")), Some(key("b")), Exactly, Err(Refusal::OtherSender)),
        (Some(key("a")), Some(key("b")), OfClient, Ok(())),
        (Some(key("a")), Some(certificate("a")), Exactly, Err(Refusal::OtherSender)),
        (Some(key("a")), None, Exactly, missing()),
        (Some(key("a")), None, OfClient, missing()),
        (Some(certificate("a")), Some(certificate("a")), Exactly, Ok(())),
        (Some(certificate("a")), Some(certificate("b")), Exactly, Err(Refusal::OtherSender)),
        (Some(certificate("a")), None, OfClient, Err(Refusal::CertificateMissing)),
    ] {
        let binding = Binding::new(vec!["urn:a".to_owned()], bound.clone());
        assert_eq!(require(binding.as_deref(), proved.as_ref(), same), expected, "{bound:?} {proved:?} {same:?}");
    }
    assert_eq!(Same::of(ClientType::Public), Exactly);
    assert_eq!(Same::of(ClientType::Confidential), OfClient);
}

#[test]
fn what_is_bound_keeps_its_audience() {
    let audience = vec!["urn:a".to_owned()];
    let binding = bind(Binding::new(audience.clone(), Some(key("a"))), Some(&key("b"))).unwrap();
    assert_eq!((&binding.audience, &binding.confirmation), (&audience, &Some(key("b"))));
    let unbound = bind(Binding::new(audience.clone(), Some(key("a"))), None).unwrap();
    assert_eq!((&unbound.audience, &unbound.confirmation), (&audience, &None));
    assert_eq!(bind(None, None), None);
    assert_eq!(bind(None, Some(&key("a"))), Binding::new(Vec::new(), Some(key("a"))));
}

#[test]
fn a_key_is_announced_by_its_thumbprint_rfc9449_10() {
    let thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    let with = |dpop: &str, parameters: serde_json::Value| {
        announced(&crate::config::tests::config(&json!({"dpop": dpop})), &Parameters::of(&parameters))
    };
    assert_eq!(with("optional", json!({"dpop_jkt": thumbprint})), Ok(Some(key(thumbprint))));
    assert_eq!(with("optional", json!({})), Ok(None));
    assert_eq!(with("off", json!({"dpop_jkt": "x"})), Ok(None), "as unknown parameters are");
    for wrong in [json!(""), json!(1), json!("a"), json!(format!("{thumbprint}=")), json!(thumbprint.replace('_', "/"))]
    {
        assert_eq!(with("required", json!({"dpop_jkt": wrong})), Err(Refusal::Thumbprint), "{wrong}");
    }
}
