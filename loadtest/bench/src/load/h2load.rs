//! `h2load`: eight connections with four streams each. It supports no token lists, only a single request.

use super::{CONCURRENCY, Outcome, Step};

/// Streams per connection.
const STREAMS: usize = 4;

pub(super) fn command(step: &Step<'_>) -> Vec<String> {
    let mut words = vec![
        "h2load".to_owned(),
        "-t1".to_owned(),
        format!("-c{}", CONCURRENCY / STREAMS),
        format!("-m{STREAMS}"),
        "-D".to_owned(),
        step.duration.as_secs().max(1).to_string(),
    ];
    for (name, value) in &step.requests.headers {
        words.extend(["-H".to_owned(), format!("{}: {value}", name.to_ascii_lowercase())]);
    }
    words.push(format!("https://{}{}", step.address, step.requests.path));
    words
}

/// Parses the lines `requests:` and `status codes:`.
pub(super) fn read(said: &str) -> Option<Outcome> {
    let requests = said.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let codes = said.lines().find_map(|line| line.strip_prefix("status codes: "))?;
    let time = said.lines().find_map(|line| line.strip_prefix("finished in "))?;
    let number = |line: &str, what: &str| {
        line.split(", ").find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
    };
    Some(Outcome {
        requests: number(requests, "done")?,
        refused: number(codes, "4xx")? + number(codes, "5xx")?,
        broken: number(requests, "errored")? + number(requests, "timeout")?,
        seconds: seconds(time.split(',').next()?)?,
        p50: None,
        p99: None,
    })
}

fn seconds(text: &str) -> Option<f64> {
    match text.strip_suffix("ms") {
        Some(millis) => Some(millis.parse::<f64>().ok()? / 1e3),
        None => text.strip_suffix('s')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_parsed() {
        let said = "finished in 2.00s, 23510.00 req/s, 3.2MB/s\n\
            requests: 47020 total, 47052 started, 47020 done, 47019 succeeded, 1 failed, 0 errored, 0 timeout\n\
            status codes: 47019 2xx, 0 3xx, 1 4xx, 0 5xx\n";
        let outcome = Outcome { requests: 47_020, refused: 1, seconds: 2.0, ..Outcome::default() };
        assert_eq!(read(said), Some(outcome));
    }
}
