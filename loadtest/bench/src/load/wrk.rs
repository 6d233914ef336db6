//! `wrk`, with a script that supports token lists.

use std::fmt::Write as _;
use std::fs;

use super::{CONCURRENCY, HOST, Outcome, Requests, Step, Wire};
use crate::error::{Error, Result};

const SCRIPT: &str = include_str!("wrk.lua");

/// Writes the script's files and returns the command line.
pub(super) fn command(step: &Step<'_>) -> Result<Vec<String>> {
    let script = step.folder.join("wrk.lua");
    let request = step.folder.join("request");
    fs::write(&script, SCRIPT).map_err(Error::system("cannot write the script of wrk"))?;
    fs::write(&request, text(step.requests)).map_err(Error::system("cannot write the request for wrk"))?;
    let scheme = if step.wire == Wire::Tls { "https" } else { "http" };
    let (list, order) = match &step.requests.tokens {
        None => ("-".to_owned(), "-".to_owned()),
        Some(tokens) => {
            let order = tokens.order.as_ref().map_or_else(|| "-".to_owned(), |order| order.display().to_string());
            (tokens.list.display().to_string(), order)
        }
    };
    Ok(vec![
        "wrk".to_owned(),
        "-t1".to_owned(),
        format!("-c{CONCURRENCY}"),
        format!("-d{}s", step.duration.as_secs().max(1)),
        "-s".to_owned(),
        script.display().to_string(),
        format!("{scheme}://{}/", step.address),
        "--".to_owned(),
        request.display().to_string(),
        list,
        order,
        step.start.to_string(),
    ])
}

fn text(requests: &Requests) -> String {
    let mut text = format!("{} {} HTTP/1.1\r\nHost: {HOST}\r\n", requests.method, requests.path);
    for (name, value) in &requests.headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    if !requests.body.is_empty() {
        let _ = write!(text, "Content-Length: {}\r\n", requests.body.len());
    }
    text + "\r\n" + &requests.body
}

/// Parses the line that the script prints at the end.
pub(super) fn read(said: &str) -> Option<Outcome> {
    let line = said.lines().find_map(|line| line.strip_prefix("RESULT "))?;
    let mut numbers = line.split(' ').map(|word| word.parse::<f64>().ok());
    let mut next = || numbers.next().flatten().map(|number| number as u64);
    Some(Outcome {
        requests: next()?,
        refused: next()?,
        broken: next()?,
        seconds: next()? as f64 / 1e6,
        p50: next(),
        p99: next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_parsed() {
        let said = "Running 1s test\n  100 requests in 1.00s\nRESULT 100 2 1 1000500 900 2100\n";
        let outcome =
            Outcome { requests: 100, refused: 2, broken: 1, seconds: 1.0005, p50: Some(900), p99: Some(2100) };
        assert_eq!(read(said), Some(outcome));
        assert_eq!(read("unable to connect"), None);
    }

    #[test]
    fn a_request_is_written_as_it_is_sent() {
        let form = Requests::form("/oauth2/token", "a=b".to_owned());
        assert_eq!(
            text(&form),
            "POST /oauth2/token HTTP/1.1\r\nHost: bench.test\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: 3\r\n\r\na=b"
        );
    }
}
