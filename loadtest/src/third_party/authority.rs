//! The stub authority: an introspection endpoint (RFC 7662) and a key set (RFC 7517), on one thread.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Holders, Signer, opaque};

/// What the gateway has to send to the introspection endpoint.
pub const AUTHORIZATION_VALUE: &str = "Basic dG9sbGdhdGU6bG9hZA==";

/// The longest body of an introspection request.
const FORM: usize = 8 * 1024;

const INTROSPECTION: &str = "/introspect";
const KEYS: &str = "/jwks";

/// The endpoints of an authority that listens on an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening(pub SocketAddr);

impl Listening {
    /// The issuer in its tokens.
    pub fn issuer(self) -> String {
        format!("http://{}", self.0)
    }

    /// The introspection endpoint.
    pub fn introspection(self) -> String {
        format!("http://{}{INTROSPECTION}", self.0)
    }

    /// The key set.
    pub fn keys(self) -> String {
        format!("http://{}{KEYS}", self.0)
    }
}

/// A running authority. Dropping it stops it.
pub struct Authority {
    /// Where it listens.
    pub listening: Listening,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    issuer: String,
    holders: Holders,
    keys: Bytes,
    introspections: AtomicU64,
    /// How long an introspection takes, in milliseconds.
    delay: AtomicU64,
    /// Its thread, below /proc; unknown until that runs.
    thread: OnceLock<PathBuf>,
}

impl Authority {
    /// Serves at `address` (port 0: any) until dropped.
    ///
    /// # Errors
    /// If it cannot listen there, or its keys cannot be read.
    pub fn start(address: SocketAddr, holders: Holders, signers: &[Signer]) -> std::io::Result<Self> {
        let keys = signers.iter().map(Signer::jwk).collect::<Result<Vec<_>, _>>()?;
        let keys = Bytes::from(json!({"keys": keys}).to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listening = Listening(listener.local_addr()?);
        let shared = Arc::new(Shared {
            issuer: listening.issuer(),
            holders,
            keys,
            introspections: AtomicU64::new(0),
            delay: AtomicU64::new(0),
            thread: OnceLock::new(),
        });
        let (stop, stopped) = watch::channel(false);
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("authority".to_owned()).spawn(move || {
            let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
            let _ = served.thread.set(Path::new("/proc").join(thread));
            runtime.block_on(serve(listener, served, stopped));
        })?;
        Ok(Self { listening, shared, stop, thread: Some(thread) })
    }

    /// Introspections so far.
    pub fn introspections(&self) -> u64 {
        self.shared.introspections.load(Ordering::Relaxed)
    }

    /// CPU time so far.
    pub fn cpu(&self) -> Duration {
        let schedule = self.shared.thread.get().map(|thread| std::fs::read_to_string(thread.join("schedstat")));
        let schedule = schedule.and_then(Result::ok).unwrap_or_default();
        Duration::from_nanos(schedule.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
    }

    /// From now on, an introspection takes this long.
    pub fn delay(&self, delay: Duration) {
        self.shared.delay.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        // Out of file descriptors or similar: open connections continue.
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| respond(Arc::clone(&shared), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::POST, INTROSPECTION) => introspect(&shared, request).await,
        (&Method::GET, KEYS) => (StatusCode::OK, shared.keys.clone()),
        _ => (StatusCode::NOT_FOUND, Bytes::from_static(b"{}")),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn introspect(shared: &Shared, request: Request<Incoming>) -> (StatusCode, Bytes) {
    if request.headers().get(AUTHORIZATION).is_none_or(|value| value != AUTHORIZATION_VALUE) {
        return (StatusCode::UNAUTHORIZED, Bytes::from_static(b"{}"));
    }
    let Ok(form) = Limited::new(request.into_body(), FORM).collect().await else {
        return (StatusCode::BAD_REQUEST, Bytes::from_static(b"{}"));
    };
    shared.introspections.fetch_add(1, Ordering::Relaxed);
    let delay = shared.delay.load(Ordering::Relaxed);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let form = form.to_bytes();
    let token = form_urlencoded::parse(&form).find_map(|(name, value)| (name == "token").then_some(value));
    let Some(number) = token.as_deref().and_then(opaque::number) else {
        return (StatusCode::OK, Bytes::from_static(br#"{"active":false}"#));
    };
    let mut claims = shared.holders.claims(&shared.issuer, number);
    claims.insert("active".to_owned(), true.into());
    claims.insert("token_type".to_owned(), "Bearer".into());
    (StatusCode::OK, Bytes::from(serde_json::to_vec(&claims).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use serde_json::Value;

    use super::*;
    use crate::third_party::Algorithm;

    fn exchange(authority: &Authority, head: &str, body: &str) -> (String, Value) {
        let mut stream = TcpStream::connect(authority.listening.0).unwrap();
        let length = body.len();
        write!(stream, "{head}\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
    }

    #[test]
    fn it_knows_its_own_tokens_and_publishes_its_keys() {
        let holders = Holders { prefix: "person".to_owned(), consumers: 3, issued_at: 1000 };
        let signers = [Signer::generate(Algorithm::Es256).unwrap()];
        let authority = Authority::start(([127, 0, 0, 1], 0).into(), holders, &signers).unwrap();
        let head = format!("POST /introspect HTTP/1.1\r\nAuthorization: {AUTHORIZATION_VALUE}");
        let (status, known) = exchange(&authority, &head, &format!("token={}&a=b", opaque::token(7)));
        let expected = json!({
            "active": true, "token_type": "Bearer", "iss": authority.listening.issuer(), "sub": "user-00000007",
            "client_id": "client-000001", "username": "person-1", "scope": "email profile", "iat": 1000,
            "exp": 605_800, "email": "user-00000007@example.com", "tenant": "tenant-007", "department": "sales",
            "plan": "enterprise", "roles": ["reader", "writer"],
        });
        assert_eq!((status.as_str(), known), ("HTTP/1.1 200 OK", expected));
        let unknown = exchange(&authority, &head, "token=00000007");
        assert_eq!(unknown, ("HTTP/1.1 200 OK".to_owned(), json!({"active": false})));
        let stranger = exchange(&authority, "POST /introspect HTTP/1.1", "token=00000007");
        assert_eq!(stranger.0, "HTTP/1.1 401 Unauthorized");
        assert_eq!(authority.introspections(), 2);
        let (_, keys) = exchange(&authority, "GET /jwks HTTP/1.1", "");
        assert_eq!(keys, json!({"keys": [signers[0].jwk().unwrap()]}));
    }
}
