//! `./dev soak`: gateways under mixed load for minutes or hours, and rounds in which they are killed.
//!
//! Two nodes share a PostgreSQL of their own. One runs all the time and is measured ([`sample`]), the other is stopped
//! or killed and started again, over and over. [`load`] uses both. In the end nothing may have grown ([`flatness`]), and
//! every response must have been right; [`report`] says so in `loadtest/results`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::task::LocalSet;
use tollgate_load::endpoint::EndpointError;
use tollgate_tests::rounds::{ON_POSTGRES, Tally};
use tollgate_tests::upgrades::{self, Amount};
use tollgate_tests::{Gateway, PostgresServer, Rounds};

use crate::report::Report;
use crate::site::Site;

mod configuration;
mod flatness;
mod issuer;
mod load;
mod machine;
mod node;
mod reader;
mod report;
mod restarts;
mod sample;
mod site;
mod token;

/// How often progress is shown.
const SHOWN_EVERY: Duration = Duration::from_secs(30);

/// About 2,500 requests a second over HTTP/1.1 and as many over HTTP/2, on one machine with the gateway.
const UPGRADED_UNDER: Amount = Amount { clients: 40, pause: Duration::from_millis(12), slow_clients: 8 };

/// Runs gateways for long under mixed load, and in rounds in which they or their PostgreSQL are killed.
///
/// Exit codes: 0, everything was right and nothing grew; 1, otherwise.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// Minutes of mixed load; 0: none.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Rounds in which the gateway, its PostgreSQL or both are killed, after the load.
    #[arg(long, default_value_t = 0)]
    rounds: usize,
    /// Upgrades under 5,000 requests a second, each after four reloads, after that; exits 1 if a request fails.
    #[arg(long, default_value_t = 0)]
    upgrades: usize,
    /// Where the report is written.
    #[arg(long, default_value = "loadtest/results")]
    results: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start threads: {error}")),
    };
    let report = match runtime.block_on(run(&cli)) {
        Ok(report) => report,
        Err(error) => return failed(&error.to_string()),
    };
    match report.write(&cli.results) {
        Ok(page) => {
            say(&format!("{}\nReport: {}", report.summary(), page.display()));
            if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => failed(&format!("cannot write the report to {}: {error}", cli.results.display())),
    }
}

/// A closed standard output is not a failure.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn failed(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "tollgate-soak: {why}");
    ExitCode::FAILURE
}

async fn run(cli: &Cli) -> Result<Report, EndpointError> {
    let mut report = Report::new();
    if cli.minutes > 0.0 {
        let duration = Duration::from_secs_f64(cli.minutes * 60.0);
        let site = Site::start().await;
        // Its clients stay on this thread.
        let (load, samples) = LocalSet::new().run_until(load::run(site, duration, SHOWN_EVERY)).await?;
        report.load(duration, load, samples);
    }
    if cli.rounds > 0 {
        report.rounds(rounds(cli.rounds).await);
    }
    if cli.upgrades > 0 {
        let server = PostgresServer::start().await;
        let start = async |settings: &[(&str, &str)]| Gateway::on_url(&server.url(), settings).await;
        let served = upgrades::under_load(start, cli.upgrades, UPGRADED_UNDER).await;
        report.upgrades(cli.upgrades, served);
    }
    Ok(report)
}

async fn rounds(count: usize) -> Tally {
    let mut shown = Instant::now();
    let mut rounds = Rounds::on_postgres(&[]).await;
    let progress = |number, tally: &Tally| {
        if shown.elapsed() > SHOWN_EVERY {
            shown = Instant::now();
            say(&format!("round {number} of {count}: {} violations", tally.violations.len()));
        }
    };
    rounds.run(count, &ON_POSTGRES, progress).await
}
