//! Certificates with their private keys: served to clients by server name, or presented to upstreams (gateway.md §5).
//!
//! A certificate may have an alternative of another key type, and the client's offer decides which one it gets.
//! `snis` lists its server names, each of which is a `snis` entity.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::entity::{Kind, Names, field, host};
use crate::schema::{EntityCheck, Field, Rule, Schema, Violations};

pub(super) const NAME: &str = "certificates";

/// What a cryptographic library says about text in PEM format. This crate has none.
pub trait Pem: 'static {
    /// Whether it is a certificate, perhaps followed by those of the authorities above it; `Err` says why not.
    ///
    /// # Errors
    /// It is none.
    fn check_certificate(text: &str) -> Result<(), String>;

    /// Whether it is a private key without a passphrase; `Err` says why not.
    ///
    /// # Errors
    /// It is none.
    fn check_key(text: &str) -> Result<(), String>;

    /// Whether a private key is that of a certificate.
    fn belong_together(certificate: &str, key: &str) -> bool;

    /// Whether two certificates have keys of the same type, such as RSA.
    fn have_same_type(one: &str, other: &str) -> bool;

    /// Whether a certificate is no longer valid.
    fn is_expired(certificate: &str) -> bool;

    /// Whether a certificate is that of an authority.
    fn is_authority(certificate: &str) -> bool;

    /// The SHA-256 digest of a certificate, in hexadecimal.
    fn digest(certificate: &str) -> Option<String>;
}

/// The kind `certificates`.
pub fn kind<P: Pem>() -> Kind {
    let sni = Field::string("").rule(Rule::Custom("wildcard_host", host::wildcard_name));
    let fields = vec![
        field::id(),
        field::created_at(),
        field::updated_at(),
        certificate::<P>("cert").required().describe("The certificate and those of its authorities, in PEM format."),
        key::<P>("key").required().describe("The certificate's private key, in PEM format."),
        certificate::<P>("cert_alt").describe("A certificate of another key type for the same names."),
        key::<P>("key_alt").describe("The private key of the alternative certificate."),
        field::tags(),
        Field::array("snis", sni)
            .rule(Rule::Custom("distinct", distinct))
            .describe("The server names for which the certificate is served."),
    ];
    let schema = Schema::new(fields)
        .adjust(list_of_one_name)
        .entity_check(EntityCheck::AllOrNone(&["cert_alt", "key_alt"]))
        .entity_check(EntityCheck::OfFields { fields: &["cert", "key"], check: matching::<P> })
        .entity_check(EntityCheck::OfFields { fields: &["cert_alt", "key_alt"], check: matching_alternative::<P> })
        .entity_check(EntityCheck::OfFields { fields: &["cert", "cert_alt"], check: of_two_types::<P> });
    let names = Names { field: "snis", kind: "snis", name: "name", reference: "certificate", missing: "SNI not found" };
    Kind::new(NAME, schema).names(names)
}

/// A certificate in PEM format.
pub(super) fn certificate<P: Pem>(name: &'static str) -> Field {
    Field::string(name).rule(Rule::Custom("certificate", |value| {
        P::check_certificate(text(value)).map_err(|why| format!("invalid certificate: {why}"))
    }))
}

fn key<P: Pem>(name: &'static str) -> Field {
    let check = |value: &Value| P::check_key(text(value)).map_err(|why| format!("invalid key: {why}"));
    Field::string(name).sensitive().rule(Rule::Custom("key", check))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The text of both fields, if both have one.
fn both<'r>(record: &'r Map<String, Value>, names: [&str; 2]) -> Option<(&'r str, &'r str)> {
    let [one, other] = names.map(|name| record.get(name).and_then(Value::as_str));
    one.zip(other)
}

fn matching<P: Pem>(record: &Map<String, Value>, found: &mut Violations) {
    if both(record, ["cert", "key"]).is_some_and(|(certificate, key)| !P::belong_together(certificate, key)) {
        found.entity("certificate does not match key");
    }
}

fn matching_alternative<P: Pem>(record: &Map<String, Value>, found: &mut Violations) {
    if both(record, ["cert_alt", "key_alt"]).is_some_and(|(certificate, key)| !P::belong_together(certificate, key)) {
        found.entity("alternative certificate does not match key");
    }
}

fn of_two_types<P: Pem>(record: &Map<String, Value>, found: &mut Violations) {
    if both(record, ["cert", "cert_alt"]).is_some_and(|(one, other)| P::have_same_type(one, other)) {
        found.entity(
            "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), the provided \
             certificates were both of the same type",
        );
    }
}

/// One name in place of a list.
fn list_of_one_name(given: &mut Map<String, Value>) {
    if let Some(name @ Value::String(_)) = given.get_mut("snis") {
        *name = Value::Array(vec![name.take()]);
    }
}

fn distinct(names: &Value) -> Result<(), String> {
    let mut seen = HashSet::new();
    let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(format!("{name} is duplicated")),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
