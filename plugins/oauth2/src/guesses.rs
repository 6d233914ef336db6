//! Limits for guesses of client secrets and provision keys.
//!
//! Failures are counted: by name (a client's id, or the plugin instance whose provision key was presented) and
//! address together, by address, and by name. Each count has a limit per window, and loses failures evenly over it.
//!
//! 1. A name and address at their limit are refused, whatever secret they present: otherwise the right guess would
//!    get through.
//! 2. An address at its limit hears of no failure but that there were too many. The right secret is accepted: a client
//!    behind the same address as somebody who guesses goes on, and which names exist is not told.
//! 3. A name at its limit is refused to addresses that have failed for it recently, so everybody else has at least
//!    one attempt: nobody can lock a client out from elsewhere.
//!
//! Memory is fixed. Counts are in tables without keys, in two places each, of which the lower one counts; places are
//! chosen by a keyed hash, so nobody can choose whom to share one with. Each node counts for itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec};
use tollgate_core::clock::Clock;
use tollgate_core::network;
use tollgate_core::random::Random;
use tollgate_core::setting::{self, Setting, SettingError, SettingValues};

const PER_NAME_AND_ADDRESS: &str = "limits.failures_per_client_and_address";
const PER_ADDRESS: &str = "limits.failures_per_address";
const PER_NAME: &str = "limits.failures_per_client";
const WINDOW: &str = "limits.failure_window";

/// The settings.
pub const SETTINGS: [Setting; 4] = [
    Setting::new(
        PER_NAME_AND_ADDRESS,
        "50",
        "Failed authentications of one client (or with one provision key) from one address within limits.failure_window, before 429; 0: no limit.",
    )
    .checked(check_number),
    Setting::new(
        PER_ADDRESS,
        "500",
        "The same from one address, for all clients: from then on each failure is 429, while the right secret is accepted; 0: no limit.",
    )
    .checked(check_number),
    Setting::new(
        PER_NAME,
        "500",
        "The same of one client from all addresses; from then on each address has one attempt; 0: no limit.",
    )
    .checked(check_number),
    Setting::new(WINDOW, "5m", "The time in which a limit's failures are forgotten.").checked(check_window),
];

/// How much a client may leave for users to decide about.
pub const BEGUN: Setting = Setting::new(
    "limits.requests_begun_per_client_and_address",
    "600",
    "Pushed authorization requests and device codes of one client from one address within limits.failure_window, before 429; 0: no limit.",
)
.checked(check_number);

/// Places of each table of counts.
const PLACES: usize = 1 << 15;
/// How long it is remembered that a name was authenticated from an address.
const REMEMBERED_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of one name from one address; 0: none.
    pub per_name_and_address: u32,
    /// Of one address.
    pub per_address: u32,
    /// Of one name.
    pub per_name: u32,
    /// The time in which they apply.
    pub window: Duration,
}

impl Limits {
    /// Reads the settings.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn read(settings: &SettingValues) -> Result<Self, SettingError> {
        Ok(Self {
            per_name_and_address: settings.read(PER_NAME_AND_ADDRESS, number)?,
            per_address: settings.read(PER_ADDRESS, number)?,
            per_name: settings.read(PER_NAME, number)?,
            window: settings.read(WINDOW, window)?,
        })
    }
}

impl Limits {
    /// Those of [`BEGUN`], within the same time.
    ///
    /// # Errors
    /// The setting is missing or wrong.
    pub fn for_waiting(self, settings: &SettingValues) -> Result<Self, SettingError> {
        let per_name_and_address = settings.read(BEGUN.path, number)?;
        Ok(Self { per_name_and_address, per_address: 0, per_name: 0, ..self })
    }
}

fn number(text: &str) -> Result<u32, String> {
    let number = setting::number(text)?;
    u32::try_from(number)
        .ok()
        .filter(|number| *number <= 1_000_000)
        .ok_or_else(|| "expected at most 1000000".to_owned())
}

fn check_number(text: &str) -> Result<(), String> {
    number(text).map(drop)
}

fn window(text: &str) -> Result<Duration, String> {
    let window = setting::duration(text)?;
    if window >= Duration::from_secs(1) { Ok(window) } else { Err("expected at least 1s".to_owned()) }
}

fn check_window(text: &str) -> Result<(), String> {
    window(text).map(drop)
}

/// A limit is reached: the next attempt is possible after this many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// At least one.
    pub retry_after: u64,
}

/// The counts of a node.
pub struct Guesses {
    by_name_and_address: Counts,
    by_address: Counts,
    by_name: Counts,
    authenticated: Marks,
    key: [u8; 32],
    clock: Arc<dyn Clock>,
    limited: [IntCounter; 3],
}

impl Guesses {
    /// Starts with no failures; `limited` counts refusals by `by`.
    pub fn new(limits: Limits, random: &dyn Random, clock: Arc<dyn Clock>, limited: &IntCounterVec) -> Self {
        let mut key = [0; 32];
        random.fill(&mut key);
        let counts = |limit| Counts::new(limit, limits.window);
        Self {
            by_name_and_address: counts(limits.per_name_and_address),
            by_address: counts(limits.per_address),
            by_name: counts(limits.per_name),
            authenticated: Marks::new(),
            key,
            clock,
            limited: ["client_and_address", "address", "client"].map(|by| limited.with_label_values(&[by])),
        }
    }

    /// An attempt to authenticate as `name` from this address.
    pub fn attempt(&self, kind: Kind, name: &str, address: IpAddr) -> Attempt<'_> {
        let address = network::of(address).to_string();
        let kind = match kind {
            Kind::Client => "client",
            Kind::ProvisionKey => "provision key",
            Kind::UserCode => "user code",
            Kind::InitialAccessToken => "initial access token",
        };
        let hash = |parts: [&str; 3]| {
            let mut hasher = blake3::Hasher::new_keyed(&self.key);
            for part in parts {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
            Place::of(hasher.finalize().as_bytes())
        };
        Attempt {
            guesses: self,
            name_and_address: hash([kind, name, &address]),
            address: hash(["", "", &address]),
            name: hash([kind, name, ""]),
            counted: false,
        }
    }

    /// The time, in Unix seconds.
    pub fn seconds(&self) -> i64 {
        self.clock.now()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now_millis()).unwrap_or(0)
    }

    fn limited(&self, by: usize, wait: u64) -> Result<(), Limited> {
        if wait == 0 {
            return Ok(());
        }
        self.limited.get(by).inspect(|counter| counter.inc());
        Err(Limited { retry_after: wait.div_ceil(1000) })
    }
}

/// What is guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The secret of a client; the name is its id.
    Client,
    /// A provision key; the name is the plugin instance's.
    ProvisionKey,
    /// A user code of a device; the name is the plugin instance's and the user's.
    UserCode,
    /// An initial access token; the name is the plugin instance's.
    InitialAccessToken,
}

/// One request's attempt: at most one failure, however many interpretations of its credentials fail.
pub struct Attempt<'g> {
    guesses: &'g Guesses,
    name_and_address: Place,
    address: Place,
    name: Place,
    counted: bool,
}

impl Attempt<'_> {
    /// Whether the attempt may be made.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn allowed(&self) -> Result<(), Limited> {
        let guesses = self.guesses;
        let now = guesses.now();
        guesses.limited(0, guesses.by_name_and_address.wait(now, self.name_and_address))?;
        if guesses.authenticated.has(now, self.name_and_address) {
            return Ok(());
        }
        if guesses.by_name_and_address.is_empty(now, self.name_and_address) {
            return Ok(());
        }
        guesses.limited(2, guesses.by_name.wait(now, self.name))
    }

    /// Counts the attempt as a failure, once. Where it is not known yet whether it fails, call this before finding
    /// out, and [`Self::succeeded`] afterwards: attempts at the same time cannot exceed the limit together.
    ///
    /// # Errors
    /// A limit is reached, and nothing is counted.
    pub fn count(&mut self) -> Result<(), Limited> {
        if self.counted {
            return Ok(());
        }
        self.allowed()?;
        let now = self.guesses.now();
        self.guesses.by_name_and_address.add(now, self.name_and_address);
        self.guesses.by_name.add(now, self.name);
        self.counted = true;
        Ok(())
    }

    /// The attempt was wrong.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn failed(mut self) -> Result<(), Limited> {
        self.count()?;
        let guesses = self.guesses;
        let now = guesses.now();
        guesses.by_address.add(now, self.address);
        guesses.limited(1, guesses.by_address.excess(now, self.address))
    }

    /// The attempt was right: it does not count, and the name is remembered for its address.
    pub fn succeeded(self) {
        if self.counted {
            self.guesses.by_name_and_address.take_back(self.name_and_address);
            self.guesses.by_name.take_back(self.name);
        }
        self.guesses.authenticated.set(self.guesses.now(), self.name_and_address);
    }
}

/// Where something is counted: two places, and a tag that tells it from others in a table of marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    first: usize,
    second: usize,
    tag: u64,
}

impl Place {
    fn of(hash: &[u8; 32]) -> Self {
        let word = |at: usize| {
            let bytes = hash.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        let place = |at| usize::try_from(word(at) % PLACES as u64).unwrap_or(0);
        Self { first: place(0), second: place(8), tag: word(16) >> TIME_BITS }
    }
}

/// Failures as a rate: each moves the time at which the count is empty again by an equal part of the window.
struct Counts {
    places: [Box<[AtomicU64]>; 2],
    /// Milliseconds that a failure counts; 0: there is no limit.
    each: u64,
    window: u64,
}

impl Counts {
    fn new(limit: u32, window: Duration) -> Self {
        let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let table = |places| (0..places).map(|_| AtomicU64::new(0)).collect();
        let places = if limit == 0 { 0 } else { PLACES };
        let each = if limit == 0 { 0 } else { (millis / u64::from(limit)).max(1) };
        Self { places: [table(places), table(places)], each, window: each.saturating_mul(u64::from(limit)) }
    }

    fn cells(&self, place: Place) -> impl Iterator<Item = &AtomicU64> {
        let [first, second] = &self.places;
        first.get(place.first).into_iter().chain(second.get(place.second))
    }

    /// When the count is empty, in milliseconds.
    fn empty_at(&self, place: Place) -> u64 {
        self.cells(place).map(|cell| cell.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    fn is_empty(&self, now: u64, place: Place) -> bool {
        self.empty_at(place) <= now
    }

    /// Milliseconds until there is room for a failure.
    fn wait(&self, now: u64, place: Place) -> u64 {
        // Not longer than the window, even if the clock was set back.
        let filled = self.empty_at(place).saturating_sub(now).min(self.window);
        (filled + self.each).saturating_sub(self.window)
    }

    /// Milliseconds until the failures that were counted are within the limit.
    fn excess(&self, now: u64, place: Place) -> u64 {
        self.empty_at(place).saturating_sub(now).min(self.window + self.each).saturating_sub(self.window)
    }

    fn add(&self, now: u64, place: Place) {
        // One more than there is room for, which shows that the limit is exceeded.
        let last = now.saturating_add(self.window + self.each);
        for cell in self.cells(place) {
            let add = |empty_at: u64| Some((empty_at.max(now) + self.each).min(last));
            let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    fn take_back(&self, place: Place) {
        for cell in self.cells(place) {
            let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| Some(at.saturating_sub(self.each)));
        }
    }
}

/// The bits of a mark that hold its time, in minutes; the others hold its tag.
const TIME_BITS: u32 = 32;

/// What was authenticated recently. A mark is overwritten by another that falls on its place.
struct Marks(Box<[AtomicU64]>);

impl Marks {
    fn new() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }

    fn set(&self, now: u64, place: Place) {
        if let Some(mark) = self.0.get(place.first) {
            mark.store(place.tag << TIME_BITS | minutes(now), Ordering::Relaxed);
        }
    }

    fn has(&self, now: u64, place: Place) -> bool {
        let mark = self.0.get(place.first).map_or(0, |mark| mark.load(Ordering::Relaxed));
        let age = minutes(now).saturating_sub(mark & u64::from(u32::MAX));
        mark != 0 && mark >> TIME_BITS == place.tag && age <= minutes(REMEMBERED_MILLIS)
    }
}

fn minutes(millis: u64) -> u64 {
    (millis / 60_000) & u64::from(u32::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use prometheus::Opts;
    use tollgate_core::clock::ManualClock;
    use tollgate_core::random::SystemRandom;

    use super::*;

    pub(crate) const LIMITS: Limits =
        Limits { per_name_and_address: 5, per_address: 20, per_name: 20, window: Duration::from_secs(50) };

    pub(crate) fn guesses(limits: Limits, clock: Arc<dyn Clock>) -> Guesses {
        let limited = IntCounterVec::new(Opts::new("limited", "limited"), &["by"]).unwrap();
        Guesses::new(limits, &SystemRandom, clock, &limited)
    }

    struct World {
        guesses: Guesses,
        clock: Arc<ManualClock>,
    }

    impl World {
        fn new(limits: Limits) -> Self {
            let clock = Arc::new(ManualClock::at(1_700_000_000));
            Self { guesses: guesses(limits, Arc::clone(&clock) as _), clock }
        }

        fn attempt(&self, name: &str, address: &str) -> Attempt<'_> {
            self.guesses.attempt(Kind::Client, name, address.parse().unwrap())
        }

        fn fail(&self, name: &str, address: &str) -> Result<(), u64> {
            self.attempt(name, address).count().map_err(|limited| limited.retry_after)
        }

        fn allowed(&self, name: &str, address: &str) -> Result<(), u64> {
            self.attempt(name, address).allowed().map_err(|limited| limited.retry_after)
        }
    }

    const HERE: &str = "192.0.2.1";
    const THERE: &str = "192.0.2.2";

    #[test]
    fn a_client_at_an_address_has_a_number_of_failures_within_the_window() {
        let world = World::new(LIMITS);
        for _ in 0..5 {
            assert_eq!(world.fail("shoe", HERE), Ok(()));
        }
        assert_eq!(world.fail("shoe", HERE), Err(10), "five in fifty seconds");
        assert_eq!(world.allowed("shoe", HERE), Err(10), "the right secret is refused as well");
        assert_eq!((world.allowed("shoe", THERE), world.allowed("other", HERE)), (Ok(()), Ok(())));
        world.clock.advance(10);
        assert_eq!((world.fail("shoe", HERE), world.fail("shoe", HERE)), (Ok(()), Err(10)));
        world.clock.advance(50);
        for _ in 0..5 {
            assert_eq!(world.fail("shoe", HERE), Ok(()), "all are forgotten");
        }
    }

    #[test]
    fn a_success_does_not_count_and_gives_nothing_else_back() {
        let world = World::new(LIMITS);
        for _ in 0..4 {
            assert_eq!(world.fail("shoe", HERE), Ok(()));
        }
        for _ in 0..100 {
            let mut attempt = world.attempt("shoe", HERE);
            assert_eq!((attempt.count(), attempt.count()), (Ok(()), Ok(())), "counted once");
            attempt.succeeded();
        }
        assert_eq!((world.fail("shoe", HERE), world.fail("shoe", HERE)), (Ok(()), Err(10)));
    }

    #[test]
    fn an_address_that_guesses_names_hears_of_its_limit_and_the_right_secret_is_accepted_from_it() {
        let world = World::new(LIMITS);
        let fail = |name: &str, address| world.attempt(name, address).failed().map_err(|limited| limited.retry_after);
        for nth in 0..20 {
            assert_eq!(fail(&format!("unknown {nth}"), HERE), Ok(()));
        }
        assert_eq!(fail("unknown", HERE), Err(3), "twenty in fifty seconds");
        assert_eq!((fail("another", HERE), fail("another", THERE)), (Err(3), Ok(())));
        let mut good = world.attempt("good", HERE);
        assert_eq!((good.allowed(), good.count()), (Ok(()), Ok(())));
        good.succeeded();
        world.clock.advance(5);
        assert_eq!((fail("one", HERE), fail("two", HERE)), (Ok(()), Err(3)));
    }

    #[test]
    fn an_address_that_has_authenticated_is_spared_the_limit_of_a_client_for_a_day() {
        let world = World::new(LIMITS);
        world.attempt("shoe", HERE).succeeded();
        let guessed = || {
            for nth in 0..20 {
                assert_eq!(world.fail("shoe", &format!("198.51.100.{nth}")), Ok(()));
            }
            world.fail("shoe", HERE).and_then(|()| world.allowed("shoe", HERE))
        };
        assert_eq!(guessed(), Ok(()));
        world.clock.advance(25 * 60 * 60);
        assert_eq!(guessed(), Err(3), "then it is one of many");
    }

    #[test]
    fn a_client_that_is_guessed_from_everywhere_leaves_each_address_one_attempt() {
        let world = World::new(LIMITS);
        for nth in 0..20 {
            assert_eq!(world.fail("shoe", &format!("198.51.100.{nth}")), Ok(()));
        }
        for address in [HERE, THERE] {
            assert_eq!(world.allowed("shoe", address), Ok(()), "nobody is locked out from elsewhere");
            assert_eq!((world.fail("shoe", address), world.fail("shoe", address)), (Ok(()), Err(3)));
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_kinds_do_not_share() {
        let world = World::new(LIMITS);
        for nth in 0..5 {
            assert_eq!(world.fail("shoe", &format!("2001:db8::{nth}")), Ok(()));
        }
        assert_eq!(world.fail("shoe", "2001:db8::ffff"), Err(10));
        let address = "2001:db8::ffff".parse().unwrap();
        assert_eq!(world.guesses.attempt(Kind::ProvisionKey, "shoe", address).allowed(), Ok(()));
    }

    #[test]
    fn many_names_at_once_do_not_fill_each_others_places() {
        let world = World::new(Limits { per_address: 0, ..LIMITS });
        for nth in 0..2000 {
            assert_eq!(world.fail(&format!("client {nth}"), HERE), Ok(()));
        }
        let limited = (0..2000).filter(|nth| world.allowed(&format!("another {nth}"), HERE).is_err()).count();
        assert_eq!(limited, 0);
    }

    #[test]
    fn without_limits_nothing_is_refused_and_no_memory_is_used() {
        let world = World::new(Limits { per_name_and_address: 0, per_address: 0, per_name: 0, window: LIMITS.window });
        for _ in 0..1000 {
            assert_eq!(world.fail("shoe", HERE), Ok(()));
        }
        assert_eq!(world.guesses.by_name.places.each_ref().map(|places| places.len()), [0, 0]);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out_for_longer_than_the_window() {
        let world = World::new(LIMITS);
        for _ in 0..5 {
            assert_eq!(world.fail("shoe", HERE), Ok(()));
        }
        world.clock.advance(-86_400);
        assert_eq!(world.allowed("shoe", HERE), Err(10));
    }
}
