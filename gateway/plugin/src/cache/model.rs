//! The primitives that caches share between threads. In release builds they are those of the standard library
//! and of moka. In debug builds a test may install a [`Scheduler`] that decides which thread runs after each
//! step; without one they behave like the originals.

use moka::sync::Cache;

#[cfg(debug_assertions)]
pub(crate) use modelled::thread;
#[cfg(debug_assertions)]
pub use modelled::{AtomicBool, AtomicU64, Map, Mutex, MutexGuard, Scheduler, install, map, step};

#[cfg(not(debug_assertions))]
pub use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64},
};

/// A bounded map that threads share.
#[cfg(not(debug_assertions))]
pub type Map<K, V, S = std::hash::RandomState> = Cache<K, V, S>;

/// A map that threads share, bounded as `cache` is.
#[cfg(not(debug_assertions))]
pub fn map<K, V, S>(cache: Cache<K, V, S>) -> Map<K, V, S> {
    cache
}

#[cfg(debug_assertions)]
mod modelled {
    use std::ops::Deref;
    use std::sync::atomic::{self, Ordering};
    use std::sync::{LockResult, OnceLock, TryLockError};

    pub use std::sync::MutexGuard;

    use super::Cache;

    /// Decides which thread runs next. Its threads are coroutines of one OS thread.
    #[derive(Debug)]
    pub struct Scheduler {
        /// The scheduler's current thread; `None` outside the scheduler's threads.
        pub thread: fn() -> Option<usize>,
        /// Another thread may run here.
        pub step: fn(),
        /// This thread cannot continue until another has run.
        pub blocked: fn(),
    }

    static SCHEDULER: OnceLock<Scheduler> = OnceLock::new();

    /// Installs a scheduler for the process; the first one stays.
    pub fn install(scheduler: Scheduler) {
        // A second one is the same: a process runs the scheduler of one test suite.
        let _ = SCHEDULER.set(scheduler);
    }

    pub(crate) fn thread() -> Option<usize> {
        SCHEDULER.get().and_then(|scheduler| (scheduler.thread)())
    }

    /// The scheduler that controls this thread.
    fn scheduler() -> Option<&'static Scheduler> {
        SCHEDULER.get().filter(|scheduler| (scheduler.thread)().is_some() && !std::thread::panicking())
    }

    /// Another thread may run here.
    pub fn step() {
        if let Some(scheduler) = scheduler() {
            (scheduler.step)();
        }
    }

    /// [`atomic::AtomicBool`], each operation a step.
    #[derive(Debug)]
    pub struct AtomicBool(atomic::AtomicBool);

    impl AtomicBool {
        #[expect(missing_docs, reason = "as in the standard library")]
        pub const fn new(value: bool) -> Self {
            Self(atomic::AtomicBool::new(value))
        }

        #[expect(missing_docs, reason = "as in the standard library")]
        pub fn load(&self, ordering: Ordering) -> bool {
            step();
            self.0.load(ordering)
        }

        #[expect(missing_docs, reason = "as in the standard library")]
        pub fn store(&self, value: bool, ordering: Ordering) {
            step();
            self.0.store(value, ordering);
        }
    }

    /// [`atomic::AtomicU64`], each operation a step.
    #[derive(Debug)]
    pub struct AtomicU64(atomic::AtomicU64);

    impl AtomicU64 {
        #[expect(missing_docs, reason = "as in the standard library")]
        pub const fn new(value: u64) -> Self {
            Self(atomic::AtomicU64::new(value))
        }

        #[expect(missing_docs, reason = "as in the standard library")]
        pub fn load(&self, ordering: Ordering) -> u64 {
            step();
            self.0.load(ordering)
        }

        #[expect(missing_docs, reason = "as in the standard library")]
        pub fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
            step();
            self.0.fetch_add(value, ordering)
        }
    }

    /// [`std::sync::Mutex`], each attempt a step.
    #[derive(Debug)]
    pub struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        #[expect(missing_docs, reason = "as in the standard library")]
        pub const fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        #[expect(missing_docs, reason = "as in the standard library")]
        pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            let Some(scheduler) = scheduler() else { return self.0.lock() };
            loop {
                step();
                match self.0.try_lock() {
                    Ok(guard) => return Ok(guard),
                    Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned),
                    Err(TryLockError::WouldBlock) => (scheduler.blocked)(),
                }
            }
        }
    }

    /// moka's map, each operation a step.
    pub struct Map<K, V, S = std::hash::RandomState>(Cache<K, V, S>);

    /// A map that threads share, bounded as `cache` is.
    pub fn map<K, V, S>(cache: Cache<K, V, S>) -> Map<K, V, S> {
        Map(cache)
    }

    impl<K, V, S> Deref for Map<K, V, S> {
        type Target = Cache<K, V, S>;

        fn deref(&self) -> &Cache<K, V, S> {
            step();
            &self.0
        }
    }
}
