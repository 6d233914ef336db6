//! `tollgate-load`: the command line.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use tollgate_load::arguments::{RunArgs, TrustArgs};
use tollgate_load::compare::{self, CompareArgs};
use tollgate_load::endpoint::{Endpoint, Protocol};
use tollgate_load::failure::Failure;
use tollgate_load::live::{View, duration, trouble};
use tollgate_load::outcome::{Faults, Outcome, Step, Stretch};
use tollgate_load::provision::{self, Amount, Progress};
use tollgate_load::report::{self, Files};
use tollgate_load::run;
use tollgate_load::spread::Spread;
use tollgate_load::state::Order;
use tollgate_load::third_party::{Issuer, Kind};
use tollgate_load::upstream;
use uuid::Uuid;

/// Load tester for gateways that check opaque OAuth2 tokens and speak Kong's Admin API.
///
/// Exit codes: 0, success; 1, a run with wrong responses, or a missed threshold; 2, the command could
/// not be carried out.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a service, route, plugin, consumers, credentials and tokens; resumes if interrupted.
    Provision(ProvisionArgs),
    /// Remove exactly what `provision` created.
    Cleanup(CleanupArgs),
    /// Run a scenario: one of warm, zipf, cold-start, flood, issue-storm, refresh-storm, revocation,
    /// mixed-day, outage, saturation, third-party, or a file.
    Run(Box<RunArgs>),
    /// Compare results; fail on missed thresholds.
    Compare(CompareArgs),
    /// Create the HTML page of a JSON result.
    Report(ReportArgs),
    /// Serve an upstream that echoes identity headers.
    Upstream(UpstreamArgs),
}

#[derive(Args)]
struct ProvisionArgs {
    /// Address of the gateway's Admin API.
    #[arg(long, default_value = "http://127.0.0.1:8001")]
    admin: String,
    /// Address of the gateway's proxy.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    proxy: String,
    /// Upstream of the service (`tollgate-load upstream` serves one).
    #[arg(long, default_value = "http://127.0.0.1:9000")]
    upstream: String,
    /// Prefix of names; the route's path is `/PREFIX`.
    #[arg(long, default_value = "tollgate-load")]
    prefix: String,
    /// Number of consumers.
    #[arg(long, default_value_t = 100)]
    consumers: usize,
    /// Number of credentials, spread over the consumers.
    #[arg(long, default_value_t = 100)]
    credentials: usize,
    /// Number of tokens, spread over the credentials.
    #[arg(long, default_value_t = 1000)]
    tokens: usize,
    /// How many of the tokens have a refresh token.
    #[arg(long, default_value_t = 0)]
    refresh_tokens: usize,
    /// Tokens of a third-party authority instead of the gateway's: opaque ones for the plugin oauth2-introspection,
    /// or JWTs with this signature for jwt-access-token. This program serves the authority itself.
    #[arg(long, value_enum, value_name = "KIND", conflicts_with_all = ["credentials", "refresh_tokens"])]
    third_party: Option<Kind>,
    /// Where `provision` and `run` serve that authority; the gateway must reach it.
    #[arg(long, default_value = "127.0.0.1:9001", value_name = "ADDRESS", requires = "third_party")]
    authority: SocketAddr,
    /// Number of concurrent calls.
    #[arg(long, default_value_t = 16)]
    parallel: usize,
    /// State file that records what was created.
    #[arg(long, default_value = "tollgate-load.state")]
    state: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
}

#[derive(Args)]
struct CleanupArgs {
    /// Address of the gateway's Admin API.
    #[arg(long, default_value = "http://127.0.0.1:8001")]
    admin: String,
    /// State file that records what was created.
    #[arg(long, default_value = "tollgate-load.state")]
    state: PathBuf,
    /// Number of concurrent calls.
    #[arg(long, default_value_t = 16)]
    parallel: usize,
    #[command(flatten)]
    trust: TrustArgs,
}

#[derive(Args)]
struct ReportArgs {
    /// Result of `run --json`.
    result: PathBuf,
    /// HTML page to write.
    #[arg(long)]
    html: PathBuf,
}

#[derive(Args)]
struct UpstreamArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
}

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match carry_out(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            say_error(&format!("tollgate-load: {error}"));
            ExitCode::from(2)
        }
    }
}

fn carry_out(command: Command) -> Result<bool, Failed> {
    match command {
        Command::Provision(args) => provision(args),
        Command::Cleanup(args) => {
            let admin = Endpoint::new(&args.admin, Protocol::Http1, &args.trust.trust())?;
            let order = provision::cleanup(&args.state, &admin, args.parallel, Progress::Shown)?;
            say(&format!(
                "Removed: service, route and plugin {0}, and {1} consumers with their credentials and tokens.",
                order.prefix, order.consumers
            ))?;
            Ok(true)
        }
        Command::Run(args) => {
            let terminal = !args.no_tui && std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
            let runs = run::run(&args, if terminal { View::Terminal } else { View::Plain })?;
            runs.iter().try_for_each(|outcome| say(&summary_text(outcome)))?;
            if runs.len() > 1 {
                say(&spread_table(&runs))?;
            }
            Ok(runs.iter().all(Outcome::is_valid))
        }
        Command::Compare(args) => {
            let comparison = compare::compare(&args)?;
            say(comparison.table.trim_end())?;
            comparison.undecided.iter().for_each(|text| say_error(&format!("undecided: {text}")));
            comparison.failures.iter().for_each(|failure| say_error(&format!("failed: {failure}")));
            Ok(comparison.failures.is_empty())
        }
        Command::Report(args) => {
            let runs = report::read(&args.result)?;
            Files::open(None, Some(&args.html))?.write(&runs)?;
            Ok(true)
        }
        Command::Upstream(args) => {
            upstream::serve(args.listen, |address| {
                let _ = say(&format!("Echo upstream listening on {address}"));
            })?;
            Ok(true)
        }
    }
}

fn provision(args: ProvisionArgs) -> Result<bool, Failed> {
    let trust = args.trust.trust();
    let admin = Endpoint::new(&args.admin, Protocol::Http1, &trust)?;
    let proxy = Endpoint::new(&args.proxy, Protocol::Http1, &trust)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let third_party = args.third_party.map(|kind| Issuer::new(kind, args.authority, now)).transpose()?;
    let consumers = args.consumers.max(1);
    let order = Order {
        seed: Uuid::new_v4(),
        prefix: args.prefix,
        upstream: args.upstream,
        consumers,
        credentials: if third_party.is_some() { consumers } else { args.credentials.max(1) },
        third_party,
    };
    let amount = Amount { tokens: args.tokens, refresh_tokens: args.refresh_tokens, parallel: args.parallel.max(1) };
    let state = provision::provision(&args.state, order, &amount, (&admin, &proxy), Progress::Shown)?;
    say(&format!(
        "Provisioned {} credentials and {} tokens on {}; recorded in {}.",
        state.credentials.len(),
        state.live().count(),
        state.route_path,
        args.state.display()
    ))?;
    Ok(true)
}

/// Summarises a result in a few lines.
fn summary_text(outcome: &Outcome) -> String {
    let latency = &outcome.total.latency;
    let mut text = format!(
        "{}: {:.0} responses per second over {:.0} s; p50 {}, p90 {}, p99 {}, p99.9 {}, p99.99 {}, max {}",
        outcome.scenario,
        outcome.total.rate,
        outcome.duration,
        duration(latency.p50),
        duration(latency.p90),
        duration(latency.p99),
        duration(latency.p999),
        duration(latency.p9999),
        duration(latency.max),
    );
    for (status, count) in &outcome.total.statuses {
        text.push_str(&format!("\n  status {status}: {count}"));
    }
    for (name, count) in &outcome.total.errors {
        let reason = Failure::named(name).map_or_else(String::new, |failure| format!(" ({failure})"));
        text.push_str(&format!("\n  {name}: {count}{reason}"));
    }
    for Step { name, rate, duration: seconds, summary, .. } in outcome.steps.iter().filter(|_| outcome.faults.is_none())
    {
        text.push_str(&format!(
            "\n  {name}, {seconds:.0} s: {:.0} per second of {rate:.0}; p50 {}, p99 {}, max {}",
            summary.rate,
            duration(summary.latency.p50),
            duration(summary.latency.p99),
            duration(summary.latency.max)
        ));
    }
    text.push_str(&format!(
        "\n  checked: {} statuses, {} identities",
        outcome.checks.statuses_checked, outcome.checks.identities_checked
    ));
    if let Some(faults) = &outcome.faults {
        text.push_str(&fault_table(faults));
    }
    if let Some(outage) = outcome.outage.as_ref().filter(|_| outcome.faults.is_none()) {
        text.push_str(&format!("\n  {}", trouble(outage)));
        for Stretch { kind, ending, from, to, requests, .. } in &outage.stretches {
            text.push_str(&format!("\n    {kind:<14} {ending:<8} {from:>8.2} s to {to:>8.2} s  {requests:>8}"));
        }
    }
    if let Some(revocation) = &outcome.revocation {
        let accepted = &revocation.accepted_for;
        text.push_str(&format!(
            "\n  {} tokens revoked, {} never refused; still accepted for p50 {}, p99 {}, max {}",
            revocation.revoked,
            revocation.never_refused,
            duration(accepted.p50),
            duration(accepted.p99),
            duration(accepted.max)
        ));
    }
    if let Some(saturation) = &outcome.saturation {
        let bound = duration(saturation.bound);
        text.push_str(&match saturation.rate {
            Some(rate) => format!("\n  {rate:.0} requests per second kept p99 under {bound}"),
            None => format!("\n  even the lowest rate did not keep p99 under {bound}"),
        });
    }
    if outcome.checks.wrong > 0 || outcome.total.responses == 0 {
        text.push_str(&format!("\n  FAILED: {} wrong responses of {}", outcome.checks.wrong, outcome.total.responses));
        for example in &outcome.checks.examples {
            text.push_str(&format!(
                "\n    {:.1} s: expected {}, found {}",
                example.at, example.expected, example.found
            ));
        }
    }
    if let Some(limited) = &outcome.generator.limited {
        text.push_str(&format!("\n  UNRELIABLE: {limited}"));
    }
    text
}

/// How repeated runs differ.
fn spread_table(runs: &[Outcome]) -> String {
    let mut text = format!("{} runs; ± is half of the distance between the lowest and the highest\n", runs.len());
    text.push_str(&format!("  {:<11}", ""));
    ["median", "lowest", "highest", "±", "± %"].iter().for_each(|name| text.push_str(&format!("{name:>12}")));
    for (name, cells) in Spread::of(runs).rows() {
        text.push_str(&format!("\n  {name:<11}"));
        cells.iter().for_each(|cell| text.push_str(&format!("{cell:>12}")));
    }
    text
}

/// What each fault cost cached traffic.
fn fault_table(faults: &Faults) -> String {
    let bound = faults.bound;
    let head =
        ["p50 before", "during", "after", "p99 before", "during", "after", "× normal", "not 200", "others", "longest"];
    let mut text = format!("\n  cached tokens while the store is broken; normal p99 {}\n", duration(faults.normal_p99));
    text.push_str(&format!("    {:<18}", "fault"));
    head.iter().for_each(|name| text.push_str(&format!("{name:>11}")));
    for fault in &faults.rows {
        let cells = [
            duration(fault.before.p50),
            duration(fault.during.p50),
            duration(fault.after.p50),
            duration(fault.before.p99),
            duration(fault.during.p99),
            duration(fault.after.p99),
            format!("{:.2}", fault.times_normal),
            fault.not_accepted.to_string(),
            fault.others_unserved.to_string(),
            duration(fault.others_longest),
        ];
        text.push_str(&format!("\n    {:<18}", fault.name));
        cells.iter().for_each(|cell| text.push_str(&format!("{cell:>11}")));
        text.push_str(if fault.held { "  kept" } else { "  MISSED" });
    }
    let missed = faults.rows.iter().filter(|fault| !fault.held).count();
    text.push_str(&match missed {
        0 => format!("\n  every fault kept p99 within {bound} × normal, and every cached token was accepted"),
        _ => format!("\n  FAILED: {missed} faults did not keep p99 within {bound} × normal with every token accepted"),
    });
    text
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}

fn say_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
