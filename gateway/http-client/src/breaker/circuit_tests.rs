use super::*;

/// The middle: periods are exact.
const MIDDLE: u32 = u32::MAX / 2;
const LIMITS: BreakerLimits = BreakerLimits {
    in_a_row: 3,
    calls: 10,
    window: Duration::from_secs(10),
    shortest: Duration::from_secs(1),
    longest: Duration::from_secs(8),
    forget: Duration::from_secs(60),
};

/// A circuit with a manual clock.
struct Manual {
    circuit: Circuit,
    now: Instant,
}

impl Manual {
    fn new() -> Self {
        let now = Instant::now();
        Self { circuit: Circuit::new(LIMITS, now), now }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn enter(&mut self) -> Result<Entry, Duration> {
        self.circuit.enter(self.now)
    }

    fn end(&mut self, entry: Entry, ended: Ended) -> Option<Change> {
        self.circuit.ended(entry, ended, self.now, || MIDDLE)
    }

    fn call(&mut self, ended: Ended) -> Option<Change> {
        let entry = self.enter().unwrap();
        self.end(entry, ended)
    }

    fn opened() -> Self {
        let mut manual = Self::new();
        for _ in 0..LIMITS.in_a_row {
            manual.call(Ended::Failed);
        }
        assert_eq!(manual.circuit.state(), 2);
        manual
    }

    /// The open period, rounded: floating point makes it a little more or less.
    fn open_for(&self) -> f64 {
        let left = self.circuit.refusal(self.now).unwrap().as_secs_f64();
        (left * 1000.0).round() / 1000.0
    }
}

#[test]
fn failures_in_a_row_open_it_unless_a_success_is_between() {
    let mut manual = Manual::new();
    for ended in [Ended::Failed, Ended::Failed, Ended::Well, Ended::Failed, Ended::Unrelated, Ended::Failed] {
        assert_eq!(manual.call(ended), None);
    }
    assert_eq!(manual.call(Ended::Failed), Some(Change::Opened(Reason::InARow(3))));
    assert_eq!(manual.circuit.state(), 2);
    assert_eq!(manual.open_for(), 1.0);
}

#[test]
fn half_of_recent_calls_failing_opens_it() {
    let mut manual = Manual::new();
    for _ in 0..4 {
        assert_eq!(manual.call(Ended::Well), None);
        assert_eq!(manual.call(Ended::Failed), None);
    }
    assert_eq!(manual.call(Ended::Well), None);
    assert_eq!(manual.call(Ended::Failed), Some(Change::Opened(Reason::Failures { failed: 5, calls: 10 })));
}

#[test]
fn failures_longer_ago_than_the_window_do_not_count() {
    let mut manual = Manual::new();
    for _ in 0..4 {
        manual.call(Ended::Failed);
        manual.call(Ended::Well);
    }
    manual.pass(LIMITS.window);
    for _ in 0..20 {
        assert_eq!(manual.call(Ended::Well), None);
    }
    assert_eq!(manual.call(Ended::Failed), None);
}

#[test]
fn sustained_slowness_opens_it_and_a_few_slow_calls_do_not() {
    let mut manual = Manual::new();
    for _ in 0..9 {
        assert_eq!(manual.call(Ended::Slow), None);
    }
    assert_eq!(manual.call(Ended::Slow), Some(Change::Opened(Reason::Slowness { slow: 10, calls: 10 })));

    let mut manual = Manual::new();
    for _ in 0..20 {
        for ended in [Ended::Slow, Ended::Slow, Ended::Slow, Ended::Well] {
            assert_eq!(manual.call(ended), None);
        }
    }
}

#[test]
fn while_open_calls_are_refused_and_told_when_to_retry() {
    let mut manual = Manual::opened();
    manual.pass(Duration::from_millis(400));
    assert_eq!(manual.open_for(), 0.6);
    assert!(manual.enter().is_err());
    assert_eq!(manual.circuit.state(), 2);
}

#[test]
fn one_probe_at_a_time_passes_and_its_success_closes_it() {
    for well in [Ended::Well, Ended::Slow] {
        let mut manual = Manual::opened();
        manual.pass(Duration::from_secs(2));
        assert_eq!(manual.circuit.refusal(manual.now), None);
        let probe = manual.enter().unwrap();
        assert_eq!(manual.circuit.state(), 1);
        assert_eq!(manual.enter().unwrap_err(), LIMITS.shortest);
        let after = Duration::from_secs(2);
        assert_eq!(manual.end(probe, well), Some(Change::Closed { after }));
        assert_eq!(manual.circuit.state(), 0);
        assert_eq!(manual.call(Ended::Failed), None);
    }
}

#[test]
fn a_probe_that_says_nothing_makes_room_for_the_next() {
    let mut manual = Manual::opened();
    manual.pass(Duration::from_secs(2));
    assert_eq!(manual.call(Ended::Unrelated), None);
    assert_eq!(manual.circuit.state(), 1);
    assert!(matches!(manual.call(Ended::Well), Some(Change::Closed { .. })));
}

#[test]
fn each_failed_probe_doubles_the_period_up_to_the_longest() {
    let mut manual = Manual::opened();
    for expected in [2.0, 4.0, 8.0, 8.0] {
        manual.pass(Duration::from_secs(9));
        assert_eq!(manual.call(Ended::Failed), None, "an operator knows already");
        assert_eq!(manual.open_for(), expected);
    }
}

#[test]
fn the_period_is_short_again_only_after_a_while_without_opening() {
    for (pause, expected) in [(Duration::from_secs(1), 2.0), (LIMITS.window, 1.0)] {
        let mut manual = Manual::opened();
        manual.pass(Duration::from_secs(2));
        manual.call(Ended::Well);
        manual.pass(pause);
        for _ in 0..LIMITS.in_a_row {
            manual.call(Ended::Failed);
        }
        assert_eq!(manual.open_for(), expected, "{pause:?}");
    }
}

#[test]
fn the_period_is_spread_by_a_quarter() {
    for (spread, expected) in [(0, 0.75), (u32::MAX, 1.25)] {
        let mut manual = Manual::new();
        for _ in 0..LIMITS.in_a_row {
            let entry = manual.enter().unwrap();
            manual.circuit.ended(entry, Ended::Failed, manual.now, || spread);
        }
        assert_eq!(manual.open_for(), expected);
    }
}

#[test]
fn calls_from_before_it_opened_no_longer_count() {
    let mut manual = Manual::new();
    let (first, second) = (manual.enter().unwrap(), manual.enter().unwrap());
    for _ in 0..LIMITS.in_a_row {
        manual.call(Ended::Failed);
    }
    assert_eq!(manual.end(first, Ended::Well), None);
    assert_eq!(manual.circuit.state(), 2);
    manual.pass(Duration::from_secs(2));
    let probe = manual.enter().unwrap();
    assert_eq!(manual.end(second, Ended::Failed), None);
    assert_eq!(manual.circuit.state(), 1);
    assert!(manual.end(probe, Ended::Well).is_some());
}

#[test]
fn only_what_has_nothing_to_remember_is_forgettable() {
    let mut manual = Manual::new();
    manual.call(Ended::Well);
    assert!(manual.circuit.is_forgettable(manual.now));
    manual.call(Ended::Failed);
    assert!(!manual.circuit.is_forgettable(manual.now));
    manual.pass(LIMITS.forget);
    assert!(manual.circuit.is_forgettable(manual.now));

    let mut manual = Manual::opened();
    manual.pass(LIMITS.forget);
    assert!(!manual.circuit.is_forgettable(manual.now), "its period ended later than it began");
    manual.pass(Duration::from_secs(2));
    assert!(manual.circuit.is_forgettable(manual.now));
}
