//! The Admin API from request to response, on an in-memory store.

mod access;
mod entities;
mod lists;
mod memory_collection;
mod nested;
mod node;
mod openapi;
mod targets;
mod transport;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use tollgate_core::audit::{AuditLog, Event};
use tollgate_core::clock::ManualClock;
use tollgate_core::collection::{Collection, Document};
use tollgate_core::entity::{Kind, admin_token, consumer, field, plugin, route, service};
use tollgate_core::plugin::{Definition, Handler, Instance, Plugin, PluginError};
use tollgate_core::random::SystemRandom;
use tollgate_core::registry::Registry;
use tollgate_core::schema::{Auto, Field, OnDelete, Schema, Violations};
use uuid::Uuid;

use crate::{Access, AdminState, AdminTokens, Connections, Limits, LogLevel, Memory, Node};
use memory_collection::MemoryStore;

/// A plugin with a configuration and an entity kind.
struct Guard {
    credentials: Arc<dyn Collection>,
    cached: Mutex<Option<Value>>,
}

fn guard() -> Definition {
    let config_schema = Schema::new(vec![
        Field::strings("key_names").default(json!(["apikey"])).required(),
        Field::boolean("hide", false),
        Field::integer("ttl_bound").default(5).required(),
    ]);
    Definition { name: "guard", priority: 1400, config_schema, consumer_scoped: false, checks: Vec::new() }
}

impl Plugin for Guard {
    fn collections(&self) -> Vec<Arc<dyn Collection>> {
        vec![self.credentials.clone()]
    }

    fn internal_kinds(&self) -> Vec<Kind> {
        let schema = Schema::new(vec![Field::string("code").required()]);
        vec![Kind { name: "guard_codes", admin: false, schema, ..credential_kind() }]
    }

    fn cached(&self, key: &str) -> Option<Value> {
        self.cached.lock().unwrap().clone().filter(|_| key == "guard:1")
    }

    fn objections(&self, config: &Value) -> Violations {
        match config["ttl_bound"].as_i64() {
            Some(13) => Violations::of_field("ttl_bound", "this gateway does not count to 13"),
            _ => Violations::new(),
        }
    }

    fn forget_cached(&self, _: Option<&str>) {
        *self.cached.lock().unwrap() = None;
    }

    fn compile(&self, _: &Instance<'_>) -> Result<Arc<dyn Handler>, PluginError> {
        unreachable!("no request is proxied here")
    }
}

fn credential_kind() -> Kind {
    Kind::new(
        "guard_credentials",
        Schema::new(vec![
            field::id(),
            field::created_at(),
            Field::foreign("consumer", "consumers", OnDelete::Cascade).required(),
            Field::string("client_id").unique().auto(Auto::RandomString),
        ]),
    )
    .segment("guards")
    .nested_segment("guard")
    .second_key("client_id")
    .ttl()
}

struct Standing {
    level: Mutex<LogLevel>,
    /// Whether the database responds.
    database: Database,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Database {
    Up,
    Silent,
}

#[async_trait]
impl Node for Standing {
    fn id(&self) -> Uuid {
        Uuid::from_u128(1)
    }

    fn hostname(&self) -> String {
        "host".to_owned()
    }

    fn pid(&self) -> u32 {
        42
    }

    fn configuration(&self) -> Map<String, Value> {
        Map::from_iter([("database".to_owned(), json!("postgres"))])
    }

    fn connections(&self) -> Connections {
        Connections { requests: 3, ..Connections::default() }
    }

    fn memory(&self) -> Memory {
        Memory::default()
    }

    async fn database_reachable(&self) -> bool {
        if self.database == Database::Silent {
            std::future::pending::<()>().await;
        }
        true
    }

    fn metrics(&self) -> String {
        "up 1\n".to_owned()
    }

    fn log_level(&self) -> LogLevel {
        *self.level.lock().unwrap()
    }

    fn set_log_level(&self, level: LogLevel) {
        *self.level.lock().unwrap() = level;
    }

    fn objections(&self, kind: &str, document: &Document) -> Violations {
        let host = document.text("host").filter(|host| kind == "services" && host.starts_with("forbidden"));
        host.map_or_else(Violations::new, |host| Violations::of_field("host", format!("{host} is not called")))
    }
}

/// The events of an audit log, as lines.
#[derive(Default)]
struct Events(Mutex<Vec<Value>>);

impl AuditLog for Events {
    fn write(&self, event: &Event) {
        self.0.lock().unwrap().push(serde_json::to_value(event).unwrap());
    }
}

impl Events {
    /// The events since the last call.
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A complete Admin API.
struct Admin(Arc<AdminState>);

/// A response, read to its end.
#[derive(Debug)]
struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Seen {
    /// Status and JSON body; null if the body is empty.
    fn status_and_body(&self) -> (u16, Value) {
        let body = if self.text.is_empty() { Value::Null } else { serde_json::from_str(&self.text).unwrap() };
        (self.status.as_u16(), body)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Admin {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        Self::beside(Database::Up, limits)
    }

    fn beside(database: Database, limits: Limits) -> Self {
        Self::of(database, limits, Vec::new())
    }

    fn with_kinds(kinds: Vec<Kind>) -> Self {
        Self::of(Database::Up, Limits::default(), kinds)
    }

    fn of(database: Database, limits: Limits, kinds: Vec<Kind>) -> Self {
        let store = MemoryStore::default();
        let mut registry = Registry::new();
        for kind in [service::kind(), route::kind(), consumer::kind(), plugin::kind()].into_iter().chain(kinds) {
            registry.add_collection(store.collection(kind));
        }
        let credentials = store.collection(credential_kind());
        registry.add_plugin(guard(), Arc::new(Guard { credentials, cached: Mutex::new(Some(json!({ "id": 1 }))) }));
        let node = Arc::new(Standing { level: Mutex::new(LogLevel::Info), database });
        let clock = Arc::new(ManualClock::at(1_700_000_000));
        Self(Arc::new(AdminState::new(registry, Arc::new(store), node, clock, Arc::new(SystemRandom), limits)))
    }

    /// The same with other rules, an audit log, and admin tokens, which are used only if the rules say so.
    fn with_access(access: impl FnOnce(AdminTokens) -> Access) -> (Self, AdminTokens, Arc<Events>) {
        let Ok(state) = Arc::try_unwrap(Self::new().0) else { unreachable!("nobody else has it") };
        let collection = MemoryStore::default().collection(admin_token::kind());
        let tokens = AdminTokens::new(collection, Arc::clone(&state.clock), Arc::clone(&state.random));
        let events = Arc::new(Events::default());
        let state = state.with_access(access(tokens.clone())).with_audit_log(Arc::clone(&events) as _);
        (Self(Arc::new(state)), tokens, events)
    }

    async fn send(&self, request: Request<Body>) -> Seen {
        Self::read(crate::frame::serve(State(self.0.clone()), request).await).await
    }

    /// The response to a probe on the status listener.
    async fn probe(&self) -> Seen {
        Self::read(crate::frame::serve_status(State(self.0.clone()), RawQuery(None)).await).await
    }

    async fn read(response: Response) -> Seen {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Seen { status: parts.status, headers: parts.headers, text }
    }

    /// A request without a body.
    async fn bare(&self, method: &str, path: &str) -> Seen {
        self.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    async fn typed(&self, method: &str, path: &str, content_type: &str, body: &str) -> Seen {
        let request = Request::builder().method(method).uri(path).header("content-type", content_type);
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn form(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.typed(method, path, "application/x-www-form-urlencoded", body).await.status_and_body()
    }

    async fn json(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.typed(method, path, "application/json", &body.to_string()).await.status_and_body()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.bare("GET", path).await.status_and_body()
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        self.bare("DELETE", path).await.status_and_body()
    }

    /// Creates an entity and returns its id.
    async fn made(&self, path: &str, body: Value) -> String {
        let (status, document) = self.json("POST", path, body).await;
        assert_eq!(status, 201, "{document}");
        document["id"].as_str().unwrap().to_owned()
    }
}

fn not_found() -> (u16, Value) {
    (404, json!({ "message": "Not found" }))
}

fn not_allowed() -> (u16, Value) {
    (405, json!({ "message": "Method not allowed" }))
}
