//! Chooses each request, and checks its response.

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

use crate::connection::{Keep, Request, Response};
use crate::mix::{Kind, Part, Pick};
use crate::scenario::Scenario;
use crate::state::{State, Token};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
/// Length of a random token; the same as that of the gateway's tokens.
const TOKEN_LENGTH: usize = 32;

/// Why a scenario cannot be run with the provisioned state.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// Something the scenario needs is not provisioned.
    #[error("`send: {kind}` needs {what}: provision with {option}")]
    Missing {
        /// The kind of request.
        kind: &'static str,
        /// What is missing.
        what: &'static str,
        /// The option that provisions it.
        option: &'static str,
    },
    /// There are too few tokens to use each only once.
    #[error(
        "`pick: once` takes about {wanted} tokens at this rate and duration, and {found} are there for it: provision \
         with --tokens {enough}, or take a lower --rate or a shorter --duration"
    )]
    TooFew {
        /// How many are needed.
        wanted: usize,
        /// How many there are.
        found: usize,
        /// How many are needed for all parts of the scenario.
        enough: usize,
    },
    /// The tokens are not the gateway's own.
    #[error(
        "`{what}` needs tokens that the gateway issues, and those in the state file are of a third party: provision \
         without --third-party, into another --state"
    )]
    ThirdParty {
        /// The part of the scenario.
        what: &'static str,
    },
    /// A token contains characters that are invalid in a header.
    #[error("a token in the state file contains characters that are invalid in a header")]
    Token,
    /// The exponent is invalid for Zipf's law.
    #[error("`exponent: {0}` is invalid for Zipf's law: use a value from 0 to 10")]
    Exponent(f64),
}

/// State shared by all workers: tokens as header values, and positions in the list.
pub struct Supply {
    state: State,
    tokens: Vec<Bearer>,
    in_turn: AtomicUsize,
    /// Tokens for `pick: once`, which no other part uses.
    unseen: Vec<Bearer>,
    next_unseen: AtomicUsize,
    parts: Vec<Part>,
    identity_every: u64,
    /// Whether a 503 must have `Retry-After`.
    retry_after: bool,
    refreshable: Mutex<Refreshable>,
}

/// Tokens that can be refreshed, with their indices in the state.
#[derive(Default)]
struct Refreshable {
    /// Tokens that no worker is refreshing, least recently used first.
    idle: VecDeque<(usize, Token)>,
    /// The tokens that replaced refreshed ones.
    refreshed: BTreeMap<usize, Token>,
}

/// A bearer token.
struct Bearer {
    /// Its index in the state.
    place: usize,
    header: HeaderValue,
}

impl Supply {
    /// Prepares the provisioned state, and checks that it suffices. The last `reserved` tokens are kept for
    /// revocation, and those with a refresh token for `refresh`, which invalidates them.
    pub fn new(scenario: &Scenario, state: State, reserved: usize) -> Result<Self, WorkloadError> {
        if state.third_party().is_some() {
            only_presents_tokens(scenario)?;
        }
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
        // `--tokens` includes those that can be refreshed.
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

    /// The provisioned state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The tokens that replaced refreshed ones, by their indices in the state.
    pub fn refreshed(&self) -> BTreeMap<usize, Token> {
        self.refreshable().refreshed.clone()
    }

    fn refreshable(&self) -> MutexGuard<'_, Refreshable> {
        self.refreshable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns off identity checks, for upstreams that do not echo the headers.
    pub fn without_identities(mut self) -> Self {
        self.identity_every = 0;
        self
    }
}

/// Tokens of a third party can be presented, but not issued, refreshed or revoked.
fn only_presents_tokens(scenario: &Scenario) -> Result<(), WorkloadError> {
    let issues = |part: &&Part| matches!(part.send, Kind::Issue | Kind::Refresh);
    let sent = scenario.mix.iter().find(issues).map(|part| part.send.name());
    let what = sent.or(scenario.revoke.as_ref().map(|_| "revoke"));
    what.map_or(Ok(()), |what| Err(WorkloadError::ThirdParty { what }))
}

/// How many tokens a scenario needs: those for parts with `pick: once`, and the most that another part uses.
pub fn tokens(scenario: &Scenario) -> usize {
    seen_once(scenario) + seen_often(scenario)
}

fn is_once(part: &&Part) -> bool {
    part.send == Kind::Token && part.pick == Pick::Once
}

fn seen_once(scenario: &Scenario) -> usize {
    let shares = |parts: &mut dyn Iterator<Item = &Part>| parts.map(|part| f64::from(part.share)).sum::<f64>();
    let once = shares(&mut scenario.mix.iter().filter(is_once));
    let mean = if once > 0.0 { scenario.requests() * once / shares(&mut scenario.mix.iter()) } else { 0.0 };
    // Parts are drawn at random, so a few more may be needed.
    (mean + 4.0 * mean.sqrt()).ceil() as usize
}

fn seen_often(scenario: &Scenario) -> usize {
    let others = scenario.mix.iter().filter(|part| part.send == Kind::Token && !is_once(part));
    others.map(|part| part.tokens.unwrap_or(1)).max().unwrap_or(0)
}

/// Takes the tokens for parts with `pick: once` from the end of the list; `kept` others have another use.
fn unseen(scenario: &Scenario, tokens: &mut Vec<Bearer>, kept: usize) -> Result<Vec<Bearer>, WorkloadError> {
    let (wanted, others) = (seen_once(scenario), seen_often(scenario));
    if wanted == 0 {
        return Ok(Vec::new());
    }
    let found = tokens.len().saturating_sub(others);
    if found < wanted {
        return Err(WorkloadError::TooFew { wanted, found, enough: wanted + others + kept });
    }
    Ok(tokens.split_off(tokens.len() - wanted))
}

/// A chosen request.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    part: usize,
    /// The token's index in the state.
    token: Option<usize>,
    /// Whether identity headers are checked.
    identity: bool,
}

/// What is wrong with a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What was expected.
    pub expected: String,
    /// What was received.
    pub found: String,
}

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The status.
    Status,
    /// The status and the identity headers.
    Identity,
}

/// The requests of one worker.
pub struct Workload {
    supply: Arc<Supply>,
    random: StdRng,
    prepared: Vec<Prepared>,
    /// Valid tokens used so far, starting at an offset of this worker.
    good: u64,
    /// The token being refreshed. Without a response it is unknown whether it was refreshed, so it is not
    /// used again.
    refreshing: Option<(usize, Token)>,
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
        // Workers start at different offsets, so that together they check at the requested rate.
        let good = supply.identity_every * worker as u64 / workers.max(1) as u64;
        Ok(Self { prepared: prepared?, supply, random, good, refreshing: None })
    }

    /// Chooses the next request; `None` if nothing can be sent.
    pub fn choose(&mut self) -> Option<Selection> {
        let (mut part, mut kind) = self.draw(|_| true)?;
        self.refreshing = if kind == Kind::Refresh { self.supply.refreshable().idle.pop_front() } else { None };
        if kind == Kind::Refresh && self.refreshing.is_none() {
            // Other workers are refreshing all of them.
            (part, kind) = self.draw(|part| part.send != Kind::Refresh && part.pick != Pick::Once)?;
        }
        let mut selection = Selection { part, token: None, identity: false };
        match kind {
            Kind::Token => {
                if self.choose_token(&mut selection).is_none() {
                    // More of them were drawn than expected.
                    (selection.part, _) = self.draw(|part| part.send == Kind::Token && part.pick != Pick::Once)?;
                    self.choose_token(&mut selection)?;
                }
            }
            Kind::RandomToken => self.generate_token(part)?,
            Kind::Issue => self.choose_client(part)?,
            Kind::Refresh => self.prepare_refresh(part)?,
        }
        Some(selection)
    }

    /// Draws a part by its share, among the selected ones.
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

    /// The request of a selection.
    pub fn request(&self, selection: Selection) -> Option<&Request> {
        self.prepared.get(selection.part).map(|prepared| &prepared.request)
    }

    /// The name of its part in results.
    pub fn label(&self, selection: Selection) -> &str {
        self.supply.parts.get(selection.part).map_or("", Part::label)
    }

    /// Checks a response, and keeps what later requests need.
    pub fn check(&mut self, selection: Selection, response: &Response) -> Result<Checked, Wrong> {
        let expected = self.prepared.get(selection.part).map_or(&[][..], |prepared| &prepared.expected);
        if !expected.contains(&response.status) {
            let statuses: Vec<String> = expected.iter().map(u16::to_string).collect();
            let expected = format!("{} for `{}`", statuses.join(" or "), self.label(selection));
            return Err(Wrong { expected, found: format!("status {}", response.status) });
        }
        if self.supply.retry_after && response.status == 503 && response.header("retry-after").is_none() {
            let expected = format!("503 with Retry-After for `{}`", self.label(selection));
            return Err(Wrong { expected, found: "503 without it".to_owned() });
        }
        let is_refresh = self.supply.parts.get(selection.part).is_some_and(|part| part.send == Kind::Refresh);
        if is_refresh && response.status == 200 {
            self.keep_refresh_token(response)?;
        }
        if selection.identity && response.status == 200 {
            self.check_identity(selection, response)
        } else {
            Ok(Checked::Status)
        }
    }

    fn choose_token(&mut self, selection: &mut Selection) -> Option<()> {
        let part = self.supply.parts.get(selection.part)?;
        let tokens = part.tokens.unwrap_or(usize::MAX).min(self.supply.tokens.len());
        let prepared = self.prepared.get_mut(selection.part)?;
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
        selection.identity = self.supply.identity_every > 0 && self.good.is_multiple_of(self.supply.identity_every);
        let bearers = if part.pick == Pick::Once { &self.supply.unseen } else { &self.supply.tokens };
        let bearer = bearers.get(place)?;
        selection.token = Some(bearer.place);
        prepared.request.keep =
            if selection.identity || self.supply.retry_after { Keep::Everything } else { Keep::Nothing };
        prepared.request.headers.clear();
        prepared.request.headers.push((AUTHORIZATION, bearer.header.clone()));
        Some(())
    }

    fn generate_token(&mut self, part: usize) -> Option<()> {
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

    fn prepare_refresh(&mut self, part: usize) -> Option<()> {
        let (_, token) = self.refreshing.as_ref()?;
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

    fn keep_refresh_token(&mut self, response: &Response) -> Result<(), Wrong> {
        let wrong = |found: &str| Wrong { expected: "a new refresh token".to_owned(), found: found.to_owned() };
        let body: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&response.body).map_err(|_| wrong("a body that is not a JSON object"))?;
        let text = |name: &str| body.get(name).and_then(|token| token.as_str()).map(str::to_owned);
        let (access, refresh) = text("access_token").zip(text("refresh_token")).ok_or_else(|| wrong("none"))?;
        if let Some((place, token)) = self.refreshing.take() {
            let token = Token { access_token: access, refresh_token: Some(refresh), ..token };
            let mut refreshable = self.supply.refreshable();
            refreshable.refreshed.insert(place, token.clone());
            refreshable.idle.push_back((place, token));
        }
        Ok(())
    }

    /// Compares the identity headers that the upstream echoes with the token's owner.
    fn check_identity(&self, selection: Selection, response: &Response) -> Result<Checked, Wrong> {
        let state = &self.supply.state;
        let token = selection.token.and_then(|place| state.tokens.get(place));
        let Some(holder) = token.and_then(|token| state.credentials.get(token.credential)) else {
            return Ok(Checked::Status);
        };
        let client = if state.third_party().is_some() { "x-credential-client-id" } else { "x-credential-identifier" };
        let rows = [("x-consumer-id", &holder.consumer_id), (client, &holder.client_id)];
        for (name, expected) in rows {
            let found = response.header(name);
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
            // The token endpoint requires TLS, or a trusted proxy that declares it.
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
    fn a_refresh_token_is_used_by_one_worker_at_a_time_while_others_continue() {
        let scenario = Scenario::parse("x", SCENARIO).unwrap();
        let supply = Arc::new(Supply::new(&scenario, state(), 0).unwrap());
        let is_refresh = |selection: &Selection| selection.part == 0;
        let mut one = Workload::new(Arc::clone(&supply), 0, 2).unwrap();
        let mut other = Workload::new(Arc::clone(&supply), 1, 2).unwrap();
        let selection = std::iter::from_fn(|| one.choose()).find(is_refresh);
        for _ in 0..100 {
            let selection = other.choose().unwrap();
            assert_eq!(other.label(selection), "random_token");
        }
        let body = Bytes::from_static(br#"{"access_token": "access-2", "refresh_token": "second"}"#);
        let response = Response { status: 200, body, ..Response::default() };
        assert_eq!(one.check(selection.unwrap(), &response), Ok(Checked::Status));
        assert_eq!(supply.refreshed()[&1].access_token, "access-2");
        let selection = std::iter::from_fn(|| other.choose()).find(is_refresh);
        let sent = other.request(selection.unwrap()).unwrap().body.clone();
        assert!(std::str::from_utf8(&sent).unwrap().ends_with("refresh_token=second"));
    }

    #[test]
    fn tokens_for_pick_once_are_used_only_once() {
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
        // Ten per second for ten seconds, half of them new: fifty, plus a margin.
        let error = Supply::new(&scenario(10), tokens(60), 0).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("about 79 tokens") && error.contains("--tokens 81"), "{error}");
        let mut workload = Workload::new(Arc::new(Supply::new(&scenario(10), tokens(81), 0).unwrap()), 0, 1).unwrap();
        let (mut seen, mut once) = (std::collections::BTreeSet::new(), Vec::new());
        for _ in 0..1000 {
            let selection = workload.choose().unwrap();
            let token = selection.token.unwrap();
            if workload.label(selection) == "seen" {
                seen.insert(token);
            } else {
                once.push(token);
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(once, (2..81).collect::<Vec<_>>());
    }

    #[test]
    fn tokens_of_a_third_party_are_only_presented() {
        use crate::third_party::{Issuer, Kind};
        let supply = |text: &str| {
            let mut state = state();
            let third_party = Issuer::new(Kind::Introspection, ([127, 0, 0, 1], 1).into(), 0).ok();
            let (seed, prefix, upstream) = (uuid::Uuid::nil(), String::new(), String::new());
            state.order =
                Some(crate::state::Order { seed, prefix, upstream, consumers: 1, credentials: 1, third_party });
            Supply::new(&Scenario::parse("x", text).unwrap(), state, 0).err().map(|error| error.to_string())
        };
        assert_eq!(supply("name: x\nabout: y\nmix: [{send: token}, {send: random_token}]\n"), None);
        for (rest, what) in [
            ("mix: [{send: token}, {send: issue}]\n", "`issue` needs"),
            ("mix: [{send: refresh}]\n", "`refresh` needs"),
            ("mix: [{send: token}]\nrevoke: {every: 1s, watch: 1s}\n", "`revoke` needs"),
        ] {
            let error = supply(&format!("name: x\nabout: y\n{rest}")).unwrap_or_default();
            assert!(error.starts_with(what), "{error}");
        }
    }

    #[test]
    fn a_503_without_retry_after_is_wrong_if_it_is_required() {
        let text = "name: x\nabout: y\nretry_after: true\nmix: [{send: token, expect: [200, 503]}]\n";
        let supply = Supply::new(&Scenario::parse("x", text).unwrap(), state(), 0).unwrap();
        let mut workload = Workload::new(Arc::new(supply), 0, 1).unwrap();
        let selection = workload.choose().unwrap();
        assert_eq!(workload.request(selection).unwrap().keep, Keep::Everything);
        let mut response = Response { status: 503, ..Response::default() };
        let wrong = workload.check(selection, &response).unwrap_err();
        assert_eq!(wrong.expected, "503 with Retry-After for `token`");
        response.headers.push(("retry-after".to_owned(), "1".to_owned()));
        assert_eq!(workload.check(selection, &response), Ok(Checked::Status));
    }

    #[test]
    fn a_token_that_can_be_refreshed_is_not_used_as_bearer_token() {
        let scenario = Scenario::parse("x", "name: x\nabout: y\nmix: [{send: token, pick: in_turn}]\n").unwrap();
        let mut workload = Workload::new(Arc::new(Supply::new(&scenario, state(), 0).unwrap()), 0, 1).unwrap();
        for _ in 0..4 {
            let selection = workload.choose().unwrap();
            assert_eq!(
                workload.request(selection).unwrap().headers,
                [(AUTHORIZATION, HeaderValue::from_static("Bearer access-0"))]
            );
        }
    }
}
