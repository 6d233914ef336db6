//! How the process ends.
//!
//! - Stopped (SIGTERM, SIGQUIT, `tollgate quit`): readiness fails, the proxy accepts no new connections, requests in
//!   progress continue for `proxy.drain_timeout`; idle connections are closed.
//! - Another process has taken over the listeners (`tollgate upgrade`): connections continue for
//!   `proxy.upgrade_drain_timeout`, each with a last request if it is idle.
//! - SIGINT: at once, also while it drains.
//!
//! Pingora closes the listeners, and would wait for the whole time; this ends the process as soon as nothing is under way.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use crate::operator_listeners::OperatorListeners;
use crate::proxy::{Lifecycle, OpenConnections};
use crate::service_manager::ServiceManager;
use crate::settings::Settings;
use crate::sockets::Name;
use crate::status::Readiness;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::audit_log::AuditLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Tracer;

/// The time limit for writing the queued lines of a log.
const FLUSH: Duration = Duration::from_secs(1);

/// The time limit for sending the queued spans of traces, which a collector has to take.
const SEND: Duration = Duration::from_secs(3);

/// The time limit for closing connections once no request is in progress.
const CLOSE: Duration = Duration::from_secs(2);

/// The interval between checks for requests in progress.
const POLL: Duration = Duration::from_millis(20);

/// How long connections that were accepted just before the listeners closed may take to send their request.
const ACCEPTED: Duration = Duration::from_millis(100);

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is to stop.
    Stopped,
    /// Another process has its listeners.
    HandedOver,
}

/// How long what is under way may continue.
#[derive(Debug, Clone, Copy)]
pub struct DrainTimeouts {
    stopped: Duration,
    handed_over: Duration,
}

impl DrainTimeouts {
    /// As the settings say.
    pub fn of(settings: &Settings) -> Self {
        Self { stopped: settings.proxy.drain_timeout, handed_over: settings.proxy.upgrade_drain_timeout }
    }
}

/// The logs that are written by threads of their own.
#[derive(Clone)]
pub struct Logs {
    /// The access log.
    pub access: AccessLog,
    /// The audit log.
    pub audit: AuditLog,
    /// Traces.
    pub tracer: Option<Tracer>,
}

impl Logs {
    fn flush(&self) {
        self.access.flush(FLUSH);
        self.audit.flush(FLUSH);
        if let Some(tracer) = &self.tracer {
            tracer.flush(SEND);
        }
    }
}

/// What takes part when the process ends.
#[derive(Clone)]
pub struct Ending {
    /// Says that the node drains.
    pub readiness: Arc<Readiness>,
    /// Know what is under way.
    pub metrics: Arc<Metrics>,
    /// Are written to the end.
    pub logs: Logs,
    /// Is told.
    pub manager: ServiceManager,
    /// The proxy.
    pub proxy: Lifecycle,
    /// Its connections, from before their handshake.
    pub connections: Arc<OpenConnections>,
    /// The operator's.
    pub operator: OperatorListeners,
    /// The limits.
    pub timeouts: Arc<ArcSwap<DrainTimeouts>>,
}

/// Waits for what ends the process.
pub struct Shutdown {
    control: Handle,
    ending: Ending,
    causes: Mutex<Option<Causes>>,
}

/// What may end the process.
struct Causes {
    terminate: Signal,
    quit: Signal,
    interrupt: Signal,
    commands: mpsc::Receiver<End>,
}

impl Causes {
    /// The next one; SIGINT is none, but ends it.
    async fn next(&mut self, logs: &Logs) -> End {
        tokio::select! {
            _ = self.terminate.recv() => End::Stopped,
            _ = self.quit.recv() => End::Stopped,
            Some(end) = self.commands.recv() => end,
            _ = self.interrupt.recv() => {
                logs.flush();
                // Not through the framework, which joins its threads first. Acknowledged writes are
                // committed already. 128 + SIGINT, like a shell.
                std::process::exit(130);
            }
        }
    }
}

impl Shutdown {
    /// Installs the handlers now: a signal that arrives before Pingora waits for it is not lost, and
    /// does not kill a gateway that has reported that it is ready.
    ///
    /// # Errors
    /// They cannot be installed.
    pub fn new(control: Handle, ending: Ending, commands: mpsc::Receiver<End>) -> std::io::Result<Self> {
        let causes = {
            let _runtime = control.enter();
            Causes {
                terminate: signal(SignalKind::terminate())?,
                quit: signal(SignalKind::quit())?,
                interrupt: signal(SignalKind::interrupt())?,
                commands,
            }
        };
        Ok(Self { control, ending, causes: Mutex::new(Some(causes)) })
    }
}

#[async_trait]
impl ShutdownSignalWatch for Shutdown {
    async fn recv(&self) -> ShutdownSignal {
        let Some(mut causes) = self.causes.lock().await.take() else { return std::future::pending().await };
        let end = causes.next(&self.ending.logs).await;
        self.control.spawn(drain(self.ending.clone(), end, causes));
        ShutdownSignal::GracefulTerminate
    }
}

/// Ends the process when nothing is under way any more.
async fn drain(ending: Ending, end: End, mut causes: Causes) {
    if end == End::HandedOver {
        tracing::info!("draining: another process has taken over");
        let limit = ending.timeouts.load().handed_over;
        tokio::select! {
            () = ending.without_connections() => return ending.exit(),
            () = tokio::time::sleep(limit) => tracing::warn!(?limit, "closing the connections that are left"),
            // It is to stop now.
            _ = causes.next(&ending.logs) => {}
        }
    } else {
        tracing::info!("draining: finishing requests, accepting no connections");
        ending.manager.stopping();
        ending.readiness.set_stopping();
        // The Admin API and the status listener go on until the end.
        [Name::Http, Name::Https].into_iter().for_each(|name| ending.proxy.sockets.close(name));
    }
    ending.proxy.idle.close();
    let deadline = Instant::now() + ending.timeouts.load().stopped;
    loop {
        tokio::select! {
            () = ending.without_requests() => break,
            () = tokio::time::sleep_until(deadline) => {
                tracing::warn!(requests = ending.metrics.traffic().under_way, "cutting off requests in progress");
                break;
            }
            // It drains already.
            _ = causes.next(&ending.logs) => {}
        }
    }
    ending.exit();
}

impl Ending {
    async fn without_connections(&self) {
        // The proxy stops to accept in a moment.
        tokio::time::sleep(ACCEPTED).await;
        while self.connections.count_open() > 0 || self.operator.count_open() > 0 {
            tokio::time::sleep(POLL).await;
        }
    }

    async fn without_requests(&self) {
        tokio::time::sleep(ACCEPTED).await;
        while self.metrics.traffic().under_way > 0 {
            tokio::time::sleep(POLL).await;
        }
        // An HTTP/2 connection writes the ends of its responses, then closes; a client that does not read them
        // is not waited for.
        let closed = async {
            while self.metrics.traffic().open > 0 {
                tokio::time::sleep(POLL).await;
            }
        };
        let _ = tokio::time::timeout(CLOSE, closed).await;
    }

    fn exit(&self) {
        self.logs.flush();
        tracing::info!("drained; exiting");
        std::process::exit(0);
    }
}
