//! The `oauth2_signing_keys` kind: the keys that sign access tokens. The gateway makes them; the Admin API shows them,
//! has the next one made, and deletes them. The private keys are shown to nobody.

use tollgate_core::entity::{InFiles, Kind, field};
use tollgate_core::schema::{Field, Schema};

/// The kind's name.
pub const NAME: &str = "oauth2_signing_keys";

/// The kind as data.
pub fn kind() -> Kind {
    Kind::new(NAME, schema()).in_files(InFiles::Never)
}

fn schema() -> Schema {
    Schema::new(vec![
        field::id(),
        field::created_at(),
        Field::string("algorithm").optional().one_of(&["ES256", "RS256"]),
        // Written by the gateway only; values sent by a client are ignored.
        Field::string("key_id").optional(),
        Field::integer("active_from").optional(),
        Field::integer("last_expiry").optional(),
    ])
    .describe(&[
        ("algorithm", "The algorithm of its signatures; that of the setting signing_keys.algorithm when not given."),
        ("key_id", "The `kid` of its tokens."),
        ("active_from", "The first second in which it signs, in Unix seconds."),
        (
            "last_expiry",
            "It is published at least until then, in Unix seconds: no token that it has signed lives longer.",
        ),
    ])
}
