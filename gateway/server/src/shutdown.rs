//! The end of the process.
//!
//! SIGTERM: readiness fails, listeners close, requests under way go on. Pingora then waits for the
//! whole drain timeout, even when nothing is under way; a watcher beside it ends the process as
//! soon as the last request has its response. SIGINT ends at once. SIGQUIT is treated like
//! SIGTERM: the framework's hand-over of listeners to a new process is not offered yet.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

use crate::status::Readiness;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;

/// How long the access log's writer may take for what is queued.
const FLUSH: Duration = Duration::from_secs(1);

/// How long connections may take to close when no request is under way.
const CLOSE: Duration = Duration::from_secs(2);

/// Between two looks at the requests under way.
const POLL: Duration = Duration::from_millis(20);

/// Waits for the signal that ends the process.
pub struct Shutdown {
    control: Handle,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    access_log: AccessLog,
    signals: Mutex<Signals>,
}

impl Shutdown {
    /// Catches the signals from now on: one that comes before Pingora asks for it is not lost, and
    /// does not kill a gateway that has said it is ready.
    pub fn new(
        control: Handle,
        readiness: Arc<Readiness>,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
    ) -> std::io::Result<Self> {
        let caught = {
            let _runtime = control.enter();
            Signals::catch()?
        };
        Ok(Self { control, readiness, metrics, access_log, signals: Mutex::new(caught) })
    }

    /// Ends the process when no request is under way any more.
    fn end_when_idle(&self) {
        let (metrics, access_log) = (Arc::clone(&self.metrics), self.access_log.clone());
        self.control.spawn(async move {
            // Connections that were accepted just before the listeners closed get their request in.
            tokio::time::sleep(Duration::from_millis(100)).await;
            while metrics.traffic().under_way > 0 {
                tokio::time::sleep(POLL).await;
            }
            // An HTTP/2 connection writes what its requests have ended with, then closes; a client that
            // does not take it is not waited for.
            let closed = async {
                while metrics.traffic().open > 0 {
                    tokio::time::sleep(POLL).await;
                }
            };
            let _ = tokio::time::timeout(CLOSE, closed).await;
            access_log.flush(FLUSH);
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
                    self.access_log.flush(FLUSH);
                    // Not through the framework, which joins its threads first: at once is at
                    // once. What was confirmed is committed. 128 + SIGINT, as a shell has it.
                    std::process::exit(130);
                }
            }
        }
        tracing::info!("draining: finishing requests, accepting no connections");
        self.readiness.set_draining();
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
    /// Catches them from now on, on the current runtime.
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}
