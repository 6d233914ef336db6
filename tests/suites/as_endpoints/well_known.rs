//! Well-known paths reach the route whose path follows the name, and no other.

use super::*;

const NAME: &str = "/.well-known/oauth-authorization-server";

async fn issuer(gateway: &Gateway, path: &str) -> (u16, Value) {
    let reply = gateway.send(gateway.request(Method::GET, path)).await;
    (reply.status, reply.json()["issuer"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_has_its_own_document_below_any_other_that_matches_everything() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let metadata = json!({"endpoints": ["metadata"]});
    for name in ["one", "two"] {
        Api::protected(&gateway, name, &upstream, metadata.clone()).await;
    }
    let service = gateway.create("/services", json!({"name": "all", "url": upstream.url()})).await;
    gateway.create("/services/all/routes", json!({"name": "all", "paths": ["/"]})).await;
    let slash = json!({"name": "slash", "paths": ["/slash/"], "service": {"name": "one"}});
    gateway.create("/routes", slash).await;
    for (path, expected) in [
        ("/one", (200, json!(gateway.url("/one")))),
        ("/one/", (200, json!(gateway.url("/one")))),
        ("/two", (200, json!(gateway.url("/two")))),
        ("/slash", (200, json!(gateway.url("/slash")))),
        // Below a route, but not its own path.
        ("/one/more", (401, Value::Null)),
        // The route that matches everything has no such plugin: its upstream responds.
        ("/three", (200, Value::Null)),
        ("", (200, Value::Null)),
    ] {
        assert_eq!(issuer(&gateway, &format!("{NAME}{path}")).await, expected, "{path}");
    }
    let reached = upstream.requests();
    let token = {
        let client = Application::register(&gateway, "client", json!({})).await;
        let form =
            [("grant_type", "client_credentials"), ("client_id", client.id()), ("client_secret", client.secret())];
        let request = gateway.request(Method::POST, "/one/oauth2/token").form(&form);
        gateway.send(request).await.expect(200).json()["access_token"].as_str().unwrap().to_owned()
    };
    let unserved = gateway.send(gateway.request(Method::GET, &format!("{NAME}/one/more")).bearer_auth(token)).await;
    assert_eq!((unserved.status, upstream.requests()), (404, reached), "well-known paths are never proxied");

    // Of the route itself, once it has the plugin.
    let config = json!({"enable_client_credentials": true, "endpoints": ["metadata"], "issuer": "https://as.example"});
    let id = service["id"].as_str().unwrap();
    let plugin = gateway.create(&format!("/services/{id}/plugins"), json!({"name": "oauth2", "config": config})).await;
    assert_eq!(issuer(&gateway, NAME).await, (200, json!("https://as.example")));
    assert_eq!(issuer(&gateway, &format!("{NAME}/two")).await, (200, json!(gateway.url("/two"))));
    gateway.delete(&format!("/plugins/{}", plugin["id"].as_str().unwrap())).await;
    assert_eq!(issuer(&gateway, NAME).await, (200, Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_whose_own_path_is_well_known_comes_first() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::protected(&gateway, "api", &upstream, json!({"endpoints": ["metadata"]})).await;
    assert_eq!(issuer(&gateway, &format!("{NAME}/api")).await.0, 200);
    for path in [NAME, "/.well-known", "~/.well-known/oauth.*"] {
        let route = json!({"name": "own", "paths": [path], "service": {"name": "api"}});
        let route = gateway.create("/routes", route).await;
        let config = json!({"enable_client_credentials": true});
        let plugins = format!("/routes/{}/plugins", route["id"].as_str().unwrap());
        gateway.create(&plugins, json!({"name": "oauth2", "config": config})).await;
        assert_eq!(issuer(&gateway, &format!("{NAME}/api")).await, (401, Value::Null), "{path}");
        gateway.delete(&format!("/routes/{}", route["id"].as_str().unwrap())).await;
        assert_eq!(issuer(&gateway, &format!("{NAME}/api")).await.0, 200);
    }
}
