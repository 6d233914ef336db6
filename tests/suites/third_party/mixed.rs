//! Four kinds of credentials on one route: the gateway's own tokens (`oauth2`), introspected ones, JWTs and API keys.
//! Without `anonymous` a request needs all of them, with it one is enough. No token is sent to an authority that did
//! not issue it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tollgate_tests::authorization_server::{Format, Product};
use tollgate_tests::scenario::{Application, every_grant};
use tollgate_tests::{AuthorizationServer, Findings, Gateway, RecordingProxy, Upstream};

use super::{claims, get_with, headers_of, identity, introspection, jwt_access_token, laid_over, protect};

const API_KEY: &str = "Mouse-of-the-keyholder";

struct World {
    gateway: Gateway,
    /// Must outlive the gateway's requests.
    _upstream: Upstream,
    /// The authority of introspected tokens, and of what is asked there.
    opaque: AuthorizationServer,
    opaque_calls: RecordingProxy,
    /// The authority of JWTs.
    signing: AuthorizationServer,
    signing_calls: RecordingProxy,
    /// The client of the gateway's own tokens.
    client: Application,
    /// The API key's credential.
    key: Value,
}

/// The routes `/any` (each of the four plugins is enough) and `/all` (each is needed), and `/three` (all are needed, but
/// without the gateway's own tokens).
async fn world() -> World {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let redirect_uri = "http://127.0.0.1:1/callback";
    let (opaque, signing) = tokio::join!(
        AuthorizationServer::start(Product::OidcProvider, redirect_uri),
        AuthorizationServer::start(Product::Glewlwyd, redirect_uri),
    );
    let opaque_calls = RecordingProxy::to(&opaque.authority()).await;
    let signing_calls = RecordingProxy::to(&signing.authority()).await;
    for username in ["keyholder", "stranger"] {
        gateway.create("/consumers", json!({"username": username})).await;
    }
    let key = gateway.create("/consumers/keyholder/key-auth", json!({"key": API_KEY})).await;
    let client = Application::register(&gateway, "tokenholder", json!({})).await;
    let url = opaque_calls.url(opaque.endpoint("introspection_endpoint"));
    let introspected =
        |over| introspection(&opaque, laid_over(json!({"introspection_url": url, "issuer": opaque.issuer()}), over));
    let key_set = signing_calls.url(signing.endpoint("jwks_uri"));
    let signed = |over| {
        let mut plugin = jwt_access_token(&signing, json!({"discovery": false, "jwks_uri": key_set}));
        plugin["config"] = laid_over(plugin["config"].take(), over);
        plugin
    };
    for (name, anonymous) in [("any", json!({"anonymous": "stranger"})), ("all", json!({}))] {
        let mut own = json!({"name": "oauth2", "config": laid_over(every_grant(), anonymous.clone())});
        own["config"]["global_credentials"] = json!(true);
        let keys = json!({"name": "key-auth", "config": anonymous});
        let plugins = [own, introspected(anonymous.clone()), signed(anonymous.clone()), keys];
        protect(&gateway, name, &upstream, &plugins).await;
    }
    let both = introspection(&signing, json!({}));
    let keys = json!({"name": "key-auth", "config": {}});
    protect(&gateway, "three", &upstream, &[both, signed(json!({})), keys]).await;
    World { gateway, _upstream: upstream, opaque, opaque_calls, signing, signing_calls, client, key }
}

impl World {
    /// A token of the gateway's own, for both routes. The token endpoint of `/all` is behind the other plugins.
    async fn own_token(&self) -> String {
        let (id, secret) = (self.client.id(), self.client.secret());
        let form = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
        let request = self.gateway.request(http::Method::POST, "/any/oauth2/token").form(&form);
        let reply = self.gateway.send(request).await.expect(200).json();
        reply["access_token"].as_str().expect("a token").to_owned()
    }

    /// The identity that the upstream is told, or the status of a refusal.
    async fn ask(&self, name: &str, token: Option<&str>, key: Option<&str>) -> Result<BTreeMap<String, String>, u16> {
        let headers: Vec<_> = key.into_iter().map(|key| ("apikey", key)).collect();
        let reply = get_with(&self.gateway, name, token, &headers).await;
        if reply.status == 200 { Ok(identity(&reply)) } else { Err(reply.status) }
    }

    /// The identity of this consumer, with another header.
    async fn consumer(&self, username: &str, header: (&str, &str)) -> BTreeMap<String, String> {
        let consumer = self.gateway.admin_get(&format!("/consumers/{username}")).await.expect(200).json();
        let mut headers = headers_of(&json!({}), &[], Some(&consumer));
        headers.insert(header.0.to_owned(), header.1.to_owned());
        headers
    }

    /// How often a token was sent to the authority of introspected tokens.
    fn times_asked(&self, token: &str) -> usize {
        self.opaque_calls.calls().iter().filter(|call| call.body.contains(token)).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_credential_is_enough_or_all_are_needed_and_no_token_reaches_another_authority() {
    let world = world().await;
    let own = world.own_token().await;
    let opaque = world.opaque.token(Format::Opaque).await;
    // oidc-provider does not introspect its JWTs, and no plugin here has its keys.
    let foreign = world.opaque.token(Format::Rs256).await;
    let signed = world.signing.token(Format::Rs256).await;
    let of_nobody = world.consumer("stranger", ("x-anonymous-consumer", "true")).await;
    let of_key = world.consumer("keyholder", ("x-credential-identifier", world.key["id"].as_str().unwrap())).await;
    let of_own = world.consumer("tokenholder", ("x-credential-identifier", world.client.id())).await;
    let of_opaque = headers_of(&world.opaque.introspect(&opaque).await, &[], None);
    let of_signed = headers_of(&claims(&signed), &[], None);
    // The last plugin that sets a header decides about it.
    let of_all_three = of_signed.clone().into_iter().chain(of_key.clone()).collect();
    let rows = [
        ("any", Some(&own), None, Ok(of_own)),
        ("any", Some(&opaque), None, Ok(of_opaque)),
        ("any", Some(&signed), None, Ok(of_signed)),
        ("any", None, Some(API_KEY), Ok(of_key)),
        ("any", Some(&foreign), None, Ok(of_nobody.clone())),
        ("any", None, None, Ok(of_nobody)),
        ("all", Some(&own), Some(API_KEY), Err(401)),
        ("all", Some(&opaque), Some(API_KEY), Err(401)),
        ("all", Some(&signed), Some(API_KEY), Err(401)),
        ("three", Some(&signed), Some(API_KEY), Ok(of_all_three)),
        ("three", Some(&signed), None, Err(401)),
        ("three", Some(&opaque), Some(API_KEY), Err(401)),
        ("three", None, Some(API_KEY), Err(401)),
    ];
    let mut findings = Findings::new();
    for (nth, (name, token, key, expected)) in rows.into_iter().enumerate() {
        let seen = world.ask(name, token.map(String::as_str), key).await;
        findings.compare(&format!("row {nth}, {name}"), &expected, &seen);
    }
    let asked = [&own, &opaque, &foreign, &signed].map(|token| world.times_asked(token));
    findings.compare("tokens at the authority of opaque tokens", &[0, 1, 1, 0], &asked);
    let other: Vec<_> = world.signing_calls.calls().into_iter().filter(|call| !call.body.is_empty()).collect();
    findings.compare("what the authority of JWTs was sent", &Vec::new(), &other);
}
