//! How an authority is called: the fields of its configuration, what is refused in them, and the profile of its calls.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tollgate_plugin::http_client::{Client, Profile, Tls, TlsError};
use tollgate_plugin::{Field, Rule, Schema, Violations};

use crate::authority_url::AuthorityUrl;
use tollgate_jose::KeySet;

/// The longest time that a field may give, in milliseconds.
const LONGEST: i32 = i32::MAX - 1;

/// The fields, to be followed by a plugin's own. Their schema needs [`with_checks`].
pub fn fields() -> [Field; 4] {
    [
        Field::integer("timeout")
            .default(10_000)
            .required()
            .between(1, LONGEST)
            .describe("The timeout of a call, in milliseconds."),
        Field::integer("keepalive")
            .default(60_000)
            .required()
            .between(0, LONGEST)
            .describe("How long an idle connection is kept open, in milliseconds; at most two minutes."),
        Field::boolean("tls_verify", true)
            .describe("Whether the authority's certificate is verified. Never switch this off in production."),
        Field::string("tls_ca").rule(Rule::Custom("certificates", certificates)).describe(
            "The certificates, in PEM, of those that may have issued the authority's certificate, instead of the system's.",
        ),
    ]
}

/// Adds the rules about several of the fields.
pub fn with_checks(schema: Schema) -> Schema {
    schema.check(json!({"custom": "tls"}), unused_certificates)
}

/// A field for a URL that is called.
pub fn url(name: &'static str) -> Field {
    Field::string(name).rule(Rule::Custom("url", callable))
}

/// A field for an authority's public keys themselves: a JWK set, as JSON.
pub fn key_set(name: &'static str) -> Field {
    Field::string(name).rule(Rule::Custom("jwks", public_keys))
}

fn callable(value: &Value) -> Result<(), String> {
    AuthorityUrl::parse(value.as_str().unwrap_or_default()).map(drop).map_err(|error| error.to_string())
}

fn certificates(value: &Value) -> Result<(), String> {
    Tls::authorities(value.as_str().unwrap_or_default().as_bytes()).map(drop).map_err(|error| error.to_string())
}

fn public_keys(value: &Value) -> Result<(), String> {
    let keys = KeySet::parse(value.as_str().unwrap_or_default().as_bytes()).map_err(|error| error.to_string())?;
    if ["private", "symmetric"].iter().any(|secret| keys.skipped().contains_key(secret)) {
        return Err("contains a private or symmetric key; configure public keys only".to_owned());
    }
    if keys.keys().is_empty() { Err("contains no key that can verify signatures".to_owned()) } else { Ok(()) }
}

/// Whoever configures certificates expects them to be compared.
fn unused_certificates(record: &Map<String, Value>, found: &mut Violations) {
    let is_given = record.get("tls_ca").is_some_and(|certificates| !certificates.is_null());
    if is_given && record.get("tls_verify") == Some(&Value::Bool(false)) {
        found.field("tls_ca", "has no effect when tls_verify is false");
    }
}

/// The objections to the elements of an array, as those of its field.
pub fn objections_in(field: &str, elements: impl Iterator<Item = Violations>) -> Violations {
    let mut found = Violations::new();
    let elements: Vec<Violations> = elements.collect();
    if elements.iter().any(|element| !element.is_empty()) {
        let shown = |element: Violations| {
            if element.is_empty() { Value::Null } else { Value::Object(element.fields) }
        };
        found.fields.insert(field.to_owned(), elements.into_iter().map(shown).collect());
    }
    found
}

/// The values of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Connection {
    timeout: u64,
    keepalive: u64,
    tls_verify: bool,
    tls_ca: Option<String>,
}

impl Connection {
    /// The timeout of a call, in milliseconds.
    pub fn timeout(&self) -> i64 {
        i64::try_from(self.timeout).unwrap_or(i64::MAX)
    }

    /// Which certificates are accepted.
    ///
    /// # Errors
    /// A certificate cannot be read.
    pub fn tls(&self) -> Result<Tls, TlsError> {
        match &self.tls_ca {
            Some(pem) => Tls::authorities(pem.as_bytes()),
            None if self.tls_verify => Tls::system(),
            None => Tls::unverified(),
        }
    }

    /// How a plugin calls the authority; `tls`: [`Self::tls`], perhaps with a client certificate.
    pub fn profile(&self, client: &Client, plugin: &'static str, tls: Tls) -> Profile {
        let (timeout, keepalive) = (Duration::from_millis(self.timeout), Duration::from_millis(self.keepalive));
        client.profile(plugin).tls(tls).timeout(timeout).keepalive(keepalive)
    }

    /// Logs that others can read and change what this URL of an authority responds with, if they can.
    pub fn warn(&self, authority: &str, url: &AuthorityUrl) {
        let is_plain = url.uri.scheme_str() == Some("http");
        let url = &*url.name;
        if is_plain {
            tracing::warn!(
                authority,
                url,
                "the URL is not https: whoever is between here and this authority can read and change its responses"
            );
        } else if !self.tls_verify {
            tracing::warn!(
                authority,
                url,
                "tls_verify is false: whoever is between here and this authority can read and change its responses"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::clock::ManualClock;
    use tollgate_core::random::SystemRandom;
    use tollgate_core::schema::Makers;
    use tollgate_plugin::Document;

    use super::*;

    fn violation(field: &str) -> Violations {
        let mut found = Violations::new();
        found.field(field, "wrong");
        found
    }

    #[test]
    fn only_elements_with_objections_have_them() {
        let ok = Violations::new;
        assert!(objections_in("issuers", [ok(), ok()].into_iter()).is_empty());
        let found = objections_in("issuers", [ok(), violation("jwks_uri"), ok()].into_iter());
        assert_eq!(Value::Object(found.fields), json!({"issuers": [null, {"jwks_uri": "wrong"}, null]}));
    }

    #[test]
    fn the_defaults_verify_and_wait_ten_seconds() {
        let makers = Makers { clock: &ManualClock::at(1), random: &SystemRandom };
        let schema = with_checks(Schema::new(fields().into()));
        let stored = schema.process_insert(Document::try_from(json!({})).unwrap(), &makers).unwrap();
        let connection = Connection::deserialize(Value::from(stored)).unwrap();
        let expected = Connection { timeout: 10_000, keepalive: 60_000, tls_verify: true, tls_ca: None };
        assert_eq!(connection, expected);
    }
}
