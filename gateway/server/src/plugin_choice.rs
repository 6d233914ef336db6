//! Which plugin instances run on a route, and in which order (contract gateway.md §9).
//!
//! Of each plugin one instance runs, the most specific that is enabled. Instances bound to a
//! consumer are not among them: they depend on who the request is from, which no plugin of this
//! gateway supports yet, and an instance that could never run is refused when it is written.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tollgate_core::collection::Document;
use uuid::Uuid;

/// What an instance is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The route.
    pub route: Option<Uuid>,
    /// The service.
    pub service: Option<Uuid>,
}

/// The enabled instances of every plugin, by what they are bound to.
#[derive(Debug, Default)]
pub struct PluginChoice {
    by_name: HashMap<String, HashMap<Binding, Arc<Document>>>,
}

impl PluginChoice {
    /// Sorts the instances; disabled ones do not exist here.
    pub fn new<'d>(instances: impl IntoIterator<Item = &'d Arc<Document>>) -> Self {
        let mut choice = Self::default();
        for instance in instances {
            let enabled = instance.get("enabled").and_then(Value::as_bool).unwrap_or(true);
            let unbound_consumer = instance.get("consumer").is_none_or(Value::is_null);
            if let (true, true, Some(name)) = (enabled, unbound_consumer, instance.get("name").and_then(Value::as_str))
            {
                let binding = Binding { route: reference(instance, "route"), service: reference(instance, "service") };
                choice.by_name.entry(name.to_owned()).or_default().insert(binding, Arc::clone(instance));
            }
        }
        choice
    }

    /// For each plugin that has one, the instance for requests of this route.
    pub fn for_route(&self, route: Uuid, service: Option<Uuid>) -> Vec<(&str, &Arc<Document>)> {
        let most_specific_first = [
            service.map(|service| Binding { route: Some(route), service: Some(service) }),
            Some(Binding { route: Some(route), service: None }),
            service.map(|service| Binding { route: None, service: Some(service) }),
            Some(Binding { route: None, service: None }),
        ];
        let chosen = self.by_name.iter().filter_map(|(name, instances)| {
            let instance = most_specific_first.iter().flatten().find_map(|binding| instances.get(binding))?;
            Some((name.as_str(), instance))
        });
        chosen.collect()
    }
}

/// The id a foreign field refers to.
pub fn reference(document: &Document, field: &str) -> Option<Uuid> {
    document.get(field)?.get("id")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROUTE: Uuid = Uuid::from_u128(1);
    const SERVICE: Uuid = Uuid::from_u128(2);

    fn instance(label: &str, route: Option<Uuid>, service: Option<Uuid>, enabled: bool) -> Arc<Document> {
        let foreign = |id: Option<Uuid>| id.map_or(Value::Null, |id| json!({"id": id}));
        let document = json!({
            "name": "oauth2", "label": label, "enabled": enabled,
            "route": foreign(route), "service": foreign(service), "consumer": null,
        });
        Arc::new(document.as_object().cloned().unwrap_or_default())
    }

    fn chosen(instances: &[Arc<Document>], service: Option<Uuid>) -> Option<String> {
        let choice = PluginChoice::new(instances);
        let all = choice.for_route(ROUTE, service);
        assert!(all.len() <= 1);
        all.first().and_then(|(_, document)| document.get("label")).and_then(Value::as_str).map(str::to_owned)
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
