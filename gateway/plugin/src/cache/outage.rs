//! What is served from caches while the store is away.
//!
//! A fact that is cached was true when this node last heard of changes. An operator decides how long that is good
//! enough: for the node (`outage.serve_cached_for`), and for less time in an instance of a plugin (`serve_cached_for`).
//! What the store did not know is never served: it may know it by now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tollgate_core::schema::Field;
use tollgate_core::setting::{self, Setting, SettingError, SettingValues};
use tollgate_store::Feed;

use super::Trust;

const SERVE_CACHED_FOR: &str = "outage.serve_cached_for";

/// The settings for outages of the store that plugins share.
pub const SETTINGS: &[Setting] = &[Setting::new(
    SERVE_CACHED_FOR,
    "15m",
    "How long cached tokens, keys and their owners are accepted while the store is away, from when this node last \
     heard of changes; 0: not at all.",
)
.checked(|text| limit(text).map(drop))];

/// The longest time that an instance may give, in seconds: a year, as for settings.
const LONGEST: i32 = 31_536_000;

fn limit(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { setting::duration(text) }
}

/// How long an instance serves what is cached while the store is away: never longer than the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeCached {
    /// In seconds: an instance's rules are read on every request, and are small.
    limit: u32,
}

impl ServeCached {
    /// As long as the node.
    pub const AS_SET: Self = Self { limit: u32::MAX };

    /// The field `serve_cached_for` of an instance's configuration.
    pub fn field() -> Field {
        Field::integer("serve_cached_for").optional().between(0, LONGEST).describe(
            "Seconds for which cached data is used while the gateway's database is away, from the last change heard; \
             null: as long as the gateway's setting `outage.serve_cached_for`, which also limits it; 0: not at all.",
        )
    }

    /// What that field says.
    pub fn of(seconds: Option<u32>) -> Self {
        seconds.map_or(Self::AS_SET, |limit| Self { limit })
    }

    /// Whether what was true this long ago is good enough.
    pub fn admits(self, age: Duration) -> bool {
        age < Duration::from_secs(self.limit.into())
    }
}

/// How long this node goes on without the change feed; may change meanwhile. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OutageLimit(Arc<AtomicU64>);

impl OutageLimit {
    /// Reads the setting.
    pub(crate) fn read(settings: &SettingValues) -> Result<Self, SettingError> {
        let limit = settings.read(SERVE_CACHED_FOR, limit)?;
        Ok(Self(Arc::new(AtomicU64::new(millis(limit)))))
    }

    /// Goes on for as long as other settings say, from now on; those with faults change nothing.
    pub fn set(&self, settings: &SettingValues) {
        if let Ok(limit) = settings.read(SERVE_CACHED_FOR, limit) {
            self.0.store(millis(limit), Ordering::Relaxed);
        }
    }

    fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}

/// The change feed, and how long this node goes on without it.
pub(crate) struct NodeTrust {
    feed: Feed,
    limit: OutageLimit,
}

impl NodeTrust {
    /// Goes on for that long.
    pub(crate) fn new(feed: Feed, limit: OutageLimit) -> Self {
        Self { feed, limit }
    }
}

impl Trust for NodeTrust {
    fn is_current(&self) -> bool {
        self.feed.is_current()
    }

    fn outage(&self) -> Option<Duration> {
        self.feed.outage().filter(|age| *age < self.limit.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_zero_admits_nothing() {
        let age = Duration::from_secs;
        for (limit, admitted) in [(None, [true; 3]), (Some(60), [true, true, false]), (Some(0), [false; 3])] {
            let rule = ServeCached::of(limit);
            assert_eq!([age(0), age(59), age(60)].map(|age| rule.admits(age)), admitted, "{limit:?}");
        }
    }

    #[test]
    fn the_limit_may_change_and_a_fault_changes_nothing() {
        let values = |text: &str| SettingValues::from_iter([(SERVE_CACHED_FOR, text.to_owned())]);
        let limit = OutageLimit::read(&values("15m")).unwrap();
        for (text, expected) in [("2s", 2), ("nonsense", 2), ("0", 0)] {
            limit.clone().set(&values(text));
            assert_eq!(limit.get(), Duration::from_secs(expected), "{text}");
        }
    }

    #[test]
    fn the_setting_is_a_duration_or_zero() {
        for (text, expected) in [("15m", Some(900)), ("0", Some(0)), ("0s", Some(0)), ("", None), ("60", None)] {
            assert_eq!(limit(text).ok(), expected.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(SETTINGS.iter().map(|setting| (setting.check)(setting.default)).collect::<Vec<_>>(), [Ok(())]);
    }
}
