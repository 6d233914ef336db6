//! Churn of tokens: issued, by password grant and by code, and in the end refreshed, revoked or left to expire.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;
use tokio::task::spawn_local;
use tollgate_load::connection::Response;

use crate::load::{Link, Shared, admin, admins, form, get, proxies};
use crate::token::Token;

/// The pause between two tokens.
const PAUSE: Duration = Duration::from_millis(40);

/// How long a revoked token may be accepted by the other node.
const BOUND: Duration = Duration::from_secs(1);

pub(crate) async fn run(shared: Rc<Shared>) {
    let (mut proxies, mut admins) = (proxies(&shared), admins(&shared));
    for turn in 0_usize.. {
        if shared.has_ended() {
            return;
        }
        let number = usize::from(turn % 4 == 3);
        let (Some(proxy), Some(admin)) = (proxies.get_mut(number), admins.get_mut(number)) else { return };
        let mut issuer = Issuer { shared: &shared, proxy };
        let user = format!("user-{turn}");
        let token = if turn % 2 == 0 { issuer.by_password(&user).await } else { issuer.by_code(&user).await };
        if let Some(oldest) = token.and_then(|token| shared.tokens.add(token)) {
            match turn % 3 {
                0 => revoke(&shared, number, admin, oldest).await,
                1 => {
                    if let Some(token) = issuer.refresh(&oldest).await {
                        shared.tokens.add(token);
                    }
                }
                // It expires.
                _ => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Issuer<'s> {
    shared: &'s Rc<Shared>,
    proxy: &'s mut Link,
}

impl Issuer<'_> {
    async fn by_password(&mut self, user: &str) -> Option<Token> {
        let shared = Rc::clone(self.shared);
        let form = [
            ("grant_type", "password"),
            ("provision_key", shared.provision_key.as_str()),
            ("authenticated_userid", user),
        ];
        let token = self.token(&form, user).await;
        shared.count(|load| load.issued += u64::from(token.is_some()));
        token
    }

    async fn by_code(&mut self, user: &str) -> Option<Token> {
        let shared = Rc::clone(self.shared);
        let fields = [
            ("response_type", "code"),
            ("provision_key", shared.provision_key.as_str()),
            ("authenticated_userid", user),
            ("client_id", shared.client_id.as_str()),
            ("scope", "email"),
        ];
        let response = self.send("an authorization", "/api/oauth2/authorize", &fields).await?;
        let redirect = response.get("redirect_uri").and_then(Value::as_str).unwrap_or_default();
        let code = redirect.split_once("code=").map(|(_, code)| code.split('&').next().unwrap_or_default())?;
        let token = self.token(&[("grant_type", "authorization_code"), ("code", code)], user).await;
        shared.count(|load| load.issued += u64::from(token.is_some()));
        token
    }

    async fn refresh(&mut self, token: &Token) -> Option<Token> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token.refresh_token.as_str())];
        let refreshed = self.token(&form, &token.user).await;
        self.shared.count(|load| load.refreshed += u64::from(refreshed.is_some()));
        refreshed
    }

    async fn token(&mut self, fields: &[(&str, &str)], user: &str) -> Option<Token> {
        let shared = Rc::clone(self.shared);
        let client = [
            ("client_id", shared.client_id.as_str()),
            ("client_secret", shared.client_secret.as_str()),
            ("scope", "email"),
        ];
        let response = self.send("a token request", "/api/oauth2/token", &[fields, &client].concat()).await?;
        let text = |name: &str| Some(response.get(name)?.as_str()?.to_owned());
        Some(Token {
            access_token: text("access_token")?,
            refresh_token: text("refresh_token")?,
            user: user.to_owned(),
            ending: Cell::new(false),
        })
    }

    async fn send(&mut self, what: &str, target: &str, fields: &[(&str, &str)]) -> Option<Value> {
        let response = self.proxy.send(self.shared, what, &form(target, fields)).await?;
        if response.status != 200 {
            self.shared.wrong(&format!("{what} got {}", response.status));
            return None;
        }
        serde_json::from_slice(&response.body).ok()
    }
}

/// Revokes a token, which the node refuses from then on, and the other one within a second.
async fn revoke(shared: &Rc<Shared>, number: usize, link: &mut Link, token: Rc<Token>) {
    let target = format!("/oauth2_tokens/{}", token.access_token);
    let sent = link.send(shared, "a revocation", &admin(Method::DELETE, &target, None)).await;
    let Some(Response { status, .. }) = sent else { return };
    if status != 204 {
        shared.wrong(&format!("a revocation got {status}"));
        return;
    }
    shared.count(|load| load.revoked += 1);
    for (place, bound) in [(number, Duration::ZERO), (1 - number, BOUND)] {
        spawn_local(refused(Rc::clone(shared), place, Rc::clone(&token), Instant::now() + bound));
    }
}

/// Checks that a node refuses a token from a time on.
async fn refused(shared: Rc<Shared>, number: usize, token: Rc<Token>, from: Instant) {
    tokio::time::sleep_until(from.into()).await;
    let Some(mut link) = proxies(&shared).into_iter().nth(number) else { return };
    if let Some(response) = link.send(&shared, "a revoked token", &get(&token.access_token)).await
        && response.status != 401
    {
        shared.wrong(&format!("a revoked token got {}", response.status));
    }
}
