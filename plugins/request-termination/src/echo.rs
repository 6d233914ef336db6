//! The copy of a request that `echo` sends back.
//!
//! It has nothing but what the client sent, and which route and service matched.

use std::sync::Arc;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};
use tollgate_plugin::{Collection, Key, Request, RequestBody, arguments};
use uuid::Uuid;

/// Copies requests.
pub(crate) struct Echo {
    node_id: Uuid,
    hostname: String,
    routes: Arc<dyn Collection>,
    services: Arc<dyn Collection>,
}

impl Echo {
    /// On this node.
    pub(crate) fn new(node_id: Uuid, routes: Arc<dyn Collection>, services: Arc<dyn Collection>) -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { node_id, hostname: hostname.trim().to_owned(), routes, services }
    }

    /// The copy of a request whose body has been read.
    pub(crate) async fn copy(&self, message: Option<&str>, request: &Request<'_>) -> Value {
        let body = match &request.body {
            RequestBody::Read(body) => Some(&**body),
            RequestBody::Unread | RequestBody::TooLarge => None,
        };
        let address = request.arrival.local_address();
        json!({
            "message": message,
            "kong": {"node_id": self.node_id, "worker_pid": std::process::id(), "hostname": self.hostname},
            "request": {
                "scheme": if request.tls { "https" } else { "http" },
                "host": request.addressed.host.map(ToString::to_string),
                "port": address.map(|address| address.port()),
                "headers": headers(request.headers),
                "query": pairs(request.query.unwrap_or_default().as_bytes()),
                "body": body.and_then(|body| parsed(request.headers, body)),
                "raw_body": body.map(text),
                "method": request.method.as_str(),
                "path": request.path,
            },
            "matched_route": found(&self.routes, Some(request.target.route_id)).await,
            "matched_service": found(&self.services, request.target.service_id).await,
        })
    }
}

/// An entity; null if the store cannot be asked.
async fn found(entities: &Arc<dyn Collection>, id: Option<Uuid>) -> Value {
    let Some(id) = id else { return Value::Null };
    match entities.find(&Key::Id(id)).await {
        Ok(found) => found.map_or(Value::Null, Value::from),
        Err(error) => {
            if !error.is_reported() {
                tracing::warn!(error = &error as &dyn std::error::Error, %id, "cannot read entity for the copy of a request");
            }
            Value::Null
        }
    }
}

fn headers(headers: &HeaderMap) -> Value {
    let mut map = Map::new();
    for (name, value) in headers {
        add(&mut map, name.as_str().to_owned(), text(value.as_bytes()));
    }
    map.into()
}

/// The arguments of a query or a form; one without a value is true.
fn pairs(encoded: &[u8]) -> Value {
    let mut map = Map::new();
    for argument in arguments::parse(encoded) {
        let value = argument.value.map_or(Value::Bool(true), |value| text(&value));
        add(&mut map, String::from_utf8_lossy(&argument.key).into_owned(), value);
    }
    map.into()
}

/// Several values of a name are a list.
fn add(map: &mut Map<String, Value>, name: String, value: Value) {
    match map.get_mut(&name) {
        None => drop(map.insert(name, value)),
        Some(Value::Array(values)) => values.push(value),
        Some(one) => *one = Value::Array(vec![one.take(), value]),
    }
}

/// Forms and JSON.
fn parsed(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?.to_ascii_lowercase();
    if content_type.starts_with("application/json") {
        return serde_json::from_slice(body).ok();
    }
    content_type.starts_with("application/x-www-form-urlencoded").then(|| pairs(body))
}

fn text(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into()
}
