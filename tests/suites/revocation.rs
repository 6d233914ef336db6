//! A revocation is in force when the response to the write is sent (architecture, invariant 2), even for a token in
//! use on every thread of the gateway at that moment. On another node it is in force within a second, and the
//! token does not come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Gateway, KeepAlive, Reply, Store, Upstream};

/// Connections that send requests without pause, over all nodes.
const READERS: usize = 12;

/// Requests to each node that show that a round has started, and that it has ended.
const ENOUGH: usize = 2 * READERS;

/// How long a change may take to reach another node.
const BOUND: Duration = Duration::from_secs(1);

const PATIENCE: Duration = Duration::from_secs(20);

/// Worker threads, each with its own cache: more than there are processors, so that they are interrupted
/// everywhere. The token endpoint is called over plain HTTP, as by a TLS terminator.
pub(crate) const SETTINGS: [(&str, &str); 3] =
    [("TOLLGATE_PROXY_THREADS", "4"), ("TOLLGATE_ACCESS_LOG", "off"), ("TOLLGATE_TRUSTED_IPS", "127.0.0.0/8")];

/// One write, and the request that all readers repeat until it is in force.
struct Round {
    request: String,
    /// Whether a response reflects the state before the write.
    of_before: fn(&Reply) -> bool,
    /// When the response to the write arrived.
    responded: OnceLock<Instant>,
    /// For each node.
    progress: Vec<Progress>,
}

#[derive(Default)]
struct Progress {
    before: AtomicUsize,
    /// The write has started.
    begun: AtomicBool,
    /// A response reflecting the write was seen.
    seen: AtomicBool,
    /// Requests that had to get the state after the write …
    after: AtomicUsize,
    /// … but did not.
    outdated: AtomicUsize,
}

impl Round {
    fn new(nodes: usize, request: String, of_before: fn(&Reply) -> bool) -> Arc<Self> {
        let progress = (0..nodes).map(|_| Progress::default()).collect();
        Arc::new(Self { request, of_before, responded: OnceLock::new(), progress })
    }

    /// Whether a request sent now must get the state after the write.
    fn is_over(&self, node: usize) -> bool {
        let bound = if node == 0 { Duration::ZERO } else { BOUND };
        let since = self.responded.get().map(Instant::elapsed);
        self.progress[node].seen.load(Ordering::SeqCst) || since.is_some_and(|since| since >= bound)
    }

    /// Whether this node has handled enough requests.
    fn is_done(&self, node: usize) -> bool {
        self.progress[node].after.load(Ordering::SeqCst) >= ENOUGH
    }

    fn count(&self, node: usize, over: bool, reply: &Reply) {
        let progress = &self.progress[node];
        let before = (self.of_before)(reply);
        if over {
            progress.after.fetch_add(1, Ordering::SeqCst);
            progress.outdated.fetch_add(usize::from(before), Ordering::SeqCst);
        }
        if before {
            progress.before.fetch_add(1, Ordering::SeqCst);
        } else if progress.begun.load(Ordering::SeqCst) {
            progress.seen.store(true, Ordering::SeqCst);
        }
    }

    async fn until(&self, what: &str, enough: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !enough() {
            assert!(Instant::now() < deadline, "{what} takes too long: {}", self.request);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn read(node: usize, address: SocketAddr, mut rounds: watch::Receiver<Option<Arc<Round>>>) {
    let mut connection = KeepAlive::to(address);
    loop {
        let round = rounds.borrow_and_update().clone();
        let Some(round) = round.filter(|round| !round.is_done(node)) else {
            if rounds.changed().await.is_err() {
                return;
            }
            continue;
        };
        let over = round.is_over(node);
        let reply = connection.exchange(round.request.as_bytes()).await;
        round.count(node, over, &reply);
    }
}

/// The changes, and how often each is made in a test.
const PLAN: [(Change, usize); 11] = [
    (Change::TokenDeleted, 80),
    (Change::TokenRefreshed, 40),
    (Change::TokenExpired, 40),
    (Change::CredentialDeleted, 8),
    (Change::CredentialRenamed, 8),
    (Change::SecretChanged, 3),
    (Change::ConsumerDeleted, 8),
    (Change::ConsumerChanged, 8),
    (Change::ServiceMadeAgain, 6),
    (Change::PluginDeleted, 3),
    (Change::PluginCreated, 3),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    TokenDeleted,
    TokenRefreshed,
    TokenExpired,
    CredentialDeleted,
    CredentialRenamed,
    SecretChanged,
    ConsumerDeleted,
    ConsumerChanged,
    ServiceMadeAgain,
    PluginDeleted,
    PluginCreated,
}

/// The nodes; writes go to the first.
pub(crate) struct Stress {
    // Dropped before the nodes.
    readers: JoinSet<()>,
    nodes: Vec<Gateway>,
    upstream: Upstream,
    api: Api,
    application: Application,
    rounds: watch::Sender<Option<Arc<Round>>>,
    over: Mutex<Vec<Arc<Round>>>,
    made: AtomicUsize,
}

fn passed(reply: &Reply) -> bool {
    reply.status == 200
}

/// The value of a header that reached the upstream, if the request did.
fn upstream_got<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
    let head = Some(reply.body.as_str()).filter(|_| reply.status == 200)?;
    head.split("\r\n")
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn get(api: &str, token: &str) -> String {
    format!("GET /{api}/things HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer {token}\r\n\r\n")
}

impl Stress {
    pub(crate) async fn on(nodes: Vec<Gateway>) -> Self {
        let upstream = Upstream::of_heads().await;
        let api = Api::protected(&nodes[0], "api", &upstream, json!({})).await;
        let application = Application::register(&nodes[0], "client", json!({})).await;
        let rounds = watch::Sender::new(None);
        let mut readers = JoinSet::new();
        for (node, gateway) in nodes.iter().enumerate() {
            (0..READERS / nodes.len()).for_each(|_| drop(readers.spawn(read(node, gateway.http, rounds.subscribe()))));
        }
        Self { readers, nodes, upstream, api, application, rounds, over: Mutex::default(), made: AtomicUsize::new(0) }
    }

    /// The nodes, when no more requests are sent.
    pub(crate) fn into_nodes(self) -> Vec<Gateway> {
        let Self { readers, nodes, .. } = self;
        drop(readers);
        nodes
    }

    fn gateway(&self) -> &Gateway {
        &self.nodes[0]
    }

    fn fresh(&self, what: &str) -> String {
        format!("{what}-{}", self.made.fetch_add(1, Ordering::SeqCst))
    }

    async fn client(&self) -> (String, Application) {
        let name = self.fresh("client");
        let client = Application::register(self.gateway(), &name, json!({})).await;
        (name, client)
    }

    async fn tokens(&self, api: &Api, client: &Application) -> Value {
        let form = [
            ("grant_type", "password"),
            ("provision_key", api.provision_key()),
            ("authenticated_userid", "kate"),
            ("scope", "email"),
            ("client_id", client.id()),
            ("client_secret", client.secret()),
        ];
        api.token(self.gateway(), &form).await.expect(200).json()
    }

    /// Starts the readers, writes, and continues until the write's effect is visible.
    async fn round(&self, request: String, of_before: fn(&Reply) -> bool, write: impl Future<Output = ()>) {
        let round = Round::new(self.nodes.len(), request, of_before);
        self.rounds.send_replace(Some(Arc::clone(&round)));
        let asked = |node: &Progress| node.before.load(Ordering::SeqCst) >= ENOUGH;
        round.until("responses before the write", || round.progress.iter().all(asked)).await;
        round.progress.iter().for_each(|node| node.begun.store(true, Ordering::SeqCst));
        write.await;
        round.responded.set(Instant::now()).unwrap();
        let nodes = 0..self.nodes.len();
        round.until("responses after the write", || nodes.clone().all(|node| round.is_done(node))).await;
        // The readers pause until the next round, so that its preparation is fast.
        self.rounds.send_replace(None);
        self.over.lock().unwrap().push(round);
    }

    async fn change(&self, change: Change) {
        let gateway = self.gateway();
        match change {
            Change::TokenDeleted | Change::TokenRefreshed | Change::TokenExpired => self.end_token(change).await,
            Change::CredentialDeleted
            | Change::CredentialRenamed
            | Change::ConsumerDeleted
            | Change::ConsumerChanged => {
                self.change_client(change).await;
            }
            Change::SecretChanged => self.change_secret().await,
            Change::ServiceMadeAgain => self.recreate_service().await,
            Change::PluginDeleted => {
                let (_, client) = self.client().await;
                let api = Api::protected(gateway, &self.fresh("api"), &self.upstream, json!({})).await;
                let token = self.tokens(&api, &client).await;
                let known = |reply: &Reply| upstream_got(reply, "x-consumer-id").is_some();
                let request = get(&api.name, token["access_token"].as_str().unwrap());
                let plugin = api.plugin["id"].as_str().unwrap();
                self.round(request, known, async { gateway.delete(&format!("/plugins/{plugin}")).await }).await;
            }
            Change::PluginCreated => {
                let name = self.fresh("api");
                Api::open(gateway, &name, &self.upstream).await;
                let create = async {
                    let plugin = json!({"name": "oauth2", "config": tollgate_tests::scenario::every_grant()});
                    gateway.create(&format!("/services/{name}/plugins"), plugin).await;
                };
                self.round(get(&name, "none"), passed, create).await;
            }
        }
    }

    async fn end_token(&self, change: Change) {
        let gateway = self.gateway();
        let tokens = self.tokens(&self.api, &self.application).await;
        let token = tokens["access_token"].as_str().unwrap();
        let row = format!("/oauth2_tokens/{token}");
        let write = async {
            match change {
                Change::TokenRefreshed => {
                    let refresh_token = tokens["refresh_token"].as_str().unwrap();
                    self.api.refresh(gateway, &self.application, refresh_token).await.expect(200);
                }
                Change::TokenExpired => drop(gateway.change(&row, json!({"expires_in": 1, "created_at": 1})).await),
                _ => gateway.delete(&row).await,
            }
        };
        self.round(get("api", token), passed, write).await;
    }

    async fn change_client(&self, change: Change) {
        let gateway = self.gateway();
        let (name, client) = self.client().await;
        let tokens = self.tokens(&self.api, &client).await;
        let credential = format!("/oauth2/{}", client.credential["id"].as_str().unwrap());
        let consumer = format!("/consumers/{name}");
        let write = async {
            match change {
                Change::CredentialDeleted => gateway.delete(&credential).await,
                Change::CredentialRenamed => {
                    drop(gateway.change(&credential, json!({"client_id": format!("new-{name}")})).await)
                }
                Change::ConsumerChanged => {
                    drop(gateway.change(&consumer, json!({"custom_id": format!("new-{name}")})).await)
                }
                _ => gateway.delete(&consumer).await,
            }
        };
        let of_before: fn(&Reply) -> bool = match change {
            Change::CredentialRenamed => {
                |reply| upstream_got(reply, "x-credential-identifier").is_some_and(|name| !name.starts_with("new-"))
            }
            Change::ConsumerChanged => {
                |reply| upstream_got(reply, "x-consumer-custom-id").is_some_and(|name| !name.starts_with("new-"))
            }
            _ => passed,
        };
        self.round(get("api", tokens["access_token"].as_str().unwrap()), of_before, write).await;
    }

    async fn change_secret(&self) {
        let gateway = self.gateway();
        let (_, client) = self.client().await;
        let name = self.fresh("api");
        Api::protected(gateway, &name, &self.upstream, json!({"accept_http_if_already_terminated": true})).await;
        let form = format!(
            "grant_type=client_credentials&scope=email&client_id={}&client_secret={}",
            client.id(),
            client.secret()
        );
        let request = format!(
            "POST /{name}/oauth2/token HTTP/1.1\r\nHost: api.test\r\nX-Forwarded-Proto: https\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        let credential = format!("/oauth2/{}", client.credential["id"].as_str().unwrap());
        let change = async {
            drop(gateway.change(&credential, json!({"client_secret": "another-secret", "hash_secret": false})).await)
        };
        self.round(request, passed, change).await;
    }

    /// Deletes a service with its tokens, and recreates it with the same id; the tokens must not access it.
    async fn recreate_service(&self) {
        let gateway = self.gateway();
        let (_, client) = self.client().await;
        let api = Api::protected(gateway, &self.fresh("api"), &self.upstream, json!({})).await;
        let tokens = self.tokens(&api, &client).await;
        let write = async {
            gateway.delete(&format!("/routes/{}", api.name)).await;
            gateway.delete(&format!("/services/{}", api.name)).await;
            let service = format!("/services/{}", api.service["id"].as_str().unwrap());
            let same = json!({"name": api.name, "url": self.upstream.url()});
            gateway.admin(Method::PUT, &service, same).await.expect(200);
            let plugin = json!({"name": "oauth2", "config": tollgate_tests::scenario::every_grant()});
            gateway.create(&format!("{service}/plugins"), plugin).await;
            gateway
                .create(&format!("{service}/routes"), json!({"name": api.name, "paths": [format!("/{}", api.name)]}))
                .await;
        };
        self.round(get(&api.name, tokens["access_token"].as_str().unwrap()), passed, write).await;
    }

    /// Repeats the requests for everything revoked, on every node.
    async fn ask_again(&self) -> usize {
        let over = self.over.lock().unwrap().clone();
        let again = self.nodes.iter().flat_map(|node| [node.http; 4]).map(|address| {
            let over = over.clone();
            tokio::spawn(async move {
                let mut connection = KeepAlive::to(address);
                let mut outdated = 0;
                for round in over {
                    let reply = connection.exchange(round.request.as_bytes()).await;
                    outdated += usize::from((round.of_before)(&reply));
                }
                outdated
            })
        });
        futures::future::join_all(again).await.into_iter().map(|asked| asked.unwrap()).sum()
    }

    /// Makes every change of the plan in turn. With several nodes each change takes longer, so half of them are made.
    async fn carry_out(&self) {
        self.carry_out_in_part(self.nodes.len()).await;
    }

    /// Makes one of so many changes of the plan, and each kind at least once.
    pub(crate) async fn carry_out_in_part(&self, part: usize) {
        let mut outdated: BTreeMap<Change, (usize, usize)> = BTreeMap::new();
        let times = |times: usize| times.div_ceil(part);
        for turn in 0..times(PLAN.iter().map(|(_, times)| *times).max().unwrap_or_default()) {
            for (change, _) in PLAN.iter().filter(|(_, planned)| turn < times(*planned)) {
                self.change(*change).await;
                let over = self.over.lock().unwrap();
                let last = over.last().unwrap();
                let wrong = last.progress.iter().any(|node| node.outdated.load(Ordering::SeqCst) > 0);
                let (count, wrongly) = outdated.entry(*change).or_default();
                *count += 1;
                *wrongly += usize::from(wrong);
            }
        }
        let again = self.ask_again().await;
        let asked = |count: fn(&Progress) -> &AtomicUsize| -> usize {
            let over = self.over.lock().unwrap();
            over.iter().flat_map(|round| &round.progress).map(|node| count(node).load(Ordering::SeqCst)).sum()
        };
        let (after, wrong) = (asked(|node| &node.after), asked(|node| &node.outdated));
        let changes: usize = outdated.values().map(|(count, _)| count).sum();
        let figures = format!(
            "{changes} changes, {after} requests after their responses, {wrong} of them served as before, and {again} \
             later; changes, and those not in force, by kind: {outdated:?}"
        );
        assert_eq!((wrong, again), (0, 0), "{figures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_in_force_with_its_response_on_sqlite() {
    Stress::on(vec![Gateway::on(Store::Sqlite, &SETTINGS).await]).await.carry_out().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_in_force_with_its_response_on_postgres() {
    Stress::on(vec![Gateway::on(Store::Postgres, &SETTINGS).await]).await.carry_out().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_on_one_node_is_in_force_on_the_other_and_stays_so() {
    let one = Gateway::on(Store::Postgres, &SETTINGS).await;
    let other = one.another_node_with(&SETTINGS).await;
    let stress = Stress::on(vec![one, other]).await;
    stress.carry_out().await;
    // The other node is dropped first: the first one owns the database.
    drop(stress.into_nodes().pop());
}
