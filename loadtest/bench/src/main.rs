//! `tollgate-bench`: the command line.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use tollgate_bench::capacity::{self, GROWTH, STORE};
use tollgate_bench::certificates::CERTIFICATES;
use tollgate_bench::error::{Error, Result};
use tollgate_bench::machine::{Machine, Stolen};
use tollgate_bench::measurement::{measure, story};
use tollgate_bench::memory::MEMORY;
use tollgate_bench::options::Options;
use tollgate_bench::progress::say;
use tollgate_bench::report::Report;
use tollgate_bench::row::{self, ROWS};
use tollgate_bench::stage::Stage;

// The gateway's allocator, since the store is measured in this process.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        return print(&list());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&story(&error)),
    };
    // Dropping the run stops every program it started.
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = run(&options) => ended,
            () = interruption() => Err(Error::Usage("interrupted".to_owned())),
        }
    });
    match ended {
        Ok(report) if report.failures.is_empty() => print(&report.summary()),
        Ok(report) => {
            print(&report.summary());
            ExitCode::FAILURE
        }
        Err(error) => complain(&story(&error)),
    }
}

/// Waits for SIGINT or SIGTERM.
async fn interruption() {
    let asked = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let asked = async {
        match asked {
            Ok(mut asked) => drop(asked.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = asked => {}
    }
}

async fn run(options: &Options) -> Result<Report> {
    let (rows, parts) = (row::selected(options), options.parts().map_err(Error::Usage)?);
    options.other().map_err(Error::Usage)?;
    let (machine, amounts, stolen) = (Machine::here(), options.amounts(), Stolen::now());
    let mut stage = Stage::new(options).await?;
    let mut measurement = measure(&mut stage, &rows, amounts).await;
    capacity::measure(&mut stage, &parts, amounts, &mut measurement).await;
    stage.clear().await?;
    let stolen = Stolen::now().percent_since(&stolen);
    let report = Report::new(machine, amounts, stolen, &measurement, std::mem::take(&mut stage.figures));
    if let Some(folder) = options.folder() {
        let page = report.write(&folder, options.suffix())?;
        say(&format!("results written to {}", page.display()));
    }
    Ok(report)
}

fn list() -> String {
    let parts = [
        (STORE, "the store's look-ups and inserts on PostgreSQL, compared with pgbench"),
        (MEMORY, "memory of a cached introspected token, by claim"),
        (CERTIFICATES, "TLS handshakes and memory with 10,000 certificates"),
        (GROWTH, "look-ups and start-up with 10,000,000 tokens in PostgreSQL (--full)"),
    ];
    let all = ROWS.iter().map(|row| (row.name, row.about)).chain(parts);
    all.map(|(name, about)| format!("{name:<24} {about}")).collect::<Vec<_>>().join("\n")
}

/// A closed standard output is not a failure.
fn print(text: &str) -> ExitCode {
    let _closed = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn complain(problem: &str) -> ExitCode {
    say(&format!("tollgate-bench: {problem}"));
    ExitCode::FAILURE
}
