//! Certificates of authorities, by which those of upstreams are verified (gateway.md §5).

use serde_json::{Map, Value};

use crate::entity::certificate::{self, Pem};
use crate::entity::{Kind, field};
use crate::schema::{Derivation, EntityCheck, Field, Schema, Violations};

const NAME: &str = "ca_certificates";

/// The kind `ca_certificates`.
pub fn kind<P: Pem>() -> Kind {
    let fields = vec![
        field::id(),
        field::created_at(),
        field::updated_at(),
        certificate::certificate::<P>("cert").required().describe("The authority's certificate, in PEM format."),
        Field::string("cert_digest").unique().describe("The SHA-256 digest of the certificate; generated."),
        field::tags(),
    ];
    let digest = Derivation { from: "cert", field: "cert_digest", derive: P::digest };
    let schema = Schema::new(fields).derivation(digest);
    Kind::new(NAME, schema.entity_check(EntityCheck::OfFields { fields: &["cert"], check: usable::<P> }))
}

fn usable<P: Pem>(record: &Map<String, Value>, found: &mut Violations) {
    let certificate = record.get("cert").and_then(Value::as_str).unwrap_or_default();
    if certificate.matches("-----BEGIN CERTIFICATE-----").count() > 1 {
        found.entity("please submit only one certificate at a time");
    } else if P::is_expired(certificate) {
        found.entity("certificate expired, \"Not After\" time is in the past");
    } else if !P::is_authority(certificate) {
        found.entity("certificate does not appear to be a CA because it is missing the \"CA\" basic constraint");
    }
}
