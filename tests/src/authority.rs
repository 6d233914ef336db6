//! A third-party authorization server, as far as introspection needs one: it records the calls that it receives, and
//! responds as the test tells it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use openssl::ssl::{Ssl, SslAcceptor};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_openssl::SslStream;

/// The server; it stops on drop.
pub struct Authority {
    address: SocketAddr,
    tls: Option<SslAcceptor>,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// A call, as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The request line.
    pub line: String,
    /// All header lines, by name in lower case.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The form, in order.
    pub form: Vec<(String, String)>,
}

impl Call {
    /// The first value of a parameter of the form.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What it responds with.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status line after the version.
    pub status: &'static str,
    /// Header lines, each with its end.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// 200 with this JSON.
    pub fn json(body: &Value) -> Self {
        Self::of("application/json", body.to_string())
    }

    /// 200 with this body.
    pub fn of(media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: "200 OK", headers: format!("Content-Type: {media_type}\r\n"), body: body.into() }
    }

    /// An empty response with this status line.
    pub fn status(status: &'static str) -> Self {
        Self { status, headers: String::new(), body: Vec::new() }
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { status, headers, body } = self;
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }
}

struct State {
    /// The responses for tokens that it knows.
    tokens: Mutex<HashMap<String, Response>>,
    /// The response to every call, if the test wants one.
    always: Mutex<Option<Response>>,
    calls: Mutex<Vec<Call>>,
    /// Whether responses are held back.
    held: watch::Sender<bool>,
}

impl Authority {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), None, Arc::default()).await
    }

    /// Starts one that speaks TLS.
    pub async fn over_tls(tls: SslAcceptor) -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), Some(tls), Arc::default()).await
    }

    async fn on(address: SocketAddr, tls: Option<SslAcceptor>, state: Arc<State>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().unwrap();
        let (accepting, shared) = (tls.clone(), Arc::clone(&state));
        let task = tokio::spawn(async move {
            // Dropped, and so ended, with this task.
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(accept(connection, accepting.clone(), Arc::clone(&shared)));
            }
        });
        Self { address, tls, state, task }
    }

    /// Ends all its connections and accepts no more.
    pub async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Accepts connections again, at the same address.
    pub async fn start_again(&mut self) {
        *self = Self::on(self.address, self.tls.clone(), Arc::clone(&self.state)).await;
    }

    /// Its introspection endpoint.
    pub fn url(&self) -> String {
        format!("{}://{}/introspect", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// `HOST:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// It knows this token: it is active, with these members.
    pub fn knows(&self, token: &str, members: Value) {
        let mut body = members;
        body.as_object_mut().expect("members").insert("active".to_owned(), json!(true));
        self.responds_to(token, Response::json(&body));
    }

    /// It responds so when it is asked about this token.
    pub fn responds_to(&self, token: &str, response: Response) {
        self.state.tokens.lock().unwrap().insert(token.to_owned(), response);
    }

    /// It no longer knows this token.
    pub fn revokes(&self, token: &str) {
        self.state.tokens.lock().unwrap().remove(token);
    }

    /// It responds so to every call; null ends that.
    pub fn always_responds(&self, response: Option<Response>) {
        *self.state.always.lock().unwrap() = response;
    }

    /// It holds all its responses back until [`Self::release`].
    pub fn hold(&self) {
        self.state.held.send_replace(true);
    }

    /// It responds to all calls.
    pub fn release(&self) {
        self.state.held.send_replace(false);
    }

    /// The calls since the last time.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.state.calls.lock().unwrap())
    }

    /// The tokens of the calls since the last time.
    pub fn asked(&self) -> Vec<String> {
        self.calls().iter().map(|call| call.parameter("token").unwrap_or_default().to_owned()).collect()
    }
}

impl Default for State {
    fn default() -> Self {
        let (tokens, always, calls) = Default::default();
        Self { tokens, always, calls, held: watch::Sender::new(false) }
    }
}

impl State {
    fn response(&self, call: &Call) -> Response {
        if let Some(always) = self.always.lock().unwrap().clone() {
            return always;
        }
        let known = call.parameter("token").and_then(|token| self.tokens.lock().unwrap().get(token).cloned());
        known.unwrap_or_else(|| Response::json(&json!({"active": false})))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(connection: TcpStream, tls: Option<SslAcceptor>, state: Arc<State>) {
    let Some(tls) = tls else { return serve(connection, &state).await };
    let mut stream = SslStream::new(Ssl::new(tls.context()).unwrap(), connection).unwrap();
    if std::pin::Pin::new(&mut stream).accept().await.is_ok() {
        serve(stream, &state).await;
    }
}

async fn serve(mut connection: impl AsyncRead + AsyncWrite + Unpin, state: &State) {
    let mut received = Vec::new();
    while let Ok(1..) = connection.read_buf(&mut received).await {
        let Some((call, length)) = parse(&received) else { continue };
        received.drain(..length);
        let response = state.response(&call);
        state.calls.lock().unwrap().push(call);
        let mut held = state.held.subscribe();
        if held.wait_for(|held| !held).await.is_err() || connection.write_all(&response.bytes()).await.is_err() {
            return;
        }
    }
}

/// A whole call, and its length.
fn parse(received: &[u8]) -> Option<(Call, usize)> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let (line, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in rest.lines().filter_map(|line| line.split_once(": ")) {
        headers.entry(name.to_ascii_lowercase()).or_default().push(value.to_owned());
    }
    let length: usize = headers.get("content-length").map_or(0, |length| length[0].parse().unwrap());
    let body = received.get(end + 4..end + 4 + length)?;
    let form = url::form_urlencoded::parse(body).into_owned().collect();
    Some((Call { line: line.to_owned(), headers, form }, end + 4 + length))
}
