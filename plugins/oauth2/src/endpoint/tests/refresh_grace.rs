//! A repeated refresh within `refresh_grace` gets the same tokens; with 0, the default, it is refused.

use super::*;

const REFUSED: (u16, &str, &str) = (400, "invalid_request", "Invalid refresh_token");

fn refresh(client_id: &str, secret: &str, refresh_token: &str) -> Value {
    json!({"grant_type": "refresh_token", "client_id": client_id, "client_secret": secret,
        "refresh_token": refresh_token})
}

fn shoe(refresh_token: &str) -> Value {
    refresh("shoe", "fly", refresh_token)
}

impl World {
    /// The refresh token of a new pair.
    async fn refresh_token(&self, config: &Config) -> String {
        let code = self.code(config, json!({"scope": "email"})).await;
        let members = json!({"grant_type": "authorization_code", "client_id": "shoe", "client_secret": "fly",
            "code": code});
        self.token(config, members).await.text("refresh_token")
    }
}

fn grace(more: Value) -> Config {
    let mut fields = json!({"scopes": ["email"], "refresh_grace": 10, "token_expiration": 60});
    merge(&mut fields, more);
    config(&fields)
}

#[tokio::test]
async fn a_repeated_refresh_gets_the_same_tokens_until_the_grace_is_over() {
    for more in [json!({}), json!({"reuse_refresh_token": true})] {
        let (world, config) = (World::new(), grace(more));
        let old = world.refresh_token(&config).await;
        world.clock.advance(1);
        let first = world.token(&config, shoe(&old)).await;
        assert_eq!((first.status, &first.body["expires_in"]), (200, &json!(60)));
        world.clock.advance(10);
        let mut repeated = shoe(&old);
        repeated["state"] = json!("s");
        let again = world.token(&config, repeated).await;
        let mut expected = first.body.clone();
        merge(&mut expected, json!({"expires_in": 50, "state": "s"}));
        assert_eq!((again.status, &again.body), (200, &expected));
        assert_eq!(world.ledger.tokens.lock().unwrap().len(), 1);
        world.clock.advance(1);
        let late = world.token(&config, shoe(&old)).await;
        if config.reuse_refresh_token {
            // It is still valid, and refreshes again.
            assert_eq!(late.status, 200);
            assert_ne!(late.body["access_token"], first.body["access_token"]);
        } else {
            assert_eq!(late.error(), REFUSED);
        }
    }
}

#[tokio::test]
async fn without_grace_a_repeated_refresh_is_refused_and_nothing_is_stored() {
    let (world, without) = (World::new(), grace(json!({"refresh_grace": 0})));
    let old = world.refresh_token(&without).await;
    assert_eq!(world.token(&without, shoe(&old)).await.status, 200);
    assert_eq!(world.token(&without, shoe(&old)).await.error(), REFUSED);
    assert!(world.ledger.refreshes.lock().unwrap().is_empty());
    // A grace that is switched off, or shortened, is over for refreshes of before.
    let (world, with) = (World::new(), grace(json!({})));
    let old = world.refresh_token(&with).await;
    assert_eq!(world.token(&with, shoe(&old)).await.status, 200);
    assert_eq!(world.token(&without, shoe(&old)).await.error(), REFUSED);
    world.clock.advance(5);
    assert_eq!(world.token(&grace(json!({"refresh_grace": 4})), shoe(&old)).await.error(), REFUSED);
    assert_eq!(world.token(&with, shoe(&old)).await.status, 200);
}

#[tokio::test]
async fn a_repeated_refresh_passes_the_checks_of_a_refresh() {
    let (world, config) = (World::new(), grace(json!({})));
    let old = world.refresh_token(&config).await;
    assert_eq!(world.token(&config, shoe(&old)).await.status, 200);
    let stranger = world.token(&config, refresh("other", "other", &old)).await;
    assert_eq!(stranger.error(), (400, "invalid_client", "Invalid client authentication"));
    let mut elsewhere = Post::json("/oauth2/token", &shoe(&old));
    elsewhere.target.service_id = Some(Uuid::from_u128(2));
    assert_eq!(world.send(&config, &elsewhere).await.error(), REFUSED);
    let other_scope = grace(json!({"scopes": ["profile"]}));
    assert_eq!(world.token(&other_scope, shoe(&old)).await.error(), (400, "invalid_scope", "Scope mismatch"));
    assert_eq!(world.token(&config, shoe(&old)).await.status, 200);
}

#[tokio::test]
async fn a_refresh_is_not_repeated_once_its_tokens_are_revoked_changed_expired_or_refreshed() {
    type Ended = fn(&mut Vec<crate::store::Token>);
    let ends: [Ended; 4] = [
        Vec::clear,
        |rows| rows[0].access_token = Digest::of("chosen by an operator"),
        |rows| rows[0].refresh_token = Some(Digest::of("chosen by an operator")),
        |rows| rows[0].expires_in = 5,
    ];
    for end in ends {
        let (world, config) = (World::new(), grace(json!({})));
        let old = world.refresh_token(&config).await;
        assert_eq!(world.token(&config, shoe(&old)).await.status, 200);
        world.clock.advance(5);
        assert_eq!(world.token(&config, shoe(&old)).await.status, 200);
        end(&mut world.ledger.tokens.lock().unwrap());
        assert_eq!(world.token(&config, shoe(&old)).await.error(), REFUSED);
    }
    let (world, config) = (World::new(), grace(json!({})));
    let old = world.refresh_token(&config).await;
    let pair = world.token(&config, shoe(&old)).await;
    let next = world.token(&config, shoe(&pair.text("refresh_token"))).await;
    assert_eq!(world.token(&config, shoe(&old)).await.error(), REFUSED);
    let again = world.token(&config, shoe(&pair.text("refresh_token"))).await;
    assert_eq!((again.status, &again.body), (200, &next.body));
}
