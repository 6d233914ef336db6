//! A keep-alive connection for requests given as raw bytes.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::raw::parse;
use crate::reply::Reply;

const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a plain listener. One request at a time.
#[derive(Debug)]
pub struct KeepAlive {
    address: SocketAddr,
    socket: Option<TcpStream>,
    received: Vec<u8>,
}

impl KeepAlive {
    /// Connects on first use, and again after the other side has closed.
    pub fn to(address: SocketAddr) -> Self {
        Self { address, socket: None, received: Vec::new() }
    }

    /// Sends a request and reads its response, which has a length or no body.
    pub async fn exchange(&mut self, request: &[u8]) -> Reply {
        tokio::time::timeout(PATIENCE, self.talk(request)).await.expect("a response in time")
    }

    async fn talk(&mut self, request: &[u8]) -> Reply {
        loop {
            let socket = match &mut self.socket {
                Some(socket) => socket,
                closed => closed.insert(TcpStream::connect(self.address).await.expect("a listening gateway")),
            };
            self.received.clear();
            if socket.write_all(request).await.is_ok() {
                while let Ok(1..) = socket.read_buf(&mut self.received).await {
                    if let Some(reply) = whole(&self.received) {
                        if reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                            self.socket = None;
                        }
                        return reply;
                    }
                }
            }
            assert!(self.received.is_empty(), "cut short: {}", String::from_utf8_lossy(&self.received));
            self.socket = None;
        }
    }
}

/// The response, once it is complete.
fn whole(received: &[u8]) -> Option<Reply> {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let reply = parse(received)?;
    let missing = match reply.header("content-length") {
        Some(length) => head + length.parse::<usize>().expect("a length") > received.len(),
        None => reply.header("transfer-encoding").is_some() && !received.ends_with(b"0\r\n\r\n"),
    };
    (!missing).then_some(reply)
}
