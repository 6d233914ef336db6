//! Plugin choice: which plugin instances run on a route (gateway.md §9).
//!
//! Of each plugin one instance runs, the most specific enabled one. Consumer-scoped instances
//! depend on the consumer of the request and are kept separately ([`PluginChoice::of_consumers`]).

use std::collections::HashMap;
use std::sync::Arc;

use tollgate_core::collection::Document;
use uuid::Uuid;

/// The entities an instance is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The route.
    pub route: Option<Uuid>,
    /// The service.
    pub service: Option<Uuid>,
    /// The consumer.
    pub consumer: Option<Uuid>,
}

/// The specificity of a binding, the most specific first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Route, service and consumer.
    All,
    /// Route and consumer.
    RouteAndConsumer,
    /// Service and consumer.
    ServiceAndConsumer,
    /// Route and service.
    RouteAndService,
    /// Consumer.
    Consumer,
    /// Route.
    Route,
    /// Service.
    Service,
    /// Nothing (global).
    Global,
}

impl Binding {
    /// The specificity.
    pub fn rank(&self) -> Rank {
        match (self.route, self.service, self.consumer) {
            (Some(_), Some(_), Some(_)) => Rank::All,
            (Some(_), None, Some(_)) => Rank::RouteAndConsumer,
            (None, Some(_), Some(_)) => Rank::ServiceAndConsumer,
            (Some(_), Some(_), None) => Rank::RouteAndService,
            (None, None, Some(_)) => Rank::Consumer,
            (Some(_), None, None) => Rank::Route,
            (None, Some(_), None) => Rank::Service,
            (None, None, None) => Rank::Global,
        }
    }

    /// Whether it applies to requests of this route and service.
    pub fn covers(&self, route: Uuid, service: Option<Uuid>) -> bool {
        self.route.is_none_or(|bound| bound == route) && (self.service.is_none() || self.service == service)
    }

    fn of(instance: &Document) -> Self {
        let bound = |field| instance.reference(field);
        Self { route: bound("route"), service: bound("service"), consumer: bound("consumer") }
    }
}

/// The enabled instances of every plugin, by binding.
#[derive(Debug, Default)]
pub struct PluginChoice {
    by_name: HashMap<String, HashMap<Binding, Arc<Document>>>,
    of_consumers: Vec<(Binding, Arc<Document>)>,
}

impl PluginChoice {
    /// Sorts the instances; disabled ones are dropped.
    pub fn new<'d>(instances: impl IntoIterator<Item = &'d Arc<Document>>) -> Self {
        let mut choice = Self::default();
        for instance in instances {
            let enabled = instance.flag("enabled").unwrap_or(true);
            let (true, Some(name)) = (enabled, instance.text("name")) else { continue };
            let binding = Binding::of(instance);
            if binding.consumer.is_some() {
                choice.of_consumers.push((binding, Arc::clone(instance)));
            } else {
                choice.by_name.entry(name.to_owned()).or_default().insert(binding, Arc::clone(instance));
            }
        }
        choice
    }

    /// The consumer-scoped instances, with their bindings.
    pub fn of_consumers(&self) -> &[(Binding, Arc<Document>)] {
        &self.of_consumers
    }

    /// For each plugin that has one, the instance for requests of this route, whatever the consumer.
    pub fn for_route(&self, route: Uuid, service: Option<Uuid>) -> Vec<(Rank, &Arc<Document>)> {
        let bound = |route, service| Binding { route, service, consumer: None };
        let most_specific_first = [
            service.map(|service| bound(Some(route), Some(service))),
            Some(bound(Some(route), None)),
            service.map(|service| bound(None, Some(service))),
            Some(bound(None, None)),
        ];
        let chosen = self.by_name.values().filter_map(|instances| {
            let mut bindings = most_specific_first.iter().flatten();
            bindings.find_map(|binding| Some((binding.rank(), instances.get(binding)?)))
        });
        chosen.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ROUTE: Uuid = Uuid::from_u128(1);
    const SERVICE: Uuid = Uuid::from_u128(2);

    fn instance(label: &str, route: Option<Uuid>, service: Option<Uuid>, enabled: bool) -> Arc<Document> {
        let foreign = |id: Option<Uuid>| id.map_or(Value::Null, |id| json!({"id": id}));
        let document = json!({
            "name": "oauth2", "label": label, "enabled": enabled,
            "route": foreign(route), "service": foreign(service), "consumer": null,
        });
        Arc::new(Document::try_from(document).unwrap())
    }

    fn chosen(instances: &[Arc<Document>], service: Option<Uuid>) -> Option<String> {
        let choice = PluginChoice::new(instances);
        let all = choice.for_route(ROUTE, service);
        assert!(all.len() <= 1);
        all.first().and_then(|(_, document)| document.text("label")).map(str::to_owned)
    }

    #[test]
    fn the_most_specific_enabled_instance_runs() {
        let other = Some(Uuid::from_u128(9));
        let both = instance("route and service", Some(ROUTE), Some(SERVICE), true);
        let route = instance("route", Some(ROUTE), None, true);
        let service = instance("service", None, Some(SERVICE), true);
        let global = instance("global", None, None, true);
        let all = [instance("other", other, None, true), global, service, route, both];
        let expected = ["global", "service", "route", "route and service"];
        for (count, expected) in (2..=5).zip(expected) {
            assert_eq!(chosen(&all[..count], Some(SERVICE)).as_deref(), Some(expected));
        }
        assert_eq!(chosen(&all[..1], Some(SERVICE)), None);
        assert_eq!(chosen(&all[..3], None).as_deref(), Some("global"));
    }

    #[test]
    fn a_disabled_instance_does_not_hide_a_wider_one() {
        let all = [instance("global", None, None, true), instance("route", Some(ROUTE), None, false)];
        assert_eq!(chosen(&all, None).as_deref(), Some("global"));
    }
}
