//! Operations under concurrency: of one-time operations exactly one request succeeds.

use futures::future::join_all;
use serde_json::json;
use tollgate_tests::Upstream;
use tollgate_tests::scenario::{Api, Application};

const CLIENTS: usize = 20;

on_both_stores! {
    async fn one_of_many_requests_redeems_a_code(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        for _ in 0..5 {
            let code = api.code(&gateway, &client).await;
            let replies = join_all((0..CLIENTS).map(|_| api.redeem(&gateway, &client, &code))).await;
            let won = replies.iter().filter(|reply| reply.status == 200).count();
            let lost = replies.iter().filter(|reply| reply.status == 400).count();
            assert_eq!((won, lost), (1, CLIENTS - 1));
        }
        let tokens = gateway.admin_get("/oauth2_tokens").await.json();
        assert_eq!(tokens["data"].as_array().unwrap().len(), 5);
    }

    async fn one_of_many_requests_rotates_a_refresh_token(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        for _ in 0..5 {
            let tokens = api.tokens(&gateway, &client).await;
            let refresh = tokens["refresh_token"].as_str().unwrap();
            let replies = join_all((0..CLIENTS).map(|_| api.refresh(&gateway, &client, refresh))).await;
            let won: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
            let lost = replies.iter().filter(|reply| reply.status == 400).count();
            assert_eq!((won.len(), lost), (1, CLIENTS - 1));
            api.get(&gateway, tokens["access_token"].as_str().unwrap()).await.expect(401);
            api.get(&gateway, won[0].json()["access_token"].as_str().unwrap()).await.expect(200);
        }
    }

    async fn each_of_many_requests_renews_the_access_token_of_a_refresh_token_that_stays(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({"reuse_refresh_token": true})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        for _ in 0..5 {
            let tokens = api.tokens(&gateway, &client).await;
            let refresh = tokens["refresh_token"].as_str().unwrap();
            let replies = join_all((0..CLIENTS).map(|_| api.refresh(&gateway, &client, refresh))).await;
            api.get(&gateway, tokens["access_token"].as_str().unwrap()).await.expect(401);
            let mut valid = 0;
            for reply in replies {
                let renewed = reply.expect(200).json();
                assert_eq!(renewed["refresh_token"], tokens["refresh_token"]);
                let status = api.get(&gateway, renewed["access_token"].as_str().unwrap()).await.status;
                assert!([200, 401].contains(&status), "{status}");
                valid += usize::from(status == 200);
            }
            // That of the last refresh.
            assert_eq!(valid, 1);
        }
    }

    async fn one_of_many_requests_creates_a_unique_name(gateway: Gateway) {
        let consumer = || gateway.admin(http::Method::POST, "/consumers", json!({"username": "bob"}));
        let replies = join_all((0..CLIENTS).map(|_| consumer())).await;
        let count = |status: u16| replies.iter().filter(|reply| reply.status == status).count();
        assert_eq!((count(201), count(409)), (1, CLIENTS - 1));
    }
}
