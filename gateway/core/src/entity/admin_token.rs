//! Admin tokens: who may use the Admin API. The command line makes them; the Admin API neither shows nor changes
//! them, so that a token cannot make others.

use crate::entity::{Kind, field};
use crate::schema::{Field, Rule, Schema};

const NAME: &str = "admin_tokens";

/// The field with the role.
pub const ROLE: &str = "role";
/// The field with the digest of the token, which itself is stored nowhere.
pub const DIGEST: &str = "digest";

/// The kind `admin_tokens`.
pub fn kind() -> Kind {
    let fields = vec![
        field::id(),
        field::created_at(),
        Field::string("name").unique().required().rule(Rule::HeaderText).describe("Whom the token was made for."),
        Field::string(ROLE).one_of(&["read", "write"]).required().describe("What its holder may do."),
        Field::string(DIGEST).unique().required().describe("The BLAKE3 digest of the token, in hexadecimal."),
    ];
    Kind::new(NAME, Schema::new(fields)).second_key("name").internal()
}
