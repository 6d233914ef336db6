//! The load: a closed loop with one thread and 32 concurrent requests, from `wrk` (HTTP/1.1, TLS) or `h2load`
//! (HTTP/2).
//!
//! With a slow generator a proxy idles, and an idle proxy makes more system calls per request. So every row is
//! driven the same way, even if a fixed request would need no script.

mod h2load;
mod wrk;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tollgate_load::third_party::Holders;

use crate::command;
use crate::error::{Error, Result};
use crate::prover::Prover;
use crate::site::SCOPE;

/// Concurrent requests.
pub const CONCURRENCY: usize = 32;

/// The host that is requested.
pub const HOST: &str = "bench.test";

/// How long a generator may overrun its time.
const PATIENCE: Duration = Duration::from_secs(30);

/// The protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1.
    Plain,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    H2,
}

/// Which tokens are sent, in which order.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// The file of the tokens.
    pub list: PathBuf,
    /// The file of their order; `None`: one after another.
    pub order: Option<PathBuf>,
}

/// The identity headers of a token, by the names that the upstream echoes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name and value.
    pub echoed: Vec<(&'static str, String)>,
    /// Whether there is an `X-Consumer-Id` too.
    pub consumer: bool,
}

impl Identity {
    /// That of a token which the gateway issued.
    pub fn of_own(username: String, client_id: String, userid: String) -> Self {
        let scope = ("scope", SCOPE.to_owned());
        Self { echoed: vec![("username", username), ("client", client_id), ("userid", userid), scope], consumer: true }
    }

    /// That of a third party's token, by its number.
    pub fn of_third_party(holders: &Holders, number: u32) -> Self {
        let subject = Holders::subject(number);
        let (email, client) = (format!("{subject}@example.com"), holders.client_id(number));
        let echoed = [("username", holders.username(number)), ("sub", subject), ("email", email), ("azp", client)];
        Self { echoed: echoed.into(), consumer: true }
    }
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Requests {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path; `{path}` takes it from the list.
    pub path: String,
    /// Headers other than `Host`; `{token}` is replaced by a token of the list.
    pub headers: Vec<(&'static str, String)>,
    /// The body of a `POST`.
    pub body: String,
    /// The list of tokens, if there is more than one request.
    pub tokens: Option<Tokens>,
    /// Who makes the list anew for each step.
    pub prover: Option<Prover>,
    /// The identity that the upstream must receive for the list's first token.
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
            prover: None,
            identity: None,
        }
    }

    /// `GET` with a token and a new proof for each request, of a list in this file.
    pub fn proven(prover: Prover, token: &str, list: PathBuf) -> Self {
        let headers = vec![("Authorization", format!("DPoP {token}")), ("DPoP", "{token}".to_owned())];
        let tokens = Some(Tokens { list, order: None });
        Self { headers, tokens, prover: Some(prover), ..Self::get("{path}") }
    }

    /// Makes the list anew, if it is of use only once.
    pub fn renew(&self) -> Result<()> {
        match (&self.prover, &self.tokens) {
            (Some(prover), Some(tokens)) => prover.write(&tokens.list),
            _ => Ok(()),
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

    /// The same, with the identity that the upstream must receive.
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
    /// The target.
    pub address: SocketAddr,
    /// The protocol.
    pub wire: Wire,
    /// The requests.
    pub requests: &'a Requests,
    /// The duration.
    pub duration: Duration,
    /// Where in the list to start.
    pub start: u64,
    /// A folder for the generator's files.
    pub folder: PathBuf,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Outcome {
    /// Number of responses.
    pub requests: u64,
    /// Responses with a status of 400 or above.
    pub refused: u64,
    /// Other failures of connections and requests.
    pub broken: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Latencies in microseconds, if the generator reports them.
    pub p50: Option<u64>,
    /// The same.
    pub p99: Option<u64>,
}

impl Step<'_> {
    /// Runs the step to completion. `prefix` is prepended to the generator's command line.
    pub async fn run(&self, prefix: &[String]) -> Result<Outcome> {
        let words = match self.wire {
            Wire::Plain | Wire::Tls => wrk::command(self)?,
            Wire::H2 => h2load::command(self),
        };
        let words: Vec<String> = prefix.iter().cloned().chain(words).collect();
        let said = command::run(&words, self.duration + PATIENCE).await?;
        let outcome = match self.wire {
            Wire::Plain | Wire::Tls => wrk::read(&said),
            Wire::H2 => h2load::read(&said),
        };
        outcome.ok_or_else(|| Error::Failed { program: words.join(" "), said })
    }
}
