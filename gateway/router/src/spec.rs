//! A route as the router needs it: its criteria and its priority.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use uuid::Uuid;

/// The fields of a route that matching needs; an empty list is an absent criterion.
///
/// Deserializes from a route entity as the store and the Admin API write it: absent criteria may be null, and
/// fields irrelevant to matching are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RouteSpec {
    /// The route's id; also the final tie-breaker.
    pub id: Uuid,
    /// Routes of the stream protocols (`tcp`, `tls`, `udp`, `tls_passthrough`) match no request here.
    #[serde(deserialize_with = "null_is_empty")]
    pub protocols: Vec<String>,
    /// Methods, upper-case.
    #[serde(deserialize_with = "null_is_empty")]
    pub methods: Vec<String>,
    /// Host names as written, with at most one `*` as the first or last label, optionally with a port.
    #[serde(deserialize_with = "null_is_empty")]
    pub hosts: Vec<String>,
    /// Path prefixes (`/…`) and regexes (`~/…`).
    #[serde(deserialize_with = "null_is_empty")]
    pub paths: Vec<String>,
    /// Header names with values or `~*` regexes, one of which must be present.
    #[serde(deserialize_with = "null_is_empty")]
    pub headers: BTreeMap<String, Vec<String>>,
    /// TLS server names, with at most one `*` as the first or last label.
    #[serde(deserialize_with = "null_is_empty")]
    pub snis: Vec<String>,
    /// Decides between regex paths.
    #[serde(deserialize_with = "null_is_empty")]
    pub regex_priority: i64,
}

impl RouteSpec {
    /// Whether the route is for HTTP and has a criterion.
    pub(crate) fn can_match(&self) -> bool {
        let stream = self.protocols.iter().any(|p| matches!(p.as_str(), "tcp" | "tls" | "udp" | "tls_passthrough"));
        let criteria = !self.methods.is_empty()
            || !self.hosts.is_empty()
            || !self.paths.is_empty()
            || !self.headers.is_empty()
            || !self.snis.is_empty();
        criteria && !stream
    }
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_entity_deserializes_with_nulls_and_unrelated_fields() {
        let entity = serde_json::json!({
            "id": "11111111-1111-4111-8111-111111111111", "name": "r", "protocols": ["http", "https"],
            "methods": null, "hosts": ["a.com"], "paths": ["/x"], "headers": {"x-a": ["1"]}, "snis": null,
            "regex_priority": 5, "strip_path": true, "service": null, "tags": null,
        });
        let spec: RouteSpec = serde_json::from_value(entity).unwrap();
        let expected = RouteSpec {
            id: Uuid::from_u128(0x11111111_1111_4111_8111_111111111111),
            protocols: vec!["http".into(), "https".into()],
            hosts: vec!["a.com".into()],
            paths: vec!["/x".into()],
            headers: BTreeMap::from([("x-a".into(), vec!["1".into()])]),
            regex_priority: 5,
            ..RouteSpec::default()
        };
        assert_eq!(spec, expected);
    }

    #[test]
    fn stream_routes_and_routes_without_criteria_match_nothing() {
        let stream = RouteSpec { protocols: vec!["tls".into()], snis: vec!["a.com".into()], ..RouteSpec::default() };
        assert!(!stream.can_match());
        assert!(!RouteSpec::default().can_match());
    }
}
