//! Settles a ledger: everything that responses promised is checked.

use std::sync::Arc;

use super::client::{Endpoint, Pair, Token};
use super::ledger::Ledger;
use crate::reply::Reply;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    pub(super) issued: usize,
    pub(super) refreshed: usize,
    pub(super) redeemed: usize,
    pub(super) untold: usize,
    pub(super) not_carried_out: usize,
    pub(super) checked: usize,
    pub(super) violations: Vec<String>,
    /// Tokens that are valid after all.
    pub(super) valid: Vec<Token>,
}

/// How two simultaneous requests with the same one-time token or code ended.
enum Twice {
    /// One succeeded.
    Once(serde_json::Value),
    /// Both were refused.
    Never,
    /// Anything else.
    Wrong(String),
}

/// Checks everything of a ledger, which uses up its refresh tokens and codes.
pub(super) async fn settle(endpoint: Arc<Endpoint>, ledger: Ledger) -> Settlement {
    let mut settlement = Settlement {
        issued: ledger.issued,
        refreshed: ledger.replaced.len(),
        redeemed: ledger.redeemed.len(),
        untold: ledger.untold_pairs.len() + ledger.untold_codes.len(),
        violations: ledger.violations,
        ..Settlement::default()
    };
    for token in ledger.tokens.iter().chain(ledger.pairs.iter().map(|pair| &pair.token)) {
        settlement.check(accepted(&endpoint, token).await);
    }
    settlement.valid.extend(ledger.tokens);
    for pair in ledger.pairs {
        settlement.held_pair(&endpoint, pair).await;
    }
    for pair in &ledger.replaced {
        settlement.check(refused("a refreshed token", endpoint.get(&pair.token.access_token).await, 401));
        settlement.check(refused("a used refresh token", endpoint.refresh(&pair.refresh_token).await, 400));
    }
    for code in &ledger.redeemed {
        settlement.check(refused("a redeemed code", endpoint.redeem(code).await, 400));
    }
    for pair in ledger.untold_pairs {
        settlement.untold_pair(&endpoint, pair).await;
    }
    for code in &ledger.untold_codes {
        let replies = tokio::join!(endpoint.redeem(code), endpoint.redeem(code));
        settlement.untold("a code", &twice(replies));
    }
    settlement
}

impl Settlement {
    fn check(&mut self, violation: Option<String>) {
        self.checked += 1;
        self.violations.extend(violation);
    }

    async fn held_pair(&mut self, endpoint: &Endpoint, pair: Pair) {
        let replies = tokio::join!(endpoint.refresh(&pair.refresh_token), endpoint.refresh(&pair.refresh_token));
        let twice = twice(replies);
        let violation = match &twice {
            Twice::Once(_) => None,
            Twice::Never => Some("a refresh token that the client holds was refused".to_owned()),
            Twice::Wrong(found) => Some(format!("a refresh token that the client holds, used twice, got {found}")),
        };
        self.check(violation);
        self.replaced_by(endpoint, pair, twice).await;
    }

    /// The refresh may have been carried out, but at most once in all.
    async fn untold_pair(&mut self, endpoint: &Endpoint, pair: Pair) {
        let replies = tokio::join!(endpoint.refresh(&pair.refresh_token), endpoint.refresh(&pair.refresh_token));
        let twice = twice(replies);
        self.untold("a refresh token", &twice);
        self.replaced_by(endpoint, pair, twice).await;
    }

    fn untold(&mut self, what: &str, twice: &Twice) {
        self.not_carried_out += usize::from(matches!(twice, Twice::Once(_)));
        self.check(match twice {
            Twice::Once(_) | Twice::Never => None,
            Twice::Wrong(found) => Some(format!("{what} whose use had no outcome got {found}")),
        });
    }

    /// Either way the old token is refused: its pair was replaced now, or before.
    async fn replaced_by(&mut self, endpoint: &Endpoint, pair: Pair, twice: Twice) {
        self.check(refused("a refreshed token", endpoint.get(&pair.token.access_token).await, 401));
        let user = pair.token.user.unwrap_or_default();
        if let Twice::Once(response) = twice
            && let Some(pair) = Pair::of(&response, &user)
        {
            self.check(accepted(endpoint, &pair.token).await);
            self.valid.push(pair.token);
        }
    }
}

/// Why a token that a client holds is not accepted as its user's.
pub(super) async fn accepted(endpoint: &Endpoint, token: &Token) -> Option<String> {
    let Some(reply) = endpoint.get(&token.access_token).await else {
        return Some("a request with a token that the client holds had no response".to_owned());
    };
    if reply.status != 200 {
        return Some(format!("a token that the client holds got {} {}", reply.status, reply.body));
    }
    let echoed = reply.json();
    let user = echoed["headers"]["x-authenticated-userid"][0].as_str().map(str::to_owned);
    (user != token.user).then(|| format!("a token of {:?} was accepted as one of {user:?}", token.user))
}

fn refused(what: &str, reply: Option<Reply>, status: u16) -> Option<String> {
    let found = reply.map(|reply| reply.status);
    (found != Some(status)).then(|| format!("{what} got {found:?} instead of {status}"))
}

fn twice((one, other): (Option<Reply>, Option<Reply>)) -> Twice {
    let (Some(one), Some(other)) = (one, other) else { return Twice::Wrong("no response".to_owned()) };
    match (one.status, other.status) {
        (200, 400) => Twice::Once(one.json()),
        (400, 200) => Twice::Once(other.json()),
        (400, 400) => Twice::Never,
        (one, other) => Twice::Wrong(format!("{one} and {other}")),
    }
}
