//! What this node knows about the health of an upstream's targets, and what an operator says it is (gateway.md §2.3).

use std::net::{IpAddr, SocketAddr};

use http::StatusCode;
use serde_json::{Value, json};
use tollgate_core::collection::Document;
use tollgate_core::entity::target::DEFAULT_PORT;

use crate::audit::Change;
use crate::child::{self, Child};
use crate::entity;
use crate::health::{Health, TargetHealth, UpstreamHealth};
use crate::node::NotSet;
use crate::query::Query;
use crate::resource::{Nested, NewTargetHealth};
use crate::response::{Failure, Response};
use crate::state::AdminState;
use crate::targets::{self, Newest};

/// `GET /upstreams/{x}/health`.
pub(crate) async fn show(
    state: &AdminState,
    nested: &Nested<'_>,
    upstream: &str,
    path: &str,
    query: &Query,
) -> Result<Response, Failure> {
    let id = entity::find_parent(state, nested, upstream).await?;
    let known = state.node.upstream_health(id);
    if query.get("balancer_health").as_deref() == Some("1") {
        let data = known.map(|known| known.show(json!(id)));
        return Ok(Response::ok(&json!({ "data": data, "next": null, "node_id": state.node.id() })));
    }
    let Newest { documents, next } = targets::page(nested, id, query).await?;
    let data: Vec<Value> = documents.into_iter().map(|target| with_health(target, known.as_ref())).collect();
    let node_id = state.node.id();
    let shown = match next {
        None => json!({ "data": data, "next": null, "node_id": node_id }),
        Some(next) => {
            let url = format!("/{}?offset={next}", path.trim_matches('/'));
            json!({ "data": data, "next": url, "offset": next.to_string(), "node_id": node_id })
        }
    };
    Ok(Response::ok(&shown))
}

fn with_health(mut target: Document, known: Option<&UpstreamHealth>) -> Value {
    let found = known.and_then(|known| known.of(&target));
    let health = found.map_or(Health::Unresolved, TargetHealth::health);
    target.insert("health".to_owned(), json!(health.as_str()));
    target.insert("data".to_owned(), found.map_or(Value::Null, TargetHealth::show));
    Value::from(target)
}

/// `PUT …/healthy` and `PUT …/unhealthy`.
pub(crate) async fn set(state: &AdminState, new: &NewTargetHealth<'_>) -> Result<Response, Failure> {
    let nested = &new.nested;
    let upstream = entity::find_parent(state, nested, new.upstream).await?;
    let Child { key, .. } = child::named(state, nested, upstream, new.target).await?;
    let target = nested.children.find(&key).await?.filter(|target| target.reference(nested.field) == Some(upstream));
    let target = target.ok_or(Failure::NotFound)?;
    let name = target.text("target").unwrap_or_default();
    let address = new.address.map(address).transpose()?;
    match state.node.set_target_health(upstream, name, address, new.health).await {
        Ok(()) => {
            let change = Change { id: target.id(), fields: vec!["health".to_owned()] };
            Ok(Response::empty(StatusCode::NO_CONTENT).changed(change))
        }
        Err(NotSet::Refused(why)) => Err(Failure::HealthNotSet(why)),
        Err(NotSet::Store(error)) => Err(error.into()),
    }
}

/// An address with or without a port.
fn address(text: &str) -> Result<SocketAddr, Failure> {
    let bare = || text.trim_matches(['[', ']']).parse().map(|ip: IpAddr| SocketAddr::new(ip, DEFAULT_PORT));
    let parsed = text.parse::<SocketAddr>().or_else(|_| bare());
    parsed.map_err(|_| Failure::HealthNotSet(format!("invalid address: {text}")))
}
