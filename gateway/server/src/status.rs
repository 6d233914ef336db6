//! The status listener: liveness, readiness and metrics, on its own address so that a
//! busy proxy or a closed Admin API does not hide them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Form, Json, Router};
use prometheus::{Encoder as _, PullingGauge, Registry, TextEncoder};
use serde_json::json;
use tollgate_admin::Peer;
use tollgate_core::audit::Action;
use tollgate_store::Store;

use crate::settings::WhenDegraded;

/// How long the store may take to respond to a health check.
const PROBE: Duration = Duration::from_secs(1);

/// Whether this node accepts requests.
#[derive(Debug, Default)]
pub struct Readiness {
    started: AtomicBool,
    /// An operator took the node out of rotation.
    drained: AtomicBool,
    /// The process is about to end.
    stopping: AtomicBool,
}

impl Readiness {
    /// The configuration is compiled and the listeners are up.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Exports whether the node drains.
    pub fn export(self: &Arc<Self>, metrics: &Registry) -> Result<(), prometheus::Error> {
        let this = Arc::clone(self);
        let about = "Whether this node reports that it is draining: 1 or 0.";
        let drains = move || if this.drains() { 1.0 } else { 0.0 };
        metrics.register(Box::new(PullingGauge::new("tollgate_draining", about, Box::new(drains))?))
    }

    fn drains(&self) -> bool {
        self.stopping.load(Ordering::Acquire) || self.drained.load(Ordering::Acquire)
    }

    /// Takes the node out of rotation, or puts it back.
    fn set_drained(&self, drained: bool) {
        self.drained.store(drained, Ordering::Release);
    }

    /// The process is about to end: no new requests are accepted.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Why the node is not ready, if it is not.
    fn reason(&self) -> Option<&'static str> {
        if self.drains() {
            Some("draining")
        } else if !self.started.load(Ordering::Acquire) {
            Some("starting")
        } else {
            None
        }
    }
}

/// The sources of the status listener.
#[derive(Clone)]
pub struct Status {
    /// Readiness of this node.
    pub readiness: Arc<Readiness>,
    /// What readiness is while the store is away.
    pub when_degraded: Arc<ArcSwap<WhenDegraded>>,
    /// Pinged by readiness.
    pub store: Store,
    /// The exported metrics.
    pub metrics: Registry,
}

/// The listener's paths, besides `/status`, which is the Admin API's.
pub fn router(status: Status) -> Router {
    Router::new()
        .route("/status/ready", get(ready).post(set_state))
        .route("/metrics", get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, Json(json!({"message": "Not found"}))) })
        .with_state(status)
}

async fn ready(State(status): State<Status>) -> Response {
    let (code, message) = match status.readiness.reason() {
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
        None if responds(&status.store).await => (StatusCode::OK, "ready"),
        None if **status.when_degraded.load() == WhenDegraded::Ready => (StatusCode::OK, "degraded"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
    };
    (code, Json(json!({"message": message}))).into_response()
}

/// Whether the store responds, within a limit.
pub async fn responds(store: &Store) -> bool {
    let ping = tokio::time::timeout(PROBE, store.ping());
    !store.is_away() && ping.await.is_ok_and(|responded| responded.is_ok()) && !store.is_away()
}

#[derive(serde::Deserialize)]
struct Wanted {
    status: String,
}

async fn set_state(
    State(status): State<Status>,
    peer: Option<Extension<ConnectInfo<Peer>>>,
    Form(wanted): Form<Wanted>,
) -> Response {
    let (draining, action) = match wanted.status.as_str() {
        "draining" => (true, Action::NodeDraining),
        "ready" => (false, Action::NodeReady),
        _ => {
            let message = "status must be draining, or ready to end it";
            return (StatusCode::BAD_REQUEST, Json(json!({"message": message}))).into_response();
        }
    };
    status.readiness.set_drained(draining);
    let client = peer.map(|Extension(ConnectInfo(peer))| peer.address.to_string()).unwrap_or_default();
    if draining {
        tracing::warn!(client, "draining: told to report that this node is not ready");
    } else {
        tracing::warn!(client, "no longer draining: told to report that this node is ready");
    }
    (StatusCode::NO_CONTENT, Extension(action)).into_response()
}

async fn metrics(State(status): State<Status>) -> Response {
    let body = export(&status.metrics);
    ([(header::CONTENT_TYPE, "text/plain; charset=UTF-8")], body).into_response()
}

/// All registered metrics, in Prometheus' text format.
pub fn export(metrics: &Registry) -> Vec<u8> {
    let mut body = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&metrics.gather(), &mut body) {
        tracing::error!(%error, "cannot export metrics");
    }
    body
}
