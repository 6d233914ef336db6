//! Creates what runs need, through the Admin API and the token endpoint, as operators and clients would; and
//! removes it again.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use openssl::error::ErrorStack;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::admin::{Admin, AdminError};
use crate::connection::{Connection, Keep, Request};
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::state::{Entry, Journal, Order, State, StateError, Token};
use crate::third_party::{self, Authority, FORWARDED, Issuer, Listening};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Tokens are valid for a week, longer than any run.
const EXPIRATION: u32 = 7 * 24 * 3600;

/// The scope of every token.
const SCOPE: &str = "load";

/// What to create.
#[derive(Debug, Clone)]
pub struct Amount {
    /// Total number of tokens.
    pub tokens: usize,
    /// How many of them have a refresh token.
    pub refresh_tokens: usize,
    /// Number of concurrent calls.
    pub parallel: usize,
}

/// Why provisioning or cleanup failed.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The Admin API.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The token endpoint did not respond.
    #[error("no response from the token endpoint at {authority}: {failure}")]
    NoResponse {
        /// Host and port.
        authority: String,
        /// Why.
        failure: Failure,
    },
    /// The token endpoint refused.
    #[error("the token endpoint refused the request with {status}: {message}{hint}")]
    Refused {
        /// The status.
        status: u16,
        /// Its message.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// The state file belongs to another provisioning.
    #[error(
        "the state file belongs to another provisioning ({0}): clean that up first (`tollgate-load cleanup`), or name \
         another file with --state"
    )]
    OtherOrder(&'static str),
    /// The third-party authority cannot be served.
    #[error("cannot serve the third-party authority on {address}: {source}; choose another address with --authority")]
    Authority {
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A third-party token cannot be signed.
    #[error("cannot sign a token: {0}")]
    Signature(#[from] ErrorStack),
    /// The state file is empty.
    #[error("the state file is empty; there is nothing to clean up")]
    NothingMade,
    /// The Admin API has none of it.
    #[error(
        "the gateway at {0} has nothing of what the state file lists: is it the right Admin API? If everything is \
         removed already, delete the file"
    )]
    NothingThere(String),
    /// The state file could not be removed.
    #[error("everything is removed except the state file: {0}")]
    File(std::io::Error),
    /// The runtime.
    #[error("cannot start the runtime: {0}")]
    System(#[from] std::io::Error),
}

/// Whether progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// On standard error, if that is a terminal.
    Shown,
    /// Not shown.
    Hidden,
}

/// Creates what is missing, and returns the state.
///
/// # Errors
/// At the first entity that cannot be created; what was created is kept, and the next call resumes.
pub fn provision(
    path: &Path,
    order: Order,
    amount: &Amount,
    (admin, proxy): (&Endpoint, &Endpoint),
    progress: Progress,
) -> Result<State, ProvisionError> {
    let mut journal = Journal::open(path)?;
    let mut state = State::load(path)?;
    let mut order = match &state.order {
        Some(known) => resumed(known, &order)?,
        None => order,
    };
    // Served until everything is created: the gateway may ask for its keys.
    let _authority = serve(&mut order)?;
    if state.order.is_none() {
        journal.append(&Entry::Order(order.clone()))?;
        state.add(Entry::Order(order.clone()));
    }
    run(async {
        if !state.made {
            make(&order, admin, amount.parallel, progress).await?;
            journal.append(&Entry::Made)?;
        }
        match &order.third_party {
            Some(issuer) => mint(&order, issuer, amount, &state, journal, progress),
            None => issue(&order, proxy, amount, &state, journal, progress).await,
        }
    })?;
    Ok(State::load(path)?)
}

/// Removes everything that the state file describes, and then the file.
///
/// # Errors
/// At the first entity that cannot be removed; the file is kept, and the next call resumes.
pub fn cleanup(path: &Path, admin: &Endpoint, parallel: usize, progress: Progress) -> Result<Order, ProvisionError> {
    let order = State::load(path)?.order.ok_or(ProvisionError::NothingMade)?;
    run(async {
        let mut first = Admin::new(admin);
        if !is_there(&mut first, &order).await? {
            return Err(ProvisionError::NothingThere(admin.authority.clone()));
        }
        // The plugin is removed with its route, credentials and tokens with their consumers.
        first.delete(&format!("/routes/{}", order.id("route", 0))).await?;
        let bar = bar("removing consumers", order.consumers, progress);
        in_parallel(order.consumers, parallel, &bar, || {
            let (mut admin, order) = (Admin::new(admin), order.clone());
            async move |number: usize| Ok(admin.delete(&format!("/consumers/{}", order.id("consumer", number))).await?)
        })
        .await?;
        // Last, so that its existence shows an interrupted cleanup.
        Ok(first.delete(&format!("/services/{}", order.id("service", 0))).await?)
    })?;
    std::fs::remove_file(path).map_err(ProvisionError::File)?;
    Ok(order)
}

/// Whether the Admin API has the service, which is created first and removed last.
async fn is_there(admin: &mut Admin, order: &Order) -> Result<bool, ProvisionError> {
    let path = format!("/services/{}", order.id("service", 0));
    match admin.call(Method::GET, &path, None).await? {
        (200, _) => Ok(true),
        (404, _) => Ok(false),
        (status, document) => Err(refused_admin(Method::GET, &path, status, &document)),
    }
}

/// The order in the state file, if it equals the requested one.
fn resumed(known: &Order, asked: &Order) -> Result<Order, ProvisionError> {
    let differs = [
        (known.prefix != asked.prefix, "its prefix differs"),
        (known.upstream != asked.upstream, "its upstream differs"),
        (known.consumers != asked.consumers, "its number of consumers differs"),
        (known.credentials != asked.credentials, "its number of credentials differs"),
        (
            !same_issuer(known.third_party.as_ref(), asked.third_party.as_ref()),
            "its --third-party or --authority differs",
        ),
    ];
    match differs.into_iter().find(|(differs, _)| *differs) {
        Some((_, what)) => Err(ProvisionError::OtherOrder(what)),
        None => Ok(known.clone()),
    }
}

/// Port 0 is any port, and keys differ.
fn same_issuer(known: Option<&Issuer>, asked: Option<&Issuer>) -> bool {
    match (known, asked) {
        (Some(known), Some(asked)) => {
            known.kind == asked.kind && (asked.address.port() == 0 || known.address == asked.address)
        }
        (known, asked) => known.is_none() && asked.is_none(),
    }
}

fn serve(order: &mut Order) -> Result<Option<Authority>, ProvisionError> {
    let Some(mut issuer) = order.third_party.clone() else { return Ok(None) };
    let address = issuer.address;
    let authority = issuer.serve(order.holders(&issuer));
    let authority = authority.map_err(|source| ProvisionError::Authority { address, source })?;
    order.third_party = Some(issuer);
    Ok(Some(authority))
}

fn run(work: impl Future<Output = Result<(), ProvisionError>>) -> Result<(), ProvisionError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, work)
}

/// Creates everything but tokens. Each call sets the id, so repeating it changes nothing.
async fn make(order: &Order, admin: &Endpoint, parallel: usize, progress: Progress) -> Result<(), ProvisionError> {
    let mut first = Admin::new(admin);
    let (service, route) = (order.id("service", 0), order.id("route", 0));
    put(&mut first, &format!("/services/{service}"), json!({ "name": order.prefix, "url": order.upstream })).await?;
    let paths = [format!("/{}", order.prefix)];
    let body = json!({ "name": order.prefix, "paths": paths, "service": { "id": service } });
    put(&mut first, &format!("/routes/{route}"), body).await?;
    let (name, config) = plugin(order);
    let body = json!({ "name": name, "route": { "id": route }, "config": config });
    put(&mut first, &format!("/plugins/{}", order.id("plugin", 0)), body).await?;

    let consumers = bar("consumers", order.consumers, progress);
    in_parallel(order.consumers, parallel, &consumers, || {
        let (mut admin, order) = (Admin::new(admin), order.clone());
        async move |number: usize| {
            let path = format!("/consumers/{}", order.id("consumer", number));
            put(&mut admin, &path, json!({ "username": order.username(number) })).await
        }
    })
    .await?;
    if order.third_party.is_some() {
        return Ok(());
    }
    let credentials = bar("credentials", order.credentials, progress);
    in_parallel(order.credentials, parallel, &credentials, || {
        let (mut admin, order) = (Admin::new(admin), order.clone());
        async move |number: usize| {
            let credential = order.credential(number);
            let path = format!("/oauth2/{}", order.id("credential", number));
            let body = json!({
                "name": order.username(number),
                "client_id": credential.client_id,
                "client_secret": credential.client_secret,
                "redirect_uris": ["https://load.example/"],
                "consumer": { "id": credential.consumer_id },
            });
            put(&mut admin, &path, body).await
        }
    })
    .await
}

/// The plugin that checks the tokens: its name and configuration.
fn plugin(order: &Order) -> (&'static str, Value) {
    if let Some(issuer) = &order.third_party {
        return third_party::plugin(issuer.kind, Listening(issuer.address), &FORWARDED);
    }
    let config = json!({
        "enable_client_credentials": true,
        "enable_password_grant": true,
        "accept_http_if_already_terminated": true,
        "token_expiration": EXPIRATION,
        "scopes": [SCOPE],
        "provision_key": order.provision_key(),
    });
    ("oauth2", config)
}

async fn put(admin: &mut Admin, path: &str, body: Value) -> Result<(), ProvisionError> {
    let (status, document) = admin.call(Method::PUT, path, Some(&body)).await?;
    if matches!(status, 200 | 201) {
        return Ok(());
    }
    Err(refused_admin(Method::PUT, path, status, &document))
}

fn refused_admin(method: Method, path: &str, status: u16, document: &Value) -> ProvisionError {
    let message = document.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned();
    AdminError::Refused { method, path: path.to_owned(), status, message }.into()
}

async fn issue(
    order: &Order,
    proxy: &Endpoint,
    amount: &Amount,
    state: &State,
    journal: Journal,
    progress: Progress,
) -> Result<(), ProvisionError> {
    let refreshable = state.refreshable().count();
    let with_refresh = amount.refresh_tokens.saturating_sub(refreshable);
    let missing = amount.tokens.max(amount.refresh_tokens).saturating_sub(state.live().count()).max(with_refresh);
    let first = state.tokens.len();
    let journal = Rc::new(RefCell::new(journal));
    let endpoint = Rc::new(proxy.clone());
    let bar = bar("tokens", missing, progress);
    in_parallel(missing, amount.parallel, &bar, || {
        let connection = Connection::new(Rc::clone(&endpoint), TIMEOUT);
        let mut client = Client { connection, order: order.clone(), authority: proxy.authority.clone() };
        let journal = Rc::clone(&journal);
        async move |number: usize| {
            let token = client.token(first + number, number < with_refresh).await?;
            Ok(journal.borrow_mut().append(&Entry::Token(token))?)
        }
    })
    .await
}

/// Mints tokens of a third party.
fn mint(
    order: &Order,
    issuer: &Issuer,
    amount: &Amount,
    state: &State,
    mut journal: Journal,
    progress: Progress,
) -> Result<(), ProvisionError> {
    let minter = issuer.minter(order.holders(issuer))?;
    let bar = bar("tokens", amount.tokens.saturating_sub(state.tokens.len()), progress);
    for place in state.tokens.len()..amount.tokens {
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        let token = Token {
            access_token: minter.mint(number)?,
            refresh_token: None,
            credential: place % order.credentials.max(1),
        };
        journal.append(&Entry::Token(token))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A client of the token endpoint.
struct Client {
    connection: Connection,
    order: Order,
    authority: String,
}

impl Client {
    async fn token(&mut self, number: usize, refreshable: bool) -> Result<Token, ProvisionError> {
        let place = number % self.order.credentials.max(1);
        let credential = self.order.credential(place);
        let (userid, provision_key) = (format!("user-{number}"), self.order.provision_key());
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("client_id", &credential.client_id).append_pair("client_secret", &credential.client_secret);
        form.append_pair("scope", SCOPE);
        if refreshable {
            // Authorised by the provision key; there is no password.
            form.append_pair("grant_type", "password").append_pair("provision_key", &provision_key);
            form.append_pair("authenticated_userid", &userid);
        } else {
            form.append_pair("grant_type", "client_credentials");
        }
        let request = Request {
            method: Method::POST,
            target: format!("/{}/oauth2/token", self.order.prefix),
            headers: vec![
                (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
                (HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https")),
            ],
            body: Bytes::from(form.finish()),
            keep: Keep::Everything,
        };
        let response = self.connection.send(&request).await;
        let no_response = |failure| ProvisionError::NoResponse { authority: self.authority.clone(), failure };
        let response = response.map_err(no_response)?;
        let body: Value = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        match text("access_token") {
            Some(access_token) if response.status == 200 => {
                Ok(Token { access_token, refresh_token: text("refresh_token"), credential: place })
            }
            _ => Err(refused(response.status, text("error_description").or_else(|| text("message")))),
        }
    }
}

fn refused(status: u16, message: Option<String>) -> ProvisionError {
    let message = message.unwrap_or_else(|| "no message".to_owned());
    let hint = if message.contains("HTTPS") {
        "; use the proxy's https:// address, or put this machine's address into the gateway's trusted_ips"
    } else {
        ""
    };
    ProvisionError::Refused { status, message, hint }
}

/// Runs `count` tasks concurrently; the first error stops it.
async fn in_parallel<W>(
    count: usize,
    parallel: usize,
    bar: &ProgressBar,
    worker: impl Fn() -> W,
) -> Result<(), ProvisionError>
where
    W: AsyncFnMut(usize) -> Result<(), ProvisionError>,
{
    let (next, failed) = (Cell::new(0), Cell::new(false));
    let work = async |mut each: W| {
        loop {
            let number = next.get();
            if number >= count || failed.get() {
                return Ok(());
            }
            next.set(number + 1);
            if let Err(error) = each(number).await {
                failed.set(true);
                return Err(error);
            }
            bar.inc(1);
        }
    };
    let workers = (0..parallel.clamp(1, count.max(1))).map(|_| work(worker()));
    let ended = futures::future::join_all(workers).await;
    bar.finish_and_clear();
    ended.into_iter().collect()
}

fn bar(what: &'static str, count: usize, progress: Progress) -> ProgressBar {
    let target = match progress {
        Progress::Shown => ProgressDrawTarget::stderr(),
        Progress::Hidden => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(u64::try_from(count).ok(), target).with_message(what);
    let style = ProgressStyle::with_template("{msg:20} {wide_bar} {pos}/{len} {per_sec} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
