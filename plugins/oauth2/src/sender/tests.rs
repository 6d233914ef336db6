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
        let proved = Proved { bound: proved, certificate: None };
        assert_eq!(require(binding.as_deref(), &proved, same), expected, "{bound:?} {proved:?} {same:?}");
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

#[test]
fn a_certificate_counts_beside_a_key_that_is_proved_as_well() {
    let binding = Binding::new(Vec::new(), Some(certificate("a")));
    for (name, expected) in [("a", Ok(())), ("b", Err(Refusal::OtherSender))] {
        let proved = Proved { bound: Some(key("k")), certificate: Some(certificate(name)) };
        assert_eq!(require(binding.as_deref(), &proved, Same::Exactly), expected, "{name}");
    }
}

#[test]
fn what_is_required_is_bound_and_must_be_there() {
    let missing = || Err(Refusal::Proof(Fault::Missing));
    let no_certificate = || Err(Refusal::CertificateMissing);
    let (key, certificate) = (|| Some(key("k")), || Some(certificate("c")));
    for (rules, given, expected) in [
        (json!({}), (None, None), Ok(None)),
        (json!({"dpop": "optional", "mtls_bound_tokens": "optional"}), (key(), certificate()), Ok(key())),
        (json!({"dpop": "optional", "mtls_bound_tokens": "optional"}), (None, certificate()), Ok(certificate())),
        (json!({"dpop": "required"}), (None, None), missing()),
        (json!({"dpop": "required", "mtls_bound_tokens": "optional"}), (None, certificate()), missing()),
        (json!({"dpop": "required", "mtls_bound_tokens": "required"}), (None, certificate()), missing()),
        (json!({"dpop": "optional", "mtls_bound_tokens": "required"}), (key(), certificate()), Ok(certificate())),
        (json!({"dpop": "optional", "mtls_bound_tokens": "required"}), (key(), None), no_certificate()),
        (json!({"sender_constraint": "any"}), (None, None), missing()),
        (json!({"sender_constraint": "any"}), (key(), None), Ok(key())),
        (json!({"sender_constraint": "any"}), (None, certificate()), Ok(certificate())),
    ] {
        let config = crate::config::tests::config(&rules);
        let found = chosen(&config.sender, given.0.clone(), given.1.clone()).map(|proved| proved.bound);
        assert_eq!(found, expected, "{rules} {given:?}");
    }
}

#[test]
fn what_a_client_always_proves_is_required_of_it_rfc9449_5_2_rfc8705_3_4() {
    let always = |proves_key, has_certificate| Always { proves_key, has_certificate, pushes: false };
    let (missing, no_certificate) = (Err(Refusal::Proof(Fault::Missing)), Err(Refusal::CertificateMissing));
    for (always, bound, expected) in [
        (always(false, false), None, Ok(())),
        (always(true, false), Some(key("k")), Ok(())),
        (always(true, false), Some(certificate("c")), missing.clone()),
        (always(true, false), None, missing),
        (always(false, true), Some(certificate("c")), Ok(())),
        (always(false, true), Some(key("k")), no_certificate.clone()),
        (always(false, true), None, no_certificate),
    ] {
        let proved = Proved { bound: bound.clone(), certificate: Some(certificate("c")) };
        assert_eq!(require_always(always, &proved), expected, "{always:?} {bound:?}");
    }
}
