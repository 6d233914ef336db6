//! Slow signature checks, off the threads that serve requests.
//!
//! Most checks take less time than another thread would take to begin (docs/decisions/0003-jose-library.md) and
//! happen where they are. A slow one would keep every connection of a thread waiting, and anybody can send tokens to
//! be checked. Slow ones run on a few other threads, and only so many wait for those.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tollgate_plugin::Host;

use crate::{BadSignature, Jws, VerificationKey};

/// How many checks may wait: about a tenth of a second's work.
const MAX_WAITING: usize = 256;

/// How long one may wait.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Runs signature checks. Cheap to clone.
#[derive(Clone)]
pub struct SignatureChecks(Arc<Shared>);

struct Shared {
    runtime: Handle,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_wait: Duration,
}

/// Why a signature was not found valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unchecked {
    /// It is not.
    #[error(transparent)]
    BadSignature(#[from] BadSignature),
    /// Too many slow checks wait: nobody knows.
    #[error("too many slow signature checks wait")]
    Overloaded,
}

impl SignatureChecks {
    /// Those of this gateway: all plugins share the threads.
    pub fn of(host: &Host) -> Self {
        Self::clone(&host.shared(|| Self::new(host.store.runtime().clone())))
    }

    /// Slow checks run on `runtime`, at most one for every second processor.
    pub fn new(runtime: Handle) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with(runtime, (processors / 2).max(1), MAX_WAIT)
    }

    fn with(runtime: Handle, at_once: usize, max_wait: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(at_once));
        Self(Arc::new(Shared { runtime, permits, waiting: AtomicUsize::new(0), max_wait }))
    }

    /// Verifies a token's signature: at once, or elsewhere if the key is [slow](VerificationKey::is_slow).
    ///
    /// # Errors
    /// See [`Unchecked`].
    pub async fn verify(&self, key: &VerificationKey, jws: &Jws) -> Result<(), Unchecked> {
        if !key.is_slow() || !jws.algorithm().is_some_and(|algorithm| key.algorithms().contains(algorithm)) {
            return Ok(key.verify(jws)?);
        }
        let permit = self.permit().await.ok_or(Unchecked::Overloaded)?;
        let (key, jws) = (key.clone(), jws.clone());
        let check = self.0.runtime.spawn_blocking(move || {
            // The check itself holds the permit, since it continues after the client has disconnected.
            let _permit = permit;
            key.verify(&jws)
        });
        Ok(check.await.map_err(|_| Unchecked::Overloaded)??)
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let permits = Arc::clone(&self.0.permits);
        if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = Waiting::enter(&self.0.waiting)?;
        tokio::time::timeout(self.0.max_wait, permits.acquire_owned()).await.ok()?.ok()
    }
}

/// One waiting check.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Option<Self> {
        let more = |now: usize| (now < MAX_WAITING).then(|| now.saturating_add(1));
        waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::join_all;
    use serde_json::json;

    use super::*;
    use crate::testing::SigningKey;
    use crate::{Algorithm, RsaSize};

    fn signed(algorithm: Algorithm) -> (VerificationKey, Jws) {
        let signing = SigningKey::generate(algorithm);
        let key = VerificationKey::from_pem(&signing.pem(), algorithm, RsaSize::Secure).unwrap();
        (key, Jws::parse(&signing.sign(algorithm, &json!({}), &json!({}))).unwrap())
    }

    #[tokio::test]
    async fn a_slow_check_leaves_the_thread_and_a_quick_one_does_not() {
        let checks = SignatureChecks::with(Handle::current(), 1, MAX_WAIT);
        let (slow, token) = signed(Algorithm::ES512);
        let (quick, other) = signed(Algorithm::ES256);
        // All other threads are busy: what stays on this one does not wait for them.
        let busy = checks.permit().await.unwrap();
        let mut leaving = checks.verify(&slow, &token).boxed();
        assert!((&mut leaving).now_or_never().is_none());
        assert_eq!(checks.verify(&quick, &other).now_or_never(), Some(Ok(())));
        drop(busy);
        assert_eq!(leaving.await, Ok(()));
        assert_eq!(checks.verify(&slow, &other).await, Err(Unchecked::BadSignature(BadSignature)));
    }

    #[tokio::test]
    async fn only_so_many_slow_checks_wait() {
        let checks = SignatureChecks::with(Handle::current(), 1, MAX_WAIT);
        let (slow, token) = signed(Algorithm::ES512);
        let busy = checks.permit().await.unwrap();
        let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| checks.verify(&slow, &token).boxed()).collect();
        assert!(waiting.iter_mut().all(|check| check.now_or_never().is_none()));
        assert_eq!(checks.verify(&slow, &token).await, Err(Unchecked::Overloaded));
        // A client that goes away makes room.
        waiting.truncate(2);
        drop(busy);
        assert_eq!(join_all(waiting).await, [Ok(()), Ok(())]);
        assert_eq!(checks.verify(&slow, &token).await, Ok(()));
        assert_eq!(checks.0.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn no_check_waits_for_ever() {
        let checks = SignatureChecks::with(Handle::current(), 1, Duration::from_millis(1));
        let (slow, token) = signed(Algorithm::ES512);
        let _busy = checks.permit().await.unwrap();
        assert_eq!(checks.verify(&slow, &token).await, Err(Unchecked::Overloaded));
    }
}
