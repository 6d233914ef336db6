//! A gateway's configuration for the rows: services with routes, some protected, and consumers with credentials.
//! Created and removed through the Admin API, so that any gateway with that API can be measured.

use std::net::SocketAddr;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Concurrent calls of the Admin API.
const TOGETHER: usize = 16;

/// The scopes of every token.
pub const SCOPE: &str = "email profile";

/// Prefix of all names.
const PREFIX: &str = "tollgate-bench";

/// Its size.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Protected services, each with a route and the plugin.
    pub services: usize,
    /// Consumers, each with a credential.
    pub consumers: usize,
}

/// A protected service.
#[derive(Debug, Clone)]
pub struct Guarded {
    /// The path of its route, such as `/tollgate-bench-0`.
    pub path: String,
    /// Its id.
    pub service: Uuid,
}

/// A credential.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Its consumer's name.
    pub username: String,
    /// Its id.
    pub credential: Uuid,
    /// Its client id.
    pub client_id: String,
    /// Its client secret.
    pub client_secret: String,
}

/// What was created.
#[derive(Debug, Clone)]
pub struct Site {
    admin: String,
    /// The path of the route without a plugin.
    pub plain: String,
    /// The protected services.
    pub guarded: Vec<Guarded>,
    /// The credentials.
    pub registered: Vec<Registered>,
    /// One with a hashed secret.
    pub hashed: Option<Registered>,
}

impl Site {
    /// What the names of its consumers begin with, before a hyphen and their number.
    pub const CONSUMERS: &str = "tollgate-bench-person";

    /// The name of a service and its route.
    pub fn named(suffix: &str) -> String {
        format!("{PREFIX}-{suffix}")
    }

    /// Adds a service with a route, and protects it with a plugin of this name and configuration.
    pub async fn protect(&self, suffix: &str, upstream: SocketAddr, (name, config): (&str, Value)) -> Result<()> {
        let operator = Operator { client: Client::new(), admin: self.admin.clone() };
        let service = operator.service(suffix, upstream).await?;
        let plugin = json!({"name": name, "config": config});
        operator.post(&format!("/services/{service}/plugins"), plugin).await.map(drop)
    }

    /// Creates it through the Admin API at `admin`, such as `http://127.0.0.1:8001`.
    pub async fn make(admin: &str, upstream: SocketAddr, extent: Extent) -> Result<Self> {
        let operator = Operator { client: Client::new(), admin: admin.trim_end_matches('/').to_owned() };
        let plain = format!("/{PREFIX}-plain");
        operator.service("plain", upstream).await?;
        let guarded = stream::iter(0..extent.services)
            .map(|number| operator.guarded(number, upstream))
            .buffered(TOGETHER)
            .try_collect()
            .await?;
        let registered = stream::iter(0..extent.consumers)
            .map(|number| operator.registered(number, Secret::Plain))
            .buffered(TOGETHER)
            .try_collect()
            .await?;
        let hashed = Some(operator.registered(extent.consumers, Secret::Hashed).await?);
        Ok(Self { admin: operator.admin, plain, guarded, registered, hashed })
    }

    /// A token of the first credential for the first service, created through the Admin API.
    pub async fn token(&self) -> Result<String> {
        let operator = Operator { client: Client::new(), admin: self.admin.clone() };
        let (Some(guarded), Some(registered)) = (self.guarded.first(), self.registered.first()) else {
            return Err(Error::Usage("a site without services has no tokens".to_owned()));
        };
        let token = json!({
            "credential": {"id": registered.credential}, "service": {"id": guarded.service},
            "expires_in": 1_000_000, "scope": SCOPE, "authenticated_userid": "user-00000000",
        });
        text(&operator.post("/oauth2_tokens", token).await?, "access_token")
    }

    /// Lets the first client introspect tokens of the first service.
    pub async fn permit_introspection(&self) -> Result<()> {
        let operator = Operator { client: Client::new(), admin: self.admin.clone() };
        let (Some(guarded), Some(registered)) = (self.guarded.first(), self.registered.first()) else { return Ok(()) };
        let plugins = format!("/services/{}/plugins", guarded.service);
        let found = operator.call(Method::GET, &plugins, None).await?;
        let plugin = found.pointer("/data/0").map(id).transpose()?.unwrap_or_default();
        let config = json!({"config": {"endpoints": ["introspect"], "issuer": "https://bench.test"}});
        operator.call(Method::PATCH, &format!("/plugins/{plugin}"), Some(config)).await?;
        let credential = format!("/consumers/{}/oauth2/{}", registered.username, registered.credential);
        operator.call(Method::PATCH, &credential, Some(json!({"resource_server": true}))).await.map(drop)
    }

    /// Removes what was created.
    pub async fn remove(&self) -> Result<()> {
        let extent = Extent { services: self.guarded.len(), consumers: self.registered.len() };
        Self::sweep(&self.admin, extent).await
    }

    /// Removes leftovers of an interrupted run. Nothing else uses these names.
    pub async fn sweep(admin: &str, extent: Extent) -> Result<()> {
        let operator = Operator { client: Client::new(), admin: admin.trim_end_matches('/').to_owned() };
        for number in 0..=extent.consumers {
            operator.delete(&format!("/consumers/{PREFIX}-person-{number}")).await?;
        }
        let numbers = (0..extent.services).map(|number| number.to_string());
        for suffix in numbers.chain(["plain".to_owned()]) {
            operator.delete(&format!("/routes/{PREFIX}-{suffix}")).await?;
            operator.delete(&format!("/services/{PREFIX}-{suffix}")).await?;
        }
        Ok(())
    }
}

/// How a client secret is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secret {
    Plain,
    Hashed,
}

struct Operator {
    client: Client,
    admin: String,
}

impl Operator {
    async fn service(&self, suffix: &str, upstream: SocketAddr) -> Result<Uuid> {
        let name = format!("{PREFIX}-{suffix}");
        let service = self.post("/services", json!({"name": name, "url": format!("http://{upstream}")})).await?;
        let route = json!({"name": name, "paths": [format!("/{name}")]});
        self.post(&format!("/services/{name}/routes"), route).await?;
        id(&service)
    }

    async fn guarded(&self, number: usize, upstream: SocketAddr) -> Result<Guarded> {
        let service = self.service(&number.to_string(), upstream).await?;
        let plugin = json!({"name": "oauth2", "config": {
            "scopes": SCOPE.split(' ').collect::<Vec<_>>(), "enable_client_credentials": true,
            "accept_http_if_already_terminated": true,
        }});
        self.post(&format!("/services/{service}/plugins"), plugin).await?;
        Ok(Guarded { path: format!("/{PREFIX}-{number}"), service })
    }

    async fn registered(&self, number: usize, secret: Secret) -> Result<Registered> {
        let username = format!("{PREFIX}-person-{number}");
        self.post("/consumers", json!({"username": username})).await?;
        let (client_id, client_secret) = (format!("{PREFIX}-client-{number}"), format!("secret-{}", Uuid::new_v4()));
        let credential = json!({
            "name": "bench", "client_id": client_id, "client_secret": client_secret, "hash_secret": secret == Secret::Hashed,
            "redirect_uris": ["https://client.test/"],
        });
        let credential = id(&self.post(&format!("/consumers/{username}/oauth2"), credential).await?)?;
        Ok(Registered { username, credential, client_id, client_secret })
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// A missing entity counts as deleted.
    async fn delete(&self, path: &str) -> Result<()> {
        match self.call(Method::DELETE, path, None).await {
            Ok(_) | Err(Error::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let url = format!("{}{path}", self.admin);
        let unreachable = |source| Error::Unreachable { url: url.clone(), source };
        let request = self.client.request(method.clone(), &url);
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let said = response.text().await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(Error::Refused { call: format!("{method} {path}"), status: status.as_u16(), body: said });
        }
        Ok(serde_json::from_str(&said).unwrap_or(Value::Null))
    }
}

fn text(document: &Value, field: &str) -> Result<String> {
    let value = document.get(field).and_then(Value::as_str).map(str::to_owned);
    value.ok_or_else(|| Error::Usage(format!("the Admin API did not return a new entity's {field}")))
}

fn id(document: &Value) -> Result<Uuid> {
    let unreadable = |_| Error::Usage("the Admin API returned an id that is not a UUID".to_owned());
    Uuid::parse_str(&text(document, "id")?).map_err(unreadable)
}
