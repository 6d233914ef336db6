//! Low-level HTTP/2: streams piece by piece, and single frames.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a result; fails the test after twenty seconds.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("a response in time")
}

/// A TLS connection whose client offers these protocols (in the format of ALPN; none: no extension) and checks no
/// certificate.
pub async fn tls(address: SocketAddr, protocols: &[u8]) -> SslStream<TcpStream> {
    // A connector would read the system's authorities each time, which takes longer than the handshake.
    let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
    context.set_verify(SslVerifyMode::NONE);
    if !protocols.is_empty() {
        context.set_alpn_protos(protocols).unwrap();
    }
    let mut offer = Ssl::new(&context.build()).unwrap();
    offer.set_hostname("localhost").unwrap();
    let socket = TcpStream::connect(address).await.expect("a listening gateway");
    socket.set_nodelay(true).unwrap();
    let mut stream = SslStream::new(offer, socket).unwrap();
    soon(Pin::new(&mut stream).connect()).await.expect("a handshake");
    stream
}

/// The protocols of a client that speaks only HTTP/2.
pub const H2: &[u8] = b"\x02h2";

/// A connection on which a test composes requests from pieces.
pub struct Connection {
    requests: h2::client::SendRequest<Bytes>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let (requests, connection) = h2::client::handshake(tls(address, H2).await).await.expect("an HTTP/2 server");
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { requests, task }
    }

    /// Starts a request by sending its header.
    pub async fn begin(&self, request: Request<()>, end: bool) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let mut ready = soon(self.requests.clone().ready()).await.expect("room for a stream");
        ready.send_request(request, end).expect("a request that can be sent")
    }

    /// Sends a request whose body consists of these pieces, each in its own DATA frame and write. The last one ends
    /// the stream, or the trailers do; without both, the header does.
    pub async fn send(
        &self,
        request: Request<()>,
        pieces: &[&str],
        trailers: Option<HeaderMap>,
    ) -> Result<(http::response::Parts, String, Option<HeaderMap>), h2::Error> {
        let (response, mut body) = self.begin(request, pieces.is_empty() && trailers.is_none()).await;
        for (nth, piece) in pieces.iter().enumerate() {
            tokio::task::yield_now().await;
            let end = nth + 1 == pieces.len() && trailers.is_none();
            if body.send_data(Bytes::copy_from_slice(piece.as_bytes()), end).is_err() {
                break;
            }
        }
        if let Some(trailers) = trailers {
            let _ = body.send_trailers(trailers);
        }
        soon(read(response)).await
    }
}

async fn read(
    response: h2::client::ResponseFuture,
) -> Result<(http::response::Parts, String, Option<HeaderMap>), h2::Error> {
    let (head, mut body): (_, h2::RecvStream) = Response::into_parts(response.await?);
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        text.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?;
    Ok((head, String::from_utf8_lossy(&text).into_owned(), trailers))
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// HEADERS with these fields unchanged.
    pub fn headers(stream: u32, fields: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)], end: bool) -> Self {
        let mut payload = Vec::new();
        for (name, value) in fields {
            // literal, never indexed, neither of them compressed
            payload.push(0x10);
            for text in [name.as_ref(), value.as_ref()] {
                let length = u8::try_from(text.len()).unwrap();
                assert!(length < 127, "a short text");
                payload.push(length);
                payload.extend_from_slice(text);
            }
        }
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        Self { kind: kind::HEADERS, flags, stream, payload }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = u32::try_from(self.payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[self.kind, self.flags]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// Types of frames.
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// PRIORITY.
    pub const PRIORITY: u8 = 2;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
}

/// END_STREAM, on DATA and HEADERS.
pub const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection for single frames.
pub struct Frames(SslStream<TcpStream>);

impl Frames {
    /// Connects, and sends the preface and settings: no table of fields, so that each response is readable by itself.
    pub async fn open(address: SocketAddr) -> Self {
        let mut stream = tls(address, H2).await;
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x01\0\0\0\0")
            .await
            .expect("a preface that is taken");
        Self(stream)
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Frame) {
        // Refused if an earlier frame ended the connection, which `next` tells.
        let _ = self.0.write_all(&frame.bytes()).await;
    }

    /// Sends frames, as far as they are taken.
    pub async fn flood(&mut self, frames: &[Frame]) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        let _ = soon(self.0.write_all(&bytes)).await;
    }

    /// Reads until the connection is closed; the error code of its GOAWAY, if there was one.
    pub async fn until_closed(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == kind::GOAWAY {
                code = frame.payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
            }
        }
        code
    }

    /// Sends HEADERS with these fields unchanged.
    pub async fn headers(&mut self, stream: u32, fields: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)], end: bool) {
        self.send(&Frame::headers(stream, fields, end)).await;
    }

    /// The next frame; `None` when the connection is closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        soon(read).await
    }

    /// The frames of a stream until it ends, and those that close the connection.
    pub async fn until_end(&mut self, stream: u32) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            let is_end = match frame.kind {
                kind::GOAWAY => true,
                kind::RST_STREAM => frame.stream == stream,
                kind::DATA | kind::HEADERS => frame.stream == stream && frame.flags & END_STREAM != 0,
                _ => false,
            };
            if is_end || frame.stream == stream && frame.kind <= kind::HEADERS {
                frames.push(frame);
            }
            if is_end {
                break;
            }
        }
        frames
    }
}

/// How a stream ended, as text: `400`, `200 DATA`, `RST 1`, `GOAWAY 1`.
pub fn outcome(frames: &[Frame]) -> String {
    let words = frames.iter().map(|frame| match frame.kind {
        kind::HEADERS => status(&frame.payload),
        kind::DATA => "DATA".to_owned(),
        kind::RST_STREAM => format!("RST {}", frame.payload[3]),
        _ => format!("GOAWAY {}", frame.payload[7]),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The status in a header block that starts with it.
fn status(block: &[u8]) -> String {
    // RFC 7541 appendix A; a size update of the table may come first.
    let block = block.iter().skip_while(|byte| **byte & 0xe0 == 0x20).copied().collect::<Vec<_>>();
    match block.first() {
        Some(indexed @ 0x88..=0x8e) => {
            ["200", "204", "206", "304", "400", "404", "500"][usize::from(indexed - 0x88)].to_owned()
        }
        Some(0x08 | 0x48) => {
            let mut coded = block[2..].iter().fold(String::new(), |bits, byte| bits + &format!("{byte:08b}"));
            let mut digits = String::new();
            while digits.len() < 3 {
                // Huffman codes of the digits (RFC 7541 appendix B)
                let short = coded.get(..5).and_then(|bits| usize::from_str_radix(bits, 2).ok());
                let (digit, length) = match short {
                    Some(code @ 0..=2) => (code, 5),
                    _ => (usize::from_str_radix(&coded[..6], 2).unwrap() - 0x19 + 3, 6),
                };
                digits.push_str(&digit.to_string());
                coded.drain(..length);
            }
            digits
        }
        _ => format!("a block {block:02x?}"),
    }
}
