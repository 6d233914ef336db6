//! Plugin chains: the plugins of a route, in the order in which they run (gateway.md §9).
//!
//! Most routes have one plugin, which needs only the head of the request: then the chain is just that
//! plugin. What costs more (reading a body, response phases,
//! consumer-scoped instances) is in [`Extra`], which exists only if needed.
//!
//! Consumer-scoped instances join the chain once the consumer of a request is known:
//! [`Plugins::of_consumer`] merges them with the route's other instances.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;
use tollgate_core::plugin::{Handler, Needs, ResponsePhase, TrafficMetrics};
use uuid::Uuid;

use crate::plugin_choice::{Binding, Rank};

/// One plugin on a route.
#[derive(Clone)]
pub struct ChainEntry {
    /// Its compiled instance.
    pub handler: Arc<dyn Handler>,
    place: Arc<Place>,
    /// The specificity of the instance.
    rank: Rank,
}

/// The position of a plugin: by priority, ties by name, both descending.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    priority: i32,
    name: &'static str,
}

impl ChainEntry {
    /// An instance of the plugin `name`.
    pub fn new(name: &'static str, priority: i32, rank: Rank, handler: Arc<dyn Handler>) -> Self {
        Self { handler, place: Arc::new(Place { priority, name }), rank }
    }

    /// The plugin's name, for logs.
    pub fn name(&self) -> &'static str {
        self.place.name
    }
}

/// The plugins of a route.
pub enum Chain {
    /// They can run.
    Ready(Plugins),
    /// One of them, or the route itself, could not be compiled: every request is refused
    /// (architecture, invariant 1), with this reason code in the log.
    Uncompilable(&'static str),
}

/// Plugins in order.
#[derive(Default)]
pub struct Plugins {
    /// Usually a single one, which is stored in the route itself.
    entries: Entries,
    /// `None`: not needed.
    extra: Option<Box<Extra>>,
}

type Entries = SmallVec<[ChainEntry; 1]>;

struct Extra {
    /// The largest body limit of any of them.
    body_limit: usize,
    response: ResponsePhase,
    consumers: Option<Arc<ConsumerPlugins>>,
}

/// The plugins that apply to one request.
pub(crate) enum Effective<'c> {
    /// Those of its route.
    Route(&'c [ChainEntry]),
    /// Those of its route and its consumer.
    Consumer(Vec<ChainEntry>),
}

impl Effective<'_> {
    pub(crate) fn entries(&self) -> &[ChainEntry] {
        match self {
            Self::Route(entries) => entries,
            Self::Consumer(entries) => entries,
        }
    }
}

/// An instance of the consumer cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uncompilable;

impl Plugins {
    /// Sorts them. `consumers`: the consumer-scoped instances, if there are any.
    pub fn new(entries: impl IntoIterator<Item = ChainEntry>, consumers: Option<Arc<ConsumerPlugins>>) -> Self {
        let mut entries: Entries = entries.into_iter().collect();
        entries.sort_by(|one, other| other.place.cmp(&one.place));
        let needs = |entries: &Entries| {
            let all = entries.iter().map(|entry| entry.handler.needs());
            all.reduce(|one, other| Needs {
                body_limit: one.body_limit.max(other.body_limit),
                response: if one.response == ResponsePhase::Head { one.response } else { other.response },
            })
        };
        let Needs { body_limit, response } = needs(&entries).unwrap_or_default();
        let simple = consumers.is_none() && response == ResponsePhase::Skipped && entries.len() <= 1;
        let extra = (!simple).then(|| Box::new(Extra { body_limit, response, consumers }));
        Self { entries, extra }
    }

    /// What is exported of the route's traffic.
    pub(crate) fn traffic_metrics(&self) -> TrafficMetrics {
        self.entries.iter().find_map(|entry| entry.handler.traffic_metrics()).unwrap_or_default()
    }

    /// In order.
    pub(crate) fn entries(&self) -> &[ChainEntry] {
        &self.entries
    }

    /// The body limit for a request by one of them: later ones may need more.
    pub(crate) fn body_limit(&self, asked: usize) -> usize {
        self.extra.as_ref().map_or(asked, |extra| extra.body_limit.max(asked))
    }

    /// Whether consumers may have their own instances.
    pub(crate) fn varies_by_consumer(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.consumers.is_some())
    }

    /// Those with a response phase, in order.
    pub(crate) fn response_phase(&self, effective: &Effective<'_>) -> Vec<Arc<dyn Handler>> {
        let Some(extra) = &self.extra else { return Vec::new() };
        if extra.response == ResponsePhase::Skipped && matches!(effective, Effective::Route(_)) {
            return Vec::new();
        }
        let looking = effective.entries().iter().filter(|entry| entry.handler.needs().response == ResponsePhase::Head);
        looking.map(|entry| Arc::clone(&entry.handler)).collect()
    }

    /// The plugins of a request that is known to be from `consumer`.
    pub(crate) fn of_consumer(
        &self,
        consumer: Uuid,
        route: Uuid,
        service: Option<Uuid>,
    ) -> Result<Effective<'_>, Uncompilable> {
        let all = self.extra.as_ref().and_then(|extra| extra.consumers.as_ref());
        let Some(instances) = all.and_then(|all| all.by_consumer.get(&consumer)) else {
            return Ok(Effective::Route(&self.entries));
        };
        let mut merged: Vec<ChainEntry> = self.entries.to_vec();
        for instance in instances.iter().filter(|instance| instance.binding.covers(route, service)) {
            let known = merged.iter_mut().find(|entry| entry.name() == instance.name);
            let rank = instance.binding.rank();
            match (known, &instance.entry) {
                (Some(known), _) if known.rank <= rank => {}
                (_, None) => return Err(Uncompilable),
                (Some(known), Some(entry)) => *known = entry.clone(),
                (None, Some(entry)) => merged.push(entry.clone()),
            }
        }
        merged.sort_by(|one, other| other.place.cmp(&one.place));
        Ok(Effective::Consumer(merged))
    }
}

/// The position in `entries` of the first entry that runs after `last`.
pub(crate) fn after(entries: &[ChainEntry], last: &ChainEntry) -> usize {
    entries.partition_point(|entry| entry.place >= last.place)
}

/// Consumer-scoped instances, by consumer.
#[derive(Default)]
pub struct ConsumerPlugins {
    by_consumer: HashMap<Uuid, Vec<ConsumerInstance>>,
}

struct ConsumerInstance {
    name: String,
    binding: Binding,
    /// `None`: it does not compile, and requests that need it are refused.
    entry: Option<ChainEntry>,
}

impl ConsumerPlugins {
    /// Adds an instance; `entry` is `None` if it does not compile.
    pub fn add(&mut self, consumer: Uuid, name: &str, binding: Binding, entry: Option<ChainEntry>) {
        let instance = ConsumerInstance { name: name.to_owned(), binding, entry };
        self.by_consumer.entry(consumer).or_default().push(instance);
    }

    /// All of them, if there are any.
    pub fn shared(self) -> Option<Arc<Self>> {
        (!self.by_consumer.is_empty()).then(|| Arc::new(self))
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::plugin::{Access, Verdict};
    use tollgate_core::request::Request;

    use super::*;

    struct Quiet(Needs);

    impl Handler for Quiet {
        fn needs(&self) -> Needs {
            self.0
        }

        fn access<'a>(&'a self, _: &'a mut Request<'_>) -> Access<'a> {
            Access::Ready(Ok(Verdict::Continue))
        }
    }

    const ROUTE: Uuid = Uuid::from_u128(1);
    const SERVICE: Uuid = Uuid::from_u128(2);
    const BOB: Uuid = Uuid::from_u128(3);

    fn entry(name: &'static str, priority: i32, binding: Binding, needs: Needs) -> ChainEntry {
        ChainEntry::new(name, priority, binding.rank(), Arc::new(Quiet(needs)))
    }

    fn bound(route: Option<Uuid>, service: Option<Uuid>, consumer: Option<Uuid>) -> Binding {
        Binding { route, service, consumer }
    }

    fn names(entries: &[ChainEntry]) -> Vec<(&'static str, Rank)> {
        entries.iter().map(|entry| (entry.name(), entry.rank)).collect()
    }

    #[test]
    fn plugins_run_by_priority_then_by_name_descending() {
        let global = bound(None, None, None);
        let named = [("a", 1), ("c", 5), ("b", 5)];
        let plugins = Plugins::new(named.map(|(name, at)| entry(name, at, global, Needs::default())), None);
        assert_eq!(plugins.entries().iter().map(ChainEntry::name).collect::<Vec<_>>(), ["c", "b", "a"]);
        assert_eq!(after(plugins.entries(), &plugins.entries()[1]), 2);
    }

    #[test]
    fn a_consumers_instance_replaces_less_specific_ones() {
        let consumer = bound(None, None, Some(BOB));
        let with_route = bound(Some(ROUTE), None, Some(BOB));
        let elsewhere = bound(Some(Uuid::from_u128(9)), None, Some(BOB));
        for (base, of_bob, expected) in [
            (bound(None, None, None), consumer, Rank::Consumer),
            (bound(Some(ROUTE), None, None), consumer, Rank::Consumer),
            (bound(Some(ROUTE), Some(SERVICE), None), consumer, Rank::RouteAndService),
            (bound(Some(ROUTE), Some(SERVICE), None), with_route, Rank::RouteAndConsumer),
            (bound(None, None, None), elsewhere, Rank::Global),
        ] {
            let mut consumers = ConsumerPlugins::default();
            consumers.add(BOB, "limit", of_bob, Some(entry("limit", 900, of_bob, Needs::default())));
            let plugins = Plugins::new([entry("limit", 900, base, Needs::default())], consumers.shared());
            let effective = plugins.of_consumer(BOB, ROUTE, Some(SERVICE)).unwrap();
            assert_eq!(names(effective.entries()), [("limit", expected)], "{base:?} {of_bob:?}");
            let others = plugins.of_consumer(Uuid::nil(), ROUTE, Some(SERVICE)).unwrap();
            assert_eq!(names(others.entries()), [("limit", base.rank())]);
        }
    }

    #[test]
    fn an_instance_that_only_the_consumer_has_runs_in_priority_order() {
        let (global, of_bob) = (bound(None, None, None), bound(None, None, Some(BOB)));
        let mut consumers = ConsumerPlugins::default();
        consumers.add(BOB, "between", of_bob, Some(entry("between", 5, of_bob, Needs::default())));
        consumers.add(Uuid::nil(), "broken", of_bob, None);
        let ends = [("first", 9), ("last", 1)].map(|(name, at)| entry(name, at, global, Needs::default()));
        let plugins = Plugins::new(ends, consumers.shared());
        let effective = plugins.of_consumer(BOB, ROUTE, None).unwrap();
        let order: Vec<_> = effective.entries().iter().map(ChainEntry::name).collect();
        assert_eq!(order, ["first", "between", "last"]);
        assert_eq!(after(effective.entries(), &plugins.entries()[0]), 1);
        assert!(matches!(plugins.of_consumer(Uuid::nil(), ROUTE, None), Err(Uncompilable)));
    }

    #[test]
    fn the_larger_of_two_body_limits_wins() {
        let global = bound(None, None, None);
        let small = entry("small", 2, global, Needs { body_limit: 100, ..Needs::default() });
        let large = entry("large", 1, global, Needs { body_limit: 1000, ..Needs::default() });
        assert_eq!(Plugins::new([small.clone(), large], None).body_limit(100), 1000);
        assert_eq!(Plugins::new([small], None).body_limit(100), 100);
    }

    #[test]
    fn only_handlers_that_ask_for_it_see_responses() {
        let global = bound(None, None, None);
        let looks = entry("looks", 1, global, Needs { response: ResponsePhase::Head, ..Needs::default() });
        let not = entry("not", 2, global, Needs::default());
        let plugins = Plugins::new([not.clone(), looks], None);
        assert_eq!(plugins.response_phase(&Effective::Route(plugins.entries())).len(), 1);
        let plugins = Plugins::new([not], None);
        assert!(plugins.response_phase(&Effective::Route(plugins.entries())).is_empty());
        assert!(plugins.extra.is_none());
    }
}
