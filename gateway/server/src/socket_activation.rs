//! Listening sockets that another process has opened: systemd (socket activation, sd_listen_fds(3)), or the process whose
//! place this one takes.
//!
//! A socket of systemd belongs to the listener whose name it has (`LISTEN_FDNAMES`: `http`, `https`, `admin`, `status`), or
//! else to the one whose address it has. It takes the place of the address in the settings, so whatever depends on where
//! the gateway listens sees the socket's own.

use std::io;
use std::net::SocketAddr;

use listenfd::ListenFd;
use tollgate_admin::is_loopback;

use crate::settings::Settings;
use crate::sockets::{Name, Passed, Sockets};

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

/// Those that the service manager passed, if any. Call this before there are other threads: the variables are
/// removed from the environment, since they are not for processes that this one starts.
///
/// # Errors
/// One of them cannot be used.
pub fn activated(settings: &mut Settings) -> Result<Sockets, Error> {
    let is_ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = if is_ours { ListenFd::from_env() } else { ListenFd::empty() };
    let sockets = Sockets::default();
    let mut names = names.split(':');
    for index in 0..passed.len() {
        let name = names.next().unwrap_or_default();
        let not_tcp = |source| Error::NotTcp { descriptor: index + 3, name: name.to_owned(), source };
        let Some(socket) = passed.take_tcp_listener(index).map_err(not_tcp)? else { continue };
        let address = socket.local_addr().map_err(not_tcp)?;
        let listener = Name::parse(name).or_else(|| with_address(settings, address));
        let listener = listener.ok_or_else(|| Error::Unknown { name: name.to_owned(), address })?;
        adopt(&sockets, Passed { listener, socket, is_activated: true }, address, settings)?;
    }
    Ok(sockets)
}

/// Those of the process whose place this one takes. One that is not where the settings put its listener is left to
/// that process.
///
/// # Errors
/// One of them cannot be used.
pub fn taken(passed: Vec<Passed>, settings: &mut Settings) -> Result<Sockets, Error> {
    let sockets = Sockets::default();
    for passed in passed {
        let address = passed.socket.local_addr().ok();
        let wanted = address_of(passed.listener, settings);
        let Some(address) =
            address.filter(|address| wanted == Some(*address) || passed.is_activated && wanted.is_some())
        else {
            let setting = passed.listener.setting();
            tracing::info!(setting, ?address, "the socket of the process before is not taken over");
            continue;
        };
        adopt(&sockets, passed, address, settings)?;
    }
    Ok(sockets)
}

/// The address of a listener in the settings; `None`: it is off.
pub fn address_of(listener: Name, settings: &Settings) -> Option<SocketAddr> {
    match listener {
        Name::Http => settings.proxy.http_listen.map(|listener| listener.address),
        Name::Https => settings.proxy.https_listen.map(|listener| listener.address),
        Name::Admin => Some(settings.admin.listen),
        Name::Status => Some(settings.status_listen),
    }
}

fn set_address(listener: Name, settings: &mut Settings, address: SocketAddr) {
    let proxy = match listener {
        Name::Http => settings.proxy.http_listen.as_mut(),
        Name::Https => settings.proxy.https_listen.as_mut(),
        Name::Admin => return settings.admin.listen = address,
        Name::Status => return settings.status_listen = address,
    };
    if let Some(proxy) = proxy {
        proxy.address = address;
    }
}

/// Gives a listener its socket, and the settings its address.
fn adopt(sockets: &Sockets, passed: Passed, address: SocketAddr, settings: &mut Settings) -> Result<(), Error> {
    let listener = passed.listener;
    let setting = listener.setting();
    if address_of(listener, settings).is_none() {
        return Err(Error::Off { setting });
    }
    if listener == Name::Admin && !is_loopback(address) && !settings.admin.knows_callers() {
        return Err(Error::Unprotected(address));
    }
    if let Some(first) = sockets.put(passed).and_then(|other| other.local_addr().ok()) {
        return Err(Error::Twice { setting, first, second: address });
    }
    set_address(listener, settings, address);
    Ok(())
}

/// The listener that the settings put there. `0.0.0.0` and `[::]` mean the same: all addresses.
fn with_address(settings: &Settings, address: SocketAddr) -> Option<Name> {
    let is_there = |known: SocketAddr| {
        known == address
            || known.port() == address.port() && known.ip().is_unspecified() && address.ip().is_unspecified()
    };
    Name::ALL.into_iter().find(|name| address_of(*name, settings).is_some_and(is_there))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

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

    fn passed(listener: Name, socket: TcpListener) -> Passed {
        Passed { listener, socket, is_activated: true }
    }

    #[test]
    fn of_the_process_before_only_sockets_where_the_settings_say_are_taken() {
        let (kept, address) = socket();
        let mut settings = settings(&[&format!("admin.listen={address}")]);
        let moved = socket().0;
        let all = vec![
            Passed { listener: Name::Admin, socket: kept, is_activated: false },
            Passed { listener: Name::Status, socket: moved, is_activated: false },
            passed(Name::Http, socket().0),
        ];
        let sockets = taken(all, &mut settings).expect("usable");
        assert_eq!(Name::ALL.map(|name| sockets.has(name)), [true, false, true, false]);
        let handed_on = sockets.duplicates().expect("descriptors");
        let listed: Vec<_> = handed_on.iter().map(|passed| (passed.listener, passed.is_activated)).collect();
        assert_eq!(listed, [(Name::Http, true), (Name::Admin, false)]);
        sockets.close_all();
        assert!(sockets.listen(Name::Admin, address).is_err() && !sockets.has(Name::Admin));
    }

    #[test]
    fn a_socket_takes_the_place_of_the_address_in_the_settings() {
        let mut settings = settings(&[]);
        let sockets = Sockets::default();
        for name in Name::ALL {
            let (socket, address) = socket();
            adopt(&sockets, passed(name, socket), address, &mut settings).expect("adopted");
            assert_eq!((address_of(name, &settings), sockets.has(name)), (Some(address), true));
            let listening = sockets.listen(name, "192.0.2.1:1".parse().expect("an address")).expect("no binding");
            assert_eq!(listening.local_addr().ok(), Some(address));
        }
    }

    #[test]
    fn a_socket_that_nothing_may_listen_on_is_refused() {
        let mut settings = settings(&["proxy.https_listen=off"]);
        let sockets = Sockets::default();
        let (first, address) = socket();
        assert!(matches!(adopt(&sockets, passed(Name::Https, first), address, &mut settings), Err(Error::Off { .. })));
        for expected in [true, false] {
            let (socket, address) = socket();
            assert_eq!(adopt(&sockets, passed(Name::Http, socket), address, &mut settings).is_ok(), expected);
        }
        let open = "0.0.0.0:8001".parse().expect("an address");
        let refused = adopt(&sockets, passed(Name::Admin, socket().0), open, &mut settings);
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
