//! What each request is, and what must come back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};
use rand::RngExt;
use rand::distr::Alphanumeric;
use rand::rngs::StdRng;
use rand_distr::Zipf;

use crate::connection::{Answer, Keep, Request};
use crate::mix::{Kind, Part, Pick};
use crate::scenario::Scenario;
use crate::state::{State, Token};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
/// Characters of a made-up token; as many as one of the gateway's.
const TOKEN_LENGTH: usize = 32;

/// Why a scenario cannot be run with what was provisioned.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// There are too few of something.
    #[error("`send: {kind}` needs {what}: provision with {option}")]
    Missing {
        /// The kind of request.
        kind: &'static str,
        /// What there is too little of.
        what: &'static str,
        /// The option that makes them.
        option: &'static str,
    },
    /// There are too few tokens to present each but once.
    #[error(
        "`pick: once` takes about {wanted} tokens at this rate and duration, and {found} are there for it: provision \
         with --tokens {enough}, or take a lower --rate or a shorter --duration"
    )]
    TooFew {
        /// How many are presented.
        wanted: usize,
        /// How many there are.
        found: usize,
        /// How many suffice for all parts of the scenario.
        enough: usize,
    },
    /// A token that no header can carry.
    #[error("a token in the state file has characters that no header can carry")]
    Token,
    /// Zipf's law does not know the exponent.
    #[error("`exponent: {0}` is none that Zipf's law knows: take one from 0 to 10")]
    Exponent(f64),
}

/// What all workers share: tokens as header values, and whose turn it is.
pub struct Supply {
    state: State,
    tokens: Vec<Bearer>,
    in_turn: AtomicUsize,
    /// Tokens for `pick: once`, which no other part presents.
    unseen: Vec<Bearer>,
    next_unseen: AtomicUsize,
    parts: Vec<Part>,
    identity_every: u64,
    /// Whether a 503 must say when to try again.
    retry_after: bool,
    refreshable: Mutex<Refreshable>,
}

/// Tokens that can be refreshed, with their places in the state.
#[derive(Default)]
struct Refreshable {
    /// Those that nobody is refreshing; the longest unused first.
    idle: VecDeque<(usize, Token)>,
    /// What took the place of those that were refreshed.
    refreshed: BTreeMap<usize, Token>,
}

/// A token that is presented.
struct Bearer {
    /// Its place in the state.
    place: usize,
    header: HeaderValue,
}

impl Supply {
    /// Prepares what was provisioned, and checks that it suffices. The last `reserved` tokens are
    /// left to be revoked, and those that can be refreshed to `refresh`, which ends them.
    pub fn new(scenario: &Scenario, state: State, reserved: usize) -> Result<Self, WorkloadError> {
        let bearers: Result<Vec<_>, _> = state
            .lasting()
            .map(|(place, token)| {
                let header = HeaderValue::try_from(format!("Bearer {}", token.access_token));
                header.map(|header| Bearer { place, header }).map_err(|_| WorkloadError::Token)
            })
            .collect();
        let mut tokens = bearers?;
        tokens.truncate(tokens.len().saturating_sub(reserved));
        for part in scenario.mix.iter().filter(|part| part.share > 0) {
            let missing = |what, option| WorkloadError::Missing { kind: part.send.name(), what, option };
            match part.send {
                Kind::Token if tokens.is_empty() => return Err(missing("tokens", "--tokens")),
                Kind::Issue if state.credentials.is_empty() => return Err(missing("credentials", "--credentials")),
                Kind::Refresh if state.refreshable().next().is_none() => {
                    return Err(missing("tokens that can be refreshed", "--refresh-tokens"));
                }
                _ => {}
            }
        }
        // `--tokens` counts those that can be refreshed as well.
        let kept = reserved + state.refreshable().count();
        let unseen = unseen(scenario, &mut tokens, kept)?;
        let idle = state.refreshable().map(|(place, token)| (place, token.clone())).collect();
        Ok(Self {
            tokens,
            in_turn: AtomicUsize::new(0),
            unseen,
            next_unseen: AtomicUsize::new(0),
            parts: scenario.mix.clone(),
            identity_every: scenario.identity_every,
            retry_after: scenario.retry_after,
            refreshable: Mutex::new(Refreshable { idle, refreshed: BTreeMap::new() }),
            state,
        })
    }

    /// What was provisioned.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What took the place of tokens that were refreshed, by their places in the state.
    pub fn refreshed(&self) -> BTreeMap<usize, Token> {
        self.refreshable().refreshed.clone()
    }

    fn refreshable(&self) -> MutexGuard<'_, Refreshable> {
        self.refreshable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same without checks of identity headers, for upstreams that do not echo them.
    pub fn without_identities(mut self) -> Self {
        self.identity_every = 0;
        self
    }
}

/// Takes from the end of the tokens those for parts with `pick: once`; `kept` others are for something else.
fn unseen(scenario: &Scenario, tokens: &mut Vec<Bearer>, kept: usize) -> Result<Vec<Bearer>, WorkloadError> {
    let is_once = |part: &&Part| part.send == Kind::Token && part.pick == Pick::Once;
    let shares = |parts: &mut dyn Iterator<Item = &Part>| parts.map(|part| f64::from(part.share)).sum::<f64>();
    let once = shares(&mut scenario.mix.iter().filter(is_once));
    if once == 0.0 {
        return Ok(Vec::new());
    }
    let mean = scenario.requests() * once / shares(&mut scenario.mix.iter());
    // Parts are drawn, so that it may be some more.
    let wanted = (mean + 4.0 * mean.sqrt()).ceil() as usize;
    let others = scenario.mix.iter().filter(|part| part.send == Kind::Token && !is_once(part));
    let others = others.map(|part| part.tokens.unwrap_or(1)).max().unwrap_or(0);
    let found = tokens.len().saturating_sub(others);
    if found < wanted {
        return Err(WorkloadError::TooFew { wanted, found, enough: wanted + others + kept });
    }
    Ok(tokens.split_off(tokens.len() - wanted))
}

/// One request that is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Shot {
    part: usize,
    /// The token's place in the state.
    token: Option<usize>,
    /// Whether identity headers are looked at.
    identity: bool,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What should have come.
    pub expected: String,
    /// What came.
    pub found: String,
}

/// What a check has looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The status.
    Status,
    /// The status, and who the gateway says the request was from.
    Identity,
}

/// The requests of one worker.
pub struct Workload {
    supply: Arc<Supply>,
    random: StdRng,
    prepared: Vec<Prepared>,
    /// Good tokens so far, from a number of this worker's own.
    good: u64,
    /// The token that is being refreshed. Without an answer nobody knows whether it was: then it is
    /// not used again.
    in_hand: Option<(usize, Token)>,
}

struct Prepared {
    request: Request,
    expected: Vec<u16>,
    zipf: Option<Zipf<f64>>,
}

impl Workload {
    /// The requests of the `worker`th of `workers`.
    pub fn new(supply: Arc<Supply>, worker: usize, workers: usize) -> Result<Self, WorkloadError> {
        let prepared: Result<Vec<_>, _> = supply.parts.iter().map(|part| prepare(&supply, part)).collect();
        let random = rand::make_rng();
        // Workers begin at different counts, so that together they check as often as is wanted.
        let good = supply.identity_every * worker as u64 / workers.max(1) as u64;
        Ok(Self { prepared: prepared?, supply, random, good, in_hand: None })
    }

    /// Chooses the next request. `None`: there is nothing that could be sent.
    pub fn choose(&mut self) -> Option<Shot> {
        let (mut part, mut kind) = self.draw(|_| true)?;
        self.in_hand = if kind == Kind::Refresh { self.supply.refreshable().idle.pop_front() } else { None };
        if kind == Kind::Refresh && self.in_hand.is_none() {
            // Others are refreshing all there are.
            (part, kind) = self.draw(|part| part.send != Kind::Refresh && part.pick != Pick::Once)?;
        }
        let mut shot = Shot { part, token: None, identity: false };
        match kind {
            Kind::Token => {
                if self.choose_token(&mut shot).is_none() {
                    // There were a few more of them than could be expected.
                    (shot.part, _) = self.draw(|part| part.send == Kind::Token && part.pick != Pick::Once)?;
                    self.choose_token(&mut shot)?;
                }
            }
            Kind::RandomToken => self.make_up_token(part)?,
            Kind::Issue => self.choose_client(part)?,
            Kind::Refresh => self.refresh_token_in_hand(part)?,
        }
        Some(shot)
    }

    /// A part by its share, among certain ones.
    fn draw(&mut self, is_among: impl Fn(&Part) -> bool) -> Option<(usize, Kind)> {
        let among = || self.supply.parts.iter().enumerate().filter(|(_, part)| is_among(part));
        let shares: u64 = among().map(|(_, part)| u64::from(part.share)).sum();
        let mut ticket = if shares == 0 { return None } else { self.random.random_range(0..shares) };
        for (place, part) in among() {
            match ticket.checked_sub(u64::from(part.share)) {
                Some(rest) => ticket = rest,
                None => return Some((place, part.send)),
            }
        }
        None
    }

    /// The request of a shot.
    pub fn request(&self, shot: Shot) -> Option<&Request> {
        self.prepared.get(shot.part).map(|prepared| &prepared.request)
    }

    /// What its part is called in results.
    pub fn label(&self, shot: Shot) -> &str {
        self.supply.parts.get(shot.part).map_or("", Part::label)
    }

    /// Takes in an answer: checks it, and keeps what later requests need.
    pub fn learn(&mut self, shot: Shot, answer: &Answer) -> Result<Checked, Wrong> {
        let expected = self.prepared.get(shot.part).map_or(&[][..], |prepared| &prepared.expected);
        if !expected.contains(&answer.status) {
            let statuses: Vec<String> = expected.iter().map(u16::to_string).collect();
            let expected = format!("{} for `{}`", statuses.join(" or "), self.label(shot));
            return Err(Wrong { expected, found: format!("status {}", answer.status) });
        }
        if self.supply.retry_after && answer.status == 503 && answer.header("retry-after").is_none() {
            let expected = format!("503 with Retry-After for `{}`", self.label(shot));
            return Err(Wrong { expected, found: "503 without it".to_owned() });
        }
        let is_refresh = self.supply.parts.get(shot.part).is_some_and(|part| part.send == Kind::Refresh);
        if is_refresh && answer.status == 200 {
            self.keep_refresh_token(answer)?;
        }
        if shot.identity && answer.status == 200 { self.check_identity(shot, answer) } else { Ok(Checked::Status) }
    }

    fn choose_token(&mut self, shot: &mut Shot) -> Option<()> {
        let part = self.supply.parts.get(shot.part)?;
        let tokens = part.tokens.unwrap_or(usize::MAX).min(self.supply.tokens.len());
        let prepared = self.prepared.get_mut(shot.part)?;
        let place = match part.pick {
            Pick::One => 0,
            Pick::Uniform => self.random.random_range(0..tokens),
            Pick::InTurn => self.supply.in_turn.fetch_add(1, Ordering::Relaxed) % tokens,
            Pick::Once => self.supply.next_unseen.fetch_add(1, Ordering::Relaxed),
            Pick::Zipf => {
                let rank: f64 = self.random.sample(prepared.zipf?);
                (rank as usize).saturating_sub(1).min(tokens - 1)
            }
        };
        self.good += 1;
        shot.identity = self.supply.identity_every > 0 && self.good.is_multiple_of(self.supply.identity_every);
        let bearers = if part.pick == Pick::Once { &self.supply.unseen } else { &self.supply.tokens };
        let bearer = bearers.get(place)?;
        shot.token = Some(bearer.place);
        prepared.request.keep = if shot.identity || self.supply.retry_after { Keep::Everything } else { Keep::Nothing };
        prepared.request.headers.clear();
        prepared.request.headers.push((AUTHORIZATION, bearer.header.clone()));
        Some(())
    }

    fn make_up_token(&mut self, part: usize) -> Option<()> {
        let made_up: String = (0..TOKEN_LENGTH).map(|_| char::from(self.random.sample(Alphanumeric))).collect();
        let headers = &mut self.prepared.get_mut(part)?.request.headers;
        headers.clear();
        headers.push((AUTHORIZATION, HeaderValue::try_from(format!("Bearer {made_up}")).ok()?));
        Some(())
    }

    fn choose_client(&mut self, part: usize) -> Option<()> {
        let place = self.random.random_range(0..self.supply.state.credentials.len());
        let client = self.supply.state.credentials.get(place)?;
        let body = form(&[
            ("grant_type", "client_credentials"),
            ("client_id", &client.client_id),
            ("client_secret", &client.client_secret),
        ]);
        self.prepared.get_mut(part)?.request.body = body;
        Some(())
    }

    fn refresh_token_in_hand(&mut self, part: usize) -> Option<()> {
        let (_, token) = self.in_hand.as_ref()?;
        let client = self.supply.state.credentials.get(token.credential)?;
        let body = form(&[
            ("grant_type", "refresh_token"),
            ("client_id", &client.client_id),
            ("client_secret", &client.client_secret),
            ("refresh_token", token.refresh_token.as_deref()?),
        ]);
        self.prepared.get_mut(part)?.request.body = body;
        Some(())
    }

    fn keep_refresh_token(&mut self, answer: &Answer) -> Result<(), Wrong> {
        let wrong = |found: &str| Wrong { expected: "a new refresh token".to_owned(), found: found.to_owned() };
        let body: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&answer.body).map_err(|_| wrong("a body that is no JSON object"))?;
        let text = |name: &str| body.get(name).and_then(|token| token.as_str()).map(str::to_owned);
        let (access, refresh) = text("access_token").zip(text("refresh_token")).ok_or_else(|| wrong("none"))?;
        if let Some((place, token)) = self.in_hand.take() {
            let token = Token { access_token: access, refresh_token: Some(refresh), ..token };
            let mut refreshable = self.supply.refreshable();
            refreshable.refreshed.insert(place, token.clone());
            refreshable.idle.push_back((place, token));
        }
        Ok(())
    }

    /// The upstream says in its answer who the gateway told it the request was from.
    fn check_identity(&self, shot: Shot, answer: &Answer) -> Result<Checked, Wrong> {
        let state = &self.supply.state;
        let token = shot.token.and_then(|place| state.tokens.get(place));
        let Some(holder) = token.and_then(|token| state.credentials.get(token.credential)) else {
            return Ok(Checked::Status);
        };
        let rows = [("x-consumer-id", &holder.consumer_id), ("x-credential-identifier", &holder.client_id)];
        for (name, expected) in rows {
            let found = answer.header(name);
            if found != Some(expected) {
                let found = found.unwrap_or("none");
                return Err(Wrong { expected: format!("{name}: {expected}"), found: format!("{name}: {found}") });
            }
        }
        Ok(Checked::Identity)
    }
}

fn prepare(supply: &Supply, part: &Part) -> Result<Prepared, WorkloadError> {
    let path = &supply.state.route_path;
    let get = || Request {
        method: Method::GET,
        target: format!("{path}/load"),
        headers: Vec::new(),
        body: Bytes::new(),
        keep: if supply.retry_after { Keep::Everything } else { Keep::Nothing },
    };
    let request = match part.send {
        Kind::Token | Kind::RandomToken => get(),
        Kind::Issue | Kind::Refresh => Request {
            method: Method::POST,
            target: format!("{path}/oauth2/token"),
            // The token endpoint wants TLS, or a trusted proxy's word for it.
            headers: vec![(CONTENT_TYPE, FORM), (X_FORWARDED_PROTO, HeaderValue::from_static("https"))],
            keep: if part.send == Kind::Refresh { Keep::Everything } else { get().keep },
            ..get()
        },
    };
    let tokens = part.tokens.unwrap_or(usize::MAX).min(supply.tokens.len());
    let zipf = match part.pick {
        Pick::Zipf if part.send == Kind::Token => {
            Some(Zipf::new(tokens as f64, part.exponent).map_err(|_| WorkloadError::Exponent(part.exponent))?)
        }
        _ => None,
    };
    Ok(Prepared { request, expected: part.expected(), zipf })
}

fn form(pairs: &[(&str, &str)]) -> Bytes {
    let mut text = form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(pairs);
    Bytes::from(text.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: &str = "name: x\nabout: y\nmix: [{send: refresh, share: 9}, {send: random_token}]\n";

    fn state() -> State {
        let token = |number: u32, refresh_token: Option<&str>| Token {
            access_token: format!("access-{number}"),
            refresh_token: refresh_token.map(str::to_owned),
            credential: 0,
        };
        let client = crate::state::Credential {
            consumer_id: "consumer".to_owned(),
            client_id: "client".to_owned(),
            client_secret: "secret".to_owned(),
        };
        State { tokens: vec![token(0, None), token(1, Some("first"))], credentials: vec![client], ..State::default() }
    }

    #[test]
    fn a_refresh_token_is_used_by_one_at_a_time_and_the_others_go_on() {
        let scenario = Scenario::parse("x", SCENARIO).unwrap();
        let supply = Arc::new(Supply::new(&scenario, state(), 0).unwrap());
        let is_refresh = |shot: &Shot| shot.part == 0;
        let mut one = Workload::new(Arc::clone(&supply), 0, 2).unwrap();
        let mut other = Workload::new(Arc::clone(&supply), 1, 2).unwrap();
        let shot = std::iter::from_fn(|| one.choose()).find(is_refresh);
        for _ in 0..100 {
            let shot = other.choose().unwrap();
            assert_eq!(other.label(shot), "random_token");
        }
        let body = Bytes::from_static(br#"{"access_token": "access-2", "refresh_token": "second"}"#);
        let answer = Answer { status: 200, body, ..Answer::default() };
        assert_eq!(one.learn(shot.unwrap(), &answer), Ok(Checked::Status));
        assert_eq!(supply.refreshed()[&1].access_token, "access-2");
        let shot = std::iter::from_fn(|| other.choose()).find(is_refresh);
        let sent = other.request(shot.unwrap()).unwrap().body.clone();
        assert!(std::str::from_utf8(&sent).unwrap().ends_with("refresh_token=second"));
    }

    #[test]
    fn tokens_for_once_are_presented_once_and_by_nobody_else() {
        let scenario = |rate: u32| {
            let text = format!(
                "name: x\nabout: y\nload: {{rate: {rate}}}\nwarm_up: 0s\nduration: 10s\nmix:\n  \
                 - {{send: token, name: seen, pick: in_turn, tokens: 2}}\n  - {{send: token, pick: once}}\n"
            );
            Scenario::parse("x", &text).unwrap()
        };
        let tokens = |count: u32| {
            let token = |number| Token { access_token: format!("{number}"), refresh_token: None, credential: 0 };
            State { tokens: (0..count).map(token).collect(), ..State::default() }
        };
        // Ten a second for ten seconds, half of them new: fifty, and some.
        let error = Supply::new(&scenario(10), tokens(60), 0).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("about 79 tokens") && error.contains("--tokens 81"), "{error}");
        let mut workload = Workload::new(Arc::new(Supply::new(&scenario(10), tokens(81), 0).unwrap()), 0, 1).unwrap();
        let (mut seen, mut once) = (std::collections::BTreeSet::new(), Vec::new());
        for _ in 0..1000 {
            let shot = workload.choose().unwrap();
            let token = shot.token.unwrap();
            if workload.label(shot) == "seen" {
                seen.insert(token);
            } else {
                once.push(token);
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(once, (2..81).collect::<Vec<_>>());
    }

    #[test]
    fn a_503_without_retry_after_is_wrong_where_it_is_wanted() {
        let text = "name: x\nabout: y\nretry_after: true\nmix: [{send: token, expect: [200, 503]}]\n";
        let supply = Supply::new(&Scenario::parse("x", text).unwrap(), state(), 0).unwrap();
        let mut workload = Workload::new(Arc::new(supply), 0, 1).unwrap();
        let shot = workload.choose().unwrap();
        assert_eq!(workload.request(shot).unwrap().keep, Keep::Everything);
        let mut answer = Answer { status: 503, ..Answer::default() };
        let wrong = workload.learn(shot, &answer).unwrap_err();
        assert_eq!(wrong.expected, "503 with Retry-After for `token`");
        answer.headers.push(("retry-after".to_owned(), "1".to_owned()));
        assert_eq!(workload.learn(shot, &answer), Ok(Checked::Status));
    }

    #[test]
    fn a_token_that_can_be_refreshed_is_not_presented() {
        let scenario = Scenario::parse("x", "name: x\nabout: y\nmix: [{send: token, pick: in_turn}]\n").unwrap();
        let mut workload = Workload::new(Arc::new(Supply::new(&scenario, state(), 0).unwrap()), 0, 1).unwrap();
        for _ in 0..4 {
            let shot = workload.choose().unwrap();
            assert_eq!(
                workload.request(shot).unwrap().headers,
                [(AUTHORIZATION, HeaderValue::from_static("Bearer access-0"))]
            );
        }
    }
}
