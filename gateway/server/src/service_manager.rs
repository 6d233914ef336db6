//! The service manager that started the process (systemd): what it is told, by sd_notify(3), and its watchdog.
//!
//! Each message is one datagram of `NAME=VALUE` lines to the socket that `NOTIFY_SOCKET` names; without that variable
//! nobody is told. A message that cannot be sent is logged and changes nothing else.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::telemetry::tasks::Tasks;

/// How long a message may wait for room in the manager's queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// The shortest interval of the watchdog that is kept.
const SHORTEST: Duration = Duration::from_millis(100);

/// The service manager. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager {
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names.
    pub fn from_environment() -> Self {
        let value = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let socket = value("NOTIFY_SOCKET").and_then(|name| match open(&name) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                tracing::warn!(socket = name, %error, "NOTIFY_SOCKET is unusable: the service manager is told nothing");
                None
            }
        });
        let watchdog = value("WATCHDOG_USEC").and_then(|micros| micros.parse().ok()).map(Duration::from_micros);
        // Without a process id it is meant for whoever has the variable.
        let is_ours = value("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        Self { socket, watchdog: watchdog.filter(|interval| is_ours && !interval.is_zero()) }
    }

    /// Requests are served, at first or again.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving requests");
    }

    /// Settings and files are read again, until [`ServiceManager::ready`].
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the settings again"));
    }

    /// Another process is the service from now on.
    pub fn main_process(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}\nSTATUS=another process serves requests"));
    }

    /// The process drains, and ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    /// Sends the watchdog its sign of life, for ever, as long as every thread of the proxy runs its tasks.
    pub async fn keep_alive(self, tasks: Tasks) {
        let Some(interval) = self.watchdog.filter(|_| self.socket.is_some()) else { return };
        let mut ticks = tokio::time::interval((interval / 2).max(SHORTEST));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            tasks.all_run().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, message: &str) {
        let Some((socket, address)) = self.socket.as_deref() else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::warn!(%error, message, "cannot tell the service manager");
        }
    }
}

/// A path, or an abstract name that begins with `@`.
fn open(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None if name.starts_with('/') => SocketAddr::from_pathname(name)?,
        None => return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected a path, or @ and a name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }

    #[test]
    fn a_manager_is_told_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let named = format!("tollgate-test-{}", uuid::Uuid::new_v4());
        let at_name = SocketAddr::from_abstract_name(&named).expect("a name");
        let rows = [
            (path.display().to_string(), UnixDatagram::bind(&path).expect("bound")),
            (format!("@{named}"), UnixDatagram::bind_addr(&at_name).expect("bound")),
        ];
        for (name, receiver) in rows {
            let socket = Some(Arc::new(open(&name).expect("usable")));
            let manager = ServiceManager { socket, watchdog: None };
            manager.ready();
            assert_eq!(told(&receiver), "READY=1\nSTATUS=serving requests", "{name}");
            manager.reloading();
            let message = told(&receiver);
            let lines: Vec<_> = message.lines().collect();
            assert_eq!(lines[0], "RELOADING=1");
            let micros: u64 = lines[1].strip_prefix("MONOTONIC_USEC=").expect("a time").parse().expect("a number");
            assert!(micros > 0);
            manager.stopping();
            assert_eq!(told(&receiver), "STOPPING=1\nSTATUS=draining");
        }
        assert!(open("vsock:2:1").is_err() && open("relative").is_err());
    }

    #[tokio::test]
    async fn the_watchdog_hears_nothing_while_a_thread_of_the_proxy_is_stuck() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let receiver = tokio::net::UnixDatagram::bind(&path).expect("bound");
        let socket = Some(Arc::new(open(&path.display().to_string()).expect("usable")));
        let manager = ServiceManager { socket, watchdog: Some(Duration::from_millis(200)) };
        let tasks =
            crate::telemetry::metrics::Metrics::register(&prometheus::Registry::new(), "", "").expect("metrics");
        let proxy = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        tasks.tasks().add(crate::telemetry::tasks::Runtime::Proxy, proxy.handle().clone());
        tokio::spawn(manager.keep_alive(tasks.tasks().clone()));
        let mut buffer = [0; 64];
        let length = receiver.recv(&mut buffer).await.expect("a sign of life");
        assert_eq!(&buffer[..length], b"WATCHDOG=1");
        let (release, stuck) = std::sync::mpsc::channel::<()>();
        let (entered, is_stuck) = tokio::sync::oneshot::channel();
        proxy.spawn(async move {
            entered.send(()).expect("heard");
            stuck.recv()
        });
        is_stuck.await.expect("stuck");
        // What was on its way meanwhile.
        while tokio::time::timeout(Duration::from_millis(400), receiver.recv(&mut buffer)).await.is_ok() {}
        drop(release);
        receiver.recv(&mut buffer).await.expect("a sign of life again");
        proxy.shutdown_background();
    }
}
