//! `tollgate explain`: asks a running node what becomes of a token, which is read from standard input: arguments and
//! variables of processes can be read by others.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use tollgate_core::secret::Secret;
use tollgate_dns::Resolver;
use tollgate_plugin::http_client::{self, Client, Destinations, Tls, TlsError};

use crate::settings::Settings;

/// Longer input is no token.
const MOST_BYTES: u64 = 64 * 1024;

/// What is asked, and of whom.
#[derive(Debug)]
pub struct Question {
    /// The route's id or name.
    pub route: String,
    /// Where the node's Admin API is; `None`: where the settings say.
    pub admin: Option<String>,
    /// The PEM file of the authorities that vouch for it; `None`: its own certificate, if the settings name one.
    pub authorities: Option<PathBuf>,
    /// The file with the admin token.
    pub admin_token: Option<PathBuf>,
    /// Whether the explanation is printed as it is.
    pub json: bool,
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Standard input has no token.
    #[error("no token on standard input: printf %s \"$TOKEN\" | tollgate explain --route NAME")]
    NoToken,
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The authorities cannot be used.
    #[error("cannot use the authorities of {path}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: TlsError,
    },
    /// The request cannot be made.
    #[error("{0}: expected an address such as http://127.0.0.1:8001")]
    Address(String),
    /// There is no response.
    #[error("cannot ask the Admin API at {address}; is the node running, and is this its address (--admin)?")]
    NoResponse {
        /// Where it was asked.
        address: String,
        /// The cause.
        #[source]
        source: http_client::Error,
    },
    /// The node does not explain.
    #[error("{address}: {status}: {message}")]
    Refused {
        /// Where it was asked.
        address: String,
        /// The status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// The client cannot be set up.
    #[error("cannot set up a client")]
    Client(#[from] prometheus::Error),
}

/// Asks, and returns what is to be printed.
///
/// # Errors
/// There is no explanation.
pub async fn ask(settings: &Settings, resolver: Resolver, question: &Question) -> Result<String, Error> {
    let token = from_standard_input()?;
    let address = address(settings, question);
    let url = format!("{}/oauth2_tokens/explain", address.trim_end_matches('/'));
    let body = json!({"route": question.route, "token": token.expose()}).to_string();
    let mut request = http::Request::post(&url).header(CONTENT_TYPE, "application/json");
    if let Some(path) = &question.admin_token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", read(path)?.trim()));
    }
    let request = request.body(Bytes::from(body)).map_err(|_| Error::Address(address.clone()))?;
    let runtime = tokio::runtime::Handle::current();
    // An operator's own gateway, wherever it listens.
    let client = Client::for_gateway(runtime, &prometheus::Registry::new(), Destinations::default(), resolver)?;
    let mut profile = client.profile("explain");
    if let Some(path) = authorities(settings, question) {
        let tls = Tls::authorities(read(&path)?.as_bytes());
        profile = profile.tls(tls.map_err(|source| Error::Authorities { path, source })?);
    }
    let sent = profile.send(request).await;
    let response = sent.map_err(|source| Error::NoResponse { address: address.clone(), source })?;
    let explanation: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    if !response.status().is_success() {
        let message = at(&explanation, "/message").as_str().unwrap_or("no explanation").to_owned();
        return Err(Error::Refused { address, status: response.status().as_u16(), message });
    }
    Ok(if question.json { format!("{explanation:#}") } else { told(&explanation) })
}

fn from_standard_input() -> Result<Secret, Error> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MOST_BYTES).read_to_string(&mut text);
    match read {
        Ok(_) if !text.trim().is_empty() => Ok(Secret::new(text.trim())),
        _ => Err(Error::NoToken),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })
}

/// A node that listens on all addresses is asked on this machine.
fn address(settings: &Settings, question: &Question) -> String {
    let listening = || {
        let mut listen = settings.admin.listen;
        if listen.ip().is_unspecified() {
            listen.set_ip(if listen.is_ipv4() { [127, 0, 0, 1].into() } else { [0, 0, 0, 0, 0, 0, 0, 1_u16].into() });
        }
        let scheme = if settings.admin.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{listen}")
    };
    question.admin.clone().unwrap_or_else(listening)
}

fn authorities(settings: &Settings, question: &Question) -> Option<PathBuf> {
    let own = || settings.admin.tls.as_ref().map(|tls| tls.files.certificate.clone());
    question.authorities.clone().or_else(own)
}

/// A member; null if there is none.
fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

/// The explanation for people.
fn told(explanation: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = String::new();
    let verdict = match at(explanation, "/status").as_u64() {
        None => "accepted".to_owned(),
        Some(status) => {
            format!("{} with {status} {}", text(at(explanation, "/verdict")), text(at(explanation, "/reason")))
        }
    };
    let node = at(explanation, "/node");
    let heard = at(explanation, "/changes_heard_seconds_ago").as_f64().unwrap_or_default();
    let _ = writeln!(lines, "{verdict} on route {}", text(at(explanation, "/route/name")));
    let _ = writeln!(
        lines,
        "by node {} ({}), which heard of changes {heard:.1} s ago",
        text(at(node, "/id")),
        text(at(node, "/hostname"))
    );
    for check in at(explanation, "/checks").as_array().into_iter().flatten() {
        let [verdict, plugin, name, detail] =
            ["/verdict", "/plugin", "/check", "/detail"].map(|name| text(at(check, name)));
        let _ = writeln!(lines, "  {verdict:<11} {plugin} {name:<9} {detail}");
    }
    if at(explanation, "/token").is_object() {
        let of = |path: &str| text(at(explanation, path));
        let _ = writeln!(
            lines,
            "token of client {} (consumer {}), {} s old, from the {}",
            of("/token/credential/client_id"),
            of("/token/consumer/username"),
            of("/token/age_seconds"),
            text(at(explanation, "/from")),
        );
    }
    let not_run: Vec<String> = at(explanation, "/not_run").as_array().into_iter().flatten().map(text).collect();
    if !not_run.is_empty() {
        let _ = writeln!(lines, "not tried, since they say nothing about tokens: {}", not_run.join(", "));
    }
    lines.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_is_told_with_each_check_and_without_what_is_not_known() {
        let explanation = json!({
            "node": {"id": "n1", "hostname": "edge"}, "changes_heard_seconds_ago": 0.12,
            "route": {"name": "orders"}, "verdict": "refused", "status": 401, "reason": "token_expired",
            "from": "cache",
            "token": {"credential": {"client_id": "app"}, "consumer": {"username": "bob"}, "age_seconds": 70},
            "checks": [
                {"plugin": "oauth2", "check": "form", "verdict": "passed", "detail": "it has the checksum"},
                {"plugin": "oauth2", "check": "expiry", "verdict": "refused", "detail": "its last second is 5"},
            ],
            "not_run": ["rate-limiting"],
        });
        assert_eq!(
            told(&explanation),
            "refused with 401 token_expired on route orders\n\
             by node n1 (edge), which heard of changes 0.1 s ago\n  \
             passed      oauth2 form      it has the checksum\n  \
             refused     oauth2 expiry    its last second is 5\n\
             token of client app (consumer bob), 70 s old, from the cache\n\
             not tried, since they say nothing about tokens: rate-limiting"
        );
    }
}
