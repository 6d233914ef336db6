//! The secrets that a test used, and the search for leaks of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// Names of secret fields in JSON, forms and queries.
const NAMES: [&str; 14] = [
    "access_token",
    "refresh_token",
    "code",
    "device_code",
    "registration_access_token",
    "request_uri",
    "client_secret",
    "provision_key",
    "code_verifier",
    "password",
    "token",
    "key",
    "secret",
    "jwt",
];

/// Shorter values are ordinary words in tests, such as `bogus`.
const SHORTEST: usize = 16;

/// The secrets of one test; clones share them.
#[derive(Clone, Default)]
pub struct Secrets {
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl Secrets {
    /// Records a secret.
    pub fn add(&self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.known.lock().unwrap().insert(secret.to_owned());
        }
    }

    /// Records the secret fields of a JSON document, and those of addresses in it.
    pub fn add_from_json(&self, document: &Value) {
        match document {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value.as_str() {
                        Some(text) if NAMES.contains(&name.as_str()) => self.add(text),
                        Some(text) if name == "redirect_uri" => self.add_from_url(text),
                        _ => self.add_from_json(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add_from_json(item)),
            _ => {}
        }
    }

    /// Records the secrets in an address's query and fragment.
    pub fn add_from_url(&self, url: &str) {
        let parts = url.split_once(['?', '#']).map(|(_, parts)| parts).unwrap_or_default();
        self.add_from_form(parts);
    }

    /// Records the secret fields of a form.
    pub fn add_from_form(&self, form: &str) {
        for part in form.split(['?', '#', '&']) {
            if let Some((name, value)) = part.split_once('=')
                && NAMES.contains(&name)
            {
                self.add(value);
            }
        }
    }

    /// The secrets that `text` contains, shortened to their first characters.
    pub fn found_in(&self, text: &str) -> Vec<String> {
        let known = self.known.lock().unwrap();
        let leaked = known.iter().filter(|secret| text.contains(secret.as_str()));
        leaked.map(|secret| format!("{}… ({} characters)", &secret[..6], secret.len())).collect()
    }

    /// The secrets that `text` contains.
    pub fn within(&self, text: &str) -> BTreeSet<String> {
        self.known.lock().unwrap().iter().filter(|secret| text.contains(secret.as_str())).cloned().collect()
    }

    /// The number of secrets.
    pub fn count(&self) -> usize {
        self.known.lock().unwrap().len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_recorded_from_responses_and_found_again() {
        let secrets = Secrets::default();
        secrets.add_from_json(&json!({
            "access_token": "aaaaaaaaaaaaaaaaaaaa",
            "redirect_uri": "http://a/?code=cccccccccccccccccccc&x=1#access_token=dddddddddddddddddddd",
            "config": {"provision_key": "pppppppppppppppppppp"},
            "client_id": "iiiiiiiiiiiiiiiiiiii",
        }));
        assert_eq!(secrets.count(), 4);
        assert!(secrets.found_in("GET /a?client_id=iiiiiiiiiiiiiiiiiiii").is_empty());
        assert_eq!(secrets.found_in("key pppppppppppppppppppp").len(), 1);
    }
}
