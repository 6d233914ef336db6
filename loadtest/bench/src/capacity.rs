//! Throughput of the store, compared with `pgbench` on the same table, and how it changes with the number of
//! tokens.

use std::sync::Arc;
use std::time::Duration;

use crate::certificates::{self, CERTIFICATES};
use crate::database::psql;
use crate::error::{Error, Result};
use crate::figure::Figure;
use crate::measurement::Measurement;
use crate::memory::{self, MEMORY};
use crate::options::Amounts;
use crate::progress::say;
use crate::sample::Spread;
use crate::stage::Stage;
use crate::store::{Rate, TokenTable, issue, look_up, pgbench};

/// For `--only`: look-ups and inserts, compared with `pgbench`.
pub const STORE: &str = "store";
/// For `--only`: look-ups and start-up with 10,000,000 tokens.
pub const GROWTH: &str = "growth";

/// Callers of the store port, as many as the number of requests that may wait for it.
const CALLERS: usize = 256;

const FEW: u64 = 10_000;
const MANY: u64 = 10_000_000;

/// Loads both tables and their indexes into the server's memory, where production would have them.
const PREWARM: &str = "CREATE EXTENSION IF NOT EXISTS pg_prewarm; \
    SELECT sum(pg_prewarm(oid)) FROM pg_class WHERE relname LIKE 'oauth2\\_tokens%' AND relkind IN ('r', 'i')";

/// Runs the requested parts; a failure is recorded and the rest continues.
pub async fn measure(stage: &mut Stage<'_>, parts: &[&'static str], amounts: Amounts, measurement: &mut Measurement) {
    for part in parts {
        say(&format!("measuring {part}"));
        let figures = match *part {
            MEMORY => memory::figures(stage, amounts).await,
            CERTIFICATES => certificates::figures(stage, amounts).await,
            _ if cfg!(debug_assertions) => {
                Err(Error::Usage("the store runs in this process: build with --release".into()))
            }
            STORE => compared_with_pgbench(stage, amounts).await,
            _ => growth(stage, amounts).await,
        };
        match figures {
            Ok(figures) => stage.figures.extend(figures),
            Err(error) => measurement.failures.push((part, crate::measurement::story(&error))),
        }
    }
}

/// Rates and ratios of rounds, by operation.
#[derive(Default)]
struct Series {
    rates: Vec<f64>,
    ratios: Vec<f64>,
    micros: Vec<f64>,
}

impl Series {
    fn add(&mut self, rate: Rate, peer: Rate) {
        self.rates.push(rate.per_second());
        self.ratios.push(rate.per_second() / peer.per_second());
        self.micros.push(rate.cpu_micros());
    }
}

fn median(numbers: &[f64]) -> f64 {
    Spread::of(numbers.iter().copied()).map_or(0.0, |spread| spread.median)
}

async fn compared_with_pgbench(stage: &mut Stage<'_>, amounts: Amounts) -> Result<Vec<Figure>> {
    let duration = Duration::from_secs(amounts.seconds);
    let table = table(stage, "capacity", amounts.tokens as u64).await?;
    let (mut found, mut issued) = (Series::default(), Series::default());
    let (mut pgbench_found, mut pgbench_issued) = (Vec::new(), Vec::new());
    for round in 1..=amounts.rounds {
        let peer = pgbench::look_up(&table, duration).await?;
        found.add(look_up(&table, CALLERS, duration).await?, peer);
        pgbench_found.push(peer.per_second());
        let peer = pgbench::issue(&table, duration).await?;
        issued.add(issue(&table, CALLERS, duration).await?, peer);
        pgbench_issued.push(peer.per_second());
        let last = |series: &Series| series.ratios.last().copied().unwrap_or_default();
        say(&format!("  round {round}: look-ups ÷ pgbench {:.2}, inserts {:.2}", last(&found), last(&issued)));
    }
    let figure = |name: &str, about: &str, numbers: &[f64], unit: &str| Figure::new(name, about, median(numbers), unit);
    Ok(vec![
        figure("look-up-rate", "PostgreSQL: look-ups by digest, 256 callers", &found.rates, "/s"),
        figure("look-up-pgbench", "PostgreSQL: the same by pgbench, 8 clients", &pgbench_found, "/s"),
        figure("look-up-by-pgbench", "PostgreSQL: look-ups ÷ pgbench", &found.ratios, ""),
        figure("look-up-micros", "PostgreSQL: CPU of the gateway's side per look-up", &found.micros, "µs"),
        figure("issue-rate", "PostgreSQL: durable inserts, 256 callers", &issued.rates, "/s"),
        figure("issue-pgbench", "PostgreSQL: the same by pgbench, 8 clients", &pgbench_issued, "/s"),
        figure("issue-by-pgbench", "PostgreSQL: inserts ÷ pgbench", &issued.ratios, ""),
        figure("issue-micros", "PostgreSQL: CPU of the gateway's side per insert", &issued.micros, "µs"),
    ])
}

async fn growth(stage: &mut Stage<'_>, amounts: Amounts) -> Result<Vec<Figure>> {
    let duration = Duration::from_secs(amounts.seconds);
    let (few, many) = (table(stage, "few", FEW).await?, table(stage, "many", MANY).await?);
    for table in [&few, &many] {
        psql(table.url(), PREWARM).await?;
    }
    let [mut times, mut micros, mut alone, mut peers, mut beside] = [const { Vec::new() }; 5];
    let [mut rates, mut starts] = [const { [Vec::new(), Vec::new()] }; 2];
    for round in 1..=amounts.rounds {
        let (small, large) = (look_up(&few, CALLERS, duration).await?, look_up(&many, CALLERS, duration).await?);
        times.push(small.per_second() / large.per_second());
        micros.push(large.cpu_micros() / small.cpu_micros());
        for (rates, rate) in rates.iter_mut().zip([small, large]) {
            rates.push(rate.per_second());
        }
        let together = large;
        let (small, large) = (look_up(&few, 1, duration).await?, look_up(&many, 1, duration).await?);
        alone.push(small.per_second() / large.per_second());
        let (small, large) = (pgbench::look_up(&few, duration).await?, pgbench::look_up(&many, duration).await?);
        peers.push(small.per_second() / large.per_second());
        beside.push(together.per_second() / large.per_second());
        for (times, table) in starts.iter_mut().zip([&few, &many]) {
            times.push(stage.start_on(table.url()).await?.as_secs_f64() * 1e3);
        }
        say(&format!("  round {round}: look-up at {MANY} rows ÷ at {FEW}: {:.2}", median(&times)));
    }
    let [rate_few, rate_many] = rates.map(|rates| median(&rates));
    let [start_few, start_many] = starts.map(|times| median(&times));
    let growth = "10,000,000 rows ÷ at 10,000";
    Ok(vec![
        Figure::new("look-up-rate-few", "PostgreSQL: look-ups among 10,000, 256 callers", rate_few, "/s"),
        Figure::new("look-up-rate-many", "PostgreSQL: look-ups among 10,000,000, 256 callers", rate_many, "/s"),
        Figure::new("look-up-growth", &format!("PostgreSQL: time of a look-up at {growth}"), median(&times), ""),
        Figure::new(
            "look-up-growth-alone",
            &format!("PostgreSQL: the same by one caller at {growth}"),
            median(&alone),
            "",
        ),
        Figure::new(
            "look-up-growth-pgbench",
            &format!("PostgreSQL: the same by pgbench at {growth}"),
            median(&peers),
            "",
        ),
        Figure::new("look-up-by-pgbench-many", "PostgreSQL: look-ups ÷ pgbench among 10,000,000", median(&beside), ""),
        Figure::new("look-up-growth-micros", &format!("CPU of the gateway's side at {growth}"), median(&micros), ""),
        Figure::new("start-few", "from start to ready with 10,000 tokens", start_few, "ms"),
        Figure::new("start-many", "from start to ready with 10,000,000 tokens", start_many, "ms"),
        Figure::new("start-growth", "start with 10,000,000 tokens ÷ with 10,000", start_many / start_few, ""),
    ])
}

async fn table(stage: &mut Stage<'_>, name: &str, rows: u64) -> Result<Arc<TokenTable>> {
    say(&format!("  adding {rows} tokens to PostgreSQL"));
    let url = stage.postgres_url(&format!("{name}-tokens")).await?;
    Ok(Arc::new(TokenTable::fill(&url, rows).await?))
}
