//! Where the keys of an authority come from: a static set, a URL, or the issuer's metadata.
//!
//! - Keys are fetched when the first token needs them, and refreshed in the background from then on. Whoever needs
//!   what is not there yet waits for a fetch; concurrent ones share it.
//! - A token that names an unknown key causes a fetch, but all such tokens together no more than one in
//!   [`Times::min_refresh`].
//! - While the authority cannot be reached, or responds with something else than a key set, its last keys are used
//!   for [`Times::max_stale`]. After that nobody can tell who signed a token.
//! - A key that a refresh no longer finds is withdrawn: what was verified with it ends ([`PublishedKey::is_current`]).
//!   A key with the same id and another value is another key.
//!
//! Failures are logged here, once, with the authority's name.

mod fetch;
mod metrics;
mod refresh;
mod sources;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tollgate_plugin::Clock;
use tollgate_plugin::http_client::Profile;

use self::metrics::AuthorityMetrics;
use self::refresh::{Refresh, State};
use tollgate_jose::{Algorithm, BadSignature, Jws, KeySet, PublishedKey, SignatureChecks, Unchecked};

pub use fetch::FetchError;
pub use metrics::KeySourceMetrics;
pub use sources::KeySources;

/// An authority whose keys are fetched.
#[derive(Clone)]
pub struct Remote {
    /// Its name in logs and metrics.
    pub name: String,
    /// Where its keys are.
    pub location: Location,
    /// How it is called. Bodies are limited to 1 MiB by default.
    pub profile: Profile,
    /// When.
    pub times: Times,
}

/// Where an authority's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// At this URL.
    KeySet(String),
    /// Where the metadata of this issuer says.
    Issuer(String),
}

impl Location {
    /// Whether it can be called at all.
    pub fn is_valid(&self) -> bool {
        match self {
            Self::KeySet(url) => url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")),
            Self::Issuer(issuer) => fetch::metadata_urls(issuer).is_some(),
        }
    }
}

/// When keys are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long fetched keys are used before they are fetched again. A shorter `max-age` of the authority is
    /// followed, down to a minute.
    pub refresh: Duration,
    /// How often unknown keys may cause a fetch.
    pub min_refresh: Duration,
    /// How long fetched keys are used if they cannot be fetched again; never less than `refresh`.
    pub max_stale: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(5 * 60),
            min_refresh: Duration::from_secs(10),
            max_stale: Duration::from_secs(60 * 60),
        }
    }
}

/// The keys of one authority.
pub struct KeySource {
    keys: Keys,
    checks: SignatureChecks,
}

enum Keys {
    Static(KeySet),
    Remote(Arc<Fetching>),
}

/// The keys of an authority that are fetched, and what is needed to fetch them.
struct Fetching {
    remote: Remote,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    metrics: AuthorityMetrics,
    state: ArcSwap<State>,
    /// The refresh under way; its lock decides who begins the next one.
    refresh: Mutex<Option<Refresh>>,
}

/// Why there is no key for a token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoKey {
    /// The authority publishes none that the token may be signed with.
    #[error("the authority publishes no such key")]
    NoSuchKey,
    /// Its keys cannot be fetched.
    #[error("the authority's keys cannot be fetched: {0}")]
    CannotTell(Arc<FetchError>),
}

/// Why a token is not verified.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unverified {
    /// No key of the authority can have signed it.
    #[error("the authority publishes no such key")]
    NoSuchKey,
    /// Another key has, or it was changed.
    #[error(transparent)]
    BadSignature(#[from] BadSignature),
    /// The authority's keys cannot be fetched.
    #[error("the authority's keys cannot be fetched: {0}")]
    CannotTell(Arc<FetchError>),
    /// Too many slow signature checks wait.
    #[error("too many slow signature checks wait")]
    Overloaded,
}

impl From<NoKey> for Unverified {
    fn from(error: NoKey) -> Self {
        match error {
            NoKey::NoSuchKey => Self::NoSuchKey,
            NoKey::CannotTell(error) => Self::CannotTell(error),
        }
    }
}

impl KeySource {
    /// The keys that may have signed a token with this key id and algorithm; at least one.
    ///
    /// # Errors
    /// See [`NoKey`].
    pub async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Vec<Arc<PublishedKey>>, NoKey> {
        let keys = match &self.keys {
            Keys::Static(keys) => keys.candidates(id, algorithm),
            Keys::Remote(fetching) => return fetching.find(id, algorithm).await,
        };
        if keys.is_empty() { Err(NoKey::NoSuchKey) } else { Ok(keys) }
    }

    /// Verifies a token's signature, and returns the key. What is cached of the token is valid as long as the key
    /// [is current](PublishedKey::is_current). Its claims are not looked at, nor whether the algorithm is wanted.
    ///
    /// # Errors
    /// See [`Unverified`].
    pub async fn verify(&self, jws: &Jws) -> Result<Arc<PublishedKey>, Unverified> {
        let algorithm = jws.algorithm().ok_or(Unverified::NoSuchKey)?;
        let tried = self.find(jws.key_id(), algorithm).await?;
        if let Some(key) = self.verify_with(&tried, jws).await? {
            return Ok(key);
        }
        // A token that does not name its key may be signed with a new one.
        if jws.key_id().is_none()
            && let Keys::Remote(fetching) = &self.keys
            && fetching.refetch().await
        {
            let mut keys = self.find(None, algorithm).await?;
            keys.retain(|key| !tried.iter().any(|tried| Arc::ptr_eq(tried, key)));
            if let Some(key) = self.verify_with(&keys, jws).await? {
                return Ok(key);
            }
        }
        Err(BadSignature.into())
    }

    /// Fetches the keys again if it is time, and ends them if that has failed for too long. The background task of
    /// [`KeySources`] calls it.
    pub(super) async fn refresh_if_due(&self) {
        if let Keys::Remote(fetching) = &self.keys {
            fetching.refresh_if_due().await;
        }
    }

    /// The one of these keys that has signed the token.
    async fn verify_with(
        &self,
        keys: &[Arc<PublishedKey>],
        jws: &Jws,
    ) -> Result<Option<Arc<PublishedKey>>, Unverified> {
        for key in keys {
            match self.checks.verify(&key.key, jws).await {
                Ok(()) => return Ok(Some(Arc::clone(key))),
                Err(Unchecked::BadSignature(_)) => {}
                Err(Unchecked::Overloaded) => return Err(Unverified::Overloaded),
            }
        }
        Ok(None)
    }
}

/// What was verified with the keys of an authority ends with its configuration.
impl Drop for KeySource {
    fn drop(&mut self) {
        match &self.keys {
            Keys::Static(keys) => keys.keys().iter().for_each(|key| key.withdraw()),
            Keys::Remote(fetching) => fetching.end(),
        }
    }
}

#[cfg(test)]
mod tests;
