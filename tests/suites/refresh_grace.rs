//! `refresh_grace`: a repeated refresh gets the same tokens, of which the database knows nothing.

use futures::future::join_all;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Gateway, Upstream};

const CLIENTS: usize = 12;

fn pair(document: &Value) -> [String; 2] {
    ["access_token", "refresh_token"].map(|name| document[name].as_str().expect("a token").to_owned())
}

async fn api(gateway: &Gateway, config: Value) -> (Upstream, Api, Application) {
    let upstream = Upstream::start().await;
    let api = Api::protected(gateway, "api", &upstream, config).await;
    let client = Application::register(gateway, "client", json!({})).await;
    (upstream, api, client)
}

on_both_stores! {
    async fn concurrent_refreshes_get_one_pair_which_is_not_in_the_database(gateway: Gateway) {
        for reuse in [false, true] {
            let name = format!("api{reuse}");
            let upstream = Upstream::start().await;
            let config = json!({"refresh_grace": 30, "reuse_refresh_token": reuse});
            let api = Api::protected(&gateway, &name, &upstream, config).await;
            let client = Application::register(&gateway, &name, json!({})).await;
            let old = api.tokens(&gateway, &client).await;
            let refresh_token = old["refresh_token"].as_str().unwrap();
            let replies = join_all((0..CLIENTS).map(|_| api.refresh(&gateway, &client, refresh_token))).await;
            let pairs: Vec<_> = replies.into_iter().map(|reply| pair(&reply.expect(200).json())).collect();
            pairs.iter().for_each(|other| assert_eq!(other, &pairs[0]));
            api.get(&gateway, old["access_token"].as_str().unwrap()).await.expect(401);
            api.get(&gateway, &pairs[0][0]).await.expect(200);
            let at_rest = gateway.at_rest();
            for token in pairs[0].iter().chain([&refresh_token.to_owned()]) {
                assert!(!at_rest.contains(token.as_str()), "the database has a clear token");
            }
        }
    }

    async fn a_revoked_pair_is_not_given_out_again(gateway: Gateway) {
        let (_upstream, api, client) = api(&gateway, json!({"refresh_grace": 30})).await;
        let old = api.tokens(&gateway, &client).await;
        let refresh_token = old["refresh_token"].as_str().unwrap();
        let [access_token, _] = pair(&api.refresh(&gateway, &client, refresh_token).await.expect(200).json());
        api.refresh(&gateway, &client, refresh_token).await.expect(200);
        let stranger = Application::register(&gateway, "stranger", json!({})).await;
        let refused = api.refresh(&gateway, &stranger, refresh_token).await.expect(400).json();
        assert_eq!(refused["error"], "invalid_client");
        gateway.delete(&format!("/oauth2_tokens/{access_token}")).await;
        let refused = api.refresh(&gateway, &client, refresh_token).await.expect(400).json();
        assert_eq!(refused, json!({"error": "invalid_request", "error_description": "Invalid refresh_token"}));
    }

    async fn by_default_a_refresh_token_is_used_once(gateway: Gateway) {
        let (_upstream, api, client) = api(&gateway, json!({})).await;
        assert_eq!(api.plugin["config"]["refresh_grace"], 0);
        let old = api.tokens(&gateway, &client).await;
        let refresh_token = old["refresh_token"].as_str().unwrap();
        api.refresh(&gateway, &client, refresh_token).await.expect(200);
        let refused = api.refresh(&gateway, &client, refresh_token).await.expect(400).json();
        assert_eq!(refused, json!({"error": "invalid_request", "error_description": "Invalid refresh_token"}));
    }
}
