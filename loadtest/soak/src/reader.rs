//! Requests with tokens: valid ones, whose identity is checked at the upstream, and unknown ones; on kept and on new
//! connections; some are given up.

use std::rc::Rc;
use std::time::Duration;

use rand::RngExt as _;
use rand::distr::{Alphanumeric, SampleString as _};
use tollgate_load::connection::Response;

use crate::load::{Link, Shared, get, proxies};
use crate::token::Token;

/// Readers at the same time.
pub(crate) const COUNT: usize = 8;

/// The pause between two requests of a reader.
const PAUSE: Duration = Duration::from_millis(30);

/// One in so many requests …
const NEW_CONNECTION: u32 = 20;
const UNKNOWN: u32 = 50;
const ABORTED: u32 = 1000;

/// How long an impatient client waits for its response.
const IMPATIENCE: Duration = Duration::from_micros(300);

pub(crate) async fn run(shared: Rc<Shared>) {
    let mut links = proxies(&shared);
    while !shared.has_ended() {
        let one_in = |count: u32| rand::rng().random_ratio(1, count);
        // Most to the measured node.
        let number = usize::from(one_in(4));
        let Some(link) = links.get_mut(number) else { return };
        if one_in(NEW_CONNECTION) {
            link.renew();
            shared.count(|load| load.connections += 1);
        }
        if one_in(UNKNOWN) {
            let made_up = Alphanumeric.sample_string(&mut rand::rng(), 32);
            if let Some(response) = link.send(&shared, "an unknown token", &get(&made_up)).await {
                shared.count(|load| load.unknown += 1);
                if response.status != 401 {
                    shared.wrong(&format!("an unknown token got {}", response.status));
                }
            }
        } else if let Some(token) = shared.tokens.any() {
            if one_in(ABORTED) {
                abort(&shared, link, &token).await;
            } else if let Some(response) = link.send(&shared, "a request with a token", &get(&token.access_token)).await
            {
                check(&shared, &token, &response);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Closes the connection in the middle of a request.
async fn abort(shared: &Shared, link: &mut Link, token: &Token) {
    let given_up = tokio::time::timeout(IMPATIENCE, link.connection().send(&get(&token.access_token))).await.is_err();
    shared.count(|load| load.aborted += u64::from(given_up));
}

fn check(shared: &Shared, token: &Token, response: &Response) {
    if token.ending.get() {
        return;
    }
    shared.count(|load| load.requests += 1);
    if response.status != 200 {
        shared.wrong(&format!("a valid token got {}: {}", response.status, String::from_utf8_lossy(&response.body)));
        return;
    }
    // The upstream responds with the head that it got.
    let head = String::from_utf8_lossy(&response.body);
    let user = head.lines().filter_map(|line| line.split_once(": "));
    let user = user.filter(|(name, _)| name.eq_ignore_ascii_case("x-authenticated-userid")).map(|(_, user)| user);
    if user.eq([token.user.as_str()]) {
        shared.count(|load| load.identities += 1);
    } else {
        shared.wrong(&format!("a token of {} was accepted as another user's", token.user));
    }
}
