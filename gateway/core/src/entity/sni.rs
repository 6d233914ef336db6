//! SNIs: the server names for which a certificate is served (gateway.md §5).

use crate::entity::{Kind, certificate, field, host};
use crate::schema::{Field, OnDelete, Rule, Schema};

const NAME: &str = "snis";

/// The kind `snis`.
pub fn kind() -> Kind {
    let name = Field::string("name").unique().required().rule(Rule::Custom("wildcard_host", host::wildcard_name));
    let fields = vec![
        field::id(),
        name.describe("The server name; `*` may replace the first or the last label, or stand alone for every name."),
        field::created_at(),
        field::updated_at(),
        field::tags(),
        Field::foreign("certificate", certificate::NAME, OnDelete::Cascade)
            .required()
            .describe("The certificate that is served for the name."),
    ];
    // `/certificates/{name}` is the path of a name's certificate.
    Kind::new(NAME, Schema::new(fields)).second_key("name").without_path_to(&["certificate"])
}
