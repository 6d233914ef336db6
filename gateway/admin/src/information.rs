//! Information about the running gateway: `/`, `/status`, `/timers`, the log level (gateway.md §2.5).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tollgate_core::collection::{Filter, PageQuery};

use crate::API_VERSION;
use crate::configuration;
use crate::node::{LogLevel, SettingsStanding};
use crate::query::Query;
use crate::reader::Reader;
use crate::response::{Failure, Response};
use crate::state::AdminState;

/// How long `/status` waits for the store: less than the one second that probes commonly allow.
const PROBE: Duration = Duration::from_millis(500);

/// `GET /`.
pub(crate) async fn show(state: &AdminState) -> Result<Response, Failure> {
    let node = &state.node;
    let available: Map<String, Value> = state
        .registry
        .plugins()
        .map(|registered| &registered.definition)
        .map(|plugin| (plugin.name.to_owned(), json!({ "version": API_VERSION, "priority": plugin.priority })))
        .collect();
    Ok(Response::ok(&json!({
        "tagline": "Welcome to kong",
        "version": API_VERSION,
        "edition": "community",
        "hostname": node.hostname(),
        "node_id": node.id(),
        "timers": { "running": 0, "pending": 0 },
        "plugins": { "available_on_server": available, "enabled_in_cluster": configured_plugins(state).await? },
        // Clients only check that it is present; no Lua runs here.
        "lua_version": "none",
        "configuration": node.configuration(),
        "pids": { "master": node.pid(), "workers": [node.pid()] },
    })))
}

/// The names of the plugins that have an instance, without duplicates.
async fn configured_plugins(state: &AdminState) -> Result<BTreeSet<String>, Failure> {
    let mut names = BTreeSet::new();
    let Some(plugins) = state.registry.collection("plugins") else { return Ok(names) };
    let mut query = PageQuery { filter: Filter::All, after: None, size: 1000 };
    loop {
        let page = plugins.page(&query).await?;
        names.extend(page.documents.iter().filter_map(|plugin| plugin.get("name")?.as_str().map(str::to_owned)));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(names),
        }
    }
}

/// `GET /status`.
pub(crate) async fn status(state: &AdminState, query: &Query, reader: Reader) -> Result<Response, Failure> {
    let memory = state.node.memory().publish(query)?;
    let connections = state.node.connections();
    let mut status = json!({
        "memory": memory,
        "server": {
            "connections_accepted": connections.accepted,
            "connections_active": connections.active,
            "connections_handled": connections.handled,
            "connections_reading": connections.reading,
            "connections_writing": connections.writing,
            "connections_waiting": connections.waiting,
            "total_requests": connections.requests,
        },
        "database": { "reachable": database_reachable(state).await },
    });
    let Some(fields) = status.as_object_mut() else { return Ok(Response::ok(&status)) };
    if let Some(declarations) = &state.declarations {
        fields.extend(configuration::status(declarations.as_ref(), reader));
    }
    if let Some(standing) = state.node.settings_standing() {
        fields.insert("settings".to_owned(), settings(&standing, reader));
    }
    Ok(Response::ok(&status))
}

/// What came of reading the settings again. As with files, whoever reaches the status listener sees numbers.
fn settings(standing: &SettingsStanding, reader: Reader) -> Value {
    let shown = |lines: &[String]| match reader {
        Reader::Operator => json!(lines),
        Reader::Anybody => json!(lines.len()),
    };
    json!({
        "valid": standing.faults.is_empty(),
        "faults": shown(&standing.faults),
        "needs_restart": shown(&standing.needs_restart),
    })
}

/// Whether the store responds before probes time out.
async fn database_reachable(state: &AdminState) -> bool {
    tokio::time::timeout(PROBE, state.node.database_reachable()).await.unwrap_or(false)
}

/// `GET /timers`. The gateway has none of the timers that this path counts.
pub(crate) fn timers() -> Response {
    let stats = json!({ "sys": { "running": 0, "pending": 0, "waiting": 0, "total": 0, "runs": 0 }, "timers": {} });
    Response::ok(&json!({ "worker": { "id": 0, "count": 1 }, "stats": stats }))
}

/// `GET /plugins/enabled`.
pub(crate) fn enabled_plugins(state: &AdminState) -> Response {
    let names: Vec<&str> = state.registry.plugins().map(|plugin| plugin.definition.name).collect();
    Response::ok(&json!({ "enabled_plugins": names }))
}

/// `GET /debug/node/log-level`.
pub(crate) fn log_level(state: &AdminState) -> Response {
    Response::ok(&json!({ "message": format!("log level: {}", state.node.log_level().as_str()) }))
}

/// `PUT /debug/node/log-level/{level}`.
pub(crate) fn set_log_level(state: &AdminState, word: &str) -> Result<Response, Failure> {
    let level = LogLevel::parse(word).ok_or_else(|| Failure::UnknownLogLevel(word.to_owned()))?;
    if level == state.node.log_level() {
        return Ok(Response::ok(&json!({ "message": format!("log level is already {}", level.as_str()) })));
    }
    state.node.set_log_level(level);
    Ok(Response::ok(&json!({ "message": "log level changed" })))
}
