//! The `oauth2_credentials` kind (oauth2.md §2.1), and a credential as requests need it.

use std::fmt;

use serde_json::{Map, Value};
use tollgate_core::collection::Document;
use tollgate_core::entity::{Kind, field};
use tollgate_core::schema::{Auto, Companion, EntityCheck, Field, OnDelete, Rule, Schema, Transformation, Type};
use tollgate_core::secret::Secret;
use uuid::Uuid;

use super::registered::{self, Registered};
use crate::client_secret::{self, ClientSecret};
use crate::profile::Name;
use crate::redirect_uri;

/// The end of the year 9999, in Unix seconds.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// The kind's name.
pub const NAME: &str = "oauth2_credentials";

/// The kind as data. A credential belongs to no plugin: what a profile says of it, the node's does (`default`).
pub fn kind(default: Name) -> Kind {
    Kind::new(NAME, schema(default)).segment("oauth2").second_key("client_id")
}

fn schema(default: Name) -> Schema {
    let check = match default {
        Name::Kong => redirect_uri::check,
        Name::Bcp => redirect_uri::check_with_private_use,
    };
    let redirect_uri = Field::string("").rule(Rule::Custom("redirect_uri", check));
    let mut fields = vec![
        field::id(),
        field::created_at(),
        Field::foreign("consumer", "consumers", OnDelete::Cascade).required(),
        Field::string("name").required(),
        // Sent upstream in a header.
        Field::string("client_id").auto(Auto::RandomString).unique().optional().rule(Rule::HeaderText),
        Field::string("client_secret").auto(Auto::RandomString).sensitive().optional(),
        Field::boolean("hash_secret", default == Name::Bcp),
        Field::array("redirect_uris", redirect_uri).optional(),
        field::tags(),
        Field::string("client_type").default("confidential").one_of(&["confidential", "public"]).required(),
    ];
    let beyond_contract = [
        Field::new("resource_server", Type::Boolean),
        Field::strings("grant_types"),
        Field::strings("allowed_scopes"),
        Field::string("previous_client_secret").sensitive(),
        Field::integer("previous_client_secret_expires_at").rule(Rule::Between(0.0, LAST_SECOND)),
    ];
    let beyond_contract = beyond_contract.into_iter().chain(registered::fields());
    fields.extend(beyond_contract.map(Field::left_out_if_null));
    let schema = Schema::new(fields)
        .describe(&DESCRIPTIONS)
        .transformation(Transformation {
            input: "hash_secret",
            needs: "client_secret",
            on_write: client_secret::hash,
            companion: Some(Companion { field: "previous_client_secret", is_rewritten: client_secret::is_hash }),
        })
        .entity_check(EntityCheck::AllOrNone(&["previous_client_secret", "previous_client_secret_expires_at"]));
    if default == Name::Bcp { schema.adjust(without_secret) } else { schema }
}

/// Without a secret there is none to hash.
fn without_secret(given: &mut Map<String, Value>) {
    if given.get("client_secret") == Some(&Value::Null) {
        given.entry("hash_secret").or_insert(Value::Bool(false));
    }
}

/// The descriptions of a credential's own fields in `/schemas/oauth2_credentials`.
const DESCRIPTIONS: [(&str, &str); 12] = [
    ("consumer", "The consumer that this client acts as."),
    ("name", "The name of the application."),
    ("client_id", "The client's public id; generated when not given."),
    ("client_secret", "The secret with which the client authenticates; generated when not given."),
    ("hash_secret", "Whether only a hash of the secret is stored."),
    ("redirect_uris", "Where the authorization endpoint may send the browser; the first is the default."),
    ("client_type", "Whether the client can keep a secret."),
    (
        "grant_types",
        "The grants that the client may use (RFC 7591 section 2), of those that the plugin enables; null means all.",
    ),
    ("resource_server", "Whether the client may introspect tokens (RFC 7662)."),
    ("allowed_scopes", "The scopes that the client may have; null: all that a plugin has."),
    ("previous_client_secret", "The secret that client_secret has replaced, which is accepted as well for a time."),
    ("previous_client_secret_expires_at", "Until when it is accepted, in Unix seconds."),
];

/// Whether a client can keep a secret (RFC 6749 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientType {
    /// It can.
    Confidential,
    /// It cannot, and has no secret.
    Public,
}

impl fmt::Display for ClientType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Confidential => "confidential",
            Self::Public => "public",
        })
    }
}

/// A client's credential.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Its id.
    pub id: Uuid,
    /// The client's public id.
    pub client_id: String,
    /// Its secret.
    pub secret: ClientSecret,
    /// Whether it can keep a secret.
    pub client_type: ClientType,
    /// The secret that it replaced, until its time is over.
    pub previous_secret: Option<PreviousSecret>,
    /// The scopes that the client may have; `None`: all that an instance has.
    pub allowed_scopes: Option<Vec<String>>,
    /// Where the browser may be sent back to; the first is the default.
    pub redirect_uris: Vec<String>,
    /// The consumer it belongs to.
    pub consumer_id: Uuid,
    /// The name of the application.
    pub name: String,
    /// Whether it may introspect tokens.
    pub resource_server: bool,
    /// What it is registered with besides a secret.
    pub registered: Registered,
    /// The grants that it may use; `None`: all.
    pub grant_types: Option<Vec<String>>,
}

/// A secret that was replaced, and is still accepted for some time.
#[derive(Debug, Clone)]
pub struct PreviousSecret {
    /// The secret.
    pub secret: ClientSecret,
    /// The first second in which it is not accepted any more, in Unix seconds.
    pub expires_at: i64,
}

impl Credential {
    /// The secret that it replaced, if that is still accepted.
    pub fn previous_secret(&self, now: i64) -> Option<&ClientSecret> {
        self.previous_secret.as_ref().filter(|previous| now < previous.expires_at).map(|previous| &previous.secret)
    }

    /// Whether the client may use a grant, by its name (RFC 7591 §2).
    pub fn may_use(&self, grant_type: &str) -> bool {
        self.grant_types.as_ref().is_none_or(|known| known.iter().any(|known| known == grant_type))
    }
}

/// A stored credential does not match its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot read field {field} of a stored credential")]
pub struct Unreadable {
    /// The field.
    pub field: &'static str,
}

impl TryFrom<&Document> for Credential {
    type Error = Unreadable;

    fn try_from(document: &Document) -> Result<Self, Unreadable> {
        let needed = |field| document.text(field).ok_or(Unreadable { field });
        let hashed = document.flag("hash_secret").unwrap_or(false);
        Ok(Self {
            id: document.id().ok_or(Unreadable { field: "id" })?,
            client_id: needed("client_id")?.to_owned(),
            secret: match document.text("client_secret") {
                Some(phc) if hashed => ClientSecret::hashed(phc),
                Some(clear) => ClientSecret::Plain(Secret::new(clear)),
                None => ClientSecret::Unmatchable,
            },
            client_type: match needed("client_type")? {
                "public" => ClientType::Public,
                "confidential" => ClientType::Confidential,
                _ => return Err(Unreadable { field: "client_type" }),
            },
            previous_secret: previous_secret(document, hashed),
            allowed_scopes: strings(document, "allowed_scopes")?,
            redirect_uris: strings(document, "redirect_uris")?.unwrap_or_default(),
            consumer_id: document.reference("consumer").ok_or(Unreadable { field: "consumer" })?,
            name: needed("name")?.to_owned(),
            resource_server: document.flag("resource_server") == Some(true),
            registered: Registered::try_from(document)?,
            grant_types: strings(document, "grant_types")?,
        })
    }
}

fn strings(document: &Document, field: &'static str) -> Result<Option<Vec<String>>, Unreadable> {
    let Some(given) = document.get(field).filter(|given| !given.is_null()) else { return Ok(None) };
    let strings = given.as_array().and_then(|given| given.iter().map(|one| one.as_str().map(str::to_owned)).collect());
    strings.map(Some).ok_or(Unreadable { field })
}

fn previous_secret(document: &Document, hashed: bool) -> Option<PreviousSecret> {
    let stored = document.text("previous_client_secret")?;
    let expires_at = document.get("previous_client_secret_expires_at").and_then(Value::as_i64)?;
    // It may have been hashed before the current one was stored as given.
    let secret = match ClientSecret::hashed(stored) {
        ClientSecret::Unmatchable if !hashed => ClientSecret::Plain(Secret::new(stored)),
        secret => secret,
    };
    Some(PreviousSecret { secret, expires_at })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(patch: &Value) -> Result<Credential, Unreadable> {
        let mut stored = json!({
            "id": "5a5cdd35-9fbb-4ad7-9b87-6cf4c9d1a1a1", "client_id": "shoe", "client_secret": "fly",
            "hash_secret": false, "client_type": "confidential", "redirect_uris": null, "name": "Shoe Fly Shoe",
            "consumer": {"id": "0d7f1a9a-4f6a-4d1c-8f6f-9f6d6c7f2a2b"},
        });
        for (field, value) in patch.as_object().into_iter().flatten() {
            stored[field] = value.clone();
        }
        Credential::try_from(&Document::try_from(stored).unwrap())
    }

    #[test]
    fn a_stored_credential_is_read() {
        let credential = read(&json!({"redirect_uris": ["https://shoe.test/cb"], "client_type": "public"})).unwrap();
        assert_eq!(credential.client_id, "shoe");
        assert_eq!(credential.client_type, ClientType::Public);
        assert_eq!(credential.redirect_uris, ["https://shoe.test/cb"]);
        assert!(matches!(&credential.secret, ClientSecret::Plain(secret) if secret.matches("fly")));
    }

    #[test]
    fn an_unreadable_hash_matches_nothing() {
        for patch in [json!({"hash_secret": true}), json!({"client_secret": null})] {
            assert!(matches!(read(&patch).unwrap().secret, ClientSecret::Unmatchable), "{patch}");
        }
        let hash = client_secret::hash("fly");
        let credential = read(&json!({"hash_secret": true, "client_secret": hash})).unwrap();
        assert!(matches!(credential.secret, ClientSecret::Hashed(_)));
    }

    #[test]
    fn a_broken_row_names_its_field() {
        for (patch, field) in [
            (json!({"id": "x"}), "id"),
            (json!({"consumer": null}), "consumer"),
            (json!({"client_type": "secretive"}), "client_type"),
            (json!({"redirect_uris": [1]}), "redirect_uris"),
            (json!({"name": null}), "name"),
        ] {
            assert_eq!(read(&patch).err(), Some(Unreadable { field }));
        }
    }

    #[test]
    fn errors_are_reported_in_the_documented_words() {
        use tollgate_core::clock::ManualClock;
        use tollgate_core::random::SystemRandom;
        use tollgate_core::schema::Makers;

        let makers = Makers { clock: &ManualClock::at(1), random: &SystemRandom };
        let consumer = json!({"id": "0d7f1a9a-4f6a-4d1c-8f6f-9f6d6c7f2a2b"});
        let insert = |patch: Value| {
            let mut document = json!({"name": "n", "consumer": consumer});
            for (field, value) in patch.as_object().into_iter().flatten() {
                document[field] = value.clone();
            }
            kind(Name::Kong).schema.process_insert(Document::try_from(document).unwrap(), &makers)
        };
        for (patch, field, fault) in [
            (json!({"client_type": "x"}), "client_type", json!("expected one of: confidential, public")),
            (
                json!({"redirect_uris": ["http://a.test", "urn:x", "myapp://cb", "http://a.test#b"]}),
                "redirect_uris",
                json!([null, "cannot parse 'urn:x'", null, "fragment not allowed in 'http://a.test#b'"]),
            ),
            (
                json!({"hash_secret": true, "client_secret": null}),
                "@entity",
                json!(["all or none of these fields must be set: 'hash_secret', 'client_secret'"]),
            ),
            (json!({"name": null}), "name", json!("required field missing")),
            (json!({"client_id": "a "}), "client_id", json!("must not begin or end with white space")),
            (json!({"client_id": "a\nb"}), "client_id", json!("must not contain control characters")),
        ] {
            assert_eq!(insert(patch.clone()).unwrap_err().fields[field], fault, "{patch}");
        }
        let stored = insert(json!({"hash_secret": true, "client_secret": "fly"})).unwrap();
        assert!(stored["client_secret"].as_str().unwrap().starts_with("$pbkdf2-sha512$i=10000,l=32$"));
        let stored = Credential::try_from(&stored).unwrap();
        assert!(matches!(stored.secret, ClientSecret::Hashed(_)));
        assert_eq!(stored.client_id.len(), 32);
    }
}
