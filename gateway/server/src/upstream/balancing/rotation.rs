//! Endpoints with their weights, arranged for an algorithm.
//!
//! Consistent hashing uses Pingora's ketama ring ([decision 5](../../../../../docs/decisions/0005-balancing.md)). How
//! many points an endpoint has there follows from its own weight, so that one which joins takes keys from the others
//! and moves none among them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::consistent::KetamaConfig;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent};

use super::endpoint::Endpoint;
use super::spec::Algorithm;

/// The points on the ring of an endpoint whose weight is a power of two, if no other has more than twice its weight.
const POINTS: u32 = 160;

/// The ring tells so many endpoints apart.
const MOST_ON_RING: usize = 65_535;

/// An endpoint in a rotation.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    /// At least one.
    pub(super) weight: u32,
}

/// See the module.
#[derive(Default)]
pub(super) struct Rotation {
    members: Box<[Member]>,
    /// One round: positions of members, each as often as its weight says.
    round: Box<[u32]>,
    /// With the number of its points.
    ring: Option<(Arc<Consistent>, usize)>,
    by_address: HashMap<SocketAddr, usize>,
}

impl Rotation {
    /// Arranges endpoints; a round has at most so many slots, or one for each endpoint.
    pub(super) fn new(members: Vec<Member>, algorithm: Algorithm, slots: u32) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let round = interleaved(&weights, slots);
        let ring = (algorithm == Algorithm::ConsistentHashing).then(|| ring(&members));
        let places = members.iter().enumerate();
        let by_address = places.rev().map(|(place, member)| (member.endpoint.address, place)).collect();
        Self { members: members.into(), round, ring, by_address }
    }

    /// Its endpoints.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The next endpoint that `may` be used; `None`: there is none.
    pub(super) fn pick(
        &self,
        algorithm: Algorithm,
        key: Option<&[u8]>,
        turn: &AtomicUsize,
        may: impl Fn(&Endpoint) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        match (algorithm, key) {
            // The algorithm may be newer than the rotation, which has no ring then.
            (Algorithm::ConsistentHashing, Some(key)) if self.ring.is_some() => self.on_ring(key, may),
            (Algorithm::RoundRobin | Algorithm::ConsistentHashing, _) => self.in_turn(turn, may),
            (Algorithm::LeastConnections, _) => self.least(turn, may, |member| {
                #[expect(clippy::cast_precision_loss, reason = "far fewer requests than are exact")]
                let open = member.endpoint.open() as f64;
                (open + 1.0) / f64::from(member.weight)
            }),
            (Algorithm::Latency, _) => self.least(turn, may, |member| {
                #[expect(clippy::cast_precision_loss, reason = "far fewer requests than are exact")]
                let open = member.endpoint.open() as f64;
                member.endpoint.latency() * (open + 1.0) / f64::from(member.weight)
            }),
        }
    }

    fn in_turn(&self, turn: &AtomicUsize, may: impl Fn(&Endpoint) -> bool) -> Option<&Arc<Endpoint>> {
        let (earlier, later) = self.round.split_at(next(turn, self.round.len())?);
        let members = later.iter().chain(earlier).filter_map(|place| self.members.get(usize::try_from(*place).ok()?));
        members.map(|member| &member.endpoint).find(|endpoint| may(endpoint))
    }

    fn on_ring(&self, key: &[u8], may: impl Fn(&Endpoint) -> bool) -> Option<&Arc<Endpoint>> {
        let (ring, points) = self.ring.as_ref()?;
        let mut refused: BTreeSet<usize> = BTreeSet::new();
        // The iterator goes round for ever, and an endpoint may have lost its points to others.
        let mut around = ring.iter(key);
        for _ in 0..*points {
            let point = around.next()?;
            if refused.len() == self.by_address.len() {
                return None;
            }
            let PeerAddress::Inet(address) = point.addr else { return None };
            let place = *self.by_address.get(&address)?;
            let endpoint = &self.members.get(place)?.endpoint;
            if may(endpoint) {
                return Some(endpoint);
            }
            refused.insert(place);
        }
        None
    }

    /// The one with the least cost; of several, each in turn.
    fn least(
        &self,
        turn: &AtomicUsize,
        may: impl Fn(&Endpoint) -> bool,
        cost: impl Fn(&Member) -> f64,
    ) -> Option<&Arc<Endpoint>> {
        let (earlier, later) = self.members.split_at(next(turn, self.members.len())?);
        let usable = later.iter().chain(earlier).filter(|member| may(&member.endpoint));
        let costs = usable.map(|member| (cost(member), member));
        costs.min_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, member)| &member.endpoint)
    }
}

/// The next of so many places; `None`: there are none.
fn next(turn: &AtomicUsize, places: usize) -> Option<usize> {
    turn.fetch_add(1, Ordering::Relaxed).checked_rem(places)
}

/// One round: each place as often as its weight says, spread evenly.
fn interleaved(weights: &[u32], slots: u32) -> Box<[u32]> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let total: u64 = weights.iter().map(|weight| u64::from(weight / divisor)).sum();
    let share = |weight: u32| {
        let exact = u64::from(weight / divisor);
        let share = if total > u64::from(slots) { exact * u64::from(slots) / total } else { exact };
        u32::try_from(share.max(1)).unwrap_or(u32::MAX)
    };
    let mut round: Vec<(f64, u32)> = Vec::new();
    for (place, weight) in (0..).zip(weights) {
        let share = share(*weight);
        round.extend((0..share).map(|nth| ((f64::from(nth) + 0.5) / f64::from(share), place)));
    }
    round.sort_unstable_by(|(one, first), (other, second)| one.total_cmp(other).then(first.cmp(second)));
    round.into_iter().map(|(_, place)| place).collect()
}

fn greatest_common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

fn ring(members: &[Member]) -> (Arc<Consistent>, usize) {
    let mut weights: BTreeMap<SocketAddr, u64> = BTreeMap::new();
    for member in members.iter().take(MOST_ON_RING) {
        *weights.entry(member.endpoint.address).or_default() += u64::from(member.weight);
    }
    // A power of two, so that it rarely changes with what joins.
    let unit = weights.values().max().map_or(0, |greatest| greatest.max(&1).ilog2());
    let points = |weight: u64| usize::try_from(((weight * u64::from(POINTS)) >> unit).max(1)).unwrap_or(1);
    let backends = weights.into_iter().map(|(address, weight)| Backend {
        addr: PeerAddress::Inet(address),
        weight: points(weight),
        ext: pingora_load_balancing::Extensions::new(),
    });
    let backends: BTreeSet<Backend> = backends.collect();
    let count = backends.iter().map(|backend| backend.weight).sum();
    (Arc::new(Consistent::build_with_config(&backends, &KetamaConfig { point_multiple: Some(1) })), count)
}

impl std::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.members).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::balancing::endpoint::Lease;

    fn member(last: u8, weight: u32) -> Member {
        let address = SocketAddr::from(([10, 0, 0, last], 80));
        let name: Arc<str> = address.to_string().into();
        Member { endpoint: Arc::new(Endpoint::new(address, Arc::clone(&name), name, 0.0)), weight }
    }

    fn members(weights: &[u32]) -> Vec<Member> {
        (1..).zip(weights).map(|(last, weight)| member(last, *weight)).collect()
    }

    fn last(endpoint: &Endpoint) -> u8 {
        match endpoint.address {
            SocketAddr::V4(address) => address.ip().octets()[3],
            SocketAddr::V6(_) => 0,
        }
    }

    fn picked(rotation: &Rotation, algorithm: Algorithm, count: usize) -> Vec<u8> {
        let turn = AtomicUsize::new(0);
        (0..count).map(|_| last(rotation.pick(algorithm, None, &turn, |_| true).unwrap())).collect()
    }

    #[test]
    fn turns_follow_weights_and_are_spread_evenly() {
        let rows: [(&[u32], &[u8]); 4] = [
            (&[100, 100], &[1, 2, 1, 2]),
            (&[200, 100], &[1, 2, 1, 1, 2, 1]),
            (&[30, 10, 10], &[1, 1, 2, 3, 1]),
            (&[7], &[1, 1]),
        ];
        for (weights, expected) in rows {
            let rotation = Rotation::new(members(weights), Algorithm::RoundRobin, 10_000);
            assert_eq!(picked(&rotation, Algorithm::RoundRobin, expected.len()), expected, "{weights:?}");
        }
    }

    #[test]
    fn a_round_has_as_many_slots_as_the_upstream_says() {
        assert_eq!(interleaved(&[65_535, 65_534, 1], 100).len(), 100, "50, 49 and 1");
        assert_eq!(interleaved(&[101; 50], 10).len(), 50, "each endpoint has one");
        assert!(interleaved(&[], 10).is_empty());
    }

    #[test]
    fn what_may_not_be_used_is_passed_over() {
        for algorithm in
            [Algorithm::RoundRobin, Algorithm::ConsistentHashing, Algorithm::LeastConnections, Algorithm::Latency]
        {
            let rotation = Rotation::new(members(&[100, 100, 100]), algorithm, 10_000);
            let turn = AtomicUsize::new(0);
            for key in 0..50_u8 {
                let found = rotation.pick(algorithm, Some(&[key]), &turn, |endpoint| last(endpoint) == 2);
                assert_eq!(found.map(|endpoint| last(endpoint)), Some(2), "{algorithm:?}");
            }
            assert!(rotation.pick(algorithm, Some(b"key"), &turn, |_| false).is_none(), "{algorithm:?}");
            let nothing = Rotation::new(Vec::new(), algorithm, 10_000);
            assert!(nothing.pick(algorithm, Some(b"key"), &turn, |_| true).is_none(), "{algorithm:?}");
        }
    }

    #[test]
    fn the_one_with_the_fewest_requests_for_its_weight_is_next() {
        let rotation = Rotation::new(members(&[100, 200]), Algorithm::LeastConnections, 10_000);
        let turn = AtomicUsize::new(0);
        let leases: Vec<_> = (0..30)
            .map(|_| Lease::new(Arc::clone(rotation.pick(Algorithm::LeastConnections, None, &turn, |_| true).unwrap())))
            .collect();
        let open: Vec<_> = rotation.members().iter().map(|member| member.endpoint.open()).collect();
        assert_eq!(open, [10, 20]);
        drop(leases);
        assert!(rotation.members().iter().all(|member| member.endpoint.open() == 0));
    }

    fn keys_by_endpoint(rotation: &Rotation, keys: u32) -> Vec<u8> {
        let turn = AtomicUsize::new(0);
        let pick = |key: u32| rotation.pick(Algorithm::ConsistentHashing, Some(&key.to_be_bytes()), &turn, |_| true);
        (0..keys).map(|key| last(pick(key).unwrap())).collect()
    }

    #[test]
    fn an_endpoint_that_joins_takes_its_share_of_keys_and_moves_no_other() {
        const KEYS: u32 = 20_000;
        for (weights, weight) in [(vec![100; 4], 100), (vec![100; 9], 100), (vec![1, 1, 1], 1), (vec![100, 100], 50)] {
            let rotation = |weights: &[u32]| Rotation::new(members(weights), Algorithm::ConsistentHashing, 10_000);
            let joined: Vec<u32> = weights.iter().copied().chain([weight]).collect();
            let before = keys_by_endpoint(&rotation(&weights), KEYS);
            let after = keys_by_endpoint(&rotation(&joined), KEYS);
            let new = u8::try_from(joined.len()).unwrap();
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
            assert!(moved.clone().all(|(_, after)| *after == new), "{weights:?}: keys move to the new one only");
            let share = f64::from(weight) / f64::from(joined.iter().sum::<u32>());
            let moved = moved.count() as f64 / f64::from(KEYS);
            assert!((share * 0.7..share * 1.3).contains(&moved), "{weights:?}: {moved} of {share}");
        }
    }

    #[test]
    fn an_endpoint_that_joins_three_takes_a_quarter_of_the_keys_at_most() {
        const KEYS: u32 = 100_000;
        let rotation = |weights: &[u32]| Rotation::new(members(weights), Algorithm::ConsistentHashing, 10_000);
        let before = keys_by_endpoint(&rotation(&[100; 3]), KEYS);
        let after = keys_by_endpoint(&rotation(&[100; 4]), KEYS);
        let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        assert!(moved.iter().all(|(_, after)| **after == 4), "keys move to the new one only");
        let share = moved.len() as f64 / f64::from(KEYS);
        assert!((0.2..=0.26).contains(&share), "{share}");
    }

    #[test]
    fn keys_are_spread_by_weight() {
        const KEYS: u32 = 20_000;
        let rotation = Rotation::new(members(&[300, 100]), Algorithm::ConsistentHashing, 10_000);
        let first = keys_by_endpoint(&rotation, KEYS).into_iter().filter(|last| *last == 1).count() as f64;
        assert!((0.68..0.82).contains(&(first / f64::from(KEYS))), "{first}");
    }
}
