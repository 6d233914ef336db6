//! Command line arguments of a run.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use crate::endpoint::Trust;
use crate::fault;
use crate::span::Span;

/// `tollgate-load run`. It has no `Debug`: it may contain a token.
#[derive(Clone, Args)]
pub struct RunArgs {
    /// Name or file of a scenario.
    pub scenario: String,
    /// Address of the gateway's proxy.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    pub proxy: String,
    /// Address of the Admin API; used by scenarios that revoke tokens or clear the cache.
    #[arg(long, default_value = "http://127.0.0.1:8001")]
    pub admin: String,
    /// Address of the metrics, for the cache hit ratio, such as http://127.0.0.1:8007.
    #[arg(long)]
    pub metrics: Option<String>,
    /// State file written by `provision`.
    #[arg(long, default_value = "tollgate-load.state")]
    pub state: PathBuf,
    /// A single token, instead of a state file. Other users of this machine can see it in the process
    /// list; the environment variable is more private.
    #[arg(long, env = "TOLLGATE_LOAD_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Protected path for `--token`.
    #[arg(long, default_value = "/", requires = "token")]
    pub path: String,
    /// Run the scenario this many times, and report how the runs differ: the median, the lowest, the highest, and half of
    /// the distance between the last two. The JSON result contains all runs; `compare` takes it as repeated runs.
    #[arg(long, value_name = "N", default_value = "1")]
    pub repeat: NonZeroUsize,
    /// Write the result as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write the result as an HTML page.
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Print plain lines instead of the terminal view (the default without a terminal).
    #[arg(long)]
    pub no_tui: bool,
    /// Override the scenario's duration. Steps are scaled in proportion; for a search, this is the duration
    /// of each trial.
    #[arg(long)]
    pub duration: Option<Span>,
    /// Override the scenario's warm-up.
    #[arg(long)]
    pub warm_up: Option<Span>,
    /// Requests per second, instead of the scenario's load.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Multiply the scenario's rates, including those of steps and the bounds of a search.
    #[arg(long, conflicts_with = "rate")]
    pub rate_factor: Option<f64>,
    /// Override the scenario's number of connections.
    #[arg(long)]
    pub connections: Option<usize>,
    /// Override the scenario's number of threads.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Override the scenario's number of concurrent requests per HTTP/2 connection.
    #[arg(long)]
    pub streams: Option<usize>,
    /// Use HTTP/2.
    #[arg(long)]
    pub http2: bool,
    /// Start this gateway, with a PostgreSQL, an upstream and tokens of its own, and bring the --faults of that
    /// PostgreSQL about, instead of testing a gateway that runs. The scenario needs a rate, and a kind `cached`.
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["proxy", "admin", "metrics", "state", "token", "http2"])]
    pub gateway: Option<PathBuf>,
    /// With --gateway: the faults, in this order (default: all; `full` only as root).
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAULT", requires = "gateway")]
    pub faults: Vec<fault::Kind>,
    /// Break the store of the gateway under test with this shell command, a third of the run after its begin.
    #[arg(long = "break", value_name = "COMMAND", requires = "repair", conflicts_with = "gateway")]
    pub break_store: Option<String>,
    /// Repair it with this one, two thirds after its begin.
    #[arg(long, value_name = "COMMAND", requires = "break_store")]
    pub repair: Option<String>,
    /// Which certificates are trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
}

impl RunArgs {
    /// The options that change the scenario, as given.
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

/// Which certificates are trusted.
#[derive(Debug, Clone, Args)]
pub struct TrustArgs {
    /// Accept any certificate.
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,
    /// Trust the authorities in a PEM file, instead of the system's.
    #[arg(long)]
    pub ca: Option<PathBuf>,
}

impl TrustArgs {
    /// Converts to the endpoint's setting.
    pub fn trust(&self) -> Trust {
        match &self.ca {
            _ if self.insecure => Trust::Anybody,
            Some(path) => Trust::File(path.clone()),
            None => Trust::System,
        }
    }
}
