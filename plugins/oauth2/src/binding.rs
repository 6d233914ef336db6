//! What a token or a code is bound to beyond its client and service: the resources it is for (RFC 8707), and the key
//! (RFC 9449) or certificate (RFC 8705) of whoever may present it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Who may present a token. The names are those of the `cnf` claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Confirmation {
    /// Whoever signs with this key: its thumbprint (RFC 7638), as in `jkt` (RFC 9449 §6.1).
    #[serde(rename = "jkt")]
    Key(String),
    /// Whoever connects with this certificate: its thumbprint, as in `x5t#S256` (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256")]
    Certificate(String),
}

/// What a token or a code is bound to; at least one of both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The resources it is for; empty: any that its service permits.
    pub audience: Vec<String>,
    /// Who may present it; `None`: any bearer.
    pub confirmation: Option<Confirmation>,
    /// The resources of the grant, if it has more.
    granted: Vec<String>,
    text: String,
}

/// The stored form.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(rename = "aud", default, skip_serializing_if = "Vec::is_empty")]
    audience: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    granted: Vec<String>,
    #[serde(rename = "cnf", default, skip_serializing_if = "Option::is_none")]
    confirmation: Option<Confirmation>,
}

impl Binding {
    /// `None` for what is bound to neither.
    pub fn new(audience: Vec<String>, confirmation: Option<Confirmation>) -> Option<Arc<Self>> {
        Self::of(Stored { audience, granted: Vec::new(), confirmation })
    }

    fn of(stored: Stored) -> Option<Arc<Self>> {
        if stored.audience.is_empty() && stored.confirmation.is_none() {
            return None;
        }
        // Strings are always JSON.
        let text = serde_json::to_string(&stored).unwrap_or_default();
        let Stored { audience, granted, confirmation } = stored;
        Some(Arc::new(Self { audience, confirmation, granted, text }))
    }

    /// From its stored form.
    pub fn parse(text: &str) -> Result<Option<Arc<Self>>, serde_json::Error> {
        Ok(Self::of(serde_json::from_str(text)?))
    }

    /// The resources that tokens of the same grant can be for.
    pub fn granted(&self) -> &[String] {
        if self.granted.is_empty() { &self.audience } else { &self.granted }
    }

    /// The same, for a token that is for these resources; the grant stays.
    pub fn narrowed(&self, audience: Vec<String>) -> Option<Arc<Self>> {
        let all = self.granted();
        let granted = if all == audience { Vec::new() } else { all.to_vec() };
        Self::of(Stored { audience, granted, confirmation: self.confirmation.clone() })
    }

    /// The `token_type` of what is bound so (RFC 6749 §7.1, RFC 9449 §5).
    pub fn token_type(binding: Option<&Self>) -> &'static str {
        match binding.and_then(|binding| binding.confirmation.as_ref()) {
            Some(Confirmation::Key(_)) => "DPoP",
            Some(Confirmation::Certificate(_)) | None => "bearer",
        }
    }

    /// The same, for whoever presents this; the resources stay.
    pub fn confirmed(&self, confirmation: Option<Confirmation>) -> Option<Arc<Self>> {
        Self::of(Stored { audience: self.audience.clone(), granted: self.granted.clone(), confirmation })
    }

    /// Its stored form.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_read_as_it_was_stored() {
        let audience = vec!["https://api.example/a".to_owned(), "https://api.example/\"b\"".to_owned()];
        for confirmation in [None, Some(Confirmation::Key("k".into())), Some(Confirmation::Certificate("c".into()))] {
            for audience in [audience.clone(), Vec::new()] {
                let Some(binding) = Binding::new(audience.clone(), confirmation.clone()) else {
                    assert!(audience.is_empty() && confirmation.is_none());
                    continue;
                };
                assert_eq!(Binding::parse(binding.text()).unwrap(), Some(binding));
            }
        }
    }

    #[test]
    fn its_stored_form_has_the_names_of_the_claims() {
        let binding = Binding::new(vec!["urn:a".into()], Some(Confirmation::Certificate("c".into()))).unwrap();
        assert_eq!(binding.text(), r#"{"aud":["urn:a"],"cnf":{"x5t#S256":"c"}}"#);
    }

    #[test]
    fn what_is_not_understood_is_not_ignored() {
        for text in ["", "{", r#"{"cnf":{"jkt":"a","x":"b"}}"#, r#"{"cnf":{"other":"a"}}"#, r#"{"act":1}"#] {
            assert!(Binding::parse(text).is_err(), "{text}");
        }
    }
}
