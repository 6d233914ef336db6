//! Uses: the number of requests on each upstream connection, so that it is closed after a maximum.
//!
//! A connection is identified by its descriptor. There is one counter per remainder: with
//! more descriptors than counters, two connections may share one and are closed earlier, which does no
//! harm.

use std::sync::atomic::{AtomicU32, Ordering};

const COUNTS: usize = 1 << 16;

/// Whether a connection may be reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It may.
    OneOfMany,
    /// This is the last time.
    Last,
}

/// The uses of all upstream connections.
#[derive(Debug)]
pub struct Uses {
    limit: u32,
    counts: Box<[AtomicU32]>,
}

impl Uses {
    /// The maximum number of requests per connection.
    pub fn new(limit: u32) -> Self {
        Self { limit, counts: (0..COUNTS).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Counts a use of a connection: its first, or `reused`.
    pub fn count(&self, descriptor: i32, reused: Reused) -> Use {
        let index = usize::try_from(descriptor).unwrap_or_default() % COUNTS;
        let Some(count) = self.counts.get(index) else { return Use::Last };
        let uses = match reused {
            Reused::No => {
                count.store(1, Ordering::Relaxed);
                1
            }
            Reused::Yes => count.fetch_add(1, Ordering::Relaxed).saturating_add(1),
        };
        if uses >= self.limit { Use::Last } else { Use::OneOfMany }
    }
}

/// Whether a connection comes from the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reused {
    /// It is new.
    No,
    /// It was used before.
    Yes,
}

impl From<bool> for Reused {
    fn from(reused: bool) -> Self {
        if reused { Self::Yes } else { Self::No }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_used_up_to_the_maximum_and_a_new_one_starts_over() {
        let uses = Uses::new(3);
        for _ in 0..2 {
            let first = uses.count(7, Reused::No);
            let others = [(); 2].map(|()| uses.count(7, Reused::Yes));
            assert_eq!((first, others), (Use::OneOfMany, [Use::OneOfMany, Use::Last]));
        }
        assert_eq!(Uses::new(1).count(7, Reused::No), Use::Last);
    }
}
