//! Carries out the commands that come through the control socket.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use super::{NAME, Place, QUIT, RELOAD, Said, TAKE_OVER, UPGRADE, client, handover};
use crate::operator_listeners::OperatorListeners;
use crate::reload::Reloader;
use crate::service_manager::ServiceManager;
use crate::shutdown::End;
use crate::sockets::Sockets;

/// How long a peer may take to send its command.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest command.
const LONGEST: u64 = 8192;

/// Variables that are for one process, not for the one that takes its place.
const OF_ONE_PROCESS: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// The flag of the process that takes over.
const FLAG: &str = "--take-over";

/// Opens the socket in the data directory, in the place of one that nobody serves any more, or that is taken over.
///
/// # Errors
/// Another process serves it, or it cannot be made.
pub fn bind(directory: &Path, is_taken_over: bool) -> io::Result<StdListener> {
    if !is_taken_over && client::is_served(directory) {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another gateway runs with this data directory"));
    }
    let unfinished = format!("{NAME}.{}", std::process::id());
    let (new, place) = (Place::of(directory, &unfinished)?, Place::of(directory, NAME)?);
    let _left_over = std::fs::remove_file(&new.path);
    let listener = StdListener::bind(&new.path)?;
    std::fs::set_permissions(&new.path, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&new.path, &place.path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What commands act on.
pub struct Server {
    /// Reads settings again.
    pub reloader: Arc<Reloader>,
    /// Ends the process.
    pub end: mpsc::Sender<End>,
    /// Are handed over.
    pub sockets: Sockets,
    /// Stop when another process has taken over.
    pub operator: OperatorListeners,
    /// Is told of the new process.
    pub manager: ServiceManager,
    /// The keys of what is cached.
    pub cached: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
    /// Held while a process takes over, and for ever when one has.
    turn: tokio::sync::Mutex<Standing>,
    /// The process that has taken over.
    successor: watch::Sender<Option<u32>>,
}

/// Whether this process may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Serving,
    Ending,
}

impl Server {
    /// Serves these.
    pub fn new(
        reloader: Arc<Reloader>,
        end: mpsc::Sender<End>,
        sockets: Sockets,
        operator: OperatorListeners,
        manager: ServiceManager,
        cached: impl Fn() -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let (turn, successor) = (tokio::sync::Mutex::new(Standing::Serving), watch::Sender::new(None));
        Self { reloader, end, sockets, operator, manager, cached: Box::new(cached), turn, successor }
    }

    /// Carries out commands for ever.
    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = Arc::clone(&self);
                    tokio::spawn(async move {
                        if let Err(error) = server.handle(stream).await {
                            tracing::warn!(%error, "a command on the control socket was not carried out");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a command on the control socket");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn handle(self: Arc<Self>, stream: UnixStream) -> io::Result<()> {
        let peer = stream.peer_cred()?;
        if peer.uid() != 0 && peer.uid() != geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {} may not", peer.uid())));
        }
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        let mut limited = (&mut stream).take(LONGEST);
        tokio::time::timeout(PATIENCE, limited.read_line(&mut line)).await.map_err(io::Error::other)??;
        let mut stream = stream.into_inner();
        let (command, argument) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        tracing::info!(command, peer = peer.pid(), "command on the control socket");
        let said = match command {
            RELOAD => self.reload().await,
            UPGRADE => self.upgrade(Path::new(argument)).await,
            QUIT => Said::done("Draining."),
            TAKE_OVER => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                let successor = peer.pid().and_then(|pid| u32::try_from(pid).ok());
                let _ended = tokio::task::spawn_blocking(move || self.hand_over(stream, successor)).await;
                return Ok(());
            }
            _ => Said::failed(format!("unknown command {command}: is the program of another version?")),
        };
        let mut response = serde_json::to_vec(&said)?;
        response.push(b'\n');
        stream.write_all(&response).await?;
        if command == QUIT {
            let _ends_already = self.end.send(End::Stopped).await;
            // The peer waits for the end of the process, which closes the connection.
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn reload(&self) -> Said {
        let reloaded = self.reloader.reload().await;
        Said { lines: reloaded.lines(), faults: reloaded.faults }
    }

    /// Starts an executable that takes over, and waits until it has.
    async fn upgrade(&self, executable: &Path) -> Said {
        match *self.turn.lock().await {
            Standing::Serving => {}
            Standing::Ending => return Said::failed("the gateway drains already"),
        }
        let mut successor = self.successor.subscribe();
        let started = start(executable);
        let child = match started {
            Ok(child) => child,
            Err(error) => return Said::failed(format!("cannot start {}: {error}", executable.display())),
        };
        let id = child.id();
        tracing::info!(executable = %executable.display(), pid = id, "started the process that is to take over");
        let mut child = child;
        let ended = tokio::task::spawn_blocking(move || child.wait());
        tokio::select! {
            _ = successor.wait_for(|successor| *successor == Some(id)) => {
                Said::done(format!("Process {id} serves; process {} drains.", std::process::id()))
            }
            ended = ended => {
                let how = ended.ok().and_then(Result::ok).map_or_else(|| "is gone".to_owned(), |status| status.to_string());
                tracing::error!(pid = id, how, "the process that was to take over has ended; this one goes on");
                Said::failed(format!("the new process ended ({how}); the gateway goes on as it was: see its log"))
            }
            () = tokio::time::sleep(handover::START) => {
                kill(id);
                tracing::error!(pid = id, "the process that was to take over did not become ready; this one goes on");
                Said::failed("the new process did not become ready; the gateway goes on as it was: see its log")
            }
        }
    }

    /// Hands everything to the process at the other end.
    fn hand_over(&self, mut new: std::os::unix::net::UnixStream, successor: Option<u32>) {
        let Ok(mut standing) = self.turn.try_lock() else {
            let _gone = handover::refuse(&mut new, "another process is taking over");
            return;
        };
        if *standing == Standing::Ending {
            let _gone = handover::refuse(&mut new, "it drains already");
            return;
        }
        let handed = self.sockets.duplicates().and_then(|sockets| {
            handover::hand(&mut new, &sockets, &(self.cached)())?;
            handover::wait_for(&mut new)
        });
        if let Err(error) = handed {
            tracing::error!(%error, "no process has taken over; this one goes on");
            return;
        }
        *standing = Standing::Ending;
        if let Some(pid) = successor {
            self.manager.main_process(pid);
        }
        self.sockets.close_all();
        self.operator.stop();
        let _ends_already = self.end.blocking_send(End::HandedOver);
        let _gone = handover::let_go(&mut new);
        self.successor.send_replace(successor);
    }
}

/// Starts an executable as this process was started.
fn start(executable: &Path) -> io::Result<std::process::Child> {
    if !executable.is_absolute() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path must begin with /"));
    }
    let mut command = Command::new(executable);
    command.args(std::env::args_os().skip(1).filter(|argument| argument != FLAG)).arg(FLAG).stdin(Stdio::null());
    OF_ONE_PROCESS.into_iter().for_each(|name| {
        command.env_remove(name);
    });
    command.spawn()
}

fn kill(id: u32) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, Signal::KILL);
    }
}
