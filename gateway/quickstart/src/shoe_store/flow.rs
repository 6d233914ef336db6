//! The flow as the store saw it, for its page "What just happened": each request with its response.
//! Secrets are shortened when they are recorded.

use std::collections::VecDeque;
use std::fmt::Write;

use serde_json::Value;
use url::Url;

/// Maximum number of exchanges; the oldest is dropped.
const KEPT: usize = 20;

/// Visible characters of a secret: enough to recognise it, too few to use it.
const SHOWN: usize = 6;

/// Secret parameters and members.
const SECRETS: [&str; 8] =
    ["access_token", "refresh_token", "token", "code", "code_verifier", "client_secret", "provision_key", "state"];

/// One request and its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exchange {
    /// Its purpose, with its step in RFC 6749 §4.1.
    pub(super) title: String,
    /// Method, address, headers and body.
    pub(super) request: String,
    /// Status and body, or where the browser was sent.
    pub(super) response: String,
}

/// The exchanges since the browser asked to be connected.
#[derive(Debug, Clone, Default)]
pub(super) struct Flow(VecDeque<Exchange>);

impl Flow {
    /// Adds an exchange.
    pub(super) fn add(&mut self, title: impl Into<String>, request: String, response: String) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Exchange { title: title.into(), request, response });
    }

    /// The exchanges, in order.
    pub(super) fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.0.iter()
    }
}

/// The first characters of a secret.
pub(super) fn shortened(secret: &str) -> String {
    let mut shown: String = secret.chars().take(SHOWN.min(secret.chars().count() / 2)).collect();
    shown.push('…');
    shown
}

fn value(name: &str, value: &str) -> String {
    if SECRETS.contains(&name) { shortened(value) } else { value.to_owned() }
}

/// A GET request, one query parameter per line.
pub(super) fn get(url: &Url) -> String {
    let mut bare = url.clone();
    bare.set_query(None);
    let mut text = format!("GET {bare}");
    for (name, given) in url.query_pairs() {
        let _ = write!(text, "\n  {name} = {}", value(&name, &given));
    }
    text
}

/// A form, one parameter per line.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, given)| format!("\n  {name} = {}", value(name, given))).collect()
}

/// A response: its status, and its body if that is JSON.
pub(super) fn response(status: reqwest::StatusCode, body: &str) -> String {
    match serde_json::from_str::<Value>(body) {
        Ok(mut document) => {
            shorten(&mut document);
            format!("{status}\n{document:#}")
        }
        Err(_) => status.to_string(),
    }
}

fn shorten(document: &mut Value) {
    let Some(members) = document.as_object_mut() else { return };
    for (name, member) in members {
        if let Some(text) = member.as_str() {
            *member = Value::from(value(name, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn no_secret_is_shown_whole() {
        let secret = "kX9cWq3ZP0a7Lm2sVb5Tn8Ry1Ue4Io6J";
        for name in SECRETS {
            let url = Url::parse(&format!("https://store.test/cb?{name}={secret}&scope=step_counts")).unwrap();
            let body = format!(r#"{{"{name}":"{secret}","token_type":"bearer"}}"#);
            for text in [get(&url), form(&[(name, secret)]), response(StatusCode::OK, &body)] {
                assert!(text.contains("kX9cWq…") && !text.contains(secret), "{text}");
            }
        }
        assert_eq!(shortened("abcd"), "ab…");
        assert_eq!(
            response(StatusCode::BAD_GATEWAY, secret),
            "502 Bad Gateway",
            "a body that is not JSON is not shown"
        );
    }

    #[test]
    fn the_oldest_exchange_is_dropped() {
        let mut flow = Flow::default();
        for number in 0..=KEPT {
            flow.add("step", number.to_string(), String::new());
        }
        assert_eq!((flow.exchanges().count(), flow.exchanges().next().unwrap().request.as_str()), (KEPT, "1"));
    }
}
