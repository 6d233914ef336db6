//! What has been counted of a sender, and what follows for the next request.

use crate::period::{self, ALL, COUNT, Period};

/// The limits of an instance, each at least 1, in the order of their periods.
#[derive(Debug, Clone)]
pub(crate) struct Limits(Vec<(Period, u64)>);

impl Limits {
    /// These.
    pub(crate) fn new(limits: Vec<(Period, u64)>) -> Self {
        Self(limits)
    }

    /// Each with its period.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Period, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Whether another request may pass.
    pub(crate) fn admit(&self, used: &Used) -> bool {
        self.iter().all(|(period, limit)| used.of(period) < limit)
    }

    /// When the longest of their windows ends.
    pub(crate) fn end(&self, now: i64) -> i64 {
        self.0.last().map_or(now, |(period, _)| period.end(now))
    }

    /// By period; what is not limited has no limit.
    pub(crate) fn by_period(&self) -> [Option<u64>; COUNT] {
        ALL.map(|wanted| self.iter().find(|(period, _)| *period == wanted).map(|(_, limit)| limit))
    }
}

/// The requests counted before this one, by period; 0 where nothing is limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used(pub(crate) [u64; COUNT]);

impl Used {
    /// In the current window of the period.
    pub(crate) fn of(&self, period: Period) -> u64 {
        self.0.get(period as usize).copied().unwrap_or_default()
    }
}

/// The windows of a sender that is counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Windows {
    starts: [i64; COUNT],
    counts: [u64; COUNT],
}

impl Windows {
    /// As they were counted elsewhere.
    pub(crate) fn counted(now: i64, used: Used) -> Self {
        Self { starts: ALL.map(|period| period.start(now)), counts: used.0 }
    }

    /// What was counted in the windows that are current now.
    pub(crate) fn used(&self, limits: &Limits, now: i64) -> Used {
        let mut used = Used::default();
        for (period, _) in limits.iter() {
            let at = period as usize;
            if let (Some(start), Some(count), Some(used)) =
                (self.starts.get(at), self.counts.get(at), used.0.get_mut(at))
                // A clock that was set back begins no window again.
                && *start >= period.start(now)
            {
                *used = *count;
            }
        }
        used
    }

    /// Counts a request if every limit admits it; what was counted before.
    pub(crate) fn count(&mut self, limits: &Limits, now: i64) -> Used {
        let used = self.used(limits, now);
        if limits.admit(&used) {
            for (period, _) in limits.iter() {
                let at = period as usize;
                if let (Some(start), Some(count)) = (self.starts.get_mut(at), self.counts.get_mut(at)) {
                    *start = period.start(now).max(*start);
                    *count = used.of(period).saturating_add(1);
                }
            }
        }
        used
    }
}

/// What a client hears of its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether its request passes.
    pub(crate) admitted: bool,
    /// What is left of each limit after this request, in their order.
    pub(crate) remaining: Vec<u64>,
    /// The limit that ends first: with the least left, and of several the longest.
    pub(crate) closest: Closest,
}

/// A limit with what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closest {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    /// Seconds until its window ends; at least 1.
    pub(crate) reset: i64,
}

impl Standing {
    /// After a request at this second, before which this was counted.
    pub(crate) fn of(limits: &Limits, used: &Used, now: i64) -> Self {
        let admitted = limits.admit(used);
        let mut closest: Option<(u64, Closest)> = None;
        let mut remaining = Vec::with_capacity(period::COUNT);
        for (period, limit) in limits.iter() {
            let left = limit.saturating_sub(used.of(period)).saturating_sub(u64::from(admitted));
            remaining.push(left);
            if closest.is_none_or(|(least, _)| left <= least) {
                let reset = (period.end(now) - now).max(1);
                closest = Some((left, Closest { limit, remaining: left, reset }));
            }
        }
        let nothing = Closest { limit: 0, remaining: 0, reset: 1 };
        Self { admitted, remaining, closest: closest.map_or(nothing, |(_, closest)| closest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(limits: &[(Period, u64)]) -> Limits {
        Limits::new(limits.to_vec())
    }

    /// The last second of an hour.
    const NOW: i64 = 3599;

    #[test]
    fn a_request_counts_in_all_periods_or_in_none() {
        let (limits, mut windows) = (limits(&[(Period::Second, 1), (Period::Hour, 3)]), Windows::default());
        assert_eq!(windows.count(&limits, NOW).0, [0, 0, 0, 0, 0, 0]);
        for _ in 0..3 {
            assert_eq!(windows.count(&limits, NOW).0, [1, 0, 1, 0, 0, 0], "refused ones are not counted");
        }
        assert_eq!(windows.count(&limits, NOW - 1).0, [1, 0, 1, 0, 0, 0], "a clock that was set back");
        assert_eq!(windows.count(&limits, NOW + 1).0, [0, 0, 0, 0, 0, 0], "the next hour");
        assert_eq!(windows.count(&limits, NOW + 2).0, [0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn a_limit_that_was_lowered_admits_nobody() {
        let mut windows = Windows::default();
        for _ in 0..5 {
            windows.count(&limits(&[(Period::Minute, 5)]), NOW);
        }
        let lower = limits(&[(Period::Minute, 2)]);
        let used = windows.count(&lower, NOW);
        let standing = Standing::of(&lower, &used, NOW);
        let closest = Closest { limit: 2, remaining: 0, reset: 1 };
        assert_eq!(standing, Standing { admitted: false, remaining: vec![0], closest });
    }

    #[test]
    fn the_limit_that_ends_first_is_told() {
        let limits = limits(&[(Period::Second, 5), (Period::Minute, 8), (Period::Hour, 10)]);
        for (used, admitted, remaining, closest) in [
            ([0, 0, 0], true, [4, 7, 9], Closest { limit: 5, remaining: 4, reset: 1 }),
            ([1, 5, 8], true, [3, 2, 1], Closest { limit: 10, remaining: 1, reset: 1 }),
            ([0, 7, 9], true, [4, 0, 0], Closest { limit: 10, remaining: 0, reset: 1 }),
            ([0, 8, 9], false, [5, 0, 1], Closest { limit: 8, remaining: 0, reset: 1 }),
        ] {
            let used = Used([used[0], used[1], used[2], 0, 0, 0]);
            let expected = Standing { admitted, remaining: remaining.to_vec(), closest };
            assert_eq!(Standing::of(&limits, &used, NOW), expected, "{used:?}");
        }
        let reset = |now| Standing::of(&limits, &Used([0, 7, 0, 0, 0, 0]), now).closest.reset;
        assert_eq!((reset(3540), reset(3550), reset(3599)), (60, 50, 1));
    }
}
