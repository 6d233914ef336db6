//! What threads share of the caches is made of these, so that tests can decide after which step of one
//! thread another goes on (`guard/interleavings.rs`). Otherwise they are those of the standard library
//! and of moka.

use moka::sync::Cache;

#[cfg(not(test))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64},
};

#[cfg(not(test))]
pub(crate) type Map<K, V, S = std::hash::RandomState> = Cache<K, V, S>;

/// A map that threads share, bounded as `cache` is.
#[cfg(not(test))]
pub(crate) fn map<K, V, S>(cache: Cache<K, V, S>) -> Map<K, V, S> {
    cache
}

#[cfg(test)]
pub(crate) use modelled::{AtomicBool, AtomicU64, Map, Mutex, MutexGuard, map, step, thread};

#[cfg(test)]
mod modelled {
    //! Under the model all threads are coroutines of one: a step is taken whole, and before each the
    //! scheduler may choose another thread. Elsewhere these do what they are named after.

    use std::ops::Deref;
    use std::sync::atomic::{self, Ordering};
    use std::sync::{LockResult, TryLockError};

    pub(crate) use std::sync::MutexGuard;

    use super::Cache;

    /// The thread of the model that runs; none outside of it.
    pub(crate) fn thread() -> Option<usize> {
        shuttle::current::try_get_current_task().map(usize::from)
    }

    /// Here another thread may go on.
    pub(crate) fn step() {
        if thread().is_some() && !std::thread::panicking() {
            shuttle::sync::atomic::AtomicBool::new(false).load(Ordering::SeqCst);
        }
    }

    #[derive(Debug)]
    pub(crate) struct AtomicBool(atomic::AtomicBool);

    impl AtomicBool {
        pub(crate) fn new(value: bool) -> Self {
            Self(atomic::AtomicBool::new(value))
        }

        pub(crate) fn load(&self, ordering: Ordering) -> bool {
            step();
            self.0.load(ordering)
        }

        pub(crate) fn store(&self, value: bool, ordering: Ordering) {
            step();
            self.0.store(value, ordering);
        }
    }

    #[derive(Debug)]
    pub(crate) struct AtomicU64(atomic::AtomicU64);

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> Self {
            Self(atomic::AtomicU64::new(value))
        }

        pub(crate) fn load(&self, ordering: Ordering) -> u64 {
            step();
            self.0.load(ordering)
        }

        pub(crate) fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
            step();
            self.0.fetch_add(value, ordering)
        }
    }

    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            if thread().is_none() {
                return self.0.lock();
            }
            loop {
                step();
                match self.0.try_lock() {
                    Ok(guard) => return Ok(guard),
                    Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned),
                    Err(TryLockError::WouldBlock) => shuttle::thread::yield_now(),
                }
            }
        }
    }

    /// moka's map: each of its operations is a step.
    pub(crate) struct Map<K, V, S = std::hash::RandomState>(Cache<K, V, S>);

    pub(crate) fn map<K, V, S>(cache: Cache<K, V, S>) -> Map<K, V, S> {
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
