//! A server among several: it says which one it is, counts what it gets, and can fail in several ways.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Responds to each request with its name, over HTTP/1.1 with keep-alive.
#[derive(Debug)]
pub struct Target {
    /// Where it listens, or listened.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    /// Keeps its port once it was killed.
    bound: Option<TcpSocket>,
}

/// Takes a port without listening: connections to it are refused, and no other test gets it as a free one.
pub fn refusing(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket without port");
    socket.bind(address).expect("a port on which nobody listens");
    socket
}

#[derive(Debug)]
struct Shared {
    name: String,
    status: AtomicU16,
    probe_status: AtomicU16,
    delay: AtomicU64,
    held: watch::Sender<bool>,
    requests: AtomicUsize,
    probes: AtomicUsize,
    connections: AtomicUsize,
    last_head: Mutex<String>,
    last_probe: Mutex<String>,
}

impl Target {
    /// Starts one on a free port.
    pub async fn start(name: &str) -> Self {
        Self::at(name, "127.0.0.1:0".parse().unwrap()).await
    }

    /// Starts one at this address.
    pub async fn at(name: &str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            status: AtomicU16::new(200),
            probe_status: AtomicU16::new(200),
            delay: AtomicU64::new(0),
            held: watch::Sender::new(false),
            requests: AtomicUsize::new(0),
            probes: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            last_head: Mutex::default(),
            last_probe: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            // Its connections end with it.
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(connection, Arc::clone(&serving)));
            }
        });
        Self { address, shared, task, bound: None }
    }

    /// `host:port`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Requests to other paths than `/probe`.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Requests to `/probe`.
    pub fn probes(&self) -> usize {
        self.shared.probes.load(Ordering::SeqCst)
    }

    /// Connections that it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The head of the last request.
    pub fn last_head(&self) -> String {
        self.shared.last_head.lock().unwrap().clone()
    }

    /// The head of the last request to `/probe`.
    pub fn last_probe(&self) -> String {
        self.shared.last_probe.lock().unwrap().clone()
    }

    /// Responds with this status from now on.
    pub fn respond(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// Responds to `/probe` with this status from now on.
    pub fn respond_to_probes(&self, status: u16) {
        self.shared.probe_status.store(status, Ordering::SeqCst);
    }

    /// Takes this long for each request from now on.
    pub fn take(&self, delay: Duration) {
        self.shared.delay.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Responds to no request from now on, until it is told to.
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Responds again, first to what it has held.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// Ends at once, with all its connections. Further ones are refused, unless another target starts at its address.
    pub async fn kill(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.bound = Some(refusing(self.address));
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut connection: TcpStream, shared: Arc<Shared>) {
    let mut received = Vec::new();
    while let Ok(1..) = connection.read_buf(&mut received).await {
        let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&received[..end + 4]).into_owned();
        received.clear();
        let is_probe = head.starts_with("GET /probe ");
        let status = if is_probe {
            shared.probes.fetch_add(1, Ordering::SeqCst);
            shared.last_probe.lock().unwrap().clone_from(&head);
            &shared.probe_status
        } else {
            shared.requests.fetch_add(1, Ordering::SeqCst);
            shared.last_head.lock().unwrap().clone_from(&head);
            let delay = Duration::from_millis(shared.delay.load(Ordering::SeqCst));
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            // It cannot be gone: it is in what is shared.
            let _ = shared.held.subscribe().wait_for(|held| !held).await;
            &shared.status
        };
        let (status, name) = (status.load(Ordering::SeqCst), &shared.name);
        let response = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        if connection.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}
