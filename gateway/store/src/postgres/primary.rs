//! Which server is the primary: the one that the change feed reads.
//!
//! A look-up may be cached only if the feed will report changes to what was read. So all statements run on the
//! server that the feed reads: connections to another server are not opened, and after the feed has moved to
//! another server, or a server has refused a write because it is no longer the primary, earlier connections are
//! not used again. A server that was the primary before the current one is never followed again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::hosts::{Role, Server};

/// Why a server is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// It refuses writes.
    #[error("the server is a standby, or refuses writes")]
    ReadOnly,
    /// It is not the one that the feed reads.
    #[error("the server is not the one that the change feed reads; waiting for the change feed")]
    NotFollowed,
    /// It was the primary before another one.
    #[error(
        "the server is on timeline {timeline}, but a primary on timeline {seen} was seen: it is a former primary; \
         if it replaces the database on purpose, restart Tollgate"
    )]
    Former {
        /// Its timeline.
        timeline: u32,
        /// The highest timeline of a primary so far.
        seen: u32,
    },
}

/// The server that the change feed reads, as far as it is known.
pub(crate) struct Primary {
    role: Role,
    followed: Mutex<Followed>,
    epoch: AtomicU64,
    suspected: Notify,
}

#[derive(Default)]
struct Followed {
    /// When it was started; `None` before the first reading.
    started_at: Option<i64>,
    /// The highest timeline seen.
    timeline: u32,
}

impl Primary {
    pub(super) fn new(role: Role) -> Self {
        Self { role, followed: Mutex::default(), epoch: AtomicU64::new(0), suspected: Notify::new() }
    }

    /// Connections that were begun in an earlier epoch are not used again.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether statements of requests may run on a server.
    pub(super) fn admit(&self, server: &Server) -> Result<(), Unfit> {
        self.admit_for_feed(server)?;
        match self.followed().started_at {
            Some(followed) if followed != server.started_at => {
                self.suspected.notify_one();
                Err(Unfit::NotFollowed)
            }
            _ => Ok(()),
        }
    }

    /// Whether the feed may read a server.
    pub(super) fn admit_for_feed(&self, server: &Server) -> Result<(), Unfit> {
        let mut followed = self.followed();
        match server.timeline {
            Some(timeline) if timeline < followed.timeline => Err(Unfit::Former { timeline, seen: followed.timeline }),
            timeline => {
                followed.timeline = followed.timeline.max(timeline.unwrap_or_default());
                Ok(())
            }
        }
    }

    /// The feed reads this server from now on, given by its start time. Returns whether it is another one.
    pub(super) fn follow(&self, started_at: i64) -> bool {
        let before = self.followed().started_at.replace(started_at);
        let other = before.is_some_and(|before| before != started_at);
        if other {
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
        other
    }

    /// Whether another server may take its place under this URL.
    pub(super) fn is_one_of_several(&self) -> bool {
        self.role == Role::Primary
    }

    /// A server has refused a write. Returns whether its connections are worthless: whether there may be another
    /// server that does not.
    pub(super) fn refused_a_write(&self) -> bool {
        let replaceable = self.is_one_of_several();
        if replaceable {
            self.epoch.fetch_add(1, Ordering::AcqRel);
            self.suspected.notify_one();
        }
        replaceable
    }

    /// Waits until there is a sign that the feed no longer reads the primary.
    pub(crate) async fn suspected(&self) {
        self.suspected.notified().await;
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(started_at: i64, timeline: u32) -> Server {
        Server { read_only: false, started_at, timeline: Some(timeline) }
    }

    #[test]
    fn statements_run_only_on_the_server_that_the_feed_reads() {
        let primary = Primary::new(Role::Any);
        assert_eq!(primary.admit(&server(1, 1)), Ok(()), "before the first reading any will do");
        assert!(!primary.follow(1));
        assert_eq!(primary.admit(&server(2, 2)), Err(Unfit::NotFollowed));
        assert_eq!(primary.admit_for_feed(&server(2, 2)), Ok(()));
        let epoch = primary.epoch();
        assert!(primary.follow(2) && primary.epoch() > epoch);
        assert_eq!(primary.admit(&server(2, 2)), Ok(()));
    }

    #[test]
    fn a_former_primary_is_not_followed_again() {
        let primary = Primary::new(Role::Any);
        assert_eq!(primary.admit_for_feed(&server(2, 2)), Ok(()));
        let former = Err(Unfit::Former { timeline: 1, seen: 2 });
        assert_eq!((primary.admit_for_feed(&server(1, 1)), primary.admit(&server(1, 1))), (former, former));
        assert_eq!(primary.admit_for_feed(&Server { timeline: None, ..server(3, 0) }), Ok(()));
    }

    #[test]
    fn connections_to_a_server_that_refuses_writes_are_kept_only_if_there_is_no_other() {
        let (only, one_of_several) = (Primary::new(Role::Any), Primary::new(Role::Primary));
        let before = [only.epoch(), one_of_several.epoch()];
        assert!(!only.refused_a_write() && one_of_several.refused_a_write());
        assert_eq!([only.epoch(), one_of_several.epoch()], [before[0], before[1] + 1]);
    }
}
