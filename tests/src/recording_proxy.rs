//! A reverse proxy that records requests: what a server that cannot be asked has been asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::HOST;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const BODY_LIMIT: usize = 1 << 20;

/// A recorded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: String,
}

/// Forwards every request, until dropped.
#[derive(Debug)]
pub struct RecordingProxy {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Target {
    authority: Arc<str>,
    client: reqwest::Client,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl RecordingProxy {
    /// Forwards to `HOST:PORT`, from a free port.
    pub async fn to(authority: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().unwrap();
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let target = Target { authority: authority.into(), client, calls: Arc::clone(&calls) };
        let routes = Router::new().fallback(forward).with_state(target);
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, calls, task }
    }

    /// The address here of an address there.
    pub fn url(&self, there: &str) -> String {
        let mut url = url::Url::parse(there).expect("a URL");
        url.set_ip_host(self.address.ip()).expect("a URL with a host");
        url.set_port(Some(self.address.port())).expect("a URL with a port");
        url.into()
    }

    /// The requests so far, in the order of their arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

impl Drop for RecordingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(State(target): State<Target>, request: Request) -> Response {
    let (mut head, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.expect("a body that can be read");
    let call = Call { path: head.uri.path().to_owned(), body: String::from_utf8_lossy(&body).into_owned() };
    target.calls.lock().unwrap().push(call);
    head.headers.remove(HOST);
    let url = format!("http://{}{}", target.authority, head.uri);
    let sent = target.client.request(head.method, url).headers(head.headers).body(body).send().await;
    let Ok(received) = sent else { return StatusCode::BAD_GATEWAY.into_response() };
    let mut response = Response::builder().status(received.status());
    for (name, value) in received.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
        response = response.header(name, value);
    }
    let body = received.bytes().await.expect("a body that can be read");
    response.body(Body::from(body)).expect("a response")
}
