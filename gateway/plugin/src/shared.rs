//! What several plugins share: one value of a type for the whole gateway, made by the first plugin that asks.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Slot = Arc<Mutex<Option<Arc<dyn Any + Send + Sync>>>>;

/// The shared values, by type. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<HashMap<TypeId, Slot>>>);

impl Shared {
    /// The value of this type; `make` makes it unless there is one. While it does, others that want this type wait,
    /// and it may itself ask for values of other types.
    pub(crate) fn get_or_make<T, E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E>
    where
        T: Send + Sync + 'static,
    {
        let slot = Arc::clone(locked(&self.0).entry(TypeId::of::<T>()).or_default());
        let mut slot = locked(&slot);
        if let Some(made) = slot.clone().and_then(|made| made.downcast().ok()) {
            return Ok(made);
        }
        let made = Arc::new(make()?);
        *slot = Some(Arc::<T>::clone(&made));
        Ok(made)
    }
}

/// A value is put into its slot whole or not at all, so a panic elsewhere leaves nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, PartialEq)]
    struct One(u8);

    #[derive(Debug, PartialEq)]
    struct Two(Arc<One>);

    #[test]
    fn plugins_that_ask_at_the_same_time_get_one_value() {
        let (shared, made, barrier) = (Shared::default(), AtomicUsize::new(0), Barrier::new(8));
        let ask = || {
            barrier.wait();
            let make = || Ok::<_, Infallible>(One(u8::try_from(made.fetch_add(1, Ordering::SeqCst)).unwrap()));
            shared.clone().get_or_make(make).unwrap()
        };
        let got: Vec<_> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert!(got.iter().all(|one| Arc::ptr_eq(one, &got[0])));
    }

    #[test]
    fn each_type_has_a_value_of_its_own_and_may_be_made_of_another() {
        let shared = Shared::default();
        let one = || shared.get_or_make(|| Ok::<_, Infallible>(One(1))).unwrap();
        let two = shared.get_or_make(|| Ok::<_, Infallible>(Two(one()))).unwrap();
        assert!(Arc::ptr_eq(&two.0, &one()));
    }

    #[test]
    fn what_could_not_be_made_is_made_for_the_next_that_asks() {
        let shared = Shared::default();
        assert_eq!(shared.get_or_make(|| Err::<One, _>("no")), Err("no"));
        assert_eq!(shared.get_or_make(|| Ok::<_, &str>(One(1))), Ok(Arc::new(One(1))));
        assert_eq!(shared.get_or_make(|| Err::<One, _>("no")), Ok(Arc::new(One(1))));
    }
}
