//! Output and exit codes of the program.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Ended, call, command, result};
use crate::stub::Stub;
use crate::{alone, program};

/// Arguments for a run of `warm` against a server, without warm-up.
fn warm<'w>(url: &'w str, more: &[&'w str]) -> Vec<&'w str> {
    [&["run", "warm", "--proxy", url, "--token", "t0ken", "--warm-up", "0s"], more].concat()
}

#[test]
fn an_error_in_a_scenario_is_reported_with_its_position() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), "name: x\nabout: y\nmix:\n  - send: token\n    pik: one\n").unwrap();
    let ended = call(folder.path(), &["run", "s.yaml", "--token", "t"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.starts_with("tollgate-load: s.yaml:5:5: mix[0]: unknown field `pik`"), "{ended:?}");
}

#[test]
fn an_unreachable_gateway_is_reported() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ended = call(folder.path(), &["run", "warm", "--proxy", &format!("http://{address}"), "--token", "t"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains(&format!("no response from the gateway at {address}: connection refused")),
        "{ended:?}"
    );
    let ended = call(folder.path(), &["run", "warm"]);
    assert!(ended.stderr.contains("tollgate-load.state does not exist: run `tollgate-load provision`"), "{ended:?}");
}

#[test]
fn a_run_with_wrong_responses_fails_and_shows_them() {
    let _turn = alone();
    let stub = Stub::start(500, vec![Duration::from_millis(1)]);
    let folder = tempfile::tempdir().unwrap();
    let ended = call(folder.path(), &warm(&stub.url(), &["--duration", "1s", "--json", "r"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stdout.contains("FAILED") && ended.stdout.contains("expected 200 for `token`, found status 500"),
        "{ended:?}"
    );
    let outcome = result(&folder.path().join("r"));
    assert!(outcome.checks.wrong == outcome.total.responses && !outcome.is_valid());
}

#[test]
fn an_interrupted_run_still_reports() {
    let _turn = alone();
    let stub = Stub::start(200, vec![Duration::from_millis(2)]);
    let folder = tempfile::tempdir().unwrap();
    let url = stub.url();
    let arguments = warm(&url, &["--duration", "120s", "--json", "r.json", "--html", "r.html"]);
    let running = command(folder.path(), &arguments).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(3500));
    let pid = Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = Ended::from(running.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.lines().filter(|line| line.contains("p99")).count() >= 2, "{ended:?}");
    let outcome = result(&folder.path().join("r.json"));
    assert!(outcome.interrupted && outcome.duration < 10.0 && outcome.seconds.len() >= 2, "{outcome:?}");
    let page = fs::read_to_string(folder.path().join("r.html")).unwrap();
    for part in ["<svg", "p99.99", "stopped early", "status or error", "The generator", "name: warm"] {
        assert!(page.contains(part), "{part}");
    }
    for foreign in ["<script", "src=", "href=", "@import", "url(", "t0ken"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn stopping_a_run_does_not_wait_for_its_next_request() {
    let _turn = alone();
    let stub = Stub::start(200, vec![Duration::from_millis(1)]);
    let folder = tempfile::tempdir().unwrap();
    // The next request is due in fifty seconds, that of the last worker in half an hour.
    let url = stub.url();
    let running = command(folder.path(), &warm(&url, &["--rate", "0.02", "--duration", "2h"])).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let pid = Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap();
    let asked = Instant::now();
    kill_process(pid, Signal::INT).unwrap();
    let ended = Ended::from(running.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn invalid_options_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (option, value, error) in
        [("--rate", "0", "load.rate"), ("--rate", "NaN", "load.rate"), ("--connections", "0", "connections")]
    {
        let ended = call(folder.path(), &warm("http://127.0.0.1:1", &[option, value]));
        assert!(ended.code == Some(2) && ended.stderr.contains(error), "{option} {value}: {ended:?}");
    }
}

#[test]
fn an_authority_that_cannot_listen_is_reported_before_anything_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let provision = ["provision", "--admin", "http://127.0.0.1:1", "--third-party", "es256", "--authority", &address];
    let ended = call(folder.path(), &provision);
    let expected =
        format!("tollgate-load: cannot serve the third-party authority on {address}: Address already in use");
    assert!(ended.code == Some(2) && ended.stderr.starts_with(&expected), "{ended:?}");
    assert!(ended.stderr.contains("choose another address with --authority"), "{ended:?}");
    let alone = call(folder.path(), &["provision", "--authority", &address]);
    assert!(alone.code == Some(2) && alone.stderr.contains("--third-party <KIND>"), "{alone:?}");
}

#[test]
fn a_full_disk_is_reported() {
    let _turn = alone();
    let stub = Stub::start(200, vec![Duration::from_millis(2)]);
    let folder = tempfile::tempdir().unwrap();
    let url = stub.url();
    let run = |file: &str| call(folder.path(), &warm(&url, &["--duration", "1s", "--json", file]));
    let full = run("/dev/full");
    assert_eq!(full.code, Some(2), "{full:?}");
    assert!(full.stderr.contains("cannot write /dev/full: the disk is full"), "{full:?}");
    // Reported before anything is measured.
    let nowhere = run("no/such/folder/r.json");
    assert!(nowhere.stderr.contains("cannot write no/such/folder/r.json") && nowhere.stdout.is_empty(), "{nowhere:?}");
}

#[test]
fn comparisons_fail_on_missed_thresholds() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    for (name, delay) in [("fast.json", 1), ("slow.json", 100)] {
        let stub = Stub::start(200, vec![Duration::from_millis(delay)]);
        let ended = call(folder.path(), &warm(&stub.url(), &["--duration", "1s", "--json", name]));
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let compare = |thresholds: &[&str]| {
        let arguments: Vec<&str> = ["compare", "fast.json", "slow.json"].iter().chain(thresholds).copied().collect();
        program::call(folder.path(), &arguments)
    };
    let table = compare(&[]);
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(table.stdout.contains("fast.json (warm") && table.stdout.contains("× 1.00"), "{table:?}");
    assert_eq!(compare(&["--max-p99", "2s", "--min-rate", "10", "--max-error-rate", "0"]).code, Some(0));
    let missed = compare(&["--max-p50", "50ms", "--min-rate", "1000000"]);
    assert_eq!(missed.code, Some(1), "{missed:?}");
    assert!(missed.stderr.contains("failed: slow.json: p50 is "), "{missed:?}");
    let is_of_rate = |line: &str| line.starts_with("failed: slow.json: ") && line.contains("below 1000000");
    assert!(missed.stderr.lines().any(is_of_rate), "{missed:?}");
    // The baseline is what it is: limits concern new results alone.
    assert!(!missed.stderr.contains("fast.json"), "{missed:?}");
    let slower = compare(&["--max-p99-ratio", "1.2", "--min-rate-ratio", "0.9"]);
    assert_eq!(slower.code, Some(1), "{slower:?}");
    assert!(slower.stderr.contains("failed: slow.json: p99 is × "), "{slower:?}");
    assert!(slower.stderr.contains("failed: slow.json: rate is × 0."), "{slower:?}");
    assert_eq!(compare(&["--max-p99-ratio", "100000", "--min-rate-ratio", "0.00001"]).code, Some(0));
    let repeated = |base: &[&str], new: &[&str]| {
        let limits = ["--max-p50-ratio", "1.2", "--baseline"];
        program::call(folder.path(), &[&["compare"], new, &limits, base].concat())
    };
    assert_eq!(repeated(&["fast.json", "fast.json"], &["slow.json", "slow.json"]).code, Some(1));
    let wide = repeated(&["fast.json", "slow.json"], &["slow.json", "slow.json", "slow.json"]);
    assert_eq!(wide.code, Some(0), "{wide:?}");
    assert!(wide.stderr.contains("undecided: slow.json and 2 more: p50 is × "), "{wide:?}");
    let alone = program::call(folder.path(), &["compare", "slow.json", "--max-p99", "2s"]);
    assert_eq!(alone.code, Some(2), "{alone:?}");
    assert!(alone.stderr.contains("slow.json has nothing to be compared with"), "{alone:?}");
    fs::write(folder.path().join("fast.json"), "[]").unwrap();
    assert_eq!(compare(&[]).code, Some(2));
    let page = program::call(folder.path(), &["report", "slow.json", "--html", "slow.html"]);
    assert_eq!(page.code, Some(0), "{page:?}");
    assert!(fs::read_to_string(folder.path().join("slow.html")).unwrap().contains("warm against"));
}
