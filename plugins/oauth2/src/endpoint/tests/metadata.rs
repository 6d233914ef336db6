use super::*;

async fn document(config: &Config, path: &str) -> Response {
    let mut post = Post::new(path, "");
    post.method = Method::GET;
    World::new().send(config, &post).await
}

const SERVER: &str = "/.well-known/oauth-authorization-server";
const RESOURCE: &str = "/.well-known/oauth-protected-resource";

const ASYMMETRIC: [&str; 10] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];

#[tokio::test]
async fn the_documents_say_how_tokens_are_bound_rfc9449_5_1_rfc8705_3_3() {
    let config = config(&json!({
        "endpoints": ["metadata"], "issuer": "https://as.test", "dpop": "required", "mtls_bound_tokens": "optional",
    }));
    let proofs = json!(["ES256", "EdDSA", "RS256", "PS256"]);
    for (path, required) in [(SERVER, Value::Null), (RESOURCE, json!(true))] {
        let body = document(&config, path).await.body;
        assert_eq!(body["dpop_signing_alg_values_supported"], proofs, "{path}");
        assert_eq!(body["dpop_bound_access_tokens_required"], required, "{path}");
        assert_eq!(body["tls_client_certificate_bound_access_tokens"], json!(true), "{path}");
    }
    let methods = document(&config, SERVER).await.body["token_endpoint_auth_methods_supported"].clone();
    assert_eq!(
        methods,
        json!([
            "client_secret_basic",
            "client_secret_post",
            "none",
            "private_key_jwt",
            "tls_client_auth",
            "self_signed_tls_client_auth",
        ])
    );
}

#[tokio::test]
async fn the_document_says_what_the_instance_does_rfc8414_2() {
    let all = config(&json!({
        "endpoints": ["introspect", "revoke", "metadata", "par", "device", "register", "jwks"],
        "issuer": "https://as.test/x", "scopes": ["email"], "authorization_endpoint": "https://login.test/page",
    }));
    let response = document(&all, SERVER).await;
    let expected = json!({
        "issuer": "https://as.test/x",
        "authorization_endpoint": "https://login.test/page",
        "token_endpoint": "https://as.test/x/oauth2/token",
        "introspection_endpoint": "https://as.test/x/oauth2/introspect",
        "revocation_endpoint": "https://as.test/x/oauth2/revoke",
        "pushed_authorization_request_endpoint": "https://as.test/x/oauth2/par",
        "device_authorization_endpoint": "https://as.test/x/oauth2/device_authorization",
        "registration_endpoint": "https://as.test/x/oauth2/register",
        "jwks_uri": "https://as.test/x/oauth2/jwks",
        "scopes_supported": ["email"],
        "response_types_supported": ["code", "token"],
        "response_modes_supported": ["query", "fragment"],
        "grant_types_supported": ["authorization_code", "implicit", "client_credentials", "password", "refresh_token",
            "urn:ietf:params:oauth:grant-type:device_code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none", "private_key_jwt"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ASYMMETRIC,
        "introspection_endpoint_auth_signing_alg_values_supported": ASYMMETRIC,
        "revocation_endpoint_auth_signing_alg_values_supported": ASYMMETRIC,
    });
    assert_eq!((response.status, response.body), (200, expected));
    assert_eq!(response.headers["cache-control"], "no-store");
    assert_eq!(response.headers["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn what_is_off_is_not_in_the_document_rfc8414_3_2() {
    let few = config(&json!({
        "endpoints": ["metadata"], "issuer": "https://as.test", "enable_implicit_grant": false,
        "enable_authorization_code": false, "enable_password_grant": false,
    }));
    let expected = json!({
        "issuer": "https://as.test",
        "authorization_endpoint": "https://as.test/oauth2/authorize",
        "token_endpoint": "https://as.test/oauth2/token",
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ASYMMETRIC,
    });
    assert_eq!(document(&few, SERVER).await.body, expected);
    let unnamed = config(&json!({"endpoints": ["metadata"]}));
    let response = document(&unnamed, SERVER).await;
    let refusal = json!({"error": "invalid_request", "error_description": "The request names no host"});
    assert_eq!((response.status, response.body), (400, refusal));
}

#[tokio::test]
async fn the_document_of_the_resource_names_its_authorization_server_rfc9728_2() {
    let config = config(&json!({
        "endpoints": ["metadata"], "issuer": "https://as.test", "scopes": ["email"], "resources": ["https://api.test/mcp"],
    }));
    let response = document(&config, RESOURCE).await;
    let expected = json!({
        "resource": "https://api.test/mcp", "authorization_servers": ["https://as.test"],
        "scopes_supported": ["email"], "bearer_methods_supported": ["header", "body", "query"],
    });
    assert_eq!((response.status, response.body), (200, expected));
}

#[tokio::test]
async fn other_methods_are_refused_and_preflights_of_browsers_clients_answered() {
    let config = config(&json!({"endpoints": ["metadata", "revoke", "introspect"]}));
    for (path, methods, allowed) in [
        (SERVER, "GET, HEAD", true),
        ("/oauth2/revoke", "POST", true),
        ("/oauth2/token", "POST", true),
        ("/oauth2/introspect", "POST", false),
        ("/oauth2/authorize", "POST", false),
    ] {
        let mut post = Post::new(path, "");
        post.method = Method::OPTIONS;
        let plain = World::new().send(&config, &post).await;
        assert_eq!((plain.status, &plain.headers["allow"]), (405, &HeaderValue::from_static(methods)), "{path}");
        post.headers.insert("origin", HeaderValue::from_static("https://app.test"));
        post.headers.insert("access-control-request-method", HeaderValue::from_static("POST"));
        let preflight = World::new().send(&config, &post).await;
        assert_eq!(preflight.status, if allowed { 204 } else { 405 }, "{path}");
        if allowed {
            assert_eq!(preflight.headers["access-control-allow-methods"], methods, "{path}");
            assert_eq!(
                preflight.headers["access-control-allow-headers"],
                "Authorization, Content-Type, DPoP, MCP-Protocol-Version"
            );
        }
    }
}
