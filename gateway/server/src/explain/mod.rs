//! What becomes of a token on a route, for an operator who asks (`POST /oauth2_tokens/explain`).
//!
//! The route's own plugins run, in their order, on a request that presents the token and goes nowhere: so the verdict is
//! that of a request. Only those run that take part ([`Explains`]); others are named. What runs is counted in metrics as
//! it is for requests.

pub mod command;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::HeaderMap;
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use tollgate_admin::Unexplained;
use tollgate_core::explanation::{Check, Finding};
use tollgate_core::notes::Notes;
use tollgate_core::plugin::{Access, Explains, PluginError, Verdict};
use tollgate_core::reply::Reply;
use tollgate_core::request::{Addressed, Edits, Request, RequestBody};

use crate::chain::{self, Chain, ChainEntry, Effective, Plugins};
use crate::snapshot::{RouteEntry, Snapshot};

/// The routes of this node.
pub struct Explainer {
    snapshot: Arc<ArcSwap<Snapshot>>,
}

/// What the plugins found.
#[derive(Default)]
struct Explained {
    checks: Vec<Value>,
    not_run: Vec<&'static str>,
    /// Status and reason; `None`: it is accepted.
    refusal: Option<(u16, &'static str)>,
}

impl Explainer {
    /// Explains by the snapshot that requests use.
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        Self { snapshot }
    }

    /// The explanation, but for what it says of the node.
    ///
    /// # Errors
    /// There is no such route, or none of its plugins looks for tokens.
    pub async fn explain(&self, route: &str, token: &str) -> Result<Value, Unexplained> {
        let route = self.snapshot.load().route(route).ok_or(Unexplained::NoRoute)?;
        let notes = Notes::explaining();
        let explained = match &route.chain {
            Chain::Ready(plugins) => run(&route, plugins, token, &notes).await?,
            Chain::Uncompilable(reason) => Explained { refusal: Some((503, reason)), ..Explained::default() },
        };
        Ok(report(&route, explained, &notes))
    }
}

/// As the pipeline of requests runs plugins: in order, and with those of the consumer once it is known.
async fn run(route: &RouteEntry, plugins: &Plugins, token: &str, notes: &Notes) -> Result<Explained, Unexplained> {
    let (headers, query) = presented(plugins.entries(), token)?;
    let mut request = request(route, &headers, query.as_deref(), notes);
    let mut effective = Effective::Route(plugins.entries());
    let mut explained = Explained::default();
    let mut next = 0;
    while let Some(entry) = effective.entries().get(next).cloned() {
        let before = request.identity.and_then(|identity| identity.consumer);
        if entry.handler.explains() == Explains::Nothing {
            explained.not_run.push(entry.name());
        } else {
            let verdict = match entry.handler.access(&mut request) {
                Access::Ready(verdict) => verdict,
                Access::Pending(waiting) => waiting.await,
            };
            let checks = notes.explanation().map(|told| told.take_checks()).unwrap_or_default();
            explained.checks.extend(checks.iter().map(|check| shown(entry.name(), check)));
            explained.refusal = refusal(verdict);
            if explained.refusal.is_some() {
                break;
            }
        }
        let now = request.identity.and_then(|identity| identity.consumer);
        if now != before
            && let Some(consumer) = now
        {
            effective = match plugins.of_consumer(consumer, route.target.route_id, route.target.service_id) {
                Ok(changed) => changed,
                Err(chain::Uncompilable) => {
                    explained.refusal = Some((503, "plugin_uncompilable"));
                    break;
                }
            };
        }
        next = chain::after(effective.entries(), &entry);
    }
    Ok(explained)
}

/// The token where the route's plugins look for it.
fn presented(entries: &[ChainEntry], token: &str) -> Result<(HeaderMap, Option<String>), Unexplained> {
    let (mut headers, mut query) = (HeaderMap::new(), None);
    for entry in entries {
        match entry.handler.explains() {
            Explains::Token(Some(name)) => {
                let value = HeaderValue::try_from(format!("Bearer {token}"));
                headers.insert(name, value.map_err(|_| Unexplained::NotPresentable)?);
            }
            Explains::Token(None) => {
                // Of these characters tokens consist; others would have to be escaped.
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
                if !token.bytes().all(is_plain) {
                    return Err(Unexplained::NotPresentable);
                }
                query = Some(format!("access_token={token}"));
            }
            Explains::Caller | Explains::Nothing => {}
        }
    }
    if headers.is_empty() && query.is_none() { Err(Unexplained::NoPlugin) } else { Ok((headers, query)) }
}

fn request<'r>(route: &'r RouteEntry, headers: &'r HeaderMap, query: Option<&'r str>, notes: &'r Notes) -> Request<'r> {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Request {
        method: &Method::GET,
        path: "/",
        query,
        headers,
        http2: false,
        tls: true,
        peer: here,
        client: here,
        peer_trusted: false,
        addressed: Addressed { host: None, port: None, matched: "" },
        certificate: None,
        arrival: &(),
        target: &route.target,
        body: RequestBody::Read(Bytes::new()),
        edits: Edits::default(),
        response: Vec::new(),
        identity: None,
        served_stale: None,
        notes: Some(notes),
    }
}

fn refusal(verdict: Result<Verdict, PluginError>) -> Option<(u16, &'static str)> {
    match verdict {
        Ok(Verdict::Continue) => None,
        Ok(Verdict::Reply(Reply { status, reason, .. })) => Some((status.as_u16(), reason)),
        Ok(Verdict::NeedBody { .. }) | Err(_) => Some((500, "plugin_error")),
    }
}

fn shown(plugin: &str, Check { name, finding, detail }: &Check) -> Value {
    json!({"plugin": plugin, "check": name, "verdict": finding.name(), "detail": detail})
}

fn report(route: &RouteEntry, explained: Explained, notes: &Notes) -> Value {
    let mut facts = notes.explanation().map(|told| told.facts()).unwrap_or_default();
    let hint = notes.caller().token_hint.clone();
    if let Some(token) = facts.get_mut("token").and_then(Value::as_object_mut) {
        token.insert("hint".to_owned(), json!(hint));
    }
    let finding = match explained.refusal {
        None => Finding::Passed,
        Some((500.., _)) => Finding::CannotTell,
        Some(_) => Finding::Refused,
    };
    let verdict = if finding == Finding::Passed { "accepted" } else { finding.name() };
    json!({
        "route": {"id": route.target.route_id, "name": route.metrics.labels().route},
        "service": route.target.service_id.map(|id| json!({"id": id, "name": route.metrics.labels().service})),
        "verdict": verdict,
        "status": explained.refusal.map(|(status, _)| status),
        "reason": explained.refusal.map(|(_, reason)| reason),
        "from": facts.remove("from"),
        "token": facts.remove("token"),
        "checks": explained.checks,
        "not_run": explained.not_run,
    })
}
