//! The names of the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hickory_resolver::net::NetError;
use tokio::runtime::Handle;

use crate::name::{Name, State};
use crate::nameservers::{Families, Nameserver, Nameservers, RecordKind};

/// How names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name servers, instead of those in `/etc/resolv.conf`.
    pub nameservers: Vec<Nameserver>,
    /// The kinds of record that are asked for, in this order.
    pub order: Vec<RecordKind>,
    /// How long addresses are used after their time to live while the name servers fail.
    pub stale_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nameservers: Vec::new(),
            order: vec![RecordKind::Srv, RecordKind::A, RecordKind::Aaaa],
            stale_for: Duration::from_secs(3600),
        }
    }
}

/// One for the process. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

/// A name as it is asked for.
type Asked = (Box<str>, Families);

struct Shared {
    nameservers: Arc<Nameservers>,
    runtime: Handle,
    stale_for: Duration,
    names: Mutex<HashMap<Asked, Weak<State>>>,
}

impl Resolver {
    /// Look-ups run on this runtime, wherever they are awaited.
    ///
    /// # Errors
    /// The client of the name servers cannot be made.
    pub fn new(runtime: Handle, settings: &Settings) -> Result<Self, NetError> {
        let nameservers = Arc::new(Nameservers::new(&settings.nameservers, &settings.order)?);
        Ok(Self(Arc::new(Shared { nameservers, runtime, stale_for: settings.stale_for, names: Mutex::default() })))
    }

    /// The runtime on which look-ups run.
    pub fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    /// A name. Everybody who asks for it shares what is known of it.
    pub fn name(&self, host: &str, families: Families) -> Name {
        let mut names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = (host.to_ascii_lowercase().into_boxed_str(), families);
        if let Some(state) = names.get(&asked).and_then(Weak::upgrade) {
            return Name::of(state);
        }
        // Names that nobody has any more: their number at most doubles.
        if names.len() == names.capacity() {
            names.retain(|_, state| state.strong_count() > 0);
        }
        let (nameservers, runtime) = (Arc::clone(&self.0.nameservers), self.0.runtime.clone());
        let state = Arc::new(State::new(&asked.0, families, nameservers, runtime, self.0.stale_for));
        names.insert(asked, Arc::downgrade(&state));
        Name::of(state)
    }
}

/// Shows no names: there may be many.
impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}
