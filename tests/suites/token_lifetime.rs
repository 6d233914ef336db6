//! Lifetime of tokens (oauth2.md §3.9, §4.2): refresh, revocation, expiry, and storage.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::Upstream;
use tollgate_tests::scenario::{Api, Application};

fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document[field].as_str().unwrap_or_else(|| panic!("no {field} in {document}"))
}

on_both_stores! {
    async fn a_refresh_invalidates_both_old_tokens(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let old = api.tokens(&gateway, &client).await;
        api.get(&gateway, text(&old, "access_token")).await.expect(200);
        let new = api.refresh(&gateway, &client, text(&old, "refresh_token")).await.expect(200).json();
        let fields: Vec<_> = new.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["access_token", "expires_in", "refresh_token", "token_type"]);
        assert_ne!(old["access_token"], new["access_token"]);
        assert_ne!(old["refresh_token"], new["refresh_token"]);
        api.get(&gateway, text(&old, "access_token")).await.expect(401);
        api.refresh(&gateway, &client, text(&old, "refresh_token")).await.expect(400);
        api.get(&gateway, text(&new, "access_token")).await.expect(200);
    }

    async fn a_reused_refresh_token_stays_valid_and_its_old_access_token_does_not(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({"reuse_refresh_token": true})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let old = api.tokens(&gateway, &client).await;
        api.get(&gateway, text(&old, "access_token")).await.expect(200);
        let mut last = old.clone();
        for _ in 0..2 {
            let new = api.refresh(&gateway, &client, text(&old, "refresh_token")).await.expect(200).json();
            assert_eq!(old["refresh_token"], new["refresh_token"]);
            api.get(&gateway, text(&last, "access_token")).await.expect(401);
            api.get(&gateway, text(&new, "access_token")).await.expect(200);
            last = new;
        }
        let tokens = gateway.admin_get("/oauth2_tokens").await.expect(200).json();
        assert_eq!(tokens["data"].as_array().unwrap().len(), 1);
    }

    async fn a_code_is_redeemed_once(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let code = api.code(&gateway, &client).await;
        api.redeem(&gateway, &client, &code).await.expect(200);
        let again = api.redeem(&gateway, &client, &code).await.expect(400).json();
        assert_eq!(again, json!({"error": "invalid_request", "error_description": "Invalid code"}));
    }

    async fn a_token_is_refused_at_once_without_its_credential_consumer_or_plugin(gateway: Gateway) {
        let upstream = Upstream::start().await;
        for what in ["token", "token by value", "credential", "consumer", "plugin disabled"] {
            let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
            let client = Application::register(&gateway, "client", json!({})).await;
            let token = api.tokens(&gateway, &client).await;
            let token = text(&token, "access_token");
            // Twice: the second time from the cache.
            api.get(&gateway, token).await.expect(200);
            api.get(&gateway, token).await.expect(200);
            let credential = text(&client.credential, "id");
            let id = gateway.admin_get(&format!("/oauth2/{credential}/oauth2_tokens")).await.json();
            let id = id["data"][0]["id"].as_str().expect("a token in the list").to_owned();
            let expected = match what {
                "token" => { gateway.delete(&format!("/oauth2_tokens/{id}")).await; 401 }
                "token by value" => { gateway.delete(&format!("/oauth2_tokens/{token}")).await; 401 }
                "credential" => { gateway.delete(&format!("/oauth2/{credential}")).await; 401 }
                "consumer" => { gateway.delete("/consumers/client").await; 401 }
                _ => {
                    let plugin = text(&api.plugin, "id");
                    gateway.change(&format!("/plugins/{plugin}"), json!({"enabled": false})).await;
                    200
                }
            };
            let reply = api.get(&gateway, token).await;
            assert_eq!(reply.status, expected, "after {what}: {}", reply.body);
            gateway.delete("/consumers/client").await;
            gateway.delete("/routes/api").await;
            gateway.delete("/services/api").await;
        }
    }

    async fn changes_of_credential_and_consumer_are_in_force_at_once(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let token = api.tokens(&gateway, &client).await;
        let token = text(&token, "access_token");
        api.get(&gateway, token).await.expect(200);
        gateway.change(&format!("/oauth2/{}", text(&client.credential, "id")), json!({"client_id": "renamed"})).await;
        gateway.change("/consumers/client", json!({"custom_id": "another"})).await;
        let seen = api.get(&gateway, token).await.expect(200).json()["headers"].clone();
        assert_eq!(seen["x-credential-identifier"], json!(["renamed"]));
        assert_eq!(seen["x-consumer-custom-id"], json!(["another"]));
    }

    async fn no_clear_token_is_stored_or_listed(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let unused = api.code(&gateway, &client).await;
        let tokens = api.tokens(&gateway, &client).await;
        let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
        let at_rest = gateway.at_rest();
        for (what, value) in [("code", unused.as_str()), ("access token", access), ("refresh token", refresh)] {
            assert!(!at_rest.contains(value), "the {what} is stored in clear text");
        }
        let row = gateway.admin_get("/oauth2_tokens").await.expect(200).json()["data"][0].clone();
        assert_eq!((&row["access_token"], &row["refresh_token"]), (&Value::Null, &Value::Null));
        assert_eq!(text(&row, "token_hint"), &access[28..]);
        let by_value = gateway.admin_get(&format!("/oauth2_tokens/{access}")).await.expect(200).json();
        assert_eq!(text(&by_value, "access_token"), access);
        assert_eq!(by_value["id"], row["id"]);
    }

    async fn an_imported_token_is_shown_once_and_works(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let token = "an-imported-token-of-another-gateway";
        api.get(&gateway, token).await.expect(401);
        let document = json!({
            "credential": {"id": client.credential["id"]}, "service": {"id": api.service["id"]},
            "expires_in": 60, "access_token": token, "authenticated_userid": "kate", "scope": "email",
        });
        let created = gateway.create("/oauth2_tokens", document).await;
        assert_eq!(text(&created, "access_token"), token);
        let seen = api.get(&gateway, token).await.expect(200).json()["headers"].clone();
        assert_eq!(seen["x-authenticated-userid"], json!(["kate"]));
    }

    async fn a_token_expires_by_its_stored_times(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let issued = api.tokens(&gateway, &client).await;
        let token = text(&issued, "access_token");
        api.get(&gateway, token).await.expect(200);
        // Back-dated instead of waiting.
        let row = gateway.admin_get(&format!("/oauth2_tokens/{token}")).await.json();
        let past = row["created_at"].as_i64().unwrap() - 10_000;
        gateway.change(&format!("/oauth2_tokens/{}", text(&row, "id")), json!({"created_at": past})).await;
        let refused = api.get(&gateway, token).await.expect(401);
        assert_eq!(refused.json(), json!({"error": "invalid_token", "error_description": "The access token is invalid or has expired"}));
        api.refresh(&gateway, &client, text(&issued, "refresh_token")).await.expect(200);
    }

    async fn without_expiration_there_is_no_refresh_token(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({"token_expiration": 0})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let mut issued = api.tokens(&gateway, &client).await;
        let token = text(&issued, "access_token").to_owned();
        issued.as_object_mut().unwrap().remove("access_token");
        assert_eq!(issued, json!({"token_type": "bearer"}));
        api.get(&gateway, &token).await.expect(200);
    }

    async fn a_forged_token_is_not_looked_up(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let issued = api.tokens(&gateway, &client).await;
        let token = text(&issued, "access_token");
        let mut forged: Vec<u8> = token.bytes().collect();
        forged[0] = if forged[0] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        const LOOKUPS: &str = "tollgate_token_lookups_total";
        let counts = async || {
            let mut counts = Vec::new();
            for result in ["forged", "hit", "miss", "negative", "coalesced"] {
                counts.push(gateway.metric(LOOKUPS, &[&format!("result=\"{result}\"")]).await);
            }
            counts
        };
        let before = counts().await;
        for _ in 0..5 {
            let reply = api.get(&gateway, &forged).await.expect(401);
            assert_eq!(reply.json()["error"], json!("invalid_token"));
        }
        let after = counts().await;
        let difference: Vec<_> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
        assert_eq!(difference, [5.0, 0.0, 0.0, 0.0, 0.0], "forged, hit, miss, negative, coalesced");
    }

    async fn state_survives_in_the_store_and_a_global_token_stays_global(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let global = Api::protected(&gateway, "global", &upstream, json!({"global_credentials": true})).await;
        let second = Api::protected(&gateway, "second", &upstream, json!({"global_credentials": true})).await;
        let local = Api::protected(&gateway, "local", &upstream, json!({"anonymous": null})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let issued = global.tokens(&gateway, &client).await;
        let token = text(&issued, "access_token");
        global.get(&gateway, token).await.expect(200);
        second.get(&gateway, token).await.expect(200);
        let refused = local.get(&gateway, token).await.expect(401);
        let description = "The access token is global, but the current plugin is configured without 'global_credentials'";
        assert_eq!(refused.json(), json!({"error": "invalid_token", "error_description": description}));
        let own = local.tokens(&gateway, &client).await;
        global.get(&gateway, text(&own, "access_token")).await.expect(401);
        gateway.admin(Method::GET, "/oauth2_tokens", Value::Null).await.expect(200);
    }
}
