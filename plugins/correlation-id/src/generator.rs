//! Where ids come from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use tollgate_plugin::{Arrival, Clock, Random};
use uuid::Uuid;

/// How an id is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Generator {
    #[serde(rename = "uuid")]
    Uuid,
    #[serde(rename = "uuid#counter")]
    Counter,
    #[serde(rename = "tracker")]
    Tracker,
}

/// Makes ids, for all instances.
pub(crate) struct Generators {
    random: Arc<dyn Random>,
    clock: Arc<dyn Clock>,
    node: Uuid,
    counter: AtomicU64,
}

impl Generators {
    /// With a UUID of its own.
    pub(crate) fn new(random: Arc<dyn Random>, clock: Arc<dyn Clock>) -> Self {
        let node = random.uuid();
        Self { random, clock, node, counter: AtomicU64::new(0) }
    }

    /// An id for a request.
    pub(crate) fn id(&self, generator: Generator, arrival: &dyn Arrival) -> String {
        match generator {
            Generator::Uuid => self.random.uuid().to_string(),
            Generator::Counter => {
                let number = self.counter.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
                format!("{}#{number}", self.node)
            }
            Generator::Tracker => self.track(arrival),
        }
    }

    fn track(&self, arrival: &dyn Arrival) -> String {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let address = arrival.local_address().unwrap_or(nowhere);
        let (connection, now) = (arrival.connection(), self.clock.now_millis());
        format!(
            "{}-{}-{}-{}-{}-{}.{:03}",
            address.ip().to_canonical(),
            address.port(),
            std::process::id(),
            connection.serial,
            connection.requests,
            now.div_euclid(1000),
            now.rem_euclid(1000),
        )
    }
}
