//! The authorization server's further ways to a token: pushed authorization requests (RFC 9126), the device grant
//! (RFC 8628), signed access tokens (RFC 9068), dynamic registration (RFC 7591, RFC 7592).

use http::{HeaderMap, Method, Version};
use reqwest::Client;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Gateway, Reply};

mod device;
mod nodes;
mod pushed;
mod registration;
mod signed;
mod two_ways;

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Clients of both protocols.
fn clients(gateway: &Gateway) -> [(Client, Version); 2] {
    let certificate = reqwest::Certificate::from_pem(gateway.certificate().as_bytes()).unwrap();
    let old = Client::builder().no_proxy().http1_only().tls_certs_only([certificate]).build().unwrap();
    [(old, Version::HTTP_11), (gateway.client.clone(), Version::HTTP_2)]
}

/// Posts a form below the API's path, in one of the protocols.
async fn post((client, version): &(Client, Version), gateway: &Gateway, path: &str, form: &[(&str, &str)]) -> Reply {
    let response = client.post(gateway.url(path)).form(form).send().await.unwrap();
    assert_eq!(response.version(), *version);
    let reply = Reply::read(response).await;
    if let Ok(document) = serde_json::from_str(&reply.body) {
        gateway.secrets.add_from_json(&document);
    }
    reply
}

/// The headers that a client acts on.
fn headers(reply: &Reply) -> Value {
    let header = |name: &str| json!(reply.header(name));
    json!({
        "content-type": header("content-type"), "cache-control": header("cache-control"), "pragma": header("pragma"),
        "www-authenticate": header("www-authenticate"), "retry-after": header("retry-after"),
    })
}

/// Those of every response with something that must not be kept.
fn unkept() -> Value {
    json!({
        "content-type": "application/json; charset=utf-8", "cache-control": "no-store", "pragma": "no-cache",
        "www-authenticate": null, "retry-after": null,
    })
}

/// An error response, whole.
fn assert_refused(reply: &Reply, status: u16, error: &str, description: &str) {
    assert_eq!((reply.status, reply.json()), (status, json!({"error": error, "error_description": description})));
    assert_eq!(headers(reply), unkept());
}

fn text<'d>(document: &'d Value, name: &str) -> &'d str {
    document[name].as_str().unwrap_or_else(|| panic!("no {name}: {document}"))
}

/// A form of a client that authenticates with its secret.
fn with_secret<'f>(client: &'f Application, form: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    [&[("client_id", client.id()), ("client_secret", client.secret())], form].concat()
}

/// What a browser's client is told, if it may read the response.
fn allowed_origin(headers: &HeaderMap) -> Option<&str> {
    headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap())
}

/// An endpoint that the instance does not name, and one on a route without the plugin, is the upstream's or nobody's.
async fn assert_absent(gateway: &Gateway, protected: &Api, open: &str, paths: &[&str]) {
    for path in paths {
        let at = |route: &str| gateway.request(Method::POST, &format!("/{route}/oauth2/{path}"));
        let guarded = gateway.send(at(&protected.name)).await;
        assert_eq!((guarded.status, guarded.json()["error"].clone()), (401, json!("invalid_request")), "{path}");
        let passed = gateway.send(at(open)).await.expect(200);
        assert!(passed.json()["headers"].is_object(), "{path}: {}", passed.body);
    }
}
