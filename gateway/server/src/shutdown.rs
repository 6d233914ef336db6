//! Shutdown of the process.
//!
//! SIGTERM: readiness fails, listeners close, requests in progress continue. Pingora then waits for the
//! whole drain timeout, even if no request is in progress; a watcher ends the process as
//! soon as the last request has its response. SIGINT ends the process at once. SIGQUIT is treated like
//! SIGTERM: the framework's hand-over of listeners to a new process is not supported yet.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

use crate::service_manager::ServiceManager;
use crate::sockets::{Name, Sockets};
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

/// Waits for the signal that ends the process.
pub struct Shutdown {
    control: Handle,
    ending: Ending,
    signals: Mutex<Signals>,
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
    /// Are closed.
    pub sockets: Sockets,
}

impl Shutdown {
    /// Installs the handlers now: a signal that arrives before Pingora waits for it is not lost, and
    /// does not kill a gateway that has reported that it is ready.
    pub fn new(control: Handle, ending: Ending) -> std::io::Result<Self> {
        let caught = {
            let _runtime = control.enter();
            Signals::catch()?
        };
        Ok(Self { control, ending, signals: Mutex::new(caught) })
    }

    /// Ends the process when no request is in progress any more.
    fn end_when_idle(&self) {
        let Ending { metrics, logs, .. } = self.ending.clone();
        self.control.spawn(async move {
            // Connections accepted just before the listeners closed may still send their request.
            tokio::time::sleep(Duration::from_millis(100)).await;
            while metrics.traffic().under_way > 0 {
                tokio::time::sleep(POLL).await;
            }
            // An HTTP/2 connection writes the ends of its responses, then closes; a client that does not read them
            // is not waited for.
            let closed = async {
                while metrics.traffic().open > 0 {
                    tokio::time::sleep(POLL).await;
                }
            };
            let _ = tokio::time::timeout(CLOSE, closed).await;
            logs.flush();
            tracing::info!("drained; exiting");
            std::process::exit(0);
        });
    }
}

#[async_trait]
impl ShutdownSignalWatch for Shutdown {
    async fn recv(&self) -> ShutdownSignal {
        {
            let mut signals = self.signals.lock().await;
            let Signals { terminate, quit, interrupt } = &mut *signals;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = quit.recv() => {}
                _ = interrupt.recv() => {
                    self.ending.logs.flush();
                    // Not through the framework, which joins its threads first. Acknowledged writes are
                    // committed already. 128 + SIGINT, like a shell.
                    std::process::exit(130);
                }
            }
        }
        tracing::info!("draining: finishing requests, accepting no connections");
        self.ending.manager.stopping();
        self.ending.readiness.set_stopping();
        // The Admin API and the status listener go on until the end.
        [Name::Http, Name::Https].into_iter().for_each(|name| self.ending.sockets.close(name));
        self.end_when_idle();
        ShutdownSignal::GracefulTerminate
    }
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    quit: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers, on the current runtime.
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}
