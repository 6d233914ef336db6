//! What a run is told on the command line.

use std::path::PathBuf;

use clap::Args;

use crate::endpoint::Trust;
use crate::span::Span;

/// `tollgate-load run`. It cannot be shown: it may hold a token.
#[derive(Args)]
pub struct RunArgs {
    /// A scenario's name or file.
    pub scenario: String,
    /// The gateway's proxy.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    pub proxy: String,
    /// Its Admin API; used by scenarios that revoke or empty the cache.
    #[arg(long, default_value = "http://127.0.0.1:8001")]
    pub admin: String,
    /// Where its metrics are, for the cache's hit ratio, such as http://127.0.0.1:8007.
    #[arg(long)]
    pub metrics: Option<String>,
    /// What `provision` wrote.
    #[arg(long, default_value = "tollgate-load.state")]
    pub state: PathBuf,
    /// A single token, instead of a state file. Others on this machine can see it in the list of
    /// processes; the environment is more private.
    #[arg(long, env = "TOLLGATE_LOAD_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The protected path for `--token`.
    #[arg(long, default_value = "/", requires = "token")]
    pub path: String,
    /// Writes the result as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Writes the result as an HTML page.
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Plain lines instead of the terminal view; also where there is no terminal.
    #[arg(long)]
    pub no_tui: bool,
    /// Instead of the scenario's duration. Steps become shorter or longer in proportion, and a search
    /// tries each rate for so long.
    #[arg(long)]
    pub duration: Option<Span>,
    /// Instead of the scenario's warm-up.
    #[arg(long)]
    pub warm_up: Option<Span>,
    /// Requests a second, instead of the scenario's load.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Multiplies the scenario's rates, those of steps and the bounds of a search among them.
    #[arg(long, conflicts_with = "rate")]
    pub rate_factor: Option<f64>,
    /// Instead of the scenario's connections.
    #[arg(long)]
    pub connections: Option<usize>,
    /// Instead of the scenario's threads.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Requests under way on each connection of HTTP/2, instead of the scenario's.
    #[arg(long)]
    pub streams: Option<usize>,
    /// Speaks HTTP/2.
    #[arg(long)]
    pub http2: bool,
    /// Whose certificates are believed.
    #[command(flatten)]
    pub trust: TrustArgs,
}

impl RunArgs {
    /// The options that change the scenario, as they were given.
    pub fn changes(&self) -> Vec<String> {
        let span = |span: Option<Span>| span.map(|span| format!("{:?}", span.0));
        let count = |count: Option<usize>| count.map(|count| count.to_string());
        let given = [
            ("--rate", self.rate.map(|rate| rate.to_string())),
            ("--rate-factor", self.rate_factor.map(|factor| factor.to_string())),
            ("--duration", span(self.duration)),
            ("--warm-up", span(self.warm_up)),
            ("--connections", count(self.connections)),
            ("--threads", count(self.threads)),
            ("--streams", count(self.streams)),
        ];
        let valued = given.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
        valued.chain(self.http2.then(|| "--http2".to_owned())).collect()
    }
}

/// Whose certificates are believed.
#[derive(Debug, Clone, Args)]
pub struct TrustArgs {
    /// Believes any certificate.
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,
    /// Believes the authorities of a PEM file, instead of the system's.
    #[arg(long)]
    pub ca: Option<PathBuf>,
}

impl TrustArgs {
    /// As endpoints take it.
    pub fn trust(&self) -> Trust {
        match &self.ca {
            _ if self.insecure => Trust::Anybody,
            Some(path) => Trust::File(path.clone()),
            None => Trust::System,
        }
    }
}
