//! The protocols that services and routes name.

use crate::schema::Field;

const NAMES: [&str; 8] = ["grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"];

/// A field that names a protocol.
pub(super) fn field(name: &'static str) -> Field {
    Field::string(name).one_of(&NAMES)
}
