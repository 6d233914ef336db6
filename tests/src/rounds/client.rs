//! A client that obtains, refreshes and redeems without pause.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::Progress;
use super::ledger::Ledger;
use crate::reply::Reply;
use crate::scenario::{Api, Application};

const TIMEOUT: Duration = Duration::from_secs(20);

/// The pause after a request without a good response, so that clients do not spin while a process is down.
const PAUSE: Duration = Duration::from_millis(20);

/// An access token, and the user in whose name it was issued.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) access_token: String,
    /// `None` if it was issued to the client itself.
    pub(super) user: Option<String>,
}

/// An access token with its refresh token.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) token: Token,
    pub(super) refresh_token: String,
}

/// The gateway as clients see it.
#[derive(Debug)]
pub(super) struct Endpoint {
    http: reqwest::Client,
    base: String,
    provision_key: String,
    client_id: String,
    client_secret: String,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, api: &Api, application: &Application) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().expect("a client");
        Self {
            http,
            base: format!("http://{address}/{}", api.name),
            provision_key: api.provision_key().to_owned(),
            client_id: application.id().to_owned(),
            client_secret: application.secret().to_owned(),
        }
    }

    /// A token for a user. `None`: no response.
    pub(super) async fn issue(&self, user: &str) -> Option<Reply> {
        let form = [("grant_type", "password"), ("provision_key", &self.provision_key), ("authenticated_userid", user)];
        self.token(&form).await
    }

    /// A token for the client itself.
    pub(super) async fn issue_to_client(&self) -> Option<Reply> {
        self.token(&[("grant_type", "client_credentials")]).await
    }

    pub(super) async fn refresh(&self, refresh_token: &str) -> Option<Reply> {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
    }

    /// A code for a user.
    pub(super) async fn authorize(&self, user: &str) -> Option<Reply> {
        let form = [
            ("response_type", "code"),
            ("provision_key", &self.provision_key),
            ("authenticated_userid", user),
            ("client_id", &self.client_id),
            ("scope", "email"),
        ];
        self.post("authorize", &form).await
    }

    pub(super) async fn redeem(&self, code: &str) -> Option<Reply> {
        self.token(&[("grant_type", "authorization_code"), ("code", code)]).await
    }

    /// A request with a token.
    pub(super) async fn get(&self, access_token: &str) -> Option<Reply> {
        read(self.http.get(format!("{}/things", self.base)).bearer_auth(access_token)).await
    }

    async fn token(&self, form: &[(&str, &str)]) -> Option<Reply> {
        let client =
            [("client_id", self.client_id.as_str()), ("client_secret", &self.client_secret), ("scope", "email")];
        self.post("token", &[form, &client].concat()).await
    }

    async fn post(&self, endpoint: &str, form: &[(&str, &str)]) -> Option<Reply> {
        let request = self.http.post(format!("{}/oauth2/{endpoint}", self.base)).header("x-forwarded-proto", "https");
        read(request.form(form)).await
    }
}

/// A response that was cut short counts as none.
async fn read(request: reqwest::RequestBuilder) -> Option<Reply> {
    let response = request.send().await.ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Some(Reply { status, headers, body: response.text().await.ok()? })
}

/// What a response says about a request that was valid.
#[derive(Debug)]
pub(super) enum Told {
    /// Done.
    Yes(Value),
    /// Nothing: no response, or 503 with Retry-After.
    Nothing,
    /// Something that it must not say.
    Wrong(String),
}

impl Told {
    pub(super) fn by(reply: Option<Reply>) -> Self {
        match reply {
            None => Self::Nothing,
            Some(reply) if reply.status == 200 => Self::Yes(reply.content()),
            Some(reply) if reply.status == 503 && reply.header("retry-after").is_some() => Self::Nothing,
            Some(reply) => Self::Wrong(format!("{} {}", reply.status, reply.body)),
        }
    }
}

impl Pair {
    /// The pair in a token response.
    pub(super) fn of(response: &Value, user: &str) -> Option<Self> {
        let text = |name: &str| Some(response.get(name)?.as_str()?.to_owned());
        let token = Token { access_token: text("access_token")?, user: Some(user.to_owned()) };
        Some(Self { token, refresh_token: text("refresh_token")? })
    }
}

/// The code in the response to an authorization.
fn code(response: &Value) -> Option<String> {
    let redirect = url::Url::parse(response.get("redirect_uri")?.as_str()?).ok()?;
    Some(redirect.query_pairs().find(|(name, _)| name == "code")?.1.into_owned())
}

/// One client of a round.
pub(super) struct Client {
    endpoint: Arc<Endpoint>,
    user: String,
    ledger: Ledger,
}

impl Client {
    pub(super) fn new(number: usize, endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, user: format!("user-{number}"), ledger: Ledger::default() }
    }

    /// Sends requests until the round ends.
    pub(super) async fn run(mut self, progress: Arc<Progress>) -> Ledger {
        for turn in 0_usize.. {
            if progress.ended.load(Ordering::SeqCst) {
                break;
            }
            let responded = match turn % 5 {
                0 => self.obtain_pair().await,
                1 => self.redeem_code().await,
                2 | 4 => self.refresh().await,
                _ => self.obtain_token().await && self.use_token().await,
            };
            if responded {
                progress.responses.fetch_add(1, Ordering::SeqCst);
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.ledger
    }

    async fn obtain_pair(&mut self) -> bool {
        let told = Told::by(self.endpoint.issue(&self.user).await);
        let done = self.done("a token request", told);
        self.keep_pair(done.as_ref())
    }

    async fn obtain_token(&mut self) -> bool {
        let told = Told::by(self.endpoint.issue_to_client().await);
        let Some(done) = self.done("a token request of the client itself", told) else { return false };
        let Some(access_token) = done["access_token"].as_str().map(str::to_owned) else {
            return self.without("a token", &done);
        };
        self.ledger.tokens.push(Token { access_token, user: None });
        self.ledger.issued += 1;
        true
    }

    async fn use_token(&mut self) -> bool {
        let Some(token) = self.ledger.tokens.first() else { return false };
        let told = Told::by(self.endpoint.get(&token.access_token).await);
        self.done("a request with a token", told).is_some()
    }

    async fn redeem_code(&mut self) -> bool {
        let told = Told::by(self.endpoint.authorize(&self.user).await);
        let Some(done) = self.done("an authorization", told) else { return false };
        let Some(code) = code(&done) else { return self.without("a code", &done) };
        let told = Told::by(self.endpoint.redeem(&code).await);
        match &told {
            Told::Yes(_) => self.ledger.redeemed.push(code),
            Told::Nothing | Told::Wrong(_) => self.ledger.untold_codes.push(code),
        }
        let done = self.done("the redemption of a code", told);
        self.keep_pair(done.as_ref())
    }

    async fn refresh(&mut self) -> bool {
        if self.ledger.pairs.is_empty() {
            return self.obtain_pair().await;
        }
        // The oldest: it may have been issued before the process was killed.
        let pair = self.ledger.pairs.remove(0);
        let told = Told::by(self.endpoint.refresh(&pair.refresh_token).await);
        match &told {
            Told::Yes(_) => self.ledger.replaced.push(pair),
            Told::Nothing | Told::Wrong(_) => self.ledger.untold_pairs.push(pair),
        }
        let done = self.done("a refresh", told);
        self.keep_pair(done.as_ref())
    }

    fn keep_pair(&mut self, done: Option<&Value>) -> bool {
        let Some(done) = done else { return false };
        let Some(pair) = Pair::of(done, &self.user) else { return self.without("a token and its refresh token", done) };
        self.ledger.pairs.push(pair);
        self.ledger.issued += 1;
        true
    }

    /// 200 with something else, such as the upstream's response to an unprotected request.
    fn without(&mut self, what: &str, response: &Value) -> bool {
        let fields: Vec<&String> = response.as_object().into_iter().flat_map(|response| response.keys()).collect();
        self.ledger.violations.push(format!("a response with 200 had no {what}, but {fields:?}"));
        false
    }

    fn done(&mut self, what: &str, told: Told) -> Option<Value> {
        match told {
            Told::Yes(done) => Some(done),
            Told::Nothing => None,
            Told::Wrong(response) => {
                self.ledger.violations.push(format!("{what} got {response}"));
                None
            }
        }
    }
}
