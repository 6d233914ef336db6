//! The `oauth2_tokens` kind (oauth2.md §2.3), plus `token_hint`.
//!
//! `access_token` has no automatic value here: the collection mints it, because our own tokens
//! carry a checksum.

use serde_json::Value;
use tollgate_core::entity::{InFiles, Kind, field};
use tollgate_core::schema::{Field, OnDelete, Rule, Schema};

/// The kind's name.
pub const NAME: &str = "oauth2_tokens";

/// The kind as data.
pub fn kind() -> Kind {
    Kind::new(NAME, schema()).second_key("access_token").ttl().in_files(InFiles::ReadOnly)
}

fn schema() -> Schema {
    Schema::new(vec![
        field::id(),
        field::created_at(),
        Field::foreign("service", "services", OnDelete::Cascade).default(Value::Null),
        Field::foreign("credential", "oauth2_credentials", OnDelete::Cascade).required(),
        Field::string("token_type").default("bearer").one_of(&["bearer"]).required(),
        Field::integer("expires_in").required(),
        Field::string("access_token").unique().sensitive().optional(),
        Field::string("refresh_token").unique().sensitive().optional(),
        // Both are sent in headers of the requests that the token authorizes.
        Field::string("authenticated_userid").optional().rule(Rule::HeaderText),
        Field::string("scope").rule(Rule::HeaderText),
        // Written by the gateway only; a value sent by a client is ignored.
        Field::string("token_hint").empty_allowed(),
    ])
    .describe(&[
        ("service", "The service that it is valid for; null for a global one."),
        ("credential", "The client that it was issued to."),
        ("token_type", "How it is presented (RFC 6750)."),
        ("expires_in", "Lifetime in seconds from `created_at`; 0 means unlimited."),
        ("access_token", "The token itself; generated when not given, and shown only to the client that presents it."),
        ("refresh_token", "The token that is exchanged for a new access token."),
        ("authenticated_userid", "The user it acts for; null for the client itself."),
        ("scope", "The granted scope, as words separated by spaces."),
        ("token_hint", "The last characters of the access token, for distinguishing tokens."),
    ])
}
