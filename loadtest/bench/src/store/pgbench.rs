//! The peer: `pgbench`, prepared statements of one row each, eight clients.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::rate::Rate;
use super::table::TokenTable;
use crate::command;
use crate::error::{Error, Result};

/// Connections, each of which sends a statement when it has the result of the previous one.
const CLIENTS: &str = "8";

/// Threads of `pgbench`: on two processors, two gave the highest rate.
const THREADS: &str = "2";

/// How long it may overrun the measured time.
const GRACE: Duration = Duration::from_secs(60);

/// Looks up existing rows, one per statement.
pub async fn look_up(table: &TokenTable, duration: Duration) -> Result<Rate> {
    let script = format!(
        "\\set place random(1, {})\n\
         SELECT id, access_token, refresh_token, token_hint, credential_id, service_id, expires_in, created_at, ttl, \
         authenticated_userid, scope, family, binding FROM oauth2_tokens \
         WHERE access_token = sha256(int8send(:place)) AND (ttl IS NULL OR ttl >= {});\n",
        table.rows(),
        table.now()
    );
    run(table, &script, duration).await
}

/// Adds rows, one per statement and commit.
pub async fn issue(table: &TokenTable, duration: Duration) -> Result<Rate> {
    let (now, holder) = (table.now(), table.holder(0));
    let script = format!(
        "\\set place random({}, 9000000000000000000)\n\
         INSERT INTO oauth2_tokens (id, access_token, token_hint, credential_id, service_id, expires_in, created_at, \
         ttl, scope) VALUES (gen_random_uuid(), sha256(int8send(:place)), 'wxyz', '{holder}', '{}', 7200, {now}, {}, \
         'email');\n",
        table.rows() + 1,
        table.service(),
        now + 7200
    );
    run(table, &script, duration).await
}

async fn run(table: &TokenTable, script: &str, duration: Duration) -> Result<Rate> {
    let file = tempfile::Builder::new().prefix("tollgate-pgbench.").suffix(".sql").tempfile();
    let file = file.map_err(Error::system("cannot create a file"))?;
    fs::write(file.path(), script).map_err(Error::system("cannot write a script"))?;
    let said = command::run(&words(table.url(), file.path(), duration), duration + GRACE).await?;
    read(&said).ok_or(Error::Failed { program: "pgbench".to_owned(), said })
}

fn words(url: &str, script: &Path, duration: Duration) -> Vec<String> {
    let (seconds, script) = (duration.as_secs().max(1).to_string(), script.display().to_string());
    let words = ["pgbench", "--no-vacuum", "--protocol", "prepared", "--client", CLIENTS, "--jobs", THREADS];
    let words = words.into_iter().chain(["--time", &seconds, "--file", &script, url]);
    words.map(str::to_owned).collect()
}

/// Parses both figures of its report; `None` if a statement failed.
fn read(said: &str) -> Option<Rate> {
    let after = |label: &str| {
        let rest = said.lines().find_map(|line| line.strip_prefix(label))?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    };
    let done = after("number of transactions actually processed: ")?;
    let rate = after("tps = ")?;
    let failed = after("number of failed transactions: ").unwrap_or_default();
    let sound = failed == 0.0 && rate > 0.0;
    sound.then(|| Rate { done: done as u64, elapsed: Duration::from_secs_f64(done / rate), cpu: Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_parsed() {
        let said = "number of transactions actually processed: 1200\nnumber of failed transactions: 0 (0.000%)\n\
                    latency average = 0.1 ms\ntps = 600.0 (without initial connection time)\n";
        let rate = read(said).unwrap();
        assert_eq!((rate.done, rate.per_second().round() as u64), (1200, 600));
        assert!(read(&said.replace("transactions: 0", "transactions: 1")).is_none());
    }
}
