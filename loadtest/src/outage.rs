//! Responses over time: combines the seconds of a run into stretches in which requests of a kind kept ending
//! in the same way.
//!
//! A stretch ends when requests of its kind ended only in other ways for a second. Its bounds are the times at
//! which its first and last request ended, not whole seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::counters::Endings;
use crate::outcome::{Outage, Stretch, Trouble};
use crate::recorder::{Ending, Seen};

/// Shorter pauses do not end a stretch.
const PAUSE: Duration = Duration::from_secs(1);

/// The stretches of a run's seconds.
pub fn of(seconds: &[Endings]) -> Outage {
    let mut kinds: BTreeMap<&str, Vec<(Ending, Seen)>> = BTreeMap::new();
    for (kind, endings) in seconds.iter().flatten() {
        kinds.entry(kind).or_default().extend(endings.iter().map(|(ending, seen)| (*ending, *seen)));
    }
    let stretches: Vec<Stretch> = kinds.into_iter().flat_map(|(kind, seen)| of_kind(kind, &seen)).collect();
    Outage { trouble: trouble(&stretches), stretches }
}

fn of_kind(kind: &str, all: &[(Ending, Seen)]) -> Vec<Stretch> {
    let (mut stretches, mut open) = (Vec::new(), BTreeMap::<Ending, Seen>::new());
    for (ending, seen) in all {
        let known = open.get(ending).copied();
        let joined =
            known.filter(|known| !is_apart(*ending, known.last, seen.first, all)).map(|known| known.and(*seen));
        if let Some(over) = open.insert(*ending, joined.unwrap_or(*seen)).filter(|_| joined.is_none()) {
            stretches.push(stretch(kind, *ending, over));
        }
    }
    stretches.extend(open.into_iter().map(|(ending, seen)| stretch(kind, ending, seen)));
    stretches.sort_by(|one, other| one.from.total_cmp(&other.from));
    stretches
}

/// Whether requests ended only in other ways between two times.
fn is_apart(ending: Ending, from: Duration, to: Duration, all: &[(Ending, Seen)]) -> bool {
    let is_between = |(other, seen): &(Ending, Seen)| *other != ending && seen.first < to && seen.last > from;
    to.saturating_sub(from) >= PAUSE && all.iter().any(is_between)
}

fn stretch(kind: &str, ending: Ending, seen: Seen) -> Stretch {
    let (ending, served) = match ending {
        Ending::Status(status) => (status.to_string(), status < 500),
        Ending::Failure(failure) => (failure.name().to_owned(), false),
    };
    let Seen { count: requests, first, last } = seen;
    Stretch { kind: kind.to_owned(), ending, from: first.as_secs_f64(), to: last.as_secs_f64(), requests, served }
}

fn trouble(stretches: &[Stretch]) -> Option<Trouble> {
    let unserved = || stretches.iter().filter(|stretch| !stretch.served);
    let from = unserved().map(|stretch| stretch.from).reduce(f64::min)?;
    let to = unserved().map(|stretch| stretch.to).reduce(f64::max)?;
    let is_served_after =
        |met: &Stretch| stretches.iter().any(|later| later.served && later.kind == met.kind && later.to > met.to);
    Some(Trouble { from, to, recovered: unserved().all(is_served_after) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    const GOOD: Ending = Ending::Status(200);
    const AWAY: Ending = Ending::Status(503);
    const RESET: Ending = Ending::Failure(Failure::Reset);

    /// A second of a kind: each ending with the times of its first and last of two requests, in milliseconds.
    fn second(kind: &str, endings: &[(Ending, u64, u64)]) -> Endings {
        let seen = |(ending, first, last): &(Ending, u64, u64)| {
            (*ending, Seen { count: 2, first: Duration::from_millis(*first), last: Duration::from_millis(*last) })
        };
        Endings::from([(kind.to_owned(), endings.iter().map(seen).collect())])
    }

    fn rows(outage: &Outage) -> Vec<(&str, f64, f64, u64)> {
        let row = |stretch: &'_ Stretch| (stretch.from, stretch.to, stretch.requests);
        let named = outage.stretches.iter().map(|stretch| (stretch.ending.as_str(), row(stretch)));
        named.map(|(ending, (from, to, requests))| (ending, from, to, requests)).collect()
    }

    #[test]
    fn each_status_has_the_time_of_its_first_and_last_request() {
        let outage = of(&[
            second("cached", &[(GOOD, 10, 990)]),
            second("cached", &[(GOOD, 1010, 1400), (AWAY, 1410, 1990)]),
            second("cached", &[(AWAY, 2010, 2500), (GOOD, 2510, 2990)]),
            second("cached", &[(GOOD, 3010, 3990)]),
        ]);
        assert_eq!(rows(&outage), [("200", 0.01, 1.4, 4), ("503", 1.41, 2.5, 4), ("200", 2.51, 3.99, 4)]);
        assert_eq!(outage.trouble, Some(Trouble { from: 1.41, to: 2.5, recovered: true }));
    }

    #[test]
    fn a_pause_of_its_kind_does_not_end_a_stretch() {
        let outage = of(&[
            second("rare", &[(GOOD, 10, 20)]),
            second("often", &[(AWAY, 1010, 1990)]),
            second("rare", &[(GOOD, 5010, 5020)]),
        ]);
        assert_eq!(rows(&outage), [("503", 1.01, 1.99, 2), ("200", 0.01, 5.02, 4)]);
        // Serving other kinds does not count as recovery.
        assert_eq!(outage.trouble, Some(Trouble { from: 1.01, to: 1.99, recovered: false }));
    }

    #[test]
    fn a_failure_without_response_counts_as_unserved() {
        let outage = of(&[second("token", &[(GOOD, 10, 900), (RESET, 500, 510)])]);
        assert_eq!(outage.trouble, Some(Trouble { from: 0.5, to: 0.51, recovered: true }));
        assert_eq!(rows(&outage), [("200", 0.01, 0.9, 2), ("reset", 0.5, 0.51, 2)]);
        let unknown = Ending::Status(401);
        assert_eq!(of(&[second("token", &[(GOOD, 10, 900), (unknown, 500, 510)])]).trouble, None);
    }
}
