//! Requests and changes in all orders: the guard with its caches, the listener that receives changes,
//! and the endpoints' credentials, under a scheduler that decides after each step which thread runs next.
//!
//! This is production code: the kit's shared cache, thread-local caches, single flight,
//! shared facts and generations. Atomics, locks and the store's reads are steps ([`model`]). Each operation of
//! moka's maps is one step: that they are atomic is moka's guarantee and not tested
//! here.
//!
//! Everything that can be distinguished has a version. The rule: a request that begins after a write was
//! acknowledged, or on a node that has received it, is never served from an older version.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::random::SystemRandom;
use tollgate_plugin::cache::model;
use uuid::Uuid;

use super::tests::{Call, Outcome, World};
use super::*;
use crate::client::Credentials as _;
use crate::credentials::CachedCredentials;
use crate::entity::{credential, token};
use crate::listener::Listener;

/// The number of schedules tried of each kind.
const SCHEDULES: usize = 200;

/// A node: what it caches, and how it receives changes.
struct Node {
    world: World,
    listener: Listener,
    /// The version of the last acknowledged write.
    acknowledged: AtomicUsize,
}

impl Node {
    fn new() -> Arc<Self> {
        let world = World::new();
        let credentials = Arc::new(CachedCredentials::new(world.credentials.clone(), world.feed.clone()));
        let listener = Listener {
            shared: Arc::clone(&world.shared),
            credentials,
            tokens: world.tokens.clone(),
            foreign_tokens: Arc::clone(&world.shared.foreign_tokens),
        };
        Arc::new(Self { world, listener, acknowledged: AtomicUsize::new(0) })
    }

    fn hear(&self, changes: &[Change]) {
        // In the feed's order of subscription: consumers before plugins.
        block_on(self.world.hear(changes));
        block_on(self.listener.apply(changes)).unwrap();
    }

    /// Acknowledges a write that this node has received.
    fn acknowledge(&self, version: usize) {
        self.acknowledged.store(version, Ordering::SeqCst);
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// A token of version 0 and a request with it.
    fn token(&self) -> (Digest, Call) {
        let token = self.world.token(|row| row.scope = Some("v0".to_owned()));
        (Digest::of(&token), self.world.bearer(&token))
    }

    fn put_token(&self, digest: Digest, version: usize) {
        self.world.tokens.rows.lock().unwrap().get_mut(&digest).unwrap().scope = Some(format!("v{version}"));
    }

    fn put_credential(&self, version: usize) {
        let document = json!({"client_id": format!("v{version}"), "consumer": {"id": self.world.consumer}});
        self.world.credentials.put(self.world.credential, document);
    }

    fn put_consumer(&self, version: usize) {
        self.world.consumers.put(self.world.consumer, json!({"username": "bob", "custom_id": format!("v{version}")}));
    }
}

fn of_token(operation: Operation, digest: Digest) -> Change {
    Change { key: digest.0.to_vec(), ..of(token::NAME, operation, Uuid::nil()) }
}

fn of(kind: &str, operation: Operation, id: Uuid) -> Change {
    Change { kind: kind.to_owned(), operation, id, key: Vec::new(), document: None }
}

/// The version in a header for the upstream; `gone` for a refused request.
fn version(outcome: &Outcome, header: &str, gone: usize) -> usize {
    if !outcome.passed() {
        assert_eq!(outcome.reason(), "token_unknown");
        return gone;
    }
    outcome.upstream(header).flatten().unwrap().strip_prefix('v').unwrap().parse().unwrap()
}

/// Tries schedules: random ones, and ones with few, well chosen interruptions.
fn in_all_orders(test: impl Fn() + Send + Sync + 'static) {
    model::install(model::Scheduler {
        thread: || shuttle::current::try_get_current_task().map(usize::from),
        step: || {
            shuttle::sync::atomic::AtomicBool::new(false).load(Ordering::SeqCst);
        },
        blocked: shuttle::thread::yield_now,
    });
    let test = Arc::new(test);
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    let schedulers: [Box<dyn Scheduler + Send>; 2] = [
        Box::new(RandomScheduler::new_from_seed(7, SCHEDULES)),
        Box::new(PctScheduler::new_from_seed(7, 3, SCHEDULES)),
    ];
    for scheduler in schedulers {
        let test = Arc::clone(&test);
        Runner::new(scheduler, config.clone()).run(move || test());
    }
}

/// Readers send requests during `write`, and each once more after it. `read` returns the version
/// that it was served from.
fn readers_and_writer(
    node: &Arc<Node>,
    readers: usize,
    read: impl Fn(&Node) -> usize + Send + Sync + 'static,
    write: impl FnOnce(&Node) + Send + 'static,
) {
    let look = {
        let node = Arc::clone(node);
        Arc::new(move || {
            let acknowledged = node.acknowledged();
            let served = read(&node);
            assert!(served >= acknowledged, "version {served} was served after {acknowledged} was acknowledged");
        })
    };
    let mut threads: Vec<_> = (0..readers)
        .map(|_| {
            let look = Arc::clone(&look);
            thread::spawn(move || (0..4).for_each(|_| look()))
        })
        .collect();
    let node = Arc::clone(node);
    threads.push(thread::spawn(move || write(&node)));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    (0..2).for_each(|_| look());
}

/// Requests with a token; a header contains the version.
fn requests(
    node: &Arc<Node>,
    call: Call,
    header: &'static str,
    gone: usize,
) -> impl Fn(&Node) -> usize + Send + Sync + 'static {
    let guard = node.world.guard(|_| {});
    move |_| version(&block_on(call.at(&guard)), header, gone)
}

const SCOPE: &str = "x-authenticated-scope";

#[test]
fn a_revoked_token_is_refused() {
    in_all_orders(|| {
        let node = Node::new();
        let (digest, call) = node.token();
        readers_and_writer(&node, 2, requests(&node, call, SCOPE, 1), move |node| {
            node.world.tokens.rows.lock().unwrap().remove(&digest);
            node.hear(&[of_token(Operation::Deleted, digest)]);
            node.acknowledge(1);
        });
    });
}

#[test]
fn a_changed_token_is_served_as_changed_whatever_is_evicted() {
    in_all_orders(|| {
        let node = Node::new();
        let (digest, call) = node.token();
        readers_and_writer(&node, 2, requests(&node, call, SCOPE, 0), move |node| {
            for version in 1..3 {
                node.put_token(digest, version);
                node.hear(&[of_token(Operation::Updated, digest)]);
                node.acknowledge(version);
                node.world.shared.cache.evict(&digest);
            }
        });
    });
}

#[test]
fn a_token_that_was_unknown_is_known_once_it_is_created() {
    in_all_orders(|| {
        let node = Node::new();
        let clear = node.world.shared.own_tokens.mint(&SystemRandom).expose().to_owned();
        let (row, call) = (node.world.row(&clear), node.world.bearer(&clear));
        let guard = node.world.guard(|_| {});
        let read = move |_: &Node| usize::from(block_on(call.at(&guard)).passed());
        readers_and_writer(&node, 2, read, move |node| {
            let digest = row.access_token;
            node.world.tokens.rows.lock().unwrap().insert(digest, row);
            node.hear(&[of_token(Operation::Created, digest)]);
            node.acknowledge(1);
        });
    });
}

#[test]
fn no_cached_fact_is_used_after_everything_is_forgotten() {
    in_all_orders(|| {
        let node = Node::new();
        let (_, call) = node.token();
        readers_and_writer(&node, 2, requests(&node, call, SCOPE, 1), |node| {
            node.world.tokens.rows.lock().unwrap().clear();
            block_on(node.world.reset());
            block_on(node.listener.reset()).unwrap();
            node.acknowledge(1);
        });
    });
}

#[test]
fn a_changed_credential_is_served_as_changed() {
    in_all_orders(|| {
        let node = Node::new();
        node.put_credential(0);
        let (_, call) = node.token();
        readers_and_writer(&node, 2, requests(&node, call, "x-credential-identifier", 0), |node| {
            for version in 1..3 {
                node.put_credential(version);
                node.hear(&[of(credential::NAME, Operation::Updated, node.world.credential)]);
                node.acknowledge(version);
            }
        });
    });
}

#[test]
fn a_changed_consumer_is_served_as_changed() {
    in_all_orders(|| {
        let node = Node::new();
        node.put_consumer(0);
        let (_, call) = node.token();
        readers_and_writer(&node, 2, requests(&node, call, "x-consumer-custom-id", 0), |node| {
            for version in 1..3 {
                node.put_consumer(version);
                node.hear(&[of("consumers", Operation::Updated, node.world.consumer)]);
                node.acknowledge(version);
            }
        });
    });
}

#[test]
fn a_changed_anonymous_consumer_is_served_as_changed() {
    in_all_orders(|| {
        let node = Node::new();
        node.put_consumer(0);
        let (guard, call) = (node.world.guard_or("bob", |_| {}), node.world.call());
        let read = move |_: &Node| version(&block_on(call.at(&guard)), "x-consumer-custom-id", 0);
        readers_and_writer(&node, 2, read, |node| {
            for version in 1..3 {
                node.put_consumer(version);
                node.hear(&[of("consumers", Operation::Updated, node.world.consumer)]);
                node.acknowledge(version);
            }
        });
    });
}

#[test]
fn the_tokens_of_a_credential_end_with_it_even_if_it_is_recreated() {
    in_all_orders(|| {
        let node = Node::new();
        let (_, call) = node.token();
        readers_and_writer(&node, 2, requests(&node, call, SCOPE, 1), |node| {
            node.world.tokens.rows.lock().unwrap().clear();
            node.put_credential(1);
            // The feed reports the deletion after the credential was recreated.
            node.hear(&[of(credential::NAME, Operation::Updated, node.world.credential)]);
            node.acknowledge(1);
        });
    });
}

#[test]
fn the_tokens_of_a_service_end_with_it_even_if_it_is_recreated() {
    in_all_orders(|| {
        let node = Node::new();
        let (_, call) = node.token();
        readers_and_writer(&node, 2, requests(&node, call, SCOPE, 1), |node| {
            node.world.tokens.rows.lock().unwrap().clear();
            node.hear(&[of("services", Operation::Updated, node.world.service)]);
            node.acknowledge(1);
        });
    });
}

#[test]
fn a_consumers_credentials_and_their_tokens_end_with_it() {
    in_all_orders(|| {
        let node = Node::new();
        let (_, call) = node.token();
        readers_and_writer(&node, 2, requests(&node, call, SCOPE, 1), |node| {
            let world = &node.world;
            world.tokens.rows.lock().unwrap().clear();
            world.credentials.documents.lock().unwrap().clear();
            world.consumers.documents.lock().unwrap().clear();
            let credential = of(credential::NAME, Operation::Deleted, world.credential);
            node.hear(&[credential, of("consumers", Operation::Deleted, world.consumer)]);
            node.acknowledge(1);
        });
    });
}

/// One reader: several would share a look-up, which is as old as its start.
#[test]
fn without_the_feed_the_store_is_queried_and_no_older_entry_returns_with_it() {
    in_all_orders(|| {
        let node = Node::new();
        node.put_credential(0);
        node.put_consumer(0);
        let (digest, call) = node.token();
        let guard = node.world.guard(|_| {});
        let read = move |_: &Node| {
            let outcome = block_on(call.at(&guard));
            let headers = [SCOPE, "x-credential-identifier", "x-consumer-custom-id"];
            headers.map(|header| version(&outcome, header, 0)).into_iter().min().unwrap()
        };
        readers_and_writer(&node, 1, read, move |node| {
            let world = &node.world;
            world.feed.stop();
            for version in 1..3 {
                node.put_token(digest, version);
                node.put_credential(version);
                node.put_consumer(version);
                // Acknowledged by another node.
                node.acknowledge(version);
            }
            node.hear(&[
                of_token(Operation::Updated, digest),
                of(credential::NAME, Operation::Updated, world.credential),
                of("consumers", Operation::Updated, world.consumer),
            ]);
            world.feed.resume();
        });
    });
}

/// The token itself has not changed: only its credential shows that it is stale.
#[test]
fn a_credential_from_before_the_feed_was_lost_does_not_return_with_it() {
    in_all_orders(|| {
        let node = Node::new();
        node.put_credential(0);
        let (_, call) = node.token();
        let (guard, meanwhile) = (node.world.guard(|_| {}), call.clone());
        readers_and_writer(&node, 2, requests(&node, call, "x-credential-identifier", 0), move |node| {
            node.world.feed.stop();
            node.put_credential(1);
            // Read without the feed, in place of what the others have cached.
            assert!(block_on(meanwhile.at(&guard)).passed());
            node.hear(&[of(credential::NAME, Operation::Updated, node.world.credential)]);
            node.world.feed.resume();
            node.acknowledge(1);
        });
    });
}

const CLIENT: &str = "client";

fn client_of(secret: usize, node: &Node, name: &str) {
    let document = json!({
        "name": "client", "client_id": name, "client_secret": secret.to_string(), "hash_secret": false, "client_type": "confidential",
        "redirect_uris": [format!("http://v{secret}.test/")], "consumer": {"id": node.world.consumer},
    });
    node.world.credentials.put(node.world.credential, document);
}

/// The version of the client's redirect URI; `gone` if there is no such client.
fn of_client(node: &Node, gone: usize) -> usize {
    let found = block_on(node.listener.credentials.by_client_id(CLIENT)).unwrap();
    let Some(found) = found else { return gone };
    let uri = found.redirect_uris.first().unwrap();
    uri.trim_start_matches("http://v").trim_end_matches(".test/").parse().unwrap()
}

#[test]
fn a_changed_client_is_served_as_changed_and_not_under_its_old_name() {
    in_all_orders(|| {
        let node = Node::new();
        client_of(0, &node, CLIENT);
        readers_and_writer(
            &node,
            2,
            |node| of_client(node, 2),
            |node| {
                for (version, name) in [(1, CLIENT), (2, "renamed")] {
                    client_of(version, node, name);
                    node.hear(&[of(credential::NAME, Operation::Updated, node.world.credential)]);
                    node.acknowledge(version);
                }
            },
        );
    });
}

#[test]
fn without_the_feed_a_client_is_read_from_the_store() {
    in_all_orders(|| {
        let node = Node::new();
        client_of(0, &node, CLIENT);
        readers_and_writer(
            &node,
            2,
            |node| of_client(node, 0),
            |node| {
                node.world.feed.stop();
                for version in 1..3 {
                    client_of(version, node, CLIENT);
                    node.acknowledge(version);
                }
                node.hear(&[of(credential::NAME, Operation::Updated, node.world.credential)]);
                node.world.feed.resume();
            },
        );
    });
}
