//! The generator's figures, compared with known delays.

use std::time::Duration;

use tempfile::TempDir;
use tollgate_load::outcome::{Latency, Outcome};

use crate::stub::Stub;
use crate::{alone, program};

/// 5 to 55 ms, uniformly distributed, in a shuffled order.
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

/// The largest relative error of the percentiles.
fn worst(stub: &Stub, latency: &Latency) -> f64 {
    let rows = [(0.5, latency.p50), (0.9, latency.p90), (0.99, latency.p99)];
    // The first response belongs to the check that the gateway is reachable.
    rows.map(|(quantile, found)| (found / stub.truth(quantile, 1) - 1.0).abs()).into_iter().fold(0.0, f64::max)
}

/// Other load on the processors distorts a measurement, so it is repeated. A generator that is wrong is wrong
/// every time.
fn assert_accurate(load: &[&str], check: impl Fn(&Outcome)) {
    let mut found = Vec::new();
    for _ in 0..5 {
        let stub = Stub::start(200, delays());
        let outcome = run(&stub, &tempfile::tempdir().unwrap(), load);
        check(&outcome);
        found.push(worst(&stub, &outcome.total.latency));
        if found.last().is_some_and(|worst| *worst < 0.02) {
            return;
        }
    }
    panic!("relative errors of all attempts: {found:?}");
}

#[test]
fn percentiles_of_a_closed_loop_are_within_two_percent_of_the_true_values() {
    let _turn = alone();
    assert_accurate(&["--connections", "16", "--duration", "4s"], |outcome| {
        assert!(outcome.total.responses > 1000, "{:?}", outcome.total);
    });
}

#[test]
fn percentiles_of_an_open_loop_are_within_two_percent_of_the_true_values() {
    let _turn = alone();
    assert_accurate(&["--rate", "400", "--connections", "64", "--duration", "4s"], |outcome| {
        assert_eq!(outcome.total.responses, 1600);
        assert!((outcome.total.rate - 400.0).abs() < 1.0, "{}", outcome.total.rate);
    });
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
    // A fifth of all requests were scheduled during the stall. A generator that measured from the actual send
    // time would have seen four slow ones.
    assert_eq!(outcome.total.responses, 500);
    let latency = &outcome.total.latency;
    assert!(latency.p90 > 300_000.0 && latency.p99 > 800_000.0 && latency.p50 < 100_000.0, "{latency:?}");
    assert!(outcome.total.late > 50 && outcome.generator.limited.is_some(), "{:?}", outcome.generator);
}
