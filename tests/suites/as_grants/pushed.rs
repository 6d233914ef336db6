//! Pushed authorization requests (RFC 9126).

use futures::future::join_all;
use tollgate_tests::Upstream;
use tollgate_tests::scenario::REDIRECT_URI;
use url::Url;

use super::*;

const UNKNOWN: &str = "request_uri is unknown, used, expired or of another client";

/// The form of the login page's back end.
fn authorizing<'f>(api: &'f Api, client: &'f Application, request_uri: &'f str) -> Vec<(&'f str, &'f str)> {
    vec![
        ("provision_key", api.provision_key()),
        ("authenticated_userid", "kate"),
        ("client_id", client.id()),
        ("request_uri", request_uri),
    ]
}

on_both_stores! {
    async fn a_pushed_request_is_authorized_once_by_its_client_rfc9126_2_2(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({"endpoints": ["par"]})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let other = Application::register(&gateway, "other", json!({})).await;
        for protocol in clients(&gateway) {
            let form = with_secret(&client, &[
                ("response_type", "code"), ("redirect_uri", REDIRECT_URI), ("scope", "email"), ("state", "s 1"),
                ("nonce", "not known"),
            ]);
            let reply = post(&protocol, &gateway, "/api/oauth2/par", &form).await;
            let request_uri = text(&reply.json(), "request_uri").to_owned();
            let expected = json!({"request_uri": request_uri, "expires_in": 60});
            assert_eq!((reply.status, reply.json(), headers(&reply)), (201, expected, unkept()));
            assert!(request_uri.starts_with("urn:ietf:params:oauth:request_uri:"), "{request_uri}");

            let foreign = authorizing(&api, &other, &request_uri);
            let foreign = post(&protocol, &gateway, "/api/oauth2/authorize", &foreign).await;
            assert_refused(&foreign, 400, "invalid_request_uri", UNKNOWN);
            let mut own = authorizing(&api, &client, &request_uri);
            own.push(("scope", "profile"));
            let tries = (0..8).map(|_| post(&protocol, &gateway, "/api/oauth2/authorize", &own));
            let replies = join_all(tries).await;
            let (won, lost): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
            assert_eq!((won.len(), lost.len()), (1, 7));
            lost.into_iter().for_each(|reply| assert_refused(reply, 400, "invalid_request_uri", UNKNOWN));
            let redirect = Url::parse(text(&won[0].json(), "redirect_uri")).unwrap();
            let given: std::collections::BTreeMap<_, _> = redirect.query_pairs().into_owned().collect();
            assert_eq!((redirect.as_str().starts_with(REDIRECT_URI), given["state"].as_str()), (true, "s 1"));
            let exchange = [
                ("grant_type", "authorization_code"), ("code", given["code"].as_str()), ("redirect_uri", REDIRECT_URI),
            ];
            let tokens = post(&protocol, &gateway, "/api/oauth2/token", &with_secret(&client, &exchange)).await.expect(200);
            let seen = api.get(&gateway, text(&tokens.json(), "access_token")).await.expect(200).json();
            assert_eq!(seen["headers"]["x-authenticated-scope"], json!(["email"]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_pushed_is_refused_as_at_the_other_endpoints_rfc9126_2_3() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::protected(&gateway, "api", &upstream, json!({"endpoints": ["par"]})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let public = Application::register(&gateway, "public", json!({"client_type": "public"})).await;
    for protocol in clients(&gateway) {
        let refused = async |form: &[(&str, &str)], error, description: &str| {
            let reply = post(&protocol, &gateway, "/api/oauth2/par", form).await;
            assert_refused(&reply, 400, error, description);
        };
        let code = ("response_type", "code");
        let unknown = "Invalid client authentication";
        refused(&[code], "invalid_client", unknown).await;
        refused(&[code, ("client_id", client.id())], "invalid_client", unknown).await;
        refused(&[code, ("client_id", "nobody"), ("client_secret", "x")], "invalid_client", unknown).await;
        let pushed = "request_uri must not be pushed";
        refused(&with_secret(&client, &[code, ("request_uri", "urn:x")]), "invalid_request", pushed).await;
        refused(&with_secret(&client, &[]), "unsupported_response_type", "Invalid response_type").await;
        let scope = "'<script>' is an invalid scope";
        refused(&with_secret(&client, &[code, ("scope", "<script>")]), "invalid_scope", scope).await;
        let twice = "scope must not be repeated";
        refused(&with_secret(&client, &[code, ("scope", "a"), ("scope", "b")]), "invalid_request", twice).await;
        let challenge = "code_challenge is required for public clients";
        refused(&[code, ("client_id", public.id())], "invalid_request", challenge).await;
        let (http, _) = &protocol;
        let url = gateway.url("/api/oauth2/par");
        let basic = http.post(&url).basic_auth(client.id(), Some("wrong")).form(&[code]).send().await.unwrap();
        let basic = Reply::read(basic).await;
        assert_eq!(
            (basic.status, basic.header("www-authenticate").as_deref()),
            (401, Some("Basic realm=\"OAuth2.0\""))
        );
        let get = Reply::read(http.get(&url).send().await.unwrap()).await;
        assert_eq!((get.status, get.header("allow").as_deref()), (405, Some("POST")));
        let form = with_secret(&client, &[code]);
        let browser = http.post(&url).header("origin", "https://spa.test").form(&form).send().await.unwrap();
        assert_eq!((browser.status().as_u16(), allowed_origin(browser.headers())), (201, Some("*")));
    }
    let plain = gateway.client.post(gateway.plain_url("/api/oauth2/par")).form(&with_secret(&client, &[]));
    assert_refused(&gateway.send(plain).await, 400, "access_denied", "You must use HTTPS");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_pushed_where_that_is_required_and_nowhere_else_rfc9126_5() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({"endpoints": ["par"], "par_required": true})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let mut form = authorizing(&api, &client, "unused");
    form.retain(|(name, _)| *name != "request_uri");
    form.push(("response_type", "code"));
    let reply = api.authorize(&gateway, &form).await;
    assert_refused(&reply, 400, "invalid_request", "The authorization request must be pushed");
    let plain = Api::protected(&gateway, "plain", &upstream, json!({})).await;
    Api::open(&gateway, "open", &upstream).await;
    assert_absent(&gateway, &plain, "open", &["par", "device_authorization", "device", "register", "jwks"]).await;
    let refused = json!({"name": "oauth2", "config": {"enable_client_credentials": true, "par_required": true}});
    let reply = gateway.admin(Method::POST, "/plugins", refused).await.expect(400);
    assert_eq!(reply.json()["fields"]["config"], json!("par_required needs par in endpoints"));
}
