//! `tollgate-quickstart`: a gateway and the tutorial's two sites, configured for each other.

mod gateway_process;

use std::convert::Infallible;
use std::error::Error;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tollgate_quickstart::certificate::{self, KeptCertificate};
use tollgate_quickstart::operator::Call;
use tollgate_quickstart::third_party::Installed;
use tollgate_quickstart::tutorial::Addresses;
use tollgate_quickstart::{Gateway, ThirdPartyTutorial, Tutorial, step_on};

/// Starts a gateway with the Step On tutorial, and stops both at Ctrl-C.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Path of the gateway's program (default: next to this program).
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Folder for the gateway's database and certificate (with --third-party: its folder `third-party`).
    #[arg(long, default_value = ".quickstart")]
    data: PathBuf,
    /// Starts Step On behind a third party's authorization server, oidc-provider: the gateway introspects its tokens.
    #[arg(long, requires = "oidc_provider")]
    third_party: bool,
    /// Folder in which oidc-provider is installed; ./dev installs it and gives this.
    #[arg(long, value_name = "FOLDER", requires = "third_party")]
    oidc_provider: Option<PathBuf>,
    /// The proxy's HTTP port.
    #[arg(long, default_value_t = 8000)]
    proxy_http: u16,
    /// The proxy's HTTPS port.
    #[arg(long, default_value_t = 8443)]
    proxy_https: u16,
    /// The Admin API's port.
    #[arg(long, default_value_t = 8001)]
    admin: u16,
    /// The port for status and metrics.
    #[arg(long, default_value_t = 8007)]
    status: u16,
    /// Step On's port.
    #[arg(long, default_value_t = 3000)]
    step_on: u16,
    /// Shoe Fly Shoe's port.
    #[arg(long, default_value_t = 3001)]
    shoe_store: u16,
    /// The third party's port (only with --third-party).
    #[arg(long, default_value_t = 3002)]
    authorization_server: u16,
}

impl Arguments {
    /// The folder of this tutorial's state: each half has a gateway of its own.
    fn folder(&self) -> PathBuf {
        if self.third_party { self.data.join("third-party") } else { self.data.clone() }
    }

    fn third_party(&self) -> Option<Installed> {
        let folder = self.oidc_provider.clone().filter(|_| self.third_party)?;
        Some(Installed { folder, address: loopback(self.authorization_server), data: self.folder() })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = format!("tollgate-quickstart: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                line.push_str(&format!(": {inner}"));
                cause = inner.source();
            }
            say(&mut std::io::stderr(), &line);
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    // Caught from now on: one that comes while the gateway starts must end that, too.
    let asked_to_end = asked_to_end()?;
    std::fs::create_dir_all(arguments.folder())?;
    let certificate = certificate::keep_in(&arguments.folder())?;
    let mut process = gateway_process::start(&arguments, &certificate)?;
    let outcome = tokio::select! {
        outcome = show(&arguments, certificate, &mut process) => outcome.map(|never| match never {}),
        () = asked_to_end => {
            say(&mut std::io::stdout(), "Stopping.");
            Ok(())
        }
    };
    gateway_process::end(process).await?;
    outcome
}

/// Sets the tutorial up around the gateway, and keeps it up.
async fn show(
    arguments: &Arguments,
    certificate: KeptCertificate,
    process: &mut Child,
) -> Result<Infallible, Box<dyn Error>> {
    let gateway = Gateway::on(
        loopback(arguments.proxy_https),
        loopback(arguments.admin),
        loopback(arguments.status),
        certificate.certificate,
    )?;
    gateway_process::wait_for(&gateway, process).await?;

    let mut out = std::io::stdout();
    say(&mut out, "The gateway is running. Configuring it through its Admin API:\n");
    let addresses = Addresses { step_on: loopback(arguments.step_on), shoe_store: loopback(arguments.shoe_store) };
    let mut narrate = |call: &Call| say(&mut out, &call.to_string());
    let log = Arc::new(|line: &str| say(&mut std::io::stdout(), line));
    match arguments.third_party() {
        None => own_tokens(&gateway, addresses, &mut narrate, log).await,
        Some(server) => third_party_tokens(&gateway, addresses, &server, &mut narrate, log).await,
    }
}

/// The tutorial's first half: the gateway issues the tokens.
async fn own_tokens(
    gateway: &Gateway,
    addresses: Addresses,
    narrate: &mut (dyn FnMut(&Call) + Send),
    log: step_on::Log,
) -> Result<Infallible, Box<dyn Error>> {
    let tutorial = Tutorial::start(gateway, addresses, narrate, log).await?;
    let (step_on, shoe_store) = (tutorial.step_on.address(), tutorial.shoe_store.url());
    let console = gateway.console();
    let introduction = format!(
        "\
Step On's API and authorization page: https://{step_on}/
(Its certificate is self-signed: your browser will warn you once.)
Shoe Fly Shoe: {shoe_store}
The gateway's console: {console}

Open the store, connect Step On, and see the discount. Each request that reaches Step On's API
is shown here and at https://{step_on}/requests. Press Ctrl-C to stop everything."
    );
    say(&mut std::io::stdout(), &introduction);
    std::future::pending().await
}

/// Its second half: a third party issues them.
async fn third_party_tokens(
    gateway: &Gateway,
    addresses: Addresses,
    server: &Installed,
    narrate: &mut (dyn FnMut(&Call) + Send),
    log: step_on::Log,
) -> Result<Infallible, Box<dyn Error>> {
    let tutorial = ThirdPartyTutorial::start(gateway, addresses, server, narrate, log).await?;
    let (step_on, shoe_store) = (tutorial.step_on.address(), tutorial.shoe_store.url());
    let console = gateway.console();
    let introduction = format!(
        "\
The third party, oidc-provider: {}
Step On's API: https://{step_on}/
(Its certificate is self-signed: your browser will warn you once.)
Shoe Fly Shoe: {shoe_store}
The gateway's console: {console}

Open the store and connect Step On. The third party asks who you are: annie, bob or clark, with any
password. Each request that reaches Step On's API is shown here and at https://{step_on}/requests,
with what the third party said about its token. Then have the token revoked, and see it refused.
Press Ctrl-C to stop everything.",
        tutorial.issuer(),
    );
    say(&mut std::io::stdout(), &introduction);
    std::future::pending().await
}

/// Completes at SIGINT (Ctrl-C) or SIGTERM.
fn asked_to_end() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// A closed terminal is no reason to fail.
fn say(out: &mut impl Write, line: &str) {
    let _ = writeln!(out, "{line}");
}
