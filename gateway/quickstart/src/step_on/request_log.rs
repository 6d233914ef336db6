//! The identity headers of each request to the API, whichever plugin set them: on a page (`GET /requests`) and in a log.
//!
//! Through the gateway, these headers are the gateway's; a direct request shows what its sender wrote.
//! No credential is kept. Bounded: the oldest request is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use maud::html;

use crate::page::{Brand, Page};

/// Maximum number of requests.
const KEPT: usize = 50;

/// How the names of the gateway's identity headers begin.
const IDENTITY_HEADERS: [&str; 4] = ["x-consumer-", "x-credential-", "x-anonymous-consumer", "x-authenticated-"];

/// Writes a line of the log.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// A request with its identity headers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    target: &'static str,
    /// In the order of their names.
    identity: Vec<(String, String)>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.target)?;
        if self.identity.is_empty() {
            return f.write_str(": no identity headers");
        }
        self.identity.iter().try_for_each(|(name, value)| write!(f, "\n    {name}: {value}"))
    }
}

/// The recorded requests.
pub(super) struct RequestLog {
    entries: Mutex<VecDeque<Entry>>,
    log: Log,
}

impl RequestLog {
    /// An empty log that also writes lines to `log`.
    pub(super) fn new(log: Log) -> Self {
        Self { entries: Mutex::default(), log }
    }

    /// Records a request.
    pub(super) fn record(&self, target: &'static str, headers: &HeaderMap) {
        let is_identity = |name: &str| IDENTITY_HEADERS.iter().any(|beginning| name.starts_with(beginning));
        let fields = headers.iter().filter(|(name, _)| is_identity(name.as_str()));
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut identity: Vec<_> = fields.map(|(name, value)| (name.to_string(), text(value))).collect();
        identity.sort();
        let entry = Entry { target, identity };
        (self.log)(&format!("Step On: {entry}"));
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}

/// `GET /requests`.
pub(super) async fn show(State(log): State<Arc<RequestLog>>) -> Response {
    let entries = log.entries();
    let content = html! {
        @if entries.is_empty() { p { "None yet: connect the store first." } }
        @else { p { "Newest first, with the identity headers that the gateway set." } }
        ol #requests {
            @for entry in &entries {
                li {
                    h2 { (entry.target) }
                    @if entry.identity.is_empty() { p { "No identity headers." } }
                    table { tbody {
                        @for (name, value) in &entry.identity { tr { th scope="row" { code { (name) } } td { (value) } } }
                    } }
                }
            }
        }
    };
    Page::new(Brand::StepOn, "Requests to the API", content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_recorded_with_its_identity_and_without_its_credential() {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let written = Arc::clone(&lines);
        let log = RequestLog::new(Arc::new(move |line: &str| written.lock().unwrap().push(line.to_owned())));
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer secret"));
        headers.insert("x-authenticated-scope", HeaderValue::from_static("step_counts"));
        headers.insert("x-authenticated-userid", HeaderValue::from_static("annie"));
        headers.insert("x-credential-membership", HeaderValue::from_static("gold"));
        headers.insert("x-anonymous-consumer", HeaderValue::from_static("true"));
        log.record("GET /stepcounts", &headers);
        log.record("GET /stepcounts", &HeaderMap::new());
        assert_eq!(
            *lines.lock().unwrap(),
            [
                "Step On: GET /stepcounts\n    x-anonymous-consumer: true\n    x-authenticated-scope: step_counts\n    \
                 x-authenticated-userid: annie\n    x-credential-membership: gold",
                "Step On: GET /stepcounts: no identity headers",
            ]
        );
        (0..KEPT).for_each(|_| log.record("GET /stepcounts", &HeaderMap::new()));
        assert_eq!(log.entries().len(), KEPT);
    }
}
