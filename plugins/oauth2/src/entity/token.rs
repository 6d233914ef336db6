//! The `oauth2_tokens` kind (contract oauth2.md §2.3), plus `token_hint`.
//!
//! `access_token` has no automatic value here: the collection mints it, because a token of ours
//! carries a checksum.

use serde_json::Value;
use tollgate_core::entity::{Kind, Nature, field};
use tollgate_core::schema::{Field, OnDelete, Rule, Schema};

/// The kind's name.
pub const NAME: &str = "oauth2_tokens";

/// The kind as data.
pub fn kind() -> Kind {
    Kind {
        name: NAME,
        segment: NAME,
        nested_segment: NAME,
        second_key: Some("access_token"),
        unique_together: &[],
        nature: Nature::Identity,
        ttl: true,
        admin: true,
        schema: schema(),
    }
}

fn schema() -> Schema {
    Schema::new(vec![
        field::id(),
        field::created_at(),
        Field::foreign("service", "services", OnDelete::Cascade),
        Field::foreign("credential", "oauth2_credentials", OnDelete::Cascade).required(),
        Field::string("token_type").default("bearer").one_of(&["bearer"]).required(),
        Field::integer("expires_in").required(),
        Field::string("access_token").unique().sensitive(),
        Field::string("refresh_token").unique().sensitive(),
        Field::string("authenticated_userid").rule(Rule::Custom("printable", printable)),
        Field::string("scope").rule(Rule::Custom("printable", printable)),
        // Written by the gateway only; a value that a client sends is not taken.
        Field::string("token_hint"),
    ])
}

/// Both go into headers of the requests that the token authorizes: a token whose user or scope no
/// header can carry would be of no use.
fn printable(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    if text.contains(char::is_control) { Err("must not contain control characters".to_owned()) } else { Ok(()) }
}
