//! What a run is told.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::capacity::{GROWTH, STORE};
use crate::row;

/// Measures Tollgate beside its peers: CPU time of the proxy for each request.
#[derive(Debug, Clone, Parser)]
#[command(name = "tollgate-bench", max_term_width = 100)]
pub struct Options {
    /// Fewer rows, rounds and tokens: under two minutes.
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Also what takes an hour: ten million tokens.
    #[arg(long)]
    pub full: bool,
    /// Only these rows and those they are compared with; `store`; `growth`.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    pub only: Vec<String>,
    /// Show the rows, and measure nothing.
    #[arg(long)]
    pub list: bool,
    /// Rounds; each goes through all rows.
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// How long each row is under load in each round, in seconds.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// Tokens in the store, all of them cached.
    #[arg(long, value_name = "N")]
    pub tokens: Option<usize>,
    /// The gateway, a release build.
    #[arg(long, value_name = "PATH", default_value = "target/release/tollgate")]
    pub tollgate: PathBuf,
    /// The smallest proxy with Pingora as it was released, a release build.
    #[arg(long, value_name = "PATH", default_value = "target/smallest/release/smallest-pingora")]
    pub smallest: PathBuf,
    /// The same with our changes to Pingora.
    #[arg(long, value_name = "PATH", default_value = "target/release/smallest-changed")]
    pub smallest_changed: PathBuf,
    /// Another gateway's Admin API.
    #[arg(long, value_name = "URL", requires = "proxy", requires = "pid")]
    pub admin: Option<String>,
    /// Another gateway's proxy listener, plain HTTP.
    #[arg(long, value_name = "URL", requires = "admin")]
    pub proxy: Option<String>,
    /// The other gateway's process; its children count.
    #[arg(long, requires = "admin")]
    pub pid: Option<u32>,
    /// Where the results go [default: loadtest/results; with --only: nowhere].
    #[arg(long, value_name = "FOLDER")]
    pub results: Option<PathBuf>,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Amounts {
    /// Rounds.
    pub rounds: usize,
    /// Seconds of load a row and round.
    pub seconds: u64,
    /// Tokens in the store, all of them cached.
    pub tokens: usize,
    /// Tokens that are asked for by Zipf's law.
    pub popular: usize,
    /// Consumers with a credential that they belong to.
    pub consumers: usize,
}

impl Options {
    /// How much is measured.
    pub fn amounts(&self) -> Amounts {
        let (rounds, seconds, tokens, consumers) =
            if self.quick { (3, 1, 50_000, 100) } else { (5, 3, 1_000_000, 1000) };
        let tokens = self.tokens.unwrap_or(tokens).max(10);
        Amounts {
            rounds: self.rounds.unwrap_or(rounds).max(1),
            seconds: self.seconds.unwrap_or(seconds).max(1),
            tokens,
            popular: tokens / 10,
            consumers,
        }
    }

    /// The parts that are not rows; an error is a name that nothing has.
    pub fn parts(&self) -> Result<Vec<&'static str>, String> {
        let known = |name: &str| row::find(name).is_some() || [STORE, GROWTH].contains(&name);
        if let Some(unknown) = self.only.iter().find(|name| !known(name)) {
            return Err(format!("there is no {unknown}; --list shows all that there is"));
        }
        let wanted = |part: &&str| match self.only.as_slice() {
            [] => *part == STORE || self.full,
            only => only.iter().any(|name| name == part),
        };
        Ok([STORE, GROWTH].into_iter().filter(wanted).collect())
    }

    /// Where the results go.
    pub fn folder(&self) -> Option<PathBuf> {
        let folder = if self.only.is_empty() { Some(PathBuf::from("loadtest/results")) } else { None };
        self.results.clone().or(folder)
    }

    /// What the names of the results end in.
    pub fn suffix(&self) -> &'static str {
        match (self.quick, self.full) {
            (true, _) => "-quick",
            (_, true) => "-full",
            _ => "",
        }
    }

    /// The other gateway.
    pub fn other(&self) -> Result<Option<crate::program::Other>, String> {
        let (Some(admin), Some(proxy), Some(process)) = (&self.admin, &self.proxy, self.pid) else { return Ok(None) };
        let address = proxy.trim_start_matches("http://").trim_end_matches('/');
        let address: SocketAddr = address.parse().map_err(|_| {
            format!("--proxy: {proxy} is not http:// and an IP address with a port, such as http://127.0.0.1:8000")
        })?;
        Ok(Some(crate::program::Other { admin: admin.clone(), proxy: address, process }))
    }
}
