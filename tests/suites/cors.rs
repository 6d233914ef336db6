//! Cross-origin requests: preflights before authentication, headers on every response.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::Api;
use tollgate_tests::{Findings, Gateway, Reply, Upstream};

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ORIGIN: &str = "https://app.test";

/// Creates an API with oauth2 and this cors configuration.
async fn with(gateway: &Gateway, config: Value) {
    gateway.create("/services/api/plugins", json!({"name": "cors", "config": config})).await;
}

async fn ask(gateway: &Gateway, method: Method, headers: &[(&str, &str)]) -> Reply {
    let request = gateway.request(method, "/api/x");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    gateway.send(request).await
}

fn of_cors(reply: &Reply) -> Vec<(String, String)> {
    const NAMES: [&str; 8] = [
        ALLOW_ORIGIN,
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-private-network",
        "access-control-expose-headers",
        "access-control-max-age",
        "vary",
    ];
    let found = NAMES.into_iter().filter_map(|name| Some((name.to_owned(), reply.header(name)?)));
    found.collect()
}

fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const ALL_METHODS: &str = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT";

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_needs_no_token_and_refusals_have_cors_headers() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::protected(&gateway, "api", &upstream, json!({})).await;
    let preflight: &[(&str, &str)] = &[
        ("origin", ORIGIN),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    // Without the plugin a preflight needs a token like any request (docs/compatibility/oauth2.md §4.2).
    ask(&gateway, Method::OPTIONS, preflight).await.expect(401);
    with(
        &gateway,
        json!({"origins": [ORIGIN, "https://b.test"], "credentials": true, "max_age": 600, "exposed_headers": ["x-a"]}),
    )
    .await;

    let reply = ask(&gateway, Method::OPTIONS, preflight).await.expect(200);
    let response = [
        (ALLOW_ORIGIN, ORIGIN),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-headers", "authorization"),
        ("access-control-allow-methods", ALL_METHODS),
        ("access-control-max-age", "600"),
        ("vary", "Origin"),
    ];
    assert_eq!((of_cors(&reply), reply.body.as_str()), (expected(&response), ""));

    let refused = ask(&gateway, Method::GET, &[("origin", ORIGIN)]).await.expect(401);
    let readable = [
        (ALLOW_ORIGIN, ORIGIN),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-a"),
        ("vary", "Origin"),
    ];
    assert_eq!(of_cors(&refused), expected(&readable));
    let foreign = ask(&gateway, Method::GET, &[("origin", "https://evil.test")]).await.expect(401);
    assert_eq!(of_cors(&foreign), expected(&[("access-control-expose-headers", "x-a"), ("vary", "Origin")]));
    // An OPTIONS without Access-Control-Request-Method is not a preflight.
    ask(&gateway, Method::OPTIONS, &[("origin", ORIGIN)]).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_works_as_documented() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let mut findings = Findings::new();
    let origin = ("origin", ORIGIN);
    let asks = ("access-control-request-method", "GET");
    let private = ("access-control-request-private-network", "true");
    type Headers = Vec<(&'static str, &'static str)>;
    type Row = (Value, Method, Headers, &'static [(&'static str, &'static str)]);
    let rows: Vec<Row> = vec![
        (json!({}), Method::GET, vec![origin], &[(ALLOW_ORIGIN, "*")]),
        (json!({}), Method::GET, vec![], &[(ALLOW_ORIGIN, "*")]),
        (json!({"allow_origin_absent": false}), Method::GET, vec![], &[]),
        (
            json!({"credentials": true}),
            Method::GET,
            vec![origin],
            &[(ALLOW_ORIGIN, ORIGIN), ("access-control-allow-credentials", "true"), ("vary", "Origin")],
        ),
        (
            json!({"methods": ["GET"], "headers": ["x-b", "x-c"]}),
            Method::OPTIONS,
            vec![origin, asks],
            &[
                (ALLOW_ORIGIN, "*"),
                ("access-control-allow-headers", "x-b,x-c"),
                ("access-control-allow-methods", "GET"),
            ],
        ),
        (
            json!({"private_network": true}),
            Method::OPTIONS,
            vec![origin, asks, private],
            &[
                (ALLOW_ORIGIN, "*"),
                ("access-control-allow-methods", ALL_METHODS),
                ("access-control-allow-private-network", "true"),
            ],
        ),
        (json!({"preflight_continue": true}), Method::OPTIONS, vec![origin, asks], &[]),
    ];
    for (number, (config, method, headers, result)) in rows.into_iter().enumerate() {
        let name = format!("s{number}");
        gateway.create("/services", json!({"name": name, "url": upstream.url()})).await;
        let route = json!({"paths": [format!("/{name}")], "service": {"name": name}});
        gateway.create("/routes", route).await;
        let plugins = format!("/services/{name}/plugins");
        gateway.create(&plugins, json!({"name": "cors", "config": config})).await;
        let request = gateway.request(method, &format!("/{name}/x"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let reply = gateway.send(request).await.expect(200);
        findings.compare(&format!("{config}"), &expected(result), &of_cors(&reply));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_is_refused() {
    let gateway = Gateway::on_sqlite().await;
    for (config, field, text) in [
        (json!({"origins": ["https://("]}), "origins", json!(["'https://(' is not a valid regex"])),
        (json!({"max_age": "soon"}), "max_age", json!("expected a number")),
        (json!({"credential": true}), "credential", json!("unknown field")),
    ] {
        let reply =
            gateway.admin(Method::POST, "/plugins", json!({"name": "cors", "config": config})).await.expect(400);
        assert_eq!(reply.json()["fields"]["config"][field], text, "{}", reply.body);
    }
}
