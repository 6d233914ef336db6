//! Tokens of third parties' authorization servers, end to end: real servers, a real browser, a real gateway.
//!
//! Here is what these suites share. What each plugin does with responses that no real server sends is tested in the
//! plugins' own crates and suites.

mod flow;
mod mixed;
mod outages;
mod rotation;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Map, Value, json};
use tollgate_tests::scenario::{Api, laid_over};
use tollgate_tests::{AuthorizationServer, Gateway, Reply, Upstream};

const PATIENCE: Duration = Duration::from_secs(20);

/// `oauth2-introspection` that asks this server.
fn introspection(server: &AuthorizationServer, over: Value) -> Value {
    let config = json!({
        "introspection_url": server.endpoint("introspection_endpoint"),
        "authorization_value": AuthorizationServer::gateway_authorization(),
    });
    json!({"name": "oauth2-introspection", "config": laid_over(config, over)})
}

/// `jwt-access-token` that discovers the keys of this server; `over` overrides fields of the issuer.
fn jwt_access_token(server: &AuthorizationServer, over: Value) -> Value {
    let issuer = laid_over(json!({"issuer": server.issuer(), "discovery": true, "require_typ": true}), over);
    json!({"name": "jwt-access-token", "config": {"issuers": [issuer]}})
}

/// A route `/{name}` with these plugins.
async fn protect(gateway: &Gateway, name: &str, upstream: &Upstream, plugins: &[Value]) {
    Api::open(gateway, name, upstream).await;
    for plugin in plugins {
        gateway.create(&format!("/services/{name}/plugins"), plugin.clone()).await;
    }
}

/// Asks for `/{name}/things` with a bearer token.
async fn get(gateway: &Gateway, name: &str, token: &str) -> Reply {
    get_with(gateway, name, Some(token), &[]).await
}

/// With other headers too. The gateway's output must not contain the token.
async fn get_with(gateway: &Gateway, name: &str, token: Option<&str>, headers: &[(&str, &str)]) -> Reply {
    let forged = [("x-credential-scope", "everything"), ("x-consumer-username", "admin")];
    let mut request = gateway.request(Method::GET, &format!("/{name}/things"));
    for (name, value) in forged.iter().chain(headers) {
        request = request.header(*name, *value);
    }
    if let Some(token) = token {
        gateway.secrets.add(token);
        request = request.bearer_auth(token);
    }
    gateway.send(request).await
}

/// The identity that the upstream was told, and the token if it saw it.
fn identity(echo: &Reply) -> BTreeMap<String, String> {
    let headers = echo.json()["headers"].clone();
    let told = headers.as_object().expect("headers").iter().filter(|(name, _)| {
        let prefixes = ["x-consumer-", "x-credential-", "x-anonymous-", "x-authenticated-", "authorization"];
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    });
    let joined = |values: &Value| {
        let values = values.as_array().expect("values").iter().map(|value| value.as_str().expect("text"));
        values.collect::<Vec<_>>().join("; ")
    };
    told.map(|(name, values)| (name.clone(), joined(values))).collect()
}

/// The headers for a token with these claims (introspection.md §3), and for its consumer.
fn headers_of(claims: &Value, custom: &[&str], consumer: Option<&Value>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    let registered = [
        ("scope", "scope"),
        ("client_id", "client-id"),
        ("username", "identifier"),
        ("token_type", "token-type"),
        ("exp", "exp"),
        ("iat", "iat"),
        ("nbf", "nbf"),
        ("sub", "sub"),
        ("aud", "aud"),
        ("iss", "iss"),
        ("jti", "jti"),
    ];
    for (claim, header) in registered.into_iter().chain(custom.iter().map(|claim| (*claim, *claim))) {
        let value = match &claims[claim] {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Array(elements) => {
                let elements = elements.iter().map(|element| element.as_str().expect("text"));
                elements.collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        headers.insert(format!("x-credential-{header}"), value);
    }
    for (field, header) in [("id", "id"), ("username", "username"), ("custom_id", "custom-id")] {
        let value = consumer.and_then(|consumer| consumer[field].as_str());
        headers.extend(value.map(|value| (format!("x-consumer-{header}"), value.to_owned())));
    }
    headers
}

/// A refusal without what differs from request to request.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    status: u16,
    body: Value,
    challenge: Option<String>,
    retry_after: Option<String>,
}

fn refused(reply: &Reply) -> Refused {
    let mut body = reply.content();
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
    }
    let (challenge, retry_after) = (reply.header("www-authenticate"), reply.header("retry-after"));
    Refused { status: reply.status, body, challenge, retry_after }
}

fn invalid_token() -> Refused {
    let description = "The access token is invalid or has expired";
    Refused {
        status: 401,
        body: json!({"error": "invalid_token", "error_description": description}),
        challenge: Some(format!("Bearer error=\"invalid_token\", error_description=\"{description}\"")),
        retry_after: None,
    }
}

/// "Cannot tell": 503 with Retry-After, and no challenge.
#[track_caller]
fn assert_cannot_tell(reply: &Reply) {
    let expected = Refused {
        status: 503,
        body: json!({"message": "The authorization state is currently unavailable"}),
        challenge: None,
        retry_after: Some("1".to_owned()),
    };
    assert_eq!(refused(reply), expected);
}

/// Asks again until the status is `expected`, and returns that response and how long it took.
async fn until_status(expected: u16, gateway: &Gateway, name: &str, token: &str) -> (Reply, Duration) {
    let start = Instant::now();
    loop {
        let reply = get(gateway, name, token).await;
        if reply.status == expected {
            return (reply, start.elapsed());
        }
        assert!(start.elapsed() < PATIENCE, "still {} instead of {expected}: {}", reply.status, reply.body);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// The claims of a JWT.
fn claims(token: &str) -> Value {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
    let part = token.split('.').nth(1).expect("a JWT");
    let claims: Map<String, Value> = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    Value::Object(claims)
}
