//! What most tests start with: a protected API, a client, a token.

use http::Method;
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::reply::Reply;
use crate::upstream::Upstream;

/// The default redirect URI of clients.
pub const REDIRECT_URI: &str = "http://client.test/callback";

/// An upstream with a route `/{name}` and an oauth2 plugin on its service.
#[derive(Debug, Clone)]
pub struct Api {
    /// Its name: the service's, the route's, and the first part of its path.
    pub name: String,
    /// The service.
    pub service: Value,
    /// The route.
    pub route: Value,
    /// The plugin.
    pub plugin: Value,
}

/// A registered client.
#[derive(Debug, Clone)]
pub struct Application {
    /// The whole credential.
    pub credential: Value,
}

impl Api {
    /// Creates one. `config` overrides a default with every grant enabled and the scopes `email`, `profile`
    /// and `user`.
    pub async fn protected(gateway: &Gateway, name: &str, upstream: &Upstream, config: Value) -> Self {
        let (service, route) = Self::open(gateway, name, upstream).await;
        let plugin = json!({"name": "oauth2", "config": laid_over(every_grant(), config)});
        let plugin = gateway.create(&format!("/services/{name}/plugins"), plugin).await;
        Self { name: name.to_owned(), service, route, plugin }
    }

    /// A service and a route `/{name}` without a plugin.
    pub async fn open(gateway: &Gateway, name: &str, upstream: &Upstream) -> (Value, Value) {
        let service = gateway.create("/services", json!({"name": name, "url": upstream.url()})).await;
        let route = json!({"name": name, "paths": [format!("/{name}")]});
        let route = gateway.create(&format!("/services/{name}/routes"), route).await;
        (service, route)
    }

    /// The plugin's provision key.
    pub fn provision_key(&self) -> &str {
        self.plugin["config"]["provision_key"].as_str().expect("a provision key")
    }

    /// Posts a form to the token endpoint.
    pub async fn token(&self, gateway: &Gateway, form: &[(&str, &str)]) -> Reply {
        let path = format!("/{}/oauth2/token", self.name);
        gateway.send(gateway.request(Method::POST, &path).form(form)).await
    }

    /// Posts a form to the authorization endpoint, as the authorization page does.
    pub async fn authorize(&self, gateway: &Gateway, form: &[(&str, &str)]) -> Reply {
        let path = format!("/{}/oauth2/authorize", self.name);
        gateway.send(gateway.request(Method::POST, &path).form(form)).await
    }

    /// Has a code issued to that client for the user `kate`.
    pub async fn code(&self, gateway: &Gateway, client: &Application) -> String {
        let reply = self
            .authorize(
                gateway,
                &[
                    ("provision_key", self.provision_key()),
                    ("authenticated_userid", "kate"),
                    ("client_id", client.id()),
                    ("response_type", "code"),
                    ("scope", "email"),
                ],
            )
            .await
            .expect(200);
        let redirect = url::Url::parse(reply.json()["redirect_uri"].as_str().unwrap()).unwrap();
        redirect.query_pairs().find(|(name, _)| name == "code").expect("a code").1.into_owned()
    }

    /// Redeems a code.
    pub async fn redeem(&self, gateway: &Gateway, client: &Application, code: &str) -> Reply {
        self.token(
            gateway,
            &[
                ("grant_type", "authorization_code"),
                ("client_id", client.id()),
                ("client_secret", client.secret()),
                ("code", code),
            ],
        )
        .await
    }

    /// The token response for a new code.
    pub async fn tokens(&self, gateway: &Gateway, client: &Application) -> Value {
        let code = self.code(gateway, client).await;
        self.redeem(gateway, client, &code).await.expect(200).json()
    }

    /// Refreshes.
    pub async fn refresh(&self, gateway: &Gateway, client: &Application, refresh_token: &str) -> Reply {
        self.token(
            gateway,
            &[
                ("grant_type", "refresh_token"),
                ("client_id", client.id()),
                ("client_secret", client.secret()),
                ("refresh_token", refresh_token),
            ],
        )
        .await
    }

    /// Reads the API with a bearer token.
    pub async fn get(&self, gateway: &Gateway, token: &str) -> Reply {
        let path = format!("/{}/things", self.name);
        gateway.send(gateway.request(Method::GET, &path).bearer_auth(token)).await
    }
}

impl Application {
    /// Registers one with its own consumer; `fields` override a name and [`REDIRECT_URI`].
    pub async fn register(gateway: &Gateway, consumer: &str, fields: Value) -> Self {
        let username = json!({"username": consumer, "custom_id": format!("{consumer}-custom")});
        gateway.admin(Method::PUT, &format!("/consumers/{consumer}"), username).await.expect(200);
        let application = laid_over(json!({"name": consumer, "redirect_uris": [REDIRECT_URI]}), fields);
        let credential = gateway.create(&format!("/consumers/{consumer}/oauth2"), application).await;
        Self { credential }
    }

    /// Its client id.
    pub fn id(&self) -> &str {
        self.credential["client_id"].as_str().expect("a client id")
    }

    /// Its client secret.
    pub fn secret(&self) -> &str {
        self.credential["client_secret"].as_str().expect("a client secret")
    }
}

/// A plugin configuration with every grant enabled.
pub fn every_grant() -> Value {
    json!({
        "scopes": ["email", "profile", "user"],
        "enable_authorization_code": true,
        "enable_implicit_grant": true,
        "enable_client_credentials": true,
        "enable_password_grant": true,
    })
}

/// `base` with the fields of `over`.
pub fn laid_over(mut base: Value, over: Value) -> Value {
    if let (Some(fields), Value::Object(over)) = (base.as_object_mut(), over) {
        fields.extend(over);
    }
    base
}
