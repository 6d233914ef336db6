//! The endpoints beside those for authorization and tokens, and by which names clients know the authorization server
//! and the resources behind it.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tollgate_core::schema::{Field, Rule};
use url::Url;

/// The endpoints that an instance may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// Token introspection (RFC 7662).
    Introspect,
    /// Token revocation (RFC 7009).
    Revoke,
    /// The metadata of the authorization server (RFC 8414) and of the resource (RFC 9728).
    Metadata,
    /// Pushed authorization requests (RFC 9126).
    Par,
    /// The device grant (RFC 8628): its authorization endpoint, and the hook of the page that users visit.
    Device,
    /// Dynamic client registration (RFC 7591) and its management (RFC 7592).
    Register,
    /// The keys of signed access tokens (RFC 7517).
    Jwks,
    /// What a login page shows before it asks for consent.
    Consent,
}

const NAMES: [&str; 8] = ["introspect", "revoke", "metadata", "par", "device", "register", "jwks", "consent"];

pub(super) fn fields() -> Vec<Field> {
    vec![
        Field::array("endpoints", Field::string("").one_of(&NAMES))
            .describe("The endpoints beside those for authorization and tokens; none by default."),
        Field::string("issuer").rule(Rule::Custom("issuer", check_issuer)).describe(
            "The issuer identifier (RFC 8414 section 2); by default the origin of the request and the path of its route.",
        ),
        Field::string("authorization_endpoint").rule(Rule::Custom("url", check_url)).describe(
            "Where clients send browsers: the address of the API's own login page, for the metadata; by default that of the plugin's authorization endpoint, from which that page gets the code.",
        ),
        Field::array("resources", Field::string("").rule(Rule::Custom("resource", check_resource))).describe(
            "The resources that tokens can be bound to (RFC 8707), as absolute URIs; a token that is bound to others is refused.",
        ),
        Field::boolean("audience_required", false)
            .describe("Whether a token that is bound to none of `resources` is refused."),
    ]
}

/// A set of [`Name`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Names(u16);

impl Names {
    /// Whether it has this one.
    pub fn has(self, name: Name) -> bool {
        self.0 & Self::bit(name) != 0
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn bit(name: Name) -> u16 {
        1 << name as u8
    }
}

impl FromIterator<Name> for Names {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        Self(names.into_iter().fold(0, |bits, name| bits | Self::bit(name)))
    }
}

/// The fields as stored and as requests use them.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Endpoints {
    /// Which endpoints there are.
    #[serde(default, rename = "endpoints", deserialize_with = "names")]
    pub names: Names,
    /// The issuer identifier; `None`: that of the request's origin and route.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The address of the login page, for the metadata.
    #[serde(default)]
    pub authorization_endpoint: Option<String>,
    /// The resources that tokens can be bound to.
    #[serde(default, deserialize_with = "or_empty")]
    pub resources: Vec<String>,
    /// Whether tokens that are bound to none of them are refused.
    #[serde(default)]
    pub audience_required: bool,
}

impl Endpoints {
    /// Whether any of it concerns the guard.
    pub fn is_used(&self) -> bool {
        self.names.has(Name::Metadata) || !self.resources.is_empty() || self.audience_required
    }
}

fn names<'de, D: Deserializer<'de>>(stored: D) -> Result<Names, D::Error> {
    Ok(Option::<Vec<Name>>::deserialize(stored)?.into_iter().flatten().collect())
}

fn or_empty<'de, D: Deserializer<'de>>(stored: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(stored)?.unwrap_or_default())
}

/// RFC 8414 §2. A slash at the end is refused, since the paths of the endpoints follow.
fn check_issuer(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "https" && url.host().is_some());
    let Some(url) = url else { return Err("expected a URL that begins with https://".to_owned()) };
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err("must have no query, fragment or user".to_owned());
    }
    if text.ends_with('/') {
        return Err("must not end with a slash".to_owned());
    }
    if text != url.as_str().trim_end_matches('/') {
        return Err(format!("must be in normal form: {}", url.as_str().trim_end_matches('/')));
    }
    Ok(())
}

fn check_url(value: &Value) -> Result<(), String> {
    let url = Url::parse(value.as_str().unwrap_or_default()).ok();
    let url = url.filter(|url| matches!(url.scheme(), "https" | "http") && url.host().is_some());
    match url {
        Some(url) if url.fragment().is_none() => Ok(()),
        Some(_) => Err("must have no fragment".to_owned()),
        None => Err("expected a URL that begins with https://".to_owned()),
    }
}

/// RFC 8707 §2.
fn check_resource(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let url = Url::parse(text).map_err(|_| "expected an absolute URI".to_owned())?;
    if url.fragment().is_some() {
        return Err("must have no fragment".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::tests::config;

    #[test]
    fn an_instance_has_the_endpoints_that_it_names_and_none_by_default() {
        assert!(config(&json!({})).endpoints.names.is_empty());
        let names = config(&json!({"endpoints": ["revoke", "jwks"]})).endpoints.names;
        let all = NAMES.map(|name| Name::deserialize(json!(name)).unwrap());
        assert_eq!(all.map(|name| names.has(name)), [false, true, false, false, false, false, true, false]);
    }

    #[test]
    fn an_issuer_is_a_url_without_query_rfc8414_2() {
        for (issuer, fault) in [
            ("https://as.example", None),
            ("https://as.example:8443/orders", None),
            ("http://as.example", Some("expected a URL that begins with https://")),
            ("as.example", Some("expected a URL that begins with https://")),
            ("https://as.example/", Some("must not end with a slash")),
            ("https://as.example/a?b", Some("must have no query, fragment or user")),
            ("https://as.example/a#b", Some("must have no query, fragment or user")),
            ("https://a@as.example", Some("must have no query, fragment or user")),
            ("https://AS.example:443/a", Some("must be in normal form: https://as.example/a")),
        ] {
            assert_eq!(check_issuer(&json!(issuer)).err().as_deref(), fault, "{issuer}");
        }
    }

    #[test]
    fn a_resource_is_an_absolute_uri_without_fragment_rfc8707_2() {
        for (resource, fault) in [
            ("https://api.example/orders", None),
            ("urn:example:orders", None),
            ("/orders", Some("expected an absolute URI")),
            ("https://api.example/#a", Some("must have no fragment")),
        ] {
            assert_eq!(check_resource(&json!(resource)).err().as_deref(), fault, "{resource}");
        }
    }
}
