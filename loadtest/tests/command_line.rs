//! Output and exit codes of the program.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tollgate_load::spread::{Figure, Repeated};

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
    for (option, value, error) in [
        ("--rate", "0", "load.rate"),
        ("--rate", "NaN", "load.rate"),
        ("--connections", "0", "connections"),
        ("--repeat", "0", "--repeat <N>"),
    ] {
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

#[test]
fn repeated_runs_are_one_result_with_their_spread() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, delay: u64, more: &[&str]| {
        let stub = Stub::start(200, vec![Duration::from_millis(delay)]);
        call(folder.path(), &warm(&stub.url(), &[&["--duration", "1s", "--json", name], more].concat()))
    };
    let ended = run("base.json", 1, &["--repeat", "3", "--html", "base.html"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout.lines().filter(|line| line.starts_with("warm: ")).count(), 3, "{ended:?}");
    let repeated: Repeated = serde_json::from_slice(&fs::read(folder.path().join("base.json")).unwrap()).unwrap();
    let mut rates: Vec<f64> = repeated.runs.iter().map(|run| run.total.rate).collect();
    rates.sort_by(f64::total_cmp);
    let [lowest, median, highest] = rates[..] else { panic!("{rates:?}") };
    let Figure { half_distance, .. } = repeated.spread.rate;
    assert_eq!(repeated.spread.rate, Figure { median, lowest, highest, half_distance });
    assert!(lowest > 0.0 && (half_distance - (highest - lowest) / 2.0).abs() < 1e-9, "{repeated:?}");
    let table = ended.stdout.split_once("3 runs; ± is half of the distance").expect(&ended.stdout).1;
    let row: Vec<&str> =
        table.lines().find_map(|line| line.trim().strip_prefix("rate ")).unwrap().split_whitespace().collect();
    let shown = [median, lowest, highest, half_distance].map(|rate| format!("{rate:.0}/s"));
    assert_eq!(row[..4], shown, "{table}");
    let page = fs::read_to_string(folder.path().join("base.html")).unwrap();
    assert!(page.contains("Run 3 of 3") && page.contains(&format!("<td>{median:.0}/s</td>")), "{page}");
    let page = call(folder.path(), &["report", "base.json", "--html", "again.html"]);
    assert!(page.code == Some(0) && folder.path().join("again.html").exists(), "{page:?}");

    // One result is still one run, of the format that it always had.
    assert_eq!(run("slow.json", 100, &["--repeat", "1"]).code, Some(0));
    assert!(result(&folder.path().join("slow.json")).total.responses > 0);
    assert_eq!(run("slows.json", 100, &["--repeat", "2"]).code, Some(0));
    let compare = |arguments: &[&str]| call(folder.path(), &[&["compare"], arguments].concat());
    let limits = ["--max-p50-ratio", "1.2", "--min-rate-ratio", "0.9"];
    for new in ["slow.json", "slows.json"] {
        let ended = compare(&[&["base.json", new], &limits[..]].concat());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(&format!("failed: {new}: p50 is × ")), "{ended:?}");
        assert!(ended.stdout.contains("base.json, run 3 (warm"), "{ended:?}");
        let ratio = ended.stderr.lines().find(|line| line.contains("rate is")).unwrap();
        assert!(ratio.contains(" ± ") && ratio.ends_with("the limit is × 0.9"), "{ended:?}");
    }
    // Limits without a baseline are each run's own.
    let missed = compare(&["base.json", "slows.json", "--max-p50", "50ms"]);
    assert_eq!(missed.stderr.matches("failed: slows.json, run ").count(), 2, "{missed:?}");
    assert!(!missed.stderr.contains("base.json"), "{missed:?}");
    // Runs that differ more than what is asked of them say nothing.
    let mixed = Repeated::of([repeated.runs.clone(), vec![result(&folder.path().join("slow.json"))]].concat());
    fs::write(folder.path().join("mixed.json"), serde_json::to_vec(&mixed).unwrap()).unwrap();
    let wide = compare(&["mixed.json", "slows.json", "--max-p50-ratio", "1.2"]);
    assert!(wide.code == Some(0) && wide.stderr.contains("undecided: slows.json: p50 is × "), "{wide:?}");
    let sets = compare(&[&["slows.json", "slow.json", "--baseline", "base.json", "base.json"], &limits[..]].concat());
    assert!(sets.code == Some(1) && sets.stderr.contains("failed: slows.json and 1 more: p50 is × "), "{sets:?}");
    let alone = compare(&["base.json", "--max-p99", "2s"]);
    assert!(alone.code == Some(2) && alone.stderr.contains("base.json has nothing to be compared with"), "{alone:?}");
}

#[test]
fn repeated_runs_that_cannot_go_on_keep_what_was_measured() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut upstream = command(folder.path(), &["upstream", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(upstream.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = format!("http://{}", line.trim_end().rsplit(' ').next().unwrap());
    let arguments = warm(&url, &["--duration", "1s", "--repeat", "1000", "--json", "r.json"]);
    let running = command(folder.path(), &arguments).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    upstream.kill().unwrap();
    upstream.wait().unwrap();
    let ended = Ended::from(running.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("no response from the gateway"), "{ended:?}");
    let repeated: Repeated = serde_json::from_slice(&fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    assert!(repeated.runs.len() >= 2, "{}", repeated.runs.len());

    let stub = Stub::start(200, vec![Duration::from_millis(2)]);
    let url = stub.url();
    let arguments = warm(&url, &["--duration", "1s", "--repeat", "1000", "--json", "r.json"]);
    let running = command(folder.path(), &arguments).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    kill_process(Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let ended = Ended::from(running.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let repeated: Repeated = serde_json::from_slice(&fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    assert!((2..5).contains(&repeated.runs.len()), "{}", repeated.runs.len());
    assert!(repeated.runs.last().unwrap().interrupted);
}
