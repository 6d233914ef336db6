//! The sockets on which the process listens: its own, or those that [another process](crate::socket_activation) has
//! opened.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many connections may wait to be accepted; Pingora raises it.
const BACKLOG: i32 = 1024;

/// A listener of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Plain HTTP.
    Http,
    /// TLS.
    Https,
    /// The Admin API.
    Admin,
    /// Liveness, readiness, metrics.
    Status,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Admin, Self::Status];

    /// The name of its socket.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Admin => "admin",
            Self::Status => "status",
        }
    }

    /// The setting of its address.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Http => "proxy.http_listen",
            Self::Https => "proxy.https_listen",
            Self::Admin => "admin.listen",
            Self::Status => "status.listen",
        }
    }

    /// The listener with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A socket that goes from one process to another.
pub struct Passed {
    /// Whose it is.
    pub listener: Name,
    /// The socket.
    pub socket: TcpListener,
    /// Whether the service manager opened it: then it counts wherever the settings put the listener.
    pub is_activated: bool,
}

/// The sockets on which this process listens. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sockets(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    open: BTreeMap<Name, Open>,
    /// Whether no socket is to be opened any more.
    is_closed: bool,
}

struct Open {
    socket: TcpListener,
    is_activated: bool,
}

impl Sockets {
    /// Gives a listener its socket; the one that it had.
    pub fn put(&self, passed: Passed) -> Option<TcpListener> {
        let Passed { listener, socket, is_activated } = passed;
        self.lock().open.insert(listener, Open { socket, is_activated }).map(|before| before.socket)
    }

    /// Whether a listener has a socket already.
    pub fn has(&self, listener: Name) -> bool {
        self.lock().open.contains_key(&listener)
    }

    /// A listener's socket: the one that it has, or a new one on this address. It does not block, and is kept open until
    /// [`Sockets::close`].
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn listen(&self, listener: Name, address: SocketAddr) -> io::Result<TcpListener> {
        let mut table = self.lock();
        if table.is_closed {
            return Err(io::Error::other("the process ends"));
        }
        let open = match table.open.entry(listener) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let socket = TcpListener::bind(address)?;
                rustix::net::listen(&socket, BACKLOG)?;
                place.insert(Open { socket, is_activated: false })
            }
        };
        open.socket.set_nonblocking(true)?;
        open.socket.try_clone()
    }

    /// Closes a listener's socket here. Whoever was given it by [`Sockets::listen`] still has it.
    pub fn close(&self, listener: Name) {
        self.lock().open.remove(&listener);
    }

    /// Closes all of them, for good.
    pub fn close_all(&self) {
        let mut table = self.lock();
        table.is_closed = true;
        table.open.clear();
    }

    /// All of them, for another process.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn duplicates(&self) -> io::Result<Vec<Passed>> {
        let duplicate = |(listener, open): (&Name, &Open)| {
            Ok(Passed { listener: *listener, socket: open.socket.try_clone()?, is_activated: open.is_activated })
        };
        self.lock().open.iter().map(duplicate).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
