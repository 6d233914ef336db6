//! An upstream that echoes its requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// An echo server on a free port: it responds to every request with that request, as JSON.
///
/// `{"method", "uri", "headers": {name: [values]}, "body"}`
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let routes = Router::new().fallback(echo).with_state(Arc::clone(&requests));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, requests, task }
    }

    /// Starts one that responds with the raw request head, at almost no cost.
    pub async fn of_heads() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(respond_with_heads(connection, Arc::clone(&counted)));
            }
        });
        Self { address, requests, task }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// How many requests reached it.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn respond_with_heads(mut connection: TcpStream, requests: Arc<AtomicUsize>) {
    let mut received = Vec::new();
    while let Ok(1..) = connection.read_buf(&mut received).await {
        let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&received[..end + 4]).into_owned();
        let body = head.lines().filter_map(|line| line.split_once(": "));
        let body = body.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let body: usize = body.filter_map(|(_, length)| length.parse::<usize>().ok()).sum();
        if received.len() < head.len() + body {
            continue;
        }
        requests.fetch_add(1, Ordering::SeqCst);
        received.clear();
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        if connection.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn echo(State(requests): State<Arc<AtomicUsize>>, request: Request) -> Response {
    requests.fetch_add(1, Ordering::SeqCst);
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_else(|_| Bytes::from_static(b"unreadable"));
    let mut headers: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (name, value) in &head.headers {
        headers.entry(name.as_str()).or_default().push(Value::from(String::from_utf8_lossy(value.as_bytes())));
    }
    Json(json!({
        "method": head.method.as_str(),
        "uri": head.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    }))
    .into_response()
}
