//! A fair queue for key derivations.
//!
//! A derivation takes milliseconds of CPU time, and anybody can request one. So only a few run at
//! once, and permits are shared fairly: between requests of known clients and the rest, then
//! between addresses, then between clients. A requester that floods the queue delays only
//! itself.
//!
//! The queue is bounded in length and in waiting time. When it is full, the address with the most waiting
//! requests loses one.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tollgate_core::network;
use uuid::Uuid;

/// What is known about a request before any derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It names a client, and its secret may be right.
    Claimed,
    /// It will be refused.
    Refused,
}

/// Who sent the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requester {
    address: IpAddr,
    client: Option<Uuid>,
}

impl Requester {
    /// A requester at this address that claims to be the client with this credential; `None` is an
    /// unknown client.
    pub fn new(address: IpAddr, client: Option<Uuid>) -> Self {
        Self { address: network::of(address), client }
    }
}

/// Grants permits to derive a key.
pub struct DerivationQueue {
    state: Arc<Mutex<State>>,
    max_wait: Duration,
}

/// A permit to derive one key; dropping it passes it to the next waiter.
pub struct Permit(Arc<Mutex<State>>);

impl DerivationQueue {
    /// A queue with this number of `permits`, in which at most `max_waiting` requests of a class wait, each at most
    /// `max_wait`.
    pub fn new(permits: usize, max_waiting: usize, max_wait: Duration) -> Self {
        let waiting = || Waiting { addresses: VecDeque::new(), most: max_waiting };
        let state = State { free: permits, next: Class::Claimed, claimed: waiting(), refused: waiting() };
        Self { state: Arc::new(Mutex::new(state)), max_wait }
    }

    /// Waits for a permit; `None` if the queue is full or the wait takes too long.
    pub async fn acquire(&self, class: Class, requester: Requester) -> Option<Permit> {
        let waiting = {
            let mut state = lock(&self.state);
            if state.free > 0 {
                // Permits are free only while nobody waits.
                state.free -= 1;
                return Some(Permit(Arc::clone(&self.state)));
            }
            state.class(class).push(requester)?
        };
        tokio::time::timeout(self.max_wait, waiting).await.ok()?.ok()
    }

    /// The number of waiting requests.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        let state = lock(&self.state);
        state.claimed.len() + state.refused.len()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = {
            let mut state = lock(&self.0);
            let next = state.pop();
            if next.is_none() {
                state.free += 1;
            }
            next
        };
        if let Some(next) = next {
            // A waiter that has just given up returns the permit by dropping it.
            drop(next.send(Self(Arc::clone(&self.0))));
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct State {
    free: usize,
    /// The class that is served next.
    next: Class,
    claimed: Waiting,
    refused: Waiting,
}

impl State {
    fn class(&mut self, class: Class) -> &mut Waiting {
        match class {
            Class::Claimed => &mut self.claimed,
            Class::Refused => &mut self.refused,
        }
    }

    fn pop(&mut self) -> Option<Waiter> {
        let (first, second) = match self.next {
            Class::Claimed => (Class::Claimed, Class::Refused),
            Class::Refused => (Class::Refused, Class::Claimed),
        };
        if let Some(waiter) = self.class(first).pop() {
            self.next = second;
            return Some(waiter);
        }
        self.class(second).pop()
    }
}

/// A waiting request.
type Waiter = oneshot::Sender<Permit>;

/// The waiters of a class: by address, then by client; the front of each is served next.
struct Waiting {
    addresses: VecDeque<Address>,
    most: usize,
}

struct Address {
    address: IpAddr,
    clients: VecDeque<Client>,
}

struct Client {
    client: Option<Uuid>,
    waiters: VecDeque<Waiter>,
}

impl Waiting {
    fn push(&mut self, requester: Requester) -> Option<oneshot::Receiver<Permit>> {
        if self.len() >= self.most {
            self.drop_cancelled();
        }
        if self.len() >= self.most && !self.evict_for(requester.address) {
            return None;
        }
        let (waiter, waiting) = oneshot::channel();
        self.add(requester, waiter);
        Some(waiting)
    }

    fn pop(&mut self) -> Option<Waiter> {
        while let Some(mut address) = self.addresses.pop_front() {
            let waiter = address.pop();
            if !address.clients.is_empty() {
                self.addresses.push_back(address);
            }
            if waiter.is_some() {
                return waiter;
            }
        }
        None
    }

    fn len(&self) -> usize {
        self.addresses.iter().map(Address::len).sum()
    }

    /// Drops the waiters that have given up.
    fn drop_cancelled(&mut self) {
        for address in &mut self.addresses {
            for client in &mut address.clients {
                client.waiters.retain(|waiter| !waiter.is_closed());
            }
            address.clients.retain(|client| !client.waiters.is_empty());
        }
        self.addresses.retain(|address| !address.clients.is_empty());
    }

    /// Drops a waiter of the address with the most, unless that is the address that needs the room.
    fn evict_for(&mut self, address: IpAddr) -> bool {
        let Some(largest) = self.addresses.iter_mut().max_by_key(|known| known.len()) else { return false };
        if largest.address == address {
            return false;
        }
        let Some(client) = largest.clients.iter_mut().max_by_key(|client| client.waiters.len()) else { return false };
        // The newest has waited for the shortest time.
        client.waiters.pop_back().is_some()
    }

    fn add(&mut self, requester: Requester, waiter: Waiter) {
        if let Some(known) = self.addresses.iter_mut().find(|known| known.address == requester.address) {
            return known.add(requester.client, waiter);
        }
        let mut new = Address { address: requester.address, clients: VecDeque::new() };
        new.add(requester.client, waiter);
        self.addresses.push_back(new);
    }
}

impl Address {
    fn add(&mut self, client: Option<Uuid>, waiter: Waiter) {
        match self.clients.iter_mut().find(|known| known.client == client) {
            Some(known) => known.waiters.push_back(waiter),
            None => self.clients.push_back(Client { client, waiters: VecDeque::from([waiter]) }),
        }
    }

    /// The next waiter that has not given up.
    fn pop(&mut self) -> Option<Waiter> {
        while let Some(mut client) = self.clients.pop_front() {
            let waiter = std::iter::from_fn(|| client.waiters.pop_front()).find(|waiter| !waiter.is_closed());
            if !client.waiters.is_empty() {
                self.clients.push_back(client);
            }
            if waiter.is_some() {
                return waiter;
            }
        }
        None
    }

    fn len(&self) -> usize {
        self.clients.iter().map(|client| client.waiters.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;

    const MAX_WAITING: usize = 1024;

    fn queue() -> DerivationQueue {
        DerivationQueue::new(1, MAX_WAITING, Duration::from_secs(60))
    }

    fn requester(address: &str, client: Option<u128>) -> Requester {
        Requester::new(address.parse().unwrap(), client.map(Uuid::from_u128))
    }

    type Pending<'q> = (&'static str, BoxFuture<'q, Option<Permit>>);

    fn wait<'q>(queue: &'q DerivationQueue, name: &'static str, class: Class, requester: Requester) -> Pending<'q> {
        let mut permit = queue.acquire(class, requester).boxed();
        assert!((&mut permit).now_or_never().is_none(), "{name} need not wait");
        (name, permit)
    }

    /// The names in the order in which they get their permits.
    fn order(permit: Permit, mut pending: Vec<Pending<'_>>) -> Vec<&'static str> {
        let (mut order, mut permit) = (Vec::new(), Some(permit));
        while !pending.is_empty() {
            drop(permit.take());
            let at = pending.iter_mut().enumerate().find_map(|(at, (_, waiting))| {
                permit = (&mut *waiting).now_or_never().flatten();
                permit.is_some().then_some(at)
            });
            order.push(pending.remove(at.unwrap()).0);
        }
        order
    }

    #[tokio::test]
    async fn permits_go_round_classes_then_addresses_then_clients() {
        let queue = queue();
        let one = requester("192.0.2.1", None);
        let permit = queue.acquire(Class::Refused, one).await.unwrap();
        let mut pending: Vec<_> = (0..4).map(|_| wait(&queue, "unknown", Class::Refused, one)).collect();
        pending.push(wait(&queue, "elsewhere", Class::Refused, requester("192.0.2.2", None)));
        pending.extend((0..3).map(|_| wait(&queue, "shoe", Class::Claimed, requester("192.0.2.1", Some(1)))));
        pending.push(wait(&queue, "app", Class::Claimed, requester("192.0.2.1", Some(2))));
        let expected = ["shoe", "unknown", "app", "elsewhere", "shoe", "unknown", "shoe", "unknown", "unknown"];
        assert_eq!(order(permit, pending), expected);
    }

    #[tokio::test]
    async fn addresses_of_one_network_share_a_place() {
        let queue = queue();
        let permit = queue.acquire(Class::Refused, requester("2001:db8::1", None)).await.unwrap();
        let mut pending: Vec<_> = ["2001:db8::2", "2001:db8::3", "2001:db8::4"]
            .map(|address| wait(&queue, "network", Class::Refused, requester(address, None)))
            .into();
        pending.push(wait(&queue, "mapped", Class::Refused, requester("::ffff:192.0.2.1", None)));
        pending.push(wait(&queue, "mapped", Class::Refused, requester("192.0.2.1", None)));
        assert_eq!(order(permit, pending), ["network", "mapped", "network", "mapped", "network"]);
    }

    #[tokio::test]
    async fn in_a_full_queue_the_address_with_most_waiting_loses_one() {
        let queue = queue();
        let greedy = requester("192.0.2.1", None);
        let permit = queue.acquire(Class::Refused, greedy).await.unwrap();
        let mut pending: Vec<_> = (0..MAX_WAITING).map(|_| wait(&queue, "greedy", Class::Refused, greedy)).collect();
        assert!(queue.acquire(Class::Refused, greedy).await.is_none(), "the queue is full");
        let modest = wait(&queue, "modest", Class::Refused, requester("192.0.2.2", None));
        assert!(pending.pop().unwrap().1.await.is_none(), "the last of the many gave way");
        // Waiters that gave up take no room.
        pending.truncate(2);
        pending.push(modest);
        pending.push(wait(&queue, "late", Class::Refused, greedy));
        assert_eq!(order(permit, pending), ["greedy", "modest", "greedy", "late"]);
        assert_eq!(lock(&queue.state).free, 1);
    }

    #[tokio::test]
    async fn no_request_waits_for_ever() {
        let queue = DerivationQueue::new(1, MAX_WAITING, Duration::from_millis(1));
        let requester = requester("192.0.2.1", Some(1));
        let permit = queue.acquire(Class::Claimed, requester).await.unwrap();
        assert!(queue.acquire(Class::Claimed, requester).await.is_none());
        drop(permit);
        assert!(queue.acquire(Class::Claimed, requester).await.is_some());
    }
}
