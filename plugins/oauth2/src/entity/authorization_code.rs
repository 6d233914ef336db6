//! The `oauth2_authorization_codes` kind (oauth2.md §2.2). The Admin API has no paths for
//! it, since codes are issued and redeemed at the plugin's endpoints; it shows the schema.

use serde_json::Value;
use tollgate_core::entity::{InFiles, Kind, field};
use tollgate_core::schema::{Auto, Field, OnDelete, Schema};

/// The kind's name.
pub const NAME: &str = "oauth2_authorization_codes";

/// The kind as data.
pub fn kind() -> Kind {
    Kind::new(NAME, schema()).ttl().internal().in_files(InFiles::ReadOnly)
}

fn schema() -> Schema {
    Schema::new(vec![
        field::id(),
        field::created_at(),
        Field::foreign("service", "services", OnDelete::Cascade).default(Value::Null),
        Field::foreign("credential", "oauth2_credentials", OnDelete::Cascade).required(),
        Field::string("code").unique().auto(Auto::RandomString).sensitive().optional(),
        Field::string("authenticated_userid").optional(),
        Field::string("scope"),
        Field::string("challenge").optional(),
        Field::string("challenge_method").optional().one_of(&["S256"]),
        Field::foreign("plugin", "plugins", OnDelete::Cascade).default(Value::Null),
    ])
    .describe(&[
        ("service", "The service that the code's tokens are valid for; null for a global one."),
        ("credential", "The client that it was issued to."),
        ("code", "The code itself."),
        ("authenticated_userid", "The user who agreed."),
        ("scope", "The granted scope, as words separated by spaces."),
        ("challenge", "The PKCE challenge, if the client sent one (RFC 7636)."),
        ("challenge_method", "How the challenge is derived from the verifier."),
        ("plugin", "The plugin instance that issued it."),
    ])
}
