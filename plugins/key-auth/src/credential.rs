//! The `keyauth_credentials` kind: a consumer's API key.

use tollgate_plugin::{Auto, Field, Kind, OnDelete, Schema, field};

/// The kind's name.
pub const NAME: &str = "keyauth_credentials";

/// The kind as data.
pub fn kind() -> Kind {
    Kind::new(NAME, schema()).segment("key-auths").nested_segment("key-auth").second_key("key").ttl()
}

fn schema() -> Schema {
    Schema::new(vec![
        field::id(),
        field::created_at(),
        Field::foreign("consumer", "consumers", OnDelete::Cascade).required(),
        Field::string("key").auto(Auto::RandomString).unique().sensitive().optional(),
        field::tags(),
    ])
    .describe(&[
        ("consumer", "The consumer of requests with this key."),
        ("key", "The key that clients present; generated when not given."),
    ])
}
