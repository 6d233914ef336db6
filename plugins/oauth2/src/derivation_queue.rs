//! Whose turn it is to have a key derived.
//!
//! A derivation is milliseconds of a processor, and anybody can ask for one. So a few run at once,
//! and turns are dealt out evenly: between requests of known clients and the rest, then between
//! addresses, then between clients. Who asks for much waits for his own requests, not others for
//! them.
//!
//! What waits is bounded in number and time. When there is no place left, the one who has most
//! waiting gives one up.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

/// Requests of a class that may wait.
const MOST_WAITING: usize = 1024;

/// The part of an IPv6 address that names its network.
const NETWORK: u128 = u128::MAX << 64;

/// What is known of a request before anything is derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It names a client, and may have its secret.
    Claimed,
    /// It will be refused.
    Refused,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    address: IpAddr,
    client: Option<Uuid>,
}

impl Asker {
    /// Somebody at this address who claims to be the client of this credential, or one that is not
    /// known. An IPv6 address counts with its network: whoever has one has all of it.
    pub fn new(address: IpAddr, client: Option<Uuid>) -> Self {
        let address = match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
            address @ IpAddr::V4(_) => address,
        };
        Self { address, client }
    }
}

/// Deals out turns.
pub struct DerivationQueue {
    state: Arc<Mutex<State>>,
    longest_wait: Duration,
}

/// Permission to derive one key; the next one's turn comes when it is dropped.
pub struct Turn(Arc<Mutex<State>>);

impl DerivationQueue {
    /// So many turns at once, for which nobody waits longer than that.
    pub fn new(turns: usize, longest_wait: Duration) -> Self {
        let state =
            State { free: turns, next: Class::Claimed, claimed: Waiting::default(), refused: Waiting::default() };
        Self { state: Arc::new(Mutex::new(state)), longest_wait }
    }

    /// Waits for a turn; `None` when there is no place or no time left to wait.
    pub async fn turn(&self, class: Class, asker: Asker) -> Option<Turn> {
        let waiting = {
            let mut state = lock(&self.state);
            if state.free > 0 {
                // Turns are only free while nobody waits.
                state.free -= 1;
                return Some(Turn(Arc::clone(&self.state)));
            }
            state.class(class).push(asker)?
        };
        tokio::time::timeout(self.longest_wait, waiting).await.ok()?.ok()
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        let state = lock(&self.state);
        state.claimed.len() + state.refused.len()
    }
}

impl Drop for Turn {
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
            // One that has just stopped waiting gives its turn back by dropping it.
            drop(next.send(Self(Arc::clone(&self.0))));
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct State {
    free: usize,
    /// The class whose turn it is.
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

    fn pop(&mut self) -> Option<Place> {
        let (first, second) = match self.next {
            Class::Claimed => (Class::Claimed, Class::Refused),
            Class::Refused => (Class::Refused, Class::Claimed),
        };
        if let Some(place) = self.class(first).pop() {
            self.next = second;
            return Some(place);
        }
        self.class(second).pop()
    }
}

/// One that waits.
type Place = oneshot::Sender<Turn>;

/// Those of a class that wait: by address, then by client; the front of each has the next turn.
#[derive(Default)]
struct Waiting {
    addresses: VecDeque<Address>,
}

struct Address {
    address: IpAddr,
    clients: VecDeque<Client>,
}

struct Client {
    client: Option<Uuid>,
    places: VecDeque<Place>,
}

impl Waiting {
    fn push(&mut self, asker: Asker) -> Option<oneshot::Receiver<Turn>> {
        if self.len() >= MOST_WAITING {
            self.forget_gone();
        }
        if self.len() >= MOST_WAITING && !self.make_place(asker.address) {
            return None;
        }
        let (place, waiting) = oneshot::channel();
        self.add(asker, place);
        Some(waiting)
    }

    fn pop(&mut self) -> Option<Place> {
        while let Some(mut address) = self.addresses.pop_front() {
            let place = address.pop();
            if !address.clients.is_empty() {
                self.addresses.push_back(address);
            }
            if place.is_some() {
                return place;
            }
        }
        None
    }

    fn len(&self) -> usize {
        self.addresses.iter().map(Address::len).sum()
    }

    /// Drops the places of those who no longer wait.
    fn forget_gone(&mut self) {
        for address in &mut self.addresses {
            for client in &mut address.clients {
                client.places.retain(|place| !place.is_closed());
            }
            address.clients.retain(|client| !client.places.is_empty());
        }
        self.addresses.retain(|address| !address.clients.is_empty());
    }

    /// Takes a place from the address that has most, unless that is the one that asks for another.
    fn make_place(&mut self, address: IpAddr) -> bool {
        let Some(greediest) = self.addresses.iter_mut().max_by_key(|known| known.len()) else { return false };
        if greediest.address == address {
            return false;
        }
        let Some(client) = greediest.clients.iter_mut().max_by_key(|client| client.places.len()) else { return false };
        // The last one to come has waited for the shortest time.
        client.places.pop_back().is_some()
    }

    fn add(&mut self, asker: Asker, place: Place) {
        if let Some(known) = self.addresses.iter_mut().find(|known| known.address == asker.address) {
            return known.add(asker.client, place);
        }
        let mut new = Address { address: asker.address, clients: VecDeque::new() };
        new.add(asker.client, place);
        self.addresses.push_back(new);
    }
}

impl Address {
    fn add(&mut self, client: Option<Uuid>, place: Place) {
        match self.clients.iter_mut().find(|known| known.client == client) {
            Some(known) => known.places.push_back(place),
            None => self.clients.push_back(Client { client, places: VecDeque::from([place]) }),
        }
    }

    /// The next one that still waits.
    fn pop(&mut self) -> Option<Place> {
        while let Some(mut client) = self.clients.pop_front() {
            let place = std::iter::from_fn(|| client.places.pop_front()).find(|place| !place.is_closed());
            if !client.places.is_empty() {
                self.clients.push_back(client);
            }
            if place.is_some() {
                return place;
            }
        }
        None
    }

    fn len(&self) -> usize {
        self.clients.iter().map(|client| client.places.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;

    fn queue() -> DerivationQueue {
        DerivationQueue::new(1, Duration::from_secs(60))
    }

    fn asker(address: &str, client: Option<u128>) -> Asker {
        Asker::new(address.parse().unwrap(), client.map(Uuid::from_u128))
    }

    type Pending<'q> = (&'static str, BoxFuture<'q, Option<Turn>>);

    fn wait<'q>(queue: &'q DerivationQueue, name: &'static str, class: Class, asker: Asker) -> Pending<'q> {
        let mut turn = queue.turn(class, asker).boxed();
        assert!((&mut turn).now_or_never().is_none(), "{name} need not wait");
        (name, turn)
    }

    /// The names in the order in which their turns come.
    fn order(turn: Turn, mut pending: Vec<Pending<'_>>) -> Vec<&'static str> {
        let (mut order, mut turn) = (Vec::new(), Some(turn));
        while !pending.is_empty() {
            drop(turn.take());
            let at = pending.iter_mut().enumerate().find_map(|(at, (_, waiting))| {
                turn = (&mut *waiting).now_or_never().flatten();
                turn.is_some().then_some(at)
            });
            order.push(pending.remove(at.unwrap()).0);
        }
        order
    }

    #[tokio::test]
    async fn turns_go_round_classes_then_addresses_then_clients() {
        let queue = queue();
        let one = asker("192.0.2.1", None);
        let turn = queue.turn(Class::Refused, one).await.unwrap();
        let mut pending: Vec<_> = (0..4).map(|_| wait(&queue, "unknown", Class::Refused, one)).collect();
        pending.push(wait(&queue, "elsewhere", Class::Refused, asker("192.0.2.2", None)));
        pending.extend((0..3).map(|_| wait(&queue, "shoe", Class::Claimed, asker("192.0.2.1", Some(1)))));
        pending.push(wait(&queue, "app", Class::Claimed, asker("192.0.2.1", Some(2))));
        let expected = ["shoe", "unknown", "app", "elsewhere", "shoe", "unknown", "shoe", "unknown", "unknown"];
        assert_eq!(order(turn, pending), expected);
    }

    #[tokio::test]
    async fn addresses_of_a_network_are_one() {
        let queue = queue();
        let turn = queue.turn(Class::Refused, asker("2001:db8::1", None)).await.unwrap();
        let mut pending: Vec<_> = ["2001:db8::2", "2001:db8::3", "2001:db8::4"]
            .map(|address| wait(&queue, "network", Class::Refused, asker(address, None)))
            .into();
        pending.push(wait(&queue, "mapped", Class::Refused, asker("::ffff:192.0.2.1", None)));
        pending.push(wait(&queue, "mapped", Class::Refused, asker("192.0.2.1", None)));
        assert_eq!(order(turn, pending), ["network", "mapped", "network", "mapped", "network"]);
    }

    #[tokio::test]
    async fn who_has_most_waiting_gives_a_place_up() {
        let queue = queue();
        let greedy = asker("192.0.2.1", None);
        let turn = queue.turn(Class::Refused, greedy).await.unwrap();
        let mut pending: Vec<_> = (0..MOST_WAITING).map(|_| wait(&queue, "greedy", Class::Refused, greedy)).collect();
        assert!(queue.turn(Class::Refused, greedy).await.is_none(), "there is no place left");
        let modest = wait(&queue, "modest", Class::Refused, asker("192.0.2.2", None));
        assert!(pending.pop().unwrap().1.await.is_none(), "the last of the many gave way");
        // Whoever is gone needs no place.
        pending.truncate(2);
        pending.push(modest);
        pending.push(wait(&queue, "late", Class::Refused, greedy));
        assert_eq!(order(turn, pending), ["greedy", "modest", "greedy", "late"]);
        assert_eq!(lock(&queue.state).free, 1);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let queue = DerivationQueue::new(1, Duration::from_millis(1));
        let asker = asker("192.0.2.1", Some(1));
        let turn = queue.turn(Class::Claimed, asker).await.unwrap();
        assert!(queue.turn(Class::Claimed, asker).await.is_none());
        drop(turn);
        assert!(queue.turn(Class::Claimed, asker).await.is_some());
    }
}
