//! A raw upstream: it records the bytes of every connection, and responds by a function.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The number of its connection, from 0.
    pub connection: usize,
    /// The request line and the header lines.
    pub head: String,
    /// The body without its framing.
    pub body: String,
}

impl Received {
    /// The request line without its version.
    pub fn line(&self) -> &str {
        let line = self.head.lines().next().unwrap_or_default();
        line.trim_end_matches(" HTTP/1.1")
    }

    /// All values of a header, in order.
    pub fn header(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let of_name = lines.filter(|(given, _)| given.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.trim().to_owned()).collect()
    }
}

/// What the upstream sends for a request.
#[derive(Debug, Clone, Default)]
pub struct ScriptedResponse {
    /// Sent at once.
    pub bytes: Vec<u8>,
    /// Whether the connection is closed afterwards.
    pub close: bool,
}

impl ScriptedResponse {
    /// Sends these bytes and keeps the connection.
    pub fn keep(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), close: false }
    }

    /// Sends these bytes and closes the connection.
    pub fn close(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), close: true }
    }

    /// 200 with this body.
    pub fn ok(body: &str) -> Self {
        Self::keep(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }
}

/// When the upstream responds to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Once it is complete.
    Complete,
    /// As soon as its head has arrived.
    Head,
}

type Handler = dyn Fn(&Received) -> ScriptedResponse + Send + Sync;

#[derive(Default)]
struct Log {
    bytes: Vec<Vec<u8>>,
    requests: Vec<Received>,
}

/// The upstream; it stops on drop.
pub struct Recorder {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Starts one on a free port. Anything that does not start with a request line gets 400, and the
    /// connection is kept, as with some servers.
    pub async fn start(when: When, handler: impl Fn(&Received) -> ScriptedResponse + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().unwrap();
        let log: Arc<Mutex<Log>> = Arc::default();
        let (kept, handler): (_, Arc<Handler>) = (Arc::clone(&log), Arc::new(handler));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&kept), when, Arc::clone(&handler)));
            }
        });
        Self { address, log, task }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bytes of each connection.
    pub fn bytes(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.bytes.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// The complete requests so far.
    pub fn requests(&self) -> Vec<Received> {
        self.log.lock().unwrap().requests.clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    log: Arc<Mutex<Log>>,
    when: When,
    handler: Arc<Handler>,
) {
    let connection = {
        let mut log = log.lock().unwrap();
        log.bytes.push(Vec::new());
        log.bytes.len() - 1
    };
    let (mut pending, mut responded_to_head) = (Vec::new(), false);
    loop {
        if when == When::Head && !responded_to_head && find(&pending, b"\r\n\r\n").is_some() {
            responded_to_head = true;
            let (head, _) = split_head(&pending);
            if !respond(&mut stream, &handler(&Received { connection, head, body: String::new() })).await {
                return;
            }
        }
        if let Some((received, length)) = parse(&pending, connection) {
            pending.drain(..length);
            log.lock().unwrap().requests.push(received.clone());
            let is_request = received.head.lines().next().is_some_and(|line| line.ends_with(" HTTP/1.1"));
            let reply = match (when, is_request) {
                (_, false) => ScriptedResponse::keep("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
                (When::Complete, true) => handler(&received),
                (When::Head, true) => ScriptedResponse::default(),
            };
            responded_to_head = false;
            if !respond(&mut stream, &reply).await {
                return;
            }
            continue;
        }
        let mut buffer = [0; 16 * 1024];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                pending.extend_from_slice(&buffer[..length]);
                log.lock().unwrap().bytes[connection].extend_from_slice(&buffer[..length]);
            }
        }
    }
}

async fn respond(stream: &mut (impl AsyncWrite + Unpin), response: &ScriptedResponse) -> bool {
    let written = stream.write_all(&response.bytes).await.is_ok() && stream.flush().await.is_ok();
    if response.close {
        let _ = stream.shutdown().await;
    }
    written && !response.close
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

fn split_head(bytes: &[u8]) -> (String, usize) {
    let end = find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
    (String::from_utf8_lossy(&bytes[..end]).into_owned(), (end + 4).min(bytes.len()))
}

/// The first request and its length, once it is complete.
fn parse(bytes: &[u8], connection: usize) -> Option<(Received, usize)> {
    find(bytes, b"\r\n\r\n")?;
    let (head, start) = split_head(bytes);
    let mut received = Received { connection, head, body: String::new() };
    if received.header("transfer-encoding") == ["chunked"] {
        let (body, length) = dechunk(&bytes[start..])?;
        received.body = body;
        return Some((received, start + length));
    }
    let length: usize = received.header("content-length").first().map_or(0, |length| length.parse().unwrap());
    let body = bytes.get(start..start + length)?;
    received.body = String::from_utf8_lossy(body).into_owned();
    Some((received, start + length))
}

/// A chunked body without trailers and its length on the wire, once it is complete.
fn dechunk(bytes: &[u8]) -> Option<(String, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).unwrap(), 16).unwrap();
        at += line + 2;
        body.extend_from_slice(bytes.get(at..at + size)?);
        assert_eq!(bytes.get(at + size..at + size + 2)?, b"\r\n", "after a chunk");
        at += size + 2;
        if size == 0 {
            return Some((String::from_utf8_lossy(&body).into_owned(), at));
        }
    }
}
