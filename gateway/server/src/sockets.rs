//! Listening sockets that another process has opened: systemd (socket activation, sd_listen_fds(3)).
//!
//! A socket belongs to the listener whose name it has (`LISTEN_FDNAMES`: `http`, `https`, `admin`, `status`), or else to
//! the one whose address it has. It takes the place of the address in the settings, so whatever depends on where the
//! gateway listens sees the socket's own.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use listenfd::ListenFd;
use tollgate_admin::is_loopback;

use crate::settings::Settings;

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

    /// Its address in the settings; `None`: it is off.
    pub fn address(self, settings: &Settings) -> Option<SocketAddr> {
        match self {
            Self::Http => settings.proxy.http_listen.map(|listener| listener.address),
            Self::Https => settings.proxy.https_listen.map(|listener| listener.address),
            Self::Admin => Some(settings.admin.listen),
            Self::Status => Some(settings.status_listen),
        }
    }

    fn set_address(self, settings: &mut Settings, address: SocketAddr) {
        let proxy = match self {
            Self::Http => settings.proxy.http_listen.as_mut(),
            Self::Https => settings.proxy.https_listen.as_mut(),
            Self::Admin => return settings.admin.listen = address,
            Self::Status => return settings.status_listen = address,
        };
        if let Some(listener) = proxy {
            listener.address = address;
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no listening TCP socket.
    #[error("socket activation: descriptor {descriptor} ({name:?}) is no TCP socket that listens")]
    NotTcp {
        /// Its number.
        descriptor: usize,
        /// Its name.
        name: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It belongs to no listener.
    #[error(
        "socket activation: the socket {name:?} on {address} belongs to no listener: name it (FileDescriptorName) http, \
         https, admin or status, or give it the address of a listener in the settings"
    )]
    Unknown {
        /// Its name.
        name: String,
        /// Its address.
        address: SocketAddr,
    },
    /// Its listener is off.
    #[error("socket activation: there is a socket for {setting}, which is off")]
    Off {
        /// The setting.
        setting: &'static str,
    },
    /// Its listener has one already.
    #[error("socket activation: {setting} has two sockets, {first} and {second}; a listener has one")]
    Twice {
        /// The setting.
        setting: &'static str,
        /// The address of one.
        first: SocketAddr,
        /// That of the other.
        second: SocketAddr,
    },
    /// Anybody could control the gateway.
    #[error(
        "admin.listen: its socket is on {0}, which can be reached from other machines: set admin.auth to tokens (and run \
         `tollgate admin-token create`) or admin.tls.client_ca, or let the socket listen on 127.0.0.1"
    )]
    Unprotected(SocketAddr),
}

/// The sockets on which this process listens. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sockets(Arc<Mutex<BTreeMap<Name, TcpListener>>>);

impl Sockets {
    /// Those that the service manager passed, if any. Call this before there are other threads: the variables are
    /// removed from the environment, since they are not for processes that this one starts.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn activated(settings: &mut Settings) -> Result<Self, Error> {
        let is_ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = if is_ours { ListenFd::from_env() } else { ListenFd::empty() };
        let sockets = Self::default();
        let mut names = names.split(':');
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let not_tcp = |source| Error::NotTcp { descriptor: index + 3, name: name.to_owned(), source };
            let Some(socket) = passed.take_tcp_listener(index).map_err(not_tcp)? else { continue };
            let address = socket.local_addr().map_err(not_tcp)?;
            let listener = Name::parse(name).or_else(|| with_address(settings, address));
            let listener = listener.ok_or_else(|| Error::Unknown { name: name.to_owned(), address })?;
            sockets.adopt(listener, socket, address, settings)?;
        }
        Ok(sockets)
    }

    /// Gives a listener its socket, and the settings its address.
    fn adopt(
        &self,
        listener: Name,
        socket: TcpListener,
        address: SocketAddr,
        settings: &mut Settings,
    ) -> Result<(), Error> {
        let setting = listener.setting();
        if listener.address(settings).is_none() {
            return Err(Error::Off { setting });
        }
        if listener == Name::Admin && !is_loopback(address) && !settings.admin.knows_callers() {
            return Err(Error::Unprotected(address));
        }
        if let Some(first) = self.lock().insert(listener, socket).and_then(|other| other.local_addr().ok()) {
            return Err(Error::Twice { setting, first, second: address });
        }
        listener.set_address(settings, address);
        Ok(())
    }

    /// Whether a listener has a socket already.
    pub fn has(&self, listener: Name) -> bool {
        self.lock().contains_key(&listener)
    }

    /// A listener's socket: the one that it has, or a new one on this address. It does not block, and is kept open until
    /// [`Sockets::close`].
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn listen(&self, listener: Name, address: SocketAddr) -> io::Result<TcpListener> {
        let mut sockets = self.lock();
        let socket = match sockets.entry(listener) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let socket = TcpListener::bind(address)?;
                rustix::net::listen(&socket, BACKLOG)?;
                place.insert(socket)
            }
        };
        socket.set_nonblocking(true)?;
        socket.try_clone()
    }

    /// Closes a listener's socket here. Whoever was given it by [`Sockets::listen`] still has it.
    pub fn close(&self, listener: Name) {
        self.lock().remove(&listener);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, TcpListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listener that the settings put there. `0.0.0.0` and `[::]` mean the same: all addresses.
fn with_address(settings: &Settings, address: SocketAddr) -> Option<Name> {
    let is_there = |known: SocketAddr| {
        known == address
            || known.port() == address.port() && known.ip().is_unspecified() && address.ip().is_unspecified()
    };
    Name::ALL.into_iter().find(|name| name.address(settings).is_some_and(is_there))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Layers;

    fn settings(flags: &[&str]) -> Settings {
        let mut layers = Layers::defaults();
        layers.flags(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
        Settings::from_layers(layers).expect("valid settings")
    }

    fn socket() -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("an address");
        (socket, address)
    }

    #[test]
    fn a_socket_takes_the_place_of_the_address_in_the_settings() {
        let mut settings = settings(&[]);
        let sockets = Sockets::default();
        for name in Name::ALL {
            let (socket, address) = socket();
            sockets.adopt(name, socket, address, &mut settings).expect("adopted");
            assert_eq!((name.address(&settings), sockets.has(name)), (Some(address), true));
            let listening = sockets.listen(name, "192.0.2.1:1".parse().expect("an address")).expect("no binding");
            assert_eq!(listening.local_addr().ok(), Some(address));
        }
    }

    #[test]
    fn a_socket_that_nothing_may_listen_on_is_refused() {
        let mut settings = settings(&["proxy.https_listen=off"]);
        let sockets = Sockets::default();
        let (first, address) = socket();
        assert!(matches!(sockets.adopt(Name::Https, first, address, &mut settings), Err(Error::Off { .. })));
        for expected in [true, false] {
            let (socket, address) = socket();
            assert_eq!(sockets.adopt(Name::Http, socket, address, &mut settings).is_ok(), expected);
        }
        let open = "0.0.0.0:8001".parse().expect("an address");
        let refused = sockets.adopt(Name::Admin, socket().0, open, &mut settings);
        assert!(matches!(refused, Err(Error::Unprotected(_))));
    }

    #[test]
    fn a_socket_without_a_known_name_is_found_by_its_address() {
        let settings = settings(&["proxy.https_listen=127.0.0.1:9443"]);
        let rows = [
            ("0.0.0.0:8000", Some(Name::Http)),
            ("[::]:8000", Some(Name::Http)),
            ("127.0.0.1:8000", None),
            ("127.0.0.1:9443", Some(Name::Https)),
            ("127.0.0.1:8001", Some(Name::Admin)),
            ("127.0.0.1:8007", Some(Name::Status)),
        ];
        for (address, expected) in rows {
            assert_eq!(with_address(&settings, address.parse().expect("an address")), expected, "{address}");
        }
    }
}
