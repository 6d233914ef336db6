//! Configures the gateway for Step On, as an operator would: five entities.
//!
//! Idempotent: named entities are PUT, others are looked up first, so that the provision key and the
//! client's secret stay the same.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::operator::{Error, Operator};

/// The scopes of Step On's API.
pub const SCOPES: [&str; 3] = ["user_profile", "biometric", "step_counts"];

/// The parts of the gateway's configuration that the two sites need.
pub struct Configured {
    /// Shared by the gateway and Step On's authorization page.
    pub provision_key: String,
    /// The store's client id.
    pub client_id: String,
    /// The store's client secret.
    pub client_secret: String,
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
}

#[derive(Deserialize)]
struct Plugin {
    name: String,
    config: Value,
}

#[derive(Deserialize)]
struct PluginConfig {
    provision_key: String,
}

#[derive(Deserialize)]
struct Credential {
    id: String,
    name: String,
    client_id: String,
    client_secret: String,
    redirect_uris: Option<Vec<String>>,
}

/// Routes `/stepon` to Step On's API at `step_on`, protects it, and registers the store.
pub async fn configure(
    operator: &mut Operator<'_>,
    step_on: SocketAddr,
    redirect_uri: &Url,
) -> Result<Configured, Error> {
    route(operator, step_on).await?;
    let PluginConfig { provision_key } = protect(operator).await?;
    let _: Value = operator.put("/consumers/shoeflyshoe", json!({})).await?;
    let Credential { client_id, client_secret, .. } = register(operator, redirect_uri).await?;
    Ok(Configured { provision_key, client_id, client_secret })
}

/// Routes `/stepon` to Step On's API at `step_on`.
pub(crate) async fn route(operator: &mut Operator<'_>, step_on: SocketAddr) -> Result<(), Error> {
    // Step On's certificate is self-signed, so verification is off.
    let service = json!({"url": format!("https://{step_on}"), "tls_verify": false});
    let _: Value = operator.put("/services/stepon", service).await?;
    let route = json!({"paths": ["/stepon"], "service": {"name": "stepon"}});
    let _: Value = operator.put("/routes/stepon", route).await?;
    Ok(())
}

/// The service's oauth2 plugin.
async fn protect(operator: &mut Operator<'_>) -> Result<PluginConfig, Error> {
    let there: List<Plugin> = operator.get("/services/stepon/plugins").await?;
    if let Some(config) = there.data.into_iter().find(|plugin| plugin.name == "oauth2").map(|plugin| plugin.config)
        && let Ok(config) = serde_json::from_value(config)
    {
        return Ok(config);
    }
    let plugin = json!({
        "name": "oauth2",
        "config": {
            "profile": "bcp", "scopes": SCOPES, "mandatory_scope": true, "enable_authorization_code": true,
        },
    });
    #[derive(Deserialize)]
    struct Created {
        config: PluginConfig,
    }
    let created: Created = operator.post("/services/stepon/plugins", plugin).await?;
    Ok(created.config)
}

/// The store's OAuth2 application.
async fn register(operator: &mut Operator<'_>, redirect_uri: &Url) -> Result<Credential, Error> {
    const NAME: &str = "Shoe Fly Shoe";
    let there: List<Credential> = operator.get("/consumers/shoeflyshoe/oauth2").await?;
    let redirect_uris = vec![redirect_uri.to_string()];
    match there.data.into_iter().find(|credential| credential.name == NAME) {
        Some(credential) if credential.redirect_uris.as_ref() == Some(&redirect_uris) => Ok(credential),
        Some(credential) => {
            let path = format!("/consumers/shoeflyshoe/oauth2/{}", credential.id);
            operator.patch(&path, json!({"redirect_uris": redirect_uris})).await
        }
        None => {
            let application = json!({"name": NAME, "redirect_uris": redirect_uris});
            operator.post("/consumers/shoeflyshoe/oauth2", application).await
        }
    }
}
