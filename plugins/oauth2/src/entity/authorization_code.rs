//! The `oauth2_authorization_codes` kind (contract oauth2.md §2.2). The Admin API has no paths for
//! it, since codes come into being and end at the plugin's endpoints; it shows the schema.

use tollgate_core::entity::{Kind, Nature, field};
use tollgate_core::schema::{Auto, Field, OnDelete, Schema};

/// The kind's name.
pub const NAME: &str = "oauth2_authorization_codes";

/// The kind as data.
pub fn kind() -> Kind {
    Kind {
        name: NAME,
        segment: NAME,
        nested_segment: NAME,
        second_key: None,
        unique_together: &[],
        nature: Nature::Identity,
        ttl: true,
        admin: false,
        schema: schema(),
    }
}

fn schema() -> Schema {
    Schema::new(vec![
        field::id(),
        field::created_at(),
        Field::foreign("service", "services", OnDelete::Cascade),
        Field::foreign("credential", "oauth2_credentials", OnDelete::Cascade).required(),
        Field::string("code").unique().auto(Auto::RandomString).sensitive(),
        Field::string("authenticated_userid"),
        Field::string("scope"),
        Field::string("challenge"),
        Field::string("challenge_method").one_of(&["S256"]),
        Field::foreign("plugin", "plugins", OnDelete::Cascade),
    ])
}
