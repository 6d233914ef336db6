//! A stub of an issuer of tokens: documents by path, which a test changes while it runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::issuer_key::IssuerKey;

/// The path of its key set.
pub const KEYS: &str = "/keys";

/// The path of its metadata.
pub const METADATA: &str = "/.well-known/openid-configuration";

/// An issuer on a free port. It stops on drop.
#[derive(Debug)]
pub struct Issuer {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    documents: Mutex<HashMap<String, (StatusCode, String)>>,
    requests: Mutex<Vec<String>>,
    /// Without permits, responses wait.
    gate: Semaphore,
}

impl Issuer {
    /// One that publishes these keys, and metadata that name them.
    pub async fn start(keys: &[&IssuerKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared { documents: Mutex::default(), requests: Mutex::default(), gate });
        let routes = Router::new().fallback(respond).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let issuer = Self { url, shared, task };
        issuer.publish(keys);
        issuer.put(METADATA, 200, &json!({"issuer": issuer.url, "jwks_uri": issuer.keys_url()}).to_string());
        issuer
    }

    /// `http://127.0.0.1:PORT`: its `iss` as well.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of its key set.
    pub fn keys_url(&self) -> String {
        format!("{}{KEYS}", self.url)
    }

    /// Replaces its key set.
    pub fn publish(&self, keys: &[&IssuerKey]) {
        self.put(KEYS, 200, &key_set(keys).to_string());
    }

    /// Replaces a document.
    pub fn put(&self, path: &str, status: u16, body: &str) {
        let document = (StatusCode::from_u16(status).unwrap(), body.to_owned());
        self.shared.documents.lock().unwrap().insert(path.to_owned(), document);
    }

    /// Makes responses wait.
    pub fn hold(&self) {
        self.shared.gate.forget_permits(usize::MAX);
    }

    /// Sends what waits, and responds at once again.
    pub fn release(&self) {
        self.shared.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    /// The paths requested so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How often its key set was requested.
    pub fn key_requests(&self) -> usize {
        self.requests().iter().filter(|path| *path == KEYS).count()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A JWK set.
pub fn key_set(keys: &[&IssuerKey]) -> Value {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()})
}

async fn respond(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    shared.requests.lock().unwrap().push(uri.path().to_owned());
    drop(shared.gate.acquire().await);
    let document = shared.documents.lock().unwrap().get(uri.path()).cloned();
    document.unwrap_or((StatusCode::NOT_FOUND, String::new())).into_response()
}
