use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use openssl::x509::X509NameBuilder;
use openssl::x509::extension::BasicConstraints;
use tollgate_core::entity::certificate::Pem as _;

use super::*;

fn ec() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn rsa() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

fn certificate(key: &PKey<Private>, seconds: i64, constraints: Option<BasicConstraints>) -> String {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "a.test").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(seconds).unwrap()).unwrap();
    if let Some(constraints) = constraints {
        builder.append_extension(constraints.build().unwrap()).unwrap();
    }
    builder.sign(key, MessageDigest::sha256()).unwrap();
    String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
}

fn text(key: &PKey<Private>) -> String {
    String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap()
}

const FUTURE: i64 = 4_000_000_000;

#[test]
fn text_that_is_no_certificate_or_key_is_refused_with_the_reason() {
    let key = ec();
    let good = certificate(&key, FUTURE, None);
    assert_eq!(Pem::check_certificate(&good), Ok(()));
    assert_eq!(Pem::check_certificate(&format!("{good}{good}")), Ok(()));
    assert_eq!(Pem::check_certificate("x"), Err("no certificate in PEM format was found".to_owned()));
    assert!(Pem::check_certificate(&good.replace('M', "A")).is_err());
    assert_eq!(Pem::check_key(&text(&key)), Ok(()));
    assert_eq!(Pem::check_key(&good), Err("no private key in PEM format was found".to_owned()));
    let encrypted = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"open sesame").unwrap();
    assert_eq!(
        Pem::check_key(&String::from_utf8(encrypted).unwrap()),
        Err("the private key is encrypted; store it without a passphrase".to_owned())
    );
}

#[test]
fn keys_are_compared_with_certificates_and_types_with_types() {
    let (ec_key, rsa_key) = (ec(), rsa());
    let (of_ec, of_rsa) = (certificate(&ec_key, FUTURE, None), certificate(&rsa_key, FUTURE, None));
    assert!(Pem::belong_together(&of_ec, &text(&ec_key)));
    assert!(!Pem::belong_together(&of_ec, &text(&ec())));
    assert!(!Pem::belong_together(&of_ec, &text(&rsa_key)));
    assert!(Pem::have_same_type(&of_ec, &certificate(&ec(), FUTURE, None)));
    assert!(!Pem::have_same_type(&of_ec, &of_rsa));
}

#[test]
fn authorities_and_expired_certificates_are_recognised() {
    let key = ec();
    let mut authority = BasicConstraints::new();
    authority.ca();
    let mut critical = BasicConstraints::new();
    critical.critical().ca().pathlen(1);
    assert!(Pem::is_authority(&certificate(&key, FUTURE, Some(authority))));
    assert!(Pem::is_authority(&certificate(&key, FUTURE, Some(critical))));
    assert!(!Pem::is_authority(&certificate(&key, FUTURE, Some(BasicConstraints::new()))));
    assert!(!Pem::is_authority(&certificate(&key, FUTURE, None)));
    assert!(Pem::is_expired(&certificate(&key, 1_000, None)));
    assert!(!Pem::is_expired(&certificate(&key, FUTURE, None)));
}

#[test]
fn the_digest_is_that_of_the_certificate_whatever_surrounds_it() {
    let pem = certificate(&ec(), FUTURE, None);
    let digest = Pem::digest(&pem).unwrap();
    assert_eq!(digest.len(), 64);
    assert_eq!(Pem::digest(&format!("a comment\n{pem}\n")), Some(digest));
}
