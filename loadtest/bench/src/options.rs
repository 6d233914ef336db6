//! Command line options.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::capacity::{GROWTH, STORE};
use crate::certificates::CERTIFICATES;
use crate::memory::MEMORY;
use crate::row;

/// What is measured beside the rows.
const PARTS: [&str; 4] = [STORE, MEMORY, CERTIFICATES, GROWTH];

/// Compares Tollgate with its peers: CPU time of the proxy per request.
#[derive(Debug, Clone, Parser)]
#[command(name = "tollgate-bench", max_term_width = 100)]
pub struct Options {
    /// Fewer rows, rounds and tokens: under two minutes.
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Include ten million tokens, which takes an hour.
    #[arg(long)]
    pub full: bool,
    /// Only these rows and their peers; also `store`, `third-party-memory`, `certificates`, `growth`.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    pub only: Vec<String>,
    /// List the rows and exit.
    #[arg(long)]
    pub list: bool,
    /// Number of rounds; each runs all rows.
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// Seconds of load per row and round.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// Number of tokens in the store, all cached.
    #[arg(long, value_name = "N")]
    pub tokens: Option<usize>,
    /// The gateway, a release build.
    #[arg(long, value_name = "PATH", default_value = "target/release/tollgate")]
    pub tollgate: PathBuf,
    /// The smallest proxy with published Pingora, a release build.
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
    /// The other gateway's process; its children are included.
    #[arg(long, requires = "admin")]
    pub pid: Option<u32>,
    /// Folder for results [default: loadtest/results; with --only: none].
    #[arg(long, value_name = "FOLDER")]
    pub results: Option<PathBuf>,
}

/// The amounts to measure.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Amounts {
    /// Rounds.
    pub rounds: usize,
    /// Seconds of load per row and round.
    pub seconds: u64,
    /// Tokens in the store, all of them cached.
    pub tokens: usize,
    /// Tokens requested by Zipf's law.
    pub popular: usize,
    /// Number of consumers with a credential.
    pub consumers: usize,
}

impl Options {
    /// The amounts to measure.
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

    /// The parts that are not rows; fails for an unknown name.
    pub fn parts(&self) -> Result<Vec<&'static str>, String> {
        let known = |name: &str| row::find(name).is_some() || PARTS.contains(&name);
        if let Some(unknown) = self.only.iter().find(|name| !known(name)) {
            return Err(format!("unknown row {unknown}; --list shows all"));
        }
        let wanted = |part: &&str| match self.only.as_slice() {
            [] => *part == STORE || (*part != GROWTH && !self.quick) || self.full,
            only => only.iter().any(|name| name == part),
        };
        Ok(PARTS.into_iter().filter(wanted).collect())
    }

    /// The folder for results.
    pub fn folder(&self) -> Option<PathBuf> {
        let folder = if self.only.is_empty() { Some(PathBuf::from("loadtest/results")) } else { None };
        self.results.clone().or(folder)
    }

    /// The suffix of the result files.
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
