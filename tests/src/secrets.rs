//! Everything secret that a test used, and whether any of it was written where it must not be.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// Names under which secrets travel, in JSON, forms and queries.
const NAMES: [&str; 8] =
    ["access_token", "refresh_token", "code", "client_secret", "provision_key", "code_verifier", "password", "token"];

/// Shorter values are words of a test, such as `bogus`; they are everywhere.
const SHORTEST: usize = 16;

/// The secrets of one test; clones share them.
#[derive(Clone, Default)]
pub struct Secrets {
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl Secrets {
    /// Remembers one.
    pub fn add(&self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.known.lock().unwrap().insert(secret.to_owned());
        }
    }

    /// Remembers what a JSON document has under secret names, and in addresses in it.
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

    /// Remembers what an address has in its query and fragment.
    pub fn add_from_url(&self, url: &str) {
        let parts = url.split_once(['?', '#']).map(|(_, parts)| parts).unwrap_or_default();
        self.add_from_form(parts);
    }

    /// Remembers what a form has under secret names.
    pub fn add_from_form(&self, form: &str) {
        for part in form.split(['?', '#', '&']) {
            if let Some((name, value)) = part.split_once('=')
                && NAMES.contains(&name)
            {
                self.add(value);
            }
        }
    }

    /// The secrets that `text` contains, by their first characters alone.
    pub fn found_in(&self, text: &str) -> Vec<String> {
        let known = self.known.lock().unwrap();
        let leaked = known.iter().filter(|secret| text.contains(secret.as_str()));
        leaked.map(|secret| format!("{}… ({} characters)", &secret[..6], secret.len())).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.known.lock().unwrap().len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_taken_from_answers_and_found_again() {
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
