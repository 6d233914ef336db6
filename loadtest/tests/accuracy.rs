//! What the generator reports, against what is known to be true.

use std::time::Duration;

use tempfile::TempDir;
use tollgate_load::outcome::{Latency, Outcome};

use crate::stub::Stub;
use crate::{alone, program};

/// 5 to 55 ms, each as often, in an order that jumps.
fn delays() -> Vec<Duration> {
    (0..500_u64).map(|number| Duration::from_micros(5000 + (number * 197 % 500) * 100)).collect()
}

fn run(stub: &Stub, folder: &TempDir, load: &[&str]) -> Outcome {
    let url = stub.url();
    let mut arguments = vec!["run", "warm", "--proxy", &url, "--token", "t", "--warm-up", "0s", "--json", "r.json"];
    arguments.extend(load);
    let ended = program::call(folder.path(), &arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    program::result(&folder.path().join("r.json"))
}

fn assert_close(stub: &Stub, latency: &Latency) {
    for (name, quantile, found) in [("p50", 0.5, latency.p50), ("p90", 0.9, latency.p90), ("p99", 0.99, latency.p99)] {
        // The first answer is that of the look whether the gateway is there.
        let truth = stub.truth(quantile, 1);
        assert!((found / truth - 1.0).abs() < 0.02, "{name}: {found} µs reported, {truth} µs true");
    }
}

#[test]
fn percentiles_of_a_closed_loop_are_within_two_percent_of_the_truth() {
    let _turn = alone();
    let stub = Stub::start(200, delays());
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(&stub, &folder, &["--connections", "16", "--duration", "4s"]);
    assert!(outcome.total.answers > 1000, "{:?}", outcome.total);
    assert_close(&stub, &outcome.total.latency);
}

#[test]
fn percentiles_of_an_open_loop_are_within_two_percent_of_the_truth() {
    let _turn = alone();
    let stub = Stub::start(200, delays());
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(&stub, &folder, &["--rate", "400", "--connections", "64", "--duration", "4s"]);
    assert_eq!(outcome.total.answers, 1600);
    assert!((outcome.total.rate - 400.0).abs() < 1.0, "{}", outcome.total.rate);
    assert_close(&stub, &outcome.total.latency);
}

#[test]
fn a_stall_shows_in_the_percentiles_of_the_requests_that_waited_for_it() {
    let _turn = alone();
    let stub = Stub::start(200, vec![Duration::from_millis(1)]);
    let folder = tempfile::tempdir().unwrap();
    let outcome = std::thread::scope(|scope| {
        let measured =
            scope.spawn(|| run(&stub, &folder, &["--rate", "100", "--connections", "4", "--duration", "5s"]));
        std::thread::sleep(Duration::from_millis(2000));
        stub.stall(true);
        std::thread::sleep(Duration::from_millis(1000));
        stub.stall(false);
        measured.join().unwrap()
    });
    // A fifth of all requests were meant to be sent while nothing was answered. A generator that
    // only counts from when it sends would have seen four slow ones.
    assert_eq!(outcome.total.answers, 500);
    let latency = &outcome.total.latency;
    assert!(latency.p90 > 300_000.0 && latency.p99 > 800_000.0 && latency.p50 < 100_000.0, "{latency:?}");
    assert!(outcome.total.late > 50 && outcome.generator.limited.is_some(), "{:?}", outcome.generator);
}
