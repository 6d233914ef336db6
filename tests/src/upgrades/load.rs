//! Clients of every kind, without pause, that count what is lost. None of them tries again.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::{Gateway, raw};

/// The pause between two messages of a WebSocket and two pieces of an upload.
const PAUSE: Duration = Duration::from_millis(15);

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of it there is.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// Clients that send requests over HTTP/1.1, and as many over HTTP/2.
    pub clients: usize,
    /// The pause of each between two requests.
    pub pause: Duration,
    /// Clients with WebSockets, and as many that upload.
    pub slow_clients: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Served {
    /// Requests over HTTP/1.1.
    pub http1: usize,
    /// Requests over HTTP/2.
    pub http2: usize,
    /// Messages of WebSockets, some on connections of the beginning, some on new ones.
    pub messages: usize,
    /// Uploads that took a while.
    pub uploads: usize,
    /// What failed, each with its cause.
    pub failed: Vec<String>,
    /// How long it took.
    pub duration: Duration,
}

impl Served {
    /// Requests of all kinds, and messages, per second.
    pub fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let all = (self.http1 + self.http2 + self.messages + self.uploads) as f64;
        all / self.duration.as_secs_f64()
    }
}

/// A kind of client.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Http1,
    Http2,
    WebSocket,
    Upload,
}

const KINDS: [Kind; 4] = [Kind::Http1, Kind::Http2, Kind::WebSocket, Kind::Upload];

#[derive(Default)]
struct Counts {
    served: [AtomicUsize; KINDS.len()],
    failed: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Counts {
    fn served(&self, kind: Kind) -> usize {
        self.served[kind as usize].load(Ordering::Relaxed)
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn count(&self, kind: Kind, outcome: Result<(), impl Display>) {
        match outcome {
            Ok(()) => drop(self.served[kind as usize].fetch_add(1, Ordering::Relaxed)),
            Err(error) => {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.push(format!("{kind:?}: {error}"));
            }
        }
    }
}

/// The clients.
pub(super) struct Load {
    counts: Arc<Counts>,
    clients: JoinSet<()>,
    began: Instant,
}

impl Load {
    /// Begins on a gateway, which gets a service for it.
    pub(super) async fn on(gateway: &Gateway, amount: Amount) -> Self {
        let upstream = upstream().await;
        gateway.create("/services", json!({"name": "load", "url": format!("http://{upstream}"), "retries": 0})).await;
        gateway.create("/services/load/routes", json!({"paths": ["/load"]})).await;
        let (counts, mut clients) = (Arc::new(Counts::default()), JoinSet::new());
        for _ in 0..amount.clients {
            clients.spawn(http1(gateway.http, Arc::clone(&counts), amount.pause));
            clients.spawn(http2(gateway.client.clone(), gateway.url("/load"), Arc::clone(&counts), amount.pause));
        }
        for _ in 0..amount.slow_clients {
            clients.spawn(websocket(gateway.http, Arc::clone(&counts)));
            clients.spawn(uploads(gateway.http, Arc::clone(&counts)));
        }
        let load = Self { counts, clients, began: Instant::now() };
        load.next_of_each().await;
        load
    }

    /// Waits until each kind has been served once more.
    pub(super) async fn next_of_each(&self) {
        let before = KINDS.map(|kind| self.counts.served(kind));
        let deadline = Instant::now() + PATIENCE;
        while KINDS.iter().zip(before).any(|(kind, before)| self.counts.served(*kind) == before) {
            assert!(Instant::now() < deadline, "{:?}", self.counts.failed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Has each client finish what it does.
    pub(super) async fn end(mut self) -> Served {
        self.counts.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let [http1, http2, messages, uploads] = KINDS.map(|kind| self.counts.served(kind));
        let failed = std::mem::take(&mut *self.counts.failed.lock().unwrap());
        Served { http1, http2, messages, uploads, failed, duration: self.began.elapsed() }
    }
}

/// Requests on one connection after the other: a new one only after a response that says that the old one is closed.
async fn http1(address: SocketAddr, counts: Arc<Counts>, pause: Duration) {
    let mut connection = None;
    while counts.goes_on() {
        let outcome = async {
            let mut socket = match connection.take() {
                Some(socket) => socket,
                None => TcpStream::connect(address).await?,
            };
            socket.write_all(b"GET /load HTTP/1.1\r\nHost: a.test\r\n\r\n").await?;
            if !read_response(&mut socket).await? {
                connection = Some(socket);
            }
            std::io::Result::Ok(())
        };
        counts.count(Kind::Http1, outcome.await);
        tokio::time::sleep(pause).await;
    }
}

/// Streams of a connection that the client keeps.
async fn http2(client: reqwest::Client, url: String, counts: Arc<Counts>, pause: Duration) {
    while counts.goes_on() {
        let outcome = async {
            let response = client.request(Method::GET, &url).timeout(PATIENCE).send().await?.error_for_status()?;
            assert_eq!(response.version(), http::Version::HTTP_2);
            response.bytes().await.map(drop)
        };
        counts.count(Kind::Http2, outcome.await.map_err(|error| format!("{error:?}")));
        tokio::time::sleep(pause).await;
    }
}

/// Messages on a connection of the beginning, which outlives every upgrade; and handshakes meanwhile.
async fn websocket(address: SocketAddr, counts: Arc<Counts>) {
    let mut first = match handshake(address).await {
        Ok(socket) => socket,
        Err(error) => return counts.count(Kind::WebSocket, Err(error)),
    };
    while counts.goes_on() {
        counts.count(Kind::WebSocket, echo(&mut first).await);
        let another = async { echo(&mut handshake(address).await?).await };
        counts.count(Kind::WebSocket, another.await);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn handshake(address: SocketAddr) -> std::io::Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await?;
    let request = "GET /load HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(socket.read_u8()).await?);
    }
    if head.starts_with(b"HTTP/1.1 101 ") { Ok(socket) } else { Err(unexpected(&head)) }
}

async fn echo(socket: &mut TcpStream) -> std::io::Result<()> {
    socket.write_all(b"message").await?;
    let mut echoed = [0; 7];
    within(socket.read_exact(&mut echoed)).await?;
    if &echoed == b"message" { Ok(()) } else { Err(unexpected(&echoed)) }
}

/// Bodies that take a while, on connections of their own.
async fn uploads(address: SocketAddr, counts: Arc<Counts>) {
    while counts.goes_on() {
        let outcome = async {
            let mut socket = TcpStream::connect(address).await?;
            socket.write_all(b"POST /load HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            for _ in 0..20 {
                socket.write_all(b"4\r\nbody\r\n").await?;
                tokio::time::sleep(PAUSE).await;
            }
            socket.write_all(b"0\r\n\r\n").await?;
            read_response(&mut socket).await.map(drop)
        };
        counts.count(Kind::Upload, outcome.await);
    }
}

/// Reads a whole response, which must be 200; whether the connection is closed then.
async fn read_response(socket: &mut TcpStream) -> std::io::Result<bool> {
    let mut received = Vec::new();
    loop {
        if within(socket.read_buf(&mut received)).await? == 0 {
            return Err(unexpected(&received));
        }
        let Some(reply) = raw::parse(&received) else { continue };
        let whole = reply.header("content-length").is_some_and(|length| length == reply.body.len().to_string());
        match (whole, reply.status) {
            (false, _) => {}
            (true, 200) => return Ok(reply.header("connection").is_some_and(|value| value == "close")),
            (true, _) => return Err(unexpected(&received)),
        }
    }
}

async fn within<T>(what: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    tokio::time::timeout(PATIENCE, what).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

fn unexpected(bytes: &[u8]) -> std::io::Error {
    std::io::Error::other(format!("cut short or refused: {:?}", String::from_utf8_lossy(bytes)))
}

/// Responds to whole requests with 200, and echoes what follows a handshake.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection));
        }
    });
    address
}

async fn serve(mut connection: TcpStream) -> std::io::Result<()> {
    let mut received = Vec::new();
    loop {
        while let Some(end) = end_of_request(&received) {
            let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
            received.drain(..end);
            if head.contains("upgrade: websocket") {
                let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
                connection.write_all(switch.as_bytes()).await?;
                connection.write_all(&received).await?;
                let (mut reading, mut writing) = connection.into_split();
                return tokio::io::copy(&mut reading, &mut writing).await.map(drop);
            }
            connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
        }
        if connection.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// Where the first request ends, if it is whole.
fn end_of_request(received: &[u8]) -> Option<usize> {
    let position = |bytes: &[u8], of: &[u8]| bytes.windows(of.len()).position(|window| window == of);
    let head = position(received, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
    if text.contains("transfer-encoding: chunked") {
        return Some(head + position(&received[head..], b"0\r\n\r\n")? + 5);
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let end = head + length.map_or(0, |length| length.parse().unwrap());
    (received.len() >= end).then_some(end)
}
