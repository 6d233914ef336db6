//! The keys of TLS session tickets (RFC 5077, RFC 8446 §4.6.1), which all nodes of a store share: a client resumes its
//! session at whichever node it reaches.
//!
//! 1. Time is divided into periods of `tls.session_ticket_rotation`, and each has a random secret in the store, which the
//!    node that needs it first makes. Nodes read the secret of the next period before it begins.
//! 2. New tickets are encrypted with the key of the current period; those of the period before and, as clocks differ, of
//!    the next one are accepted.
//! 3. Secrets of earlier periods are deleted: who gets hold of the store later cannot read recorded sessions with them.
//!
//! Where certificates of clients are judged (`tls.client_ca`) there are no tickets: a session would outlive its certificate.
//!
//! While the store is away and a period begins whose secret this node has not read, no tickets are issued.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora_core::listeners::tls::{TicketKey, TicketKeys};
use tollgate_core::clock::Clock;
use tollgate_core::error::StoreError;
use tollgate_core::random::Random;
use tollgate_store::Store;
use zeroize::Zeroizing;

/// How often it is looked whether a secret is missing.
const INTERVAL: Duration = Duration::from_secs(30);
/// How the names of secrets begin in the store.
const NAME: &str = "tls_session_ticket_";
/// What the keys are for, for BLAKE3.
const CONTEXT: &str = "Tollgate 2026-11-28 keys of TLS session tickets";

/// A secret of a period, by its number.
type PeriodSecret = (i64, Zeroizing<[u8; 32]>);

/// The keys of a listener's session tickets.
pub struct SessionTickets {
    /// The length of a period, in seconds.
    rotation: i64,
    secrets: ArcSwap<Vec<PeriodSecret>>,
    clock: Arc<dyn Clock>,
}

impl SessionTickets {
    /// With keys that change this often.
    pub fn new(rotation: Duration, clock: Arc<dyn Clock>) -> Self {
        let rotation = i64::try_from(rotation.as_secs()).unwrap_or(i64::MAX).max(1);
        Self { rotation, secrets: ArcSwap::default(), clock }
    }

    /// Reads the secrets, and goes on to read them as they are needed.
    pub async fn start(self: Arc<Self>, store: Store, random: Arc<dyn Random>) {
        let mut read = self.read_or_warn(&store, &*random, Ok(())).await;
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                read = self.read_or_warn(&store, &*random, read).await;
            }
        });
    }

    /// Warns of the first failure, and not of each.
    async fn read_or_warn(&self, store: &Store, random: &dyn Random, before: Result<(), ()>) -> Result<(), ()> {
        let read = self.read_missing(store, random).await;
        read.map_err(|error| {
            if before.is_ok() {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "cannot read the next key of TLS session tickets; trying again every 30 s");
            }
        })
    }

    /// Reads the secrets of the period before, this one and the next, as far as they are not known, and deletes older
    /// ones.
    ///
    /// # Errors
    /// The store failed.
    pub async fn read_missing(&self, store: &Store, random: &dyn Random) -> Result<(), StoreError> {
        let current = self.period();
        let known = self.secrets.load();
        if (current - 1..=current + 1).all(|period| known.iter().any(|(number, _)| *number == period)) {
            return Ok(());
        }
        let mut secrets = Vec::new();
        for period in current - 1..=current + 1 {
            secrets.push((period, self.secret(store, random, period).await?));
        }
        self.secrets.store(Arc::new(secrets));
        store.forget_secrets(NAME, &self.name(current - 1)).await
    }

    async fn secret(&self, store: &Store, random: &dyn Random, period: i64) -> Result<Zeroizing<[u8; 32]>, StoreError> {
        let make = || {
            let mut secret = [0; 32];
            random.fill(&mut secret);
            secret.to_vec()
        };
        let kept = Zeroizing::new(store.secret(&self.name(period), make).await?);
        let secret = <[u8; 32]>::try_from(kept.as_slice());
        let unreadable = |_| StoreError::Corrupt { kind: "key of TLS session tickets", what: "not 32 bytes long" };
        Ok(Zeroizing::new(secret.map_err(unreadable)?))
    }

    /// A secret's name begins with when its period begins, so that older ones are below it whatever the rotation is.
    fn name(&self, period: i64) -> String {
        format!("{NAME}{:012}_{}", period.saturating_mul(self.rotation), self.rotation)
    }

    fn period(&self) -> i64 {
        self.clock.now().div_euclid(self.rotation)
    }

    fn key(secret: &[u8; 32]) -> TicketKey {
        let mut output = blake3::Hasher::new_derive_key(CONTEXT).update(secret).finalize_xof();
        let mut key = TicketKey { name: [0; 16], encryption: [0; 32], authentication: [0; 32] };
        output.fill(&mut key.name);
        output.fill(&mut key.encryption);
        output.fill(&mut key.authentication);
        key
    }
}

impl TicketKeys for SessionTickets {
    fn newest(&self) -> Option<TicketKey> {
        let current = self.period();
        let secrets = self.secrets.load();
        secrets.iter().find(|(period, _)| *period == current).map(|(_, secret)| Self::key(secret))
    }

    fn find(&self, name: &[u8; 16]) -> Option<TicketKey> {
        let current = self.period();
        let secrets = self.secrets.load();
        let accepted = secrets.iter().filter(|(period, _)| (current - 1..=current + 1).contains(period));
        accepted.map(|(_, secret)| Self::key(secret)).find(|key| key.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::clock::ManualClock;
    use tollgate_core::random::SystemRandom;
    use tollgate_store::{MigrationPolicy, Options};

    use super::*;

    const ROTATION: i64 = 300;

    #[tokio::test]
    async fn nodes_share_keys_which_change_and_are_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = Options::new(format!("sqlite:{}", folder.path().join("test.db").display()));
        options.migration = MigrationPolicy::Migrate;
        let store = Store::open(options).await.expect("a store");
        let clock = Arc::new(ManualClock::at(100 * ROTATION));
        let node = || SessionTickets::new(Duration::from_secs(300), Arc::clone(&clock) as _);
        let (one, other) = (node(), node());
        let read = async |node: &SessionTickets| node.read_missing(&store, &SystemRandom).await.expect("read");
        let newest = |node: &SessionTickets| node.newest().map(|key| (key.name, key.encryption, key.authentication));
        assert!(newest(&one).is_none(), "before it is read");
        read(&one).await;
        read(&other).await;
        let first = newest(&one).expect("a key");
        assert_eq!(newest(&other), Some(first));
        assert!(first.1 != first.2 && first.1 != [0; 32] && first.0 != [0; 16]);

        clock.advance(ROTATION);
        let second = newest(&one).expect("a key that was read before it is due");
        assert!(second.0 != first.0 && second.1 != first.1);
        assert!(one.find(&first.0).is_some() && one.find(&second.0).is_some() && one.find(&[7; 16]).is_none());
        read(&one).await;
        clock.advance(ROTATION);
        assert!(newest(&other).is_none(), "a node that has read nothing since issues no tickets");
        assert!(one.find(&first.0).is_none() && other.find(&first.0).is_none(), "known, and not accepted any more");
        read(&one).await;
        read(&other).await;
        assert_eq!(newest(&one), newest(&other));
        let kept = async |period| store.secret(&one.name(period), || vec![0]).await.expect("a value") != [0];
        assert!(!kept(100).await && kept(101).await, "what was the key of the first period is deleted");
    }
}
