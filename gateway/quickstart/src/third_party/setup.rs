//! Configures the gateway for tokens of the third party, as an operator would: four entities.
//!
//! Idempotent: what is there already gets the credentials of the third party's new start.

use std::net::SocketAddr;
use std::time::Duration;

use openssl::base64::encode_block;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::operator::{Error, Operator};
use crate::setup;

use super::server::{CLAIM, Server};

/// How long the gateway uses a response of the third party: short, so that a revocation is soon seen.
pub(super) const TTL: Duration = Duration::from_secs(5);

const PLUGIN: &str = "oauth2-introspection";

#[derive(Deserialize)]
struct Plugins {
    data: Vec<Plugin>,
}

#[derive(Deserialize)]
struct Plugin {
    id: String,
    name: String,
}

/// Routes `/stepon` to Step On's API at `step_on`, has its tokens introspected, and makes the store a consumer.
pub(super) async fn configure(operator: &mut Operator<'_>, step_on: SocketAddr, server: &Server) -> Result<(), Error> {
    setup::route(operator, step_on).await?;
    let there: Plugins = operator.get("/services/stepon/plugins").await?;
    let config = config(server);
    let _: Value = match there.data.into_iter().find(|plugin| plugin.name == PLUGIN) {
        Some(plugin) => operator.patch(&format!("/plugins/{}", plugin.id), json!({"config": config})).await?,
        None => operator.post("/services/stepon/plugins", json!({"name": PLUGIN, "config": config})).await?,
    };
    let _: Value = operator.put(&format!("/consumers/{}", server.store.id), json!({})).await?;
    Ok(())
}

/// The consumer is the client, as with the gateway's own tokens: its username is the client's id.
fn config(server: &Server) -> Value {
    let credentials = format!("{}:{}", server.gateway.id, server.gateway.secret);
    json!({
        "introspection_url": server.metadata.introspection_endpoint,
        "authorization_value": format!("Basic {}", encode_block(credentials.as_bytes())),
        "ttl": TTL.as_secs(),
        "consumer_by": "client_id",
        "custom_claims_forward": [CLAIM],
        "required_scopes": ["step_counts"],
    })
}
