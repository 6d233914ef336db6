//! The load: closed loop, one thread, 32 requests under way, made by `wrk` (HTTP/1.1, TLS) or
//! `h2load` (HTTP/2).
//!
//! A generator that is slow makes a proxy idle, and an idle one does more system calls a request.
//! So every row is driven the same way, also where one fixed request would do without a script.

mod h2load;
mod wrk;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::command;
use crate::error::{Error, Result};

/// Requests under way.
pub const CONCURRENCY: usize = 32;

/// The longest that a generator may go on beyond its time.
const PATIENCE: Duration = Duration::from_secs(30);

/// What carries the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1.
    Plain,
    /// HTTP/1.1 in TLS.
    Tls,
    /// HTTP/2 in TLS.
    H2,
}

/// Which tokens are sent, in what order.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// The file of the tokens.
    pub list: PathBuf,
    /// The file of their order; `None`: one after the other.
    pub order: Option<PathBuf>,
}

/// Whom a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `X-Consumer-Username`.
    pub username: String,
    /// `X-Credential-Identifier`.
    pub client_id: String,
    /// `X-Authenticated-Userid`.
    pub userid: String,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Requests {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path; `{path}`: it stands in the list.
    pub path: String,
    /// Headers beside `Host`; `{token}` stands for a token of the list.
    pub headers: Vec<(&'static str, String)>,
    /// The body of a `POST`.
    pub body: String,
    /// The list, if there is more than one request.
    pub tokens: Option<Tokens>,
    /// Who the upstream must be told that sends the request, with the list's first token.
    pub identity: Option<Identity>,
}

impl Requests {
    /// `GET` of a path.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET",
            path: path.into(),
            headers: Vec::new(),
            body: String::new(),
            tokens: None,
            identity: None,
        }
    }

    /// The same, with a bearer token.
    pub fn bearer(path: impl Into<String>, token: &str) -> Self {
        Self { headers: vec![("Authorization", format!("Bearer {token}"))], ..Self::get(path) }
    }

    /// The same, with each token of a list.
    pub fn bearers(path: impl Into<String>, tokens: Tokens) -> Self {
        Self { tokens: Some(tokens), ..Self::bearer(path, "{token}") }
    }

    /// The same, told to the upstream as this identity.
    pub fn known_as(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// `POST` of a form.
    pub fn form(path: impl Into<String>, body: String) -> Self {
        let headers = vec![("Content-Type", "application/x-www-form-urlencoded".to_owned())];
        Self { method: "POST", headers, body, ..Self::get(path) }
    }
}

/// One step of load.
#[derive(Debug, Clone)]
pub struct Step<'a> {
    /// Where to.
    pub address: SocketAddr,
    /// How.
    pub wire: Wire,
    /// What.
    pub requests: &'a Requests,
    /// How long.
    pub duration: Duration,
    /// Where in the list to begin.
    pub start: u64,
    /// A folder for the generator's files.
    pub folder: PathBuf,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Answered {
    /// Answers.
    pub requests: u64,
    /// Those of them with a status of 400 or more.
    pub refused: u64,
    /// Connections and requests that failed otherwise.
    pub broken: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Latencies in microseconds, where the generator tells.
    pub p50: Option<u64>,
    /// The same.
    pub p99: Option<u64>,
}

impl Step<'_> {
    /// Runs the step to its end. `prefix` is put in front of the generator's command line.
    pub async fn run(&self, prefix: &[String]) -> Result<Answered> {
        let words = match self.wire {
            Wire::Plain | Wire::Tls => wrk::command(self)?,
            Wire::H2 => h2load::command(self),
        };
        let words: Vec<String> = prefix.iter().cloned().chain(words).collect();
        let said = command::run(&words, self.duration + PATIENCE).await?;
        let answered = match self.wire {
            Wire::Plain | Wire::Tls => wrk::read(&said),
            Wire::H2 => h2load::read(&said),
        };
        answered.ok_or_else(|| Error::Failed { program: words.join(" "), said })
    }
}
