//! Look-ups and issuing on a private PostgreSQL with durable commits, compared with `pgbench`.
//!
//! Interleaved rounds; the median of each with its minimum and maximum. Sizes and times come from the
//! environment: `STORE_ROWS` (tokens; several, with commas, are measured in turn),
//! `STORE_ROUNDS`, `STORE_SECONDS` (of each measurement), `STORE_CALLERS` (several, with commas).
//! `STORE_URL` names the server to use instead of a private one.
#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up should stop")]
#![expect(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::time::Duration;

use tollgate_bench::database::psql;
use tollgate_bench::postgres::Cluster;
use tollgate_bench::store::{Rate, TokenTable, issue, look_up, pgbench};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(run());
}

async fn run() {
    let cluster = if env::var("STORE_URL").is_ok() { None } else { Some(Cluster::start().await.expect("PostgreSQL")) };
    let (rounds, seconds) = (numbers("STORE_ROUNDS", "5"), numbers("STORE_SECONDS", "3"));
    let duration = Duration::from_secs(seconds.first().copied().unwrap_or(3));
    let mut tables = Vec::new();
    for rows in numbers("STORE_ROWS", "1000000") {
        let name = format!("tokens_{rows}");
        let url = match (&cluster, env::var("STORE_URL")) {
            (Some(cluster), _) => cluster.database(&name).await.expect("a database"),
            (None, Ok(url)) => other_database(&url, &name).await,
            (None, Err(_)) => unreachable!("there is a cluster where no URL is given"),
        };
        let table = TokenTable::fill(&url, rows).await.expect("a table of tokens");
        println!("{rows} tokens are in the table");
        tables.push(Arc::new(table));
    }
    let mut measured = Measured::default();
    for _ in 0..rounds.first().copied().unwrap_or(5) {
        for table in &tables {
            round(&mut measured, table, duration).await;
        }
    }
    measured.print();
}

async fn round(measured: &mut Measured, table: &Arc<TokenTable>, duration: Duration) {
    let rows = table.rows();
    let peer = pgbench::look_up(table, duration).await.expect("pgbench looks up");
    measured.add(format!("{rows:>9} look up  pgbench    "), peer, None);
    for callers in numbers("STORE_CALLERS", "8,64,256") {
        let callers = usize::try_from(callers).unwrap_or(1);
        let rate = look_up(table, callers, duration).await.expect("tokens are found");
        measured.add(format!("{rows:>9} look up  {callers:>3} callers"), rate, Some(peer));
    }
    if env::var("STORE_LOOK_UP_ONLY").is_ok() {
        return;
    }
    let peer = pgbench::issue(table, duration).await.expect("pgbench adds");
    measured.add(format!("{rows:>9} issue    pgbench    "), peer, None);
    for callers in numbers("STORE_CALLERS", "8,64,256") {
        let callers = usize::try_from(callers).unwrap_or(1);
        let rate = issue(table, callers, duration).await.expect("tokens are added");
        measured.add(format!("{rows:>9} issue    {callers:>3} callers"), rate, Some(peer));
    }
}

/// Creates a database on an existing server.
async fn other_database(url: &str, name: &str) -> String {
    psql(url, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.expect("the old database goes");
    psql(url, &format!("CREATE DATABASE {name}")).await.expect("a database");
    let (server, _) = url.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{name}")
}

fn numbers(variable: &str, default: &str) -> Vec<u64> {
    let given = env::var(variable).unwrap_or_else(|_| default.to_owned());
    given.split(',').map(|number| number.trim().parse().expect("a number")).collect()
}

/// The results of the rounds, by subject.
#[derive(Default)]
struct Measured(BTreeMap<String, [Vec<f64>; 3]>);

impl Measured {
    fn add(&mut self, subject: String, rate: Rate, peer: Option<Rate>) {
        let [rates, cpu, ratios] = self.0.entry(subject).or_default();
        rates.push(rate.per_second());
        cpu.push(rate.cpu_micros());
        ratios.extend(peer.map(|peer| rate.per_second() / peer.per_second()));
    }

    fn print(&self) {
        for (subject, [rates, cpu, ratios]) in &self.0 {
            let line = format!("{subject}  {:>36}/s", spread(rates, 0));
            if ratios.is_empty() {
                println!("{line}");
            } else {
                println!("{line}  CPU µs {:>20}  ÷ pgbench {}", spread(cpu, 2), spread(ratios, 2));
            }
        }
    }
}

fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
    let (low, median, high) = (at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1)));
    format!("{median:.digits$} ({low:.digits$}–{high:.digits$})")
}
