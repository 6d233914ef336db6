//! The mixed load: what runs at the same time, and what it found.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};
use serde::Serialize;
use tokio::task::spawn_local;
use tollgate_load::connection::{Connection, Keep, Request, Response};
use tollgate_load::endpoint::{Endpoint, EndpointError};

use crate::node::{Life, Node};
use crate::sample::{self, Sample};
use crate::site::Site;
use crate::token::Tokens;
use crate::{configuration, issuer, reader, restarts};

/// How long a response may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Violations that are kept with their text.
const KEPT: usize = 50;

/// What was done, and what was wrong.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Load {
    /// Requests with a valid token that were judged.
    pub requests: u64,
    /// Of these, those with the right identity at the upstream: all of the 200.
    pub identities: u64,
    /// Requests with a token that nobody issued.
    pub unknown: u64,
    /// Requests on a new connection.
    pub connections: u64,
    /// Requests that the client gave up.
    pub aborted: u64,
    /// Tokens issued, refreshed, revoked.
    pub issued: u64,
    pub refreshed: u64,
    pub revoked: u64,
    /// APIs that were created, changed, used and deleted.
    pub apis: u64,
    /// Restarts after SIGTERM, and after SIGKILL.
    pub restarts: u64,
    pub kills: u64,
    /// Requests to a node that was down, which are not judged.
    pub not_judged: u64,
    /// Responses that were wrong, and requests without one.
    pub wrong: u64,
    /// What was wrong, at first.
    pub violations: Vec<String>,
}

/// What everything that runs at the same time shares.
pub(crate) struct Shared {
    /// The measured one, and the one that is restarted.
    pub nodes: [Node; 2],
    pub tokens: Tokens,
    pub load: RefCell<Load>,
    pub provision_key: String,
    pub client_id: String,
    pub client_secret: String,
    /// The upstream's address.
    pub upstream: String,
    begin: Instant,
    ended: Cell<bool>,
}

impl Shared {
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Counts something.
    pub(crate) fn count(&self, of: impl FnOnce(&mut Load)) {
        of(&mut self.load.borrow_mut());
    }

    /// Notes something that must not happen.
    pub(crate) fn wrong(&self, what: &str) {
        let mut load = self.load.borrow_mut();
        load.wrong += 1;
        if load.violations.len() < KEPT {
            load.violations.push(format!("{:.1} s: {what}", self.begin.elapsed().as_secs_f64()));
        }
    }
}

/// A client's connection to a node.
pub(crate) struct Link {
    number: usize,
    connection: Connection,
    /// The life of the node in which it was opened.
    life: Option<Life>,
}

impl Link {
    fn to(number: usize, endpoint: &Rc<Endpoint>) -> Self {
        Self { number, connection: Connection::new(Rc::clone(endpoint), TIMEOUT), life: None }
    }

    /// Sends the next request on a new connection.
    pub(crate) fn renew(&mut self) {
        self.connection = self.connection.share();
    }

    /// The connection, for requests that are not judged.
    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Sends a request. `None`: no response, which is wrong if the node lived all the time, or one of a node that went
    /// down meanwhile.
    pub(crate) async fn send(&mut self, shared: &Shared, what: &str, request: &Request) -> Option<Response> {
        let node = shared.nodes.get(self.number)?;
        let life = node.life();
        if life != self.life {
            self.renew();
            self.life = life;
        }
        let sent = self.connection.send(request).await;
        if life.is_none() || node.life() != life {
            shared.count(|load| load.not_judged += 1);
            return None;
        }
        sent.map_err(|failure| shared.wrong(&format!("{what}: no response: {failure}"))).ok()
    }
}

/// Loads the site for so long. Returns what was found, and samples of the measured node.
///
/// # Errors
/// If the nodes have no addresses.
pub(crate) async fn run(
    site: Site,
    duration: Duration,
    shown_every: Duration,
) -> Result<(Load, Vec<Sample>), EndpointError> {
    let Site { measured, restarted, api, application, upstream, server } = site;
    let shared = Rc::new(Shared {
        nodes: [Node::of(&measured)?, Node::of(&restarted)?],
        tokens: Tokens::default(),
        load: RefCell::default(),
        provision_key: api.provision_key().to_owned(),
        client_id: application.id().to_owned(),
        client_secret: application.secret().to_owned(),
        upstream: upstream.url(),
        begin: Instant::now(),
        ended: Cell::new(false),
    });
    let mut running =
        vec![spawn_local(issuer::run(Rc::clone(&shared))), spawn_local(configuration::run(Rc::clone(&shared)))];
    running.extend((0..reader::COUNT).map(|_| spawn_local(reader::run(Rc::clone(&shared)))));
    let restarting = spawn_local(restarts::run(Rc::clone(&shared), restarted, duration));
    let samples = sample::run(&shared, &measured, duration, shown_every).await;
    shared.ended.set(true);
    for task in running {
        if let Err(error) = task.await {
            shared.wrong(&format!("a part of the load ended early: {error}"));
        }
    }
    let restarted = restarting.await;
    for gateway in [Some(&measured), restarted.as_ref().ok()].into_iter().flatten() {
        if gateway.output().contains("panicked at") {
            shared.wrong("a gateway panicked");
        }
    }
    // The nodes before their store.
    drop((restarted, measured, upstream, server));
    let load = shared.load.borrow().clone();
    Ok((load, samples))
}

/// A request with a token.
pub(crate) fn get(access_token: &str) -> Request {
    let value = HeaderValue::try_from(format!("Bearer {access_token}")).unwrap_or(HeaderValue::from_static(""));
    request(Method::GET, "/api/things", vec![(AUTHORIZATION, value)], Bytes::new())
}

/// A form for an OAuth endpoint, over what a TLS terminator has received.
pub(crate) fn form(target: &str, fields: &[(&str, &str)]) -> Request {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let headers = vec![
        (HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https")),
        (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
    ];
    request(Method::POST, target, headers, Bytes::from(body))
}

/// A call of the Admin API.
pub(crate) fn admin(method: Method, target: &str, body: Option<&serde_json::Value>) -> Request {
    let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let headers = body.is_some().then_some(json).into_iter().collect();
    request(method, target, headers, body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string())))
}

pub(crate) fn request(method: Method, target: &str, headers: Vec<(HeaderName, HeaderValue)>, body: Bytes) -> Request {
    Request { method, target: target.to_owned(), headers, body, keep: Keep::Everything }
}

/// Links to the proxies of both nodes.
pub(crate) fn proxies(shared: &Shared) -> [Link; 2] {
    let [measured, restarted] = &shared.nodes;
    [Link::to(0, &measured.proxy), Link::to(1, &restarted.proxy)]
}

/// Links to the Admin APIs of both nodes.
pub(crate) fn admins(shared: &Shared) -> [Link; 2] {
    let [measured, restarted] = &shared.nodes;
    [Link::to(0, &measured.admin), Link::to(1, &restarted.admin)]
}
