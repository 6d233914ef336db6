//! A connection that carries one request at a time and is reopened when closed.
//!
//! HTTP/1.1 is [`crate::http1`], HTTP/2 is hyper. Requests are not retried: failures are counted.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;

use crate::endpoint::{Endpoint, Protocol};
use crate::failure::Failure;
use crate::http1::{BODY, Http1};

/// What to keep of a response besides its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: headers and body are read and discarded.
    Nothing,
    /// Headers and body.
    Everything,
}

/// A request. It has no `Debug`: its headers or body contain a token or secret.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Headers other than `Host` and `Content-Length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// What to keep of the response.
    pub keep: Keep,
}

/// A response. It has no `Debug`: its body may contain a token.
#[derive(Clone, Default)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers, with lower-case names, if kept.
    pub headers: Vec<(String, String)>,
    /// Its body, if kept.
    pub body: Bytes,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A connection to an endpoint, opened on the first request.
pub struct Connection {
    endpoint: Rc<Endpoint>,
    timeout: Duration,
    wire: Wire,
}

enum Wire {
    One(Option<Box<Http1>>),
    /// Shared by users of the same connection.
    Two(Rc<Mutex<Option<SendRequest<Full<Bytes>>>>>),
}

impl Connection {
    /// A connection that carries one request at a time, with a timeout for the response.
    pub fn new(endpoint: Rc<Endpoint>, timeout: Duration) -> Self {
        let wire = match endpoint.protocol {
            Protocol::Http1 => Wire::One(None),
            Protocol::Http2 => Wire::Two(Rc::default()),
        };
        Self { endpoint, timeout, wire }
    }

    /// Another user of the same connection if the protocol allows it, otherwise a new connection.
    pub fn share(&self) -> Self {
        let wire = match &self.wire {
            Wire::One(_) => Wire::One(None),
            Wire::Two(shared) => Wire::Two(Rc::clone(shared)),
        };
        Self { endpoint: Rc::clone(&self.endpoint), timeout: self.timeout, wire }
    }

    /// Sends a request and reads its response.
    pub async fn send(&mut self, request: &Request) -> Result<Response, Failure> {
        let sent = tokio::time::timeout(self.timeout, Self::exchange(&self.endpoint, &mut self.wire, request)).await;
        let response = sent.unwrap_or(Err(Failure::Timeout));
        if response.is_err()
            && let Wire::One(http1) = &mut self.wire
        {
            *http1 = None;
        }
        response
    }

    async fn exchange(endpoint: &Endpoint, wire: &mut Wire, request: &Request) -> Result<Response, Failure> {
        match wire {
            Wire::One(kept) => {
                let mut http1 = match kept.take() {
                    Some(http1) => http1,
                    None => Box::new(Http1::new(endpoint.connect().await?)),
                };
                let (response, reusable) = http1.exchange(endpoint, request).await?;
                *kept = reusable.then_some(http1);
                Ok(response)
            }
            Wire::Two(shared) => {
                let sender = sender(endpoint, shared).await?;
                exchange_http2(endpoint, sender, request).await
            }
        }
    }
}

/// The connection's sender; reconnects if needed.
async fn sender(
    endpoint: &Endpoint,
    shared: &Mutex<Option<SendRequest<Full<Bytes>>>>,
) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let mut kept = shared.lock().await;
    if let Some(sender) = kept.as_ref().filter(|sender| !sender.is_closed()) {
        return Ok(sender.clone());
    }
    let io = TokioIo::new(endpoint.connect().await?);
    let (sender, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(|error| classify(&error))?;
    tokio::spawn(driver);
    *kept = Some(sender.clone());
    Ok(sender)
}

async fn exchange_http2(
    endpoint: &Endpoint,
    mut sender: SendRequest<Full<Bytes>>,
    request: &Request,
) -> Result<Response, Failure> {
    let uri = format!("{}://{}{}", endpoint.scheme(), endpoint.authority, request.target);
    let mut message = http::Request::builder().method(request.method.clone()).uri(uri);
    for (name, value) in &request.headers {
        message = message.header(name, value);
    }
    let message = message.body(Full::new(request.body.clone())).map_err(|_| Failure::Other)?;
    sender.ready().await.map_err(|error| classify(&error))?;
    let (head, body) = sender.send_request(message).await.map_err(|error| classify(&error))?.into_parts();
    let body = Limited::new(body, BODY).collect().await.map_err(|_| Failure::Malformed)?.to_bytes();
    let mut response = Response { status: head.status.as_u16(), ..Response::default() };
    if request.keep == Keep::Everything {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        response.headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        response.body = body;
    }
    Ok(response)
}

fn classify(error: &hyper::Error) -> Failure {
    if error.is_parse() { Failure::Malformed } else { Failure::Reset }
}
