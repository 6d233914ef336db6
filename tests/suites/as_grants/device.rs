//! The device grant (RFC 8628).

use futures::future::join_all;
use tollgate_tests::Upstream;

use super::*;

const PAGE: &str = "https://login.test/device";
const PENDING: &str = "The user has not decided yet";

struct Device {
    api: Api,
    client: Application,
    _upstream: Upstream,
}

impl Device {
    async fn start(gateway: &Gateway, config: Value) -> Self {
        let upstream = Upstream::start().await;
        let mut all = json!({"endpoints": ["device"], "device_verification_uri": PAGE, "device_poll_interval": 1});
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let api = Api::protected(gateway, "api", &upstream, all).await;
        let client =
            Application::register(gateway, "tv", json!({"client_type": "public", "redirect_uris": null})).await;
        Self { api, client, _upstream: upstream }
    }

    async fn begin(&self, protocol: &(Client, Version), gateway: &Gateway) -> Value {
        let form = [("client_id", self.client.id()), ("scope", "email profile")];
        let reply = post(protocol, gateway, "/api/oauth2/device_authorization", &form).await;
        let begun = reply.json();
        let expected = json!({
            "device_code": begun["device_code"], "user_code": begun["user_code"], "verification_uri": PAGE,
            "verification_uri_complete": format!("{PAGE}?user_code={}", text(&begun, "user_code")),
            "expires_in": 600, "interval": 1,
        });
        assert_eq!((reply.status, begun, headers(&reply)), (200, expected.clone(), unkept()));
        expected
    }

    async fn hook(&self, protocol: &(Client, Version), gateway: &Gateway, form: &[(&str, &str)]) -> Reply {
        let page = [("provision_key", self.api.provision_key()), ("authenticated_userid", "kate")];
        post(protocol, gateway, "/api/oauth2/device", &[&page, form].concat()).await
    }

    async fn poll(&self, protocol: &(Client, Version), gateway: &Gateway, device_code: &str) -> Reply {
        let form = [("client_id", self.client.id()), ("grant_type", DEVICE_CODE), ("device_code", device_code)];
        post(protocol, gateway, "/api/oauth2/token", &form).await
    }
}

on_both_stores! {
    async fn a_device_gets_a_token_once_after_its_user_has_agreed_rfc8628_3(gateway: Gateway) {
        let device = Device::start(&gateway, json!({})).await;
        for protocol in clients(&gateway) {
            let begun = device.begin(&protocol, &gateway).await;
            let (device_code, user_code) = (text(&begun, "device_code"), text(&begun, "user_code"));
            assert_refused(&device.poll(&protocol, &gateway, device_code).await, 400, "authorization_pending", PENDING);
            let asked = device.hook(&protocol, &gateway, &[("user_code", &user_code.to_lowercase())]).await;
            let about = json!({
                "status": "pending", "client_id": device.client.id(), "client_name": "tv", "scope": "email profile",
                "expires_in": asked.json()["expires_in"],
            });
            assert_eq!((asked.status, asked.json(), headers(&asked)), (200, about, unkept()));
            let approve = [("user_code", user_code), ("action", "approve"), ("scope", "email")];
            let decisions = join_all((0..6).map(|_| device.hook(&protocol, &gateway, &approve))).await;
            assert_eq!(decisions.iter().filter(|reply| reply.status == 200).count(), 1, "decided once");
            let won = decisions.iter().find(|reply| reply.status == 200).unwrap();
            assert_eq!((won.json(), headers(won)), (json!({"status": "approved"}), unkept()));
            let tries = join_all((0..8).map(|_| device.poll(&protocol, &gateway, device_code))).await;
            let (won, lost): (Vec<_>, Vec<_>) = tries.iter().partition(|reply| reply.status == 200);
            assert_eq!((won.len(), lost.len()), (1, 7));
            lost.into_iter().for_each(|reply| assert_refused(reply, 400, "invalid_grant", "Invalid device_code"));
            let tokens = won[0].json();
            let expected = json!({
                "access_token": tokens["access_token"], "refresh_token": tokens["refresh_token"],
                "token_type": "bearer", "expires_in": 7200,
            });
            assert_eq!((&tokens, headers(won[0])), (&expected, unkept()));
            let seen = device.api.get(&gateway, text(&tokens, "access_token")).await.expect(200).json();
            assert_eq!(seen["headers"]["x-authenticated-scope"], json!(["email"]));
            assert_eq!(seen["headers"]["x-authenticated-userid"], json!(["kate"]));
        }
    }

    async fn a_device_that_hurries_is_slowed_down_and_hears_of_a_denial_rfc8628_3_5(gateway: Gateway) {
        let device = Device::start(&gateway, json!({"device_poll_interval": 60})).await;
        let [protocol, _] = clients(&gateway);
        let form = [("client_id", device.client.id())];
        let begun = post(&protocol, &gateway, "/api/oauth2/device_authorization", &form).await.expect(200).json();
        let device_code = text(&begun, "device_code");
        assert_refused(&device.poll(&protocol, &gateway, device_code).await, 400, "authorization_pending", PENDING);
        let slower = "The user has not decided yet; wait five seconds longer between two requests";
        assert_refused(&device.poll(&protocol, &gateway, device_code).await, 400, "slow_down", slower);
        let deny = [("user_code", text(&begun, "user_code")), ("action", "deny")];
        assert_eq!(device.hook(&protocol, &gateway, &deny).await.json(), json!({"status": "denied"}));
        for _ in 0..2 {
            let reply = device.poll(&protocol, &gateway, device_code).await;
            assert_refused(&reply, 400, "access_denied", "The user has denied the request");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_redeem_one_device_code_once() {
    let first = Gateway::on_postgres().await;
    let device = Device::start(&first, json!({})).await;
    let (second, third) = tokio::join!(first.another_node(), first.another_node());
    let nodes = [&first, &second, &third];
    for node in nodes {
        let known = async || device.api.get(node, "none").await.status == 401;
        crate::nodes::within(std::time::Duration::from_secs(10), "the API", known).await;
    }
    let protocol = |node: &Gateway| (node.client.clone(), Version::HTTP_2);
    for _ in 0..3 {
        let begun = device.begin(&protocol(&first), &first).await;
        let approve = [("user_code", text(&begun, "user_code")), ("action", "approve")];
        device.hook(&protocol(&second), &second, &approve).await.expect(200);
        let device_code = text(&begun, "device_code");
        let tries = nodes
            .iter()
            .flat_map(|node| [*node; 4])
            .map(async |node: &Gateway| device.poll(&protocol(node), node, device_code).await);
        let replies = join_all(tries).await;
        assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
        let lost = replies.iter().filter(|reply| reply.status != 200);
        lost.for_each(|reply| assert_refused(reply, 400, "invalid_grant", "Invalid device_code"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_users_needs_the_provision_key_and_each_user_has_a_limit_rfc8628_5_1() {
    let store = tollgate_tests::gateway::Store::Sqlite;
    let limits = [("TOLLGATE_LIMITS_FAILURES_PER_CLIENT_AND_ADDRESS", "5")];
    let gateway = Gateway::on(store, &limits).await;
    let device = Device::start(&gateway, json!({})).await;
    for protocol in clients(&gateway) {
        let begun = device.begin(&protocol, &gateway).await;
        let user_code = text(&begun, "user_code");
        let path = "/api/oauth2/device";
        let nobody = [("user_code", user_code), ("authenticated_userid", "kate")];
        assert_refused(
            &post(&protocol, &gateway, path, &nobody).await,
            400,
            "invalid_provision_key",
            "Invalid provision_key",
        );
        let no_user = [("user_code", user_code), ("provision_key", device.api.provision_key())];
        let missing = "Missing authenticated_userid parameter";
        assert_refused(&post(&protocol, &gateway, path, &no_user).await, 400, "invalid_authenticated_userid", missing);
        let action = [("user_code", user_code), ("action", "<b>")];
        let reply = device.hook(&protocol, &gateway, &action).await;
        assert_refused(&reply, 400, "invalid_request", "action must be approve or deny");
        // No page of a browser calls it.
        let form = [("user_code", user_code)];
        let request = protocol.0.post(gateway.url(path)).header("origin", "https://spa.test").form(&form);
        assert_eq!(allowed_origin(request.send().await.unwrap().headers()), None);
        let user = format!("mallory over {:?}", protocol.1);
        let of_user = |code| {
            [
                ("user_code", code),
                ("provision_key", device.api.provision_key()),
                ("authenticated_userid", user.as_str()),
            ]
        };
        for _ in 0..5 {
            let reply = post(&protocol, &gateway, path, &of_user("BBBB-BBBB")).await;
            assert_refused(&reply, 400, "invalid_user_code", "user_code is unknown, expired, or decided already");
        }
        let reply = post(&protocol, &gateway, path, &of_user(user_code)).await;
        assert_eq!((reply.status, reply.header("retry-after").is_some()), (429, true), "the right one as well");
        device.hook(&protocol, &gateway, &[("user_code", user_code)]).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_grant_needs_a_page_and_no_other_grant() {
    let gateway = Gateway::on_sqlite().await;
    let create = async |config: Value| {
        gateway.admin(Method::POST, "/plugins", json!({"name": "oauth2", "config": config})).await
    };
    let reply = create(json!({"endpoints": ["device"]})).await.expect(400);
    assert_eq!(reply.json()["fields"]["config"], json!("device in endpoints needs device_verification_uri"));
    let reply = create(json!({"endpoints": ["device"], "device_verification_uri": "login.test"})).await.expect(400);
    let expected = "expected an http or https URL without fragment, not 'login.test'";
    assert_eq!(reply.json()["fields"]["config"]["device_verification_uri"], json!(expected));
    create(json!({"endpoints": ["device"], "device_verification_uri": PAGE})).await.expect(201);
}
